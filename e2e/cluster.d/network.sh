# shellcheck shell=bash
# The bridge that pods hang on, the packet filter rules around it, and the kernel settings they need.

# What kubelet, kube-proxy or this file change, to be put back by `down`.
E2E_SYSCTLS=(net.ipv4.ip_forward net.ipv4.conf.all.route_localnet vm.overcommit_memory kernel.panic kernel.panic_on_oops)

save_sysctls() {
    local name value
    for name in "${E2E_SYSCTLS[@]}"; do
        value=$(sysctl -n "$name" 2>/dev/null) && echo "$name=$value"
    done >"$E2E_STATE/sysctls"
}

restore_sysctls() {
    [[ ! -e $E2E_STATE/sysctls ]] || sysctl -qp "$E2E_STATE/sysctls" || true
}

network_up() {
    save_sysctls
    # Built in on some kernels, modules on others, and absent /proc entries tell.
    modprobe -qa overlay br_netfilter 2>/dev/null || true
    sysctl -qw net.ipv4.ip_forward=1
    # Pods on one bridge reach Services only if bridged packets pass through kube-proxy's rules.
    sysctl -qw net.bridge.bridge-nf-call-iptables=1

    # An explicit hardware address keeps the bridge's stable while ports come and go.
    ip link add "$E2E_BRIDGE" address 02:c5:54:00:00:01 type bridge
    ip address add "$E2E_NODE_IP/16" dev "$E2E_BRIDGE"
    ip link set "$E2E_BRIDGE" up

    # Own chains rather than the CNI plugin's ipMasq: that one runs iptables several times per pod started.
    iptables-restore -w --noflush <<EOF
*filter
:E2E-FORWARD - [0:0]
-A E2E-FORWARD -i $E2E_BRIDGE -j ACCEPT
-A E2E-FORWARD -o $E2E_BRIDGE -j ACCEPT
-I FORWARD -j E2E-FORWARD
COMMIT
*nat
:E2E-MASQUERADE - [0:0]
-A E2E-MASQUERADE -s $E2E_POD_CIDR ! -d $E2E_POD_CIDR -j MASQUERADE
-A POSTROUTING -j E2E-MASQUERADE
COMMIT
EOF

    mkdir -p "$E2E_STATE/cni"
    cat >"$E2E_STATE/cni/10-e2e.conflist" <<EOF
{
  "cniVersion": "0.4.0",
  "name": "e2e",
  "plugins": [{
    "type": "bridge",
    "bridge": "$E2E_BRIDGE",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "$E2E_STATE/cni/addresses",
      "ranges": [[{"subnet": "$E2E_POD_CIDR", "gateway": "$E2E_NODE_IP"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
EOF
}

# Removes the chains of kube-proxy, kubelet and ours from one table in one transaction, and touches no other rule.
remove_chains() {
    local save=$1 restore=$2 table=$3 rules
    command -v "$save" >/dev/null || return 0
    rules=$("$save" -t "$table" 2>/dev/null) || return 0
    grep -qE '^:(KUBE|E2E)-' <<<"$rules" || return 0
    awk '
        /^\*/ {print}
        /^:(KUBE|E2E)-/ {print $1 " - [0:0]"; gone = gone "-X " substr($1, 2) "\n"}
        /^-A/ && $2 !~ /^(KUBE|E2E)-/ && / -j (KUBE|E2E)-/ {sub(/^-A/, "-D"); jumps = jumps $0 "\n"}
        /^COMMIT/ {printf "%s%s", jumps, gone; print}
    ' <<<"$rules" | "$restore" -w --noflush
}

network_down() {
    local link family table
    # Ports first: a pod's interface outlives its bridge until the kernel gets round to freeing the pod's namespace.
    for link in $(ip -o link show master "$E2E_BRIDGE" 2>/dev/null | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
        ip link delete "$link" 2>/dev/null || true
    done
    ip link delete "$E2E_BRIDGE" 2>/dev/null || true
    for family in iptables ip6tables; do
        for table in nat filter mangle; do
            remove_chains "$family-save" "$family-restore" "$table"
        done
    done
    restore_sysctls
}
