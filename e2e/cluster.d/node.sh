# shellcheck shell=bash
# containerd, kubelet and kube-proxy.

start_containerd() {
    cat >"$E2E_STATE/containerd.toml" <<EOF
version = 2
root = "$E2E_STATE/containerd"
state = "$E2E_STATE/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
address = "$E2E_CONTAINERD"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/e2e-pause:dev"
# Lowering a score needs CAP_SYS_RESOURCE, which a sandboxed machine may lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$E2E_STATE/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "$E2E_SNAPSHOTTER"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
# cgroupfs works on v1, v2 and hybrids, with and without systemd.
SystemdCgroup = false
EOF
    start_daemon containerd containerd --config "$E2E_STATE/containerd.toml" --log-level warn
}

# Pods with dnsPolicy Default, CoreDNS among them, get this file: a loopback resolver of the host would be their own.
write_resolv_conf() {
    grep -vE '^[[:space:]]*nameserver[[:space:]]+(127\.|::1)' /etc/resolv.conf >"$E2E_STATE/resolv.conf" || true
}

start_kubelet() {
    local pki=$E2E_STATE/pki
    cat >"$E2E_STATE/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $E2E_NODE_IP
port: $E2E_KUBELET_PORT
healthzBindAddress: 127.0.0.1
healthzPort: $E2E_KUBELET_HEALTH_PORT
containerRuntimeEndpoint: unix://$E2E_CONTAINERD
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$E2E_DNS_IP]
resolvConf: $E2E_STATE/resolv.conf
podLogsDir: $E2E_STATE/logs/pods
volumePluginDir: $E2E_STATE/volume-plugins
cgroupDriver: cgroupfs
cgroupRoot: /$E2E_CGROUP
cgroupsPerQOS: true
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
# Tests start many small pods, at once, on one node.
maxPods: 250
serializeImagePulls: false
kubeAPIQPS: 100
kubeAPIBurst: 200
# How long a changed ConfigMap takes to reach a running pod: a minute or more by default, a test's patience is shorter.
syncFrequency: 10s
# Images are imported, not pulled: one that the collector removed is gone. A nearly full disk must not evict tests either.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 100Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
EOF
    start_daemon kubelet kubelet --config="$E2E_STATE/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" \
        --hostname-override="$E2E_NODE_NAME" --node-ip="$E2E_NODE_IP"
}

start_kube_proxy() {
    cat >"$E2E_STATE/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $E2E_STATE/pki/proxy.kubeconfig}
hostnameOverride: $E2E_NODE_NAME
clusterCIDR: $E2E_POD_CIDR
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:$E2E_PROXY_HEALTH_PORT
metricsBindAddress: 127.0.0.1:$E2E_PROXY_METRICS_PORT
nodePortAddresses: [$E2E_POD_CIDR]
iptables:
  # Node ports on loopback need route_localnet, which opens loopback services to the network.
  localhostNodePorts: false
  # A Service follows its pods within this time.
  minSyncPeriod: 100ms
# The machine's connection tracking table is not ours to resize.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
    start_daemon kube-proxy kube-proxy --config="$E2E_STATE/kube-proxy.yaml"
}
