# shellcheck shell=bash
# What the scripts need from Debian.

# containerd, runc and the CNI plugins make the node; buildah, busybox and gcc (for one C program) its images.
E2E_PACKAGES=(
    buildah busybox-static ca-certificates containerd containernetworking-plugins curl gcc gettext-base iproute2 iptables
    kmod libc6-dev openssl procps runc util-linux
)

missing_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    mkdir -p "$E2E_CACHE"
    # One script of ours at a time: a cluster is made while other packages are installed. Others, such as unattended upgrades, are waited for.
    (
        flock 6
        step "installing ${missing[*]}"
        # The list of packages on a fresh machine is empty or old; one update, and only when something is missing.
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "${missing[@]}"
    ) 6>"$E2E_CACHE/apt.lock" >"$E2E_CACHE/apt.log" ||
        { tail -20 "$E2E_CACHE/apt.log" >&2; die "apt-get failed"; }
}
