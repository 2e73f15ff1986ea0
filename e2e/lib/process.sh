# shellcheck shell=bash
# The cluster's processes: started into one cgroup and one mount namespace, found and ended by both.
#
# The cgroup is the register of what is ours. A pid file can be lost, stale or point at a reused pid; members of the cgroup are
# exactly what we started and its descendants, containers included, even after their parents were killed.
# The mount namespace takes every mount (overlays, volumes, pod sandboxes) with it when its last process ends, and lets
# containerd and kubelet use their fixed paths without meeting a containerd or kubelet that the machine already runs.

E2E_CGROUP=containerssh-e2e

# Every mounted cgroup hierarchy: one for v2, one per controller for v1 and hybrids.
cgroup_roots() {
    awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts
}

# The hierarchy whose membership counts: kubelet puts every container into these too.
cgroup_register() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        echo "/sys/fs/cgroup/$E2E_CGROUP"
    else
        echo "/sys/fs/cgroup/pids/$E2E_CGROUP"
    fi
}

make_cgroups() {
    local root
    # kubelet insists that its root exists in each hierarchy.
    for root in $(cgroup_roots); do
        mkdir -p "$root/$E2E_CGROUP"
    done
    mkdir -p "$(cgroup_register)/daemons"
}

remove_cgroups() {
    local root
    for root in $(cgroup_roots); do
        [[ ! -d $root/$E2E_CGROUP ]] || find "$root/$E2E_CGROUP" -depth -type d -exec rmdir {} +
    done
}

our_pids() {
    local register
    register=$(cgroup_register)
    [[ ! -d $register ]] || find "$register" -name cgroup.procs -exec cat {} +
}

daemon_pid() { cat "$E2E_STATE/pids/$1" 2>/dev/null; }

daemon_alive() {
    local pid
    pid=$(daemon_pid "$1") && grep -qx "$pid" "$(cgroup_register)/daemons/cgroup.procs" 2>/dev/null
}

# start_daemon NAME COMMAND...: logs to logs/NAME.log.
start_daemon() {
    local name=$1 namespace=()
    shift
    [[ $name == mounts ]] || namespace=(nsenter --mount="/proc/$(daemon_pid mounts)/ns/mnt" --)
    (
        # Without the locks that this script holds, or they would be held as long as the cluster lives.
        exec 8>&- 9>&-
        echo "$BASHPID" >"$(cgroup_register)/daemons/cgroup.procs"
        # Each step replaces this process, so that its pid is the daemon's.
        exec setsid "${namespace[@]}" "$@"
    ) >>"$E2E_STATE/logs/$name.log" 2>&1 </dev/null &
    echo $! >"$E2E_STATE/pids/$name"
    # Again from here, since who looks next must find it registered; it may have died already.
    echo $! >"$(cgroup_register)/daemons/cgroup.procs" 2>/dev/null || true
}

# require_daemon NAME COMMAND...: waits for COMMAND, and says why when the daemon died instead.
require_daemon() {
    local name=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! daemon_alive "$name" || ((SECONDS >= deadline)); then
            tail -n 20 "$E2E_STATE/logs/$name.log" >&2
            die "$name did not come up (its log is $E2E_STATE/logs/$name.log)"
        fi
        sleep 0.1
    done
}

kill_our_processes() {
    local pids deadline=$((SECONDS + 20))
    # A container may fork while it is being killed: repeat until the register is empty.
    while pids=$(our_pids) && [[ -n $pids ]]; do
        # shellcheck disable=SC2086 # one argument per pid
        kill -KILL $pids 2>/dev/null || true
        ((SECONDS < deadline)) || die "processes that do not end: ${pids//$'\n'/ }"
        sleep 0.1
    done
}

# Paths that containerd, the CNI library and kubelet do not let anyone configure, and what stands there instead.
PRIVATE_PATHS=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers)

start_mount_namespace() {
    local path mounts=''
    for path in "${PRIVATE_PATHS[@]}"; do
        if [[ ! -d $path ]]; then
            mkdir -p "$path"
            echo "$path" >>"$E2E_STATE/created-paths"
        fi
        mkdir -p "$E2E_STATE/private$path"
        mounts+="mount --bind '$E2E_STATE/private$path' '$path'; "
    done
    # Slave: later mounts of the host show, ours never do. Shared again within: kubelet propagates volume mounts into containers.
    start_daemon mounts unshare --mount --propagation slave \
        bash -euc "mount --make-rshared /; $mounts touch '$E2E_STATE/mounts-ready'; exec sleep infinity"
    require_daemon mounts test -e "$E2E_STATE/mounts-ready"
}

remove_created_paths() {
    local path
    [[ -e $E2E_STATE/created-paths ]] || return 0
    while read -r path; do
        rmdir "$path" 2>/dev/null || true
    done <"$E2E_STATE/created-paths"
}
