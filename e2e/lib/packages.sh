# shellcheck shell=bash
# What the scripts need from Debian.

# containerd, runc and the CNI plugins make the node; buildah, busybox and gcc (for one C program) its images.
E2E_PACKAGES=(
    ca-certificates conntrack containerd containernetworking-plugins busybox-static buildah curl gcc gettext-base iproute2 iptables
    jq kmod libc6-dev openssl procps runc socat util-linux
)

install_packages() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    step "installing ${missing[*]}"
    # The list of packages on a fresh machine is empty or old; one update, and only when something is missing.
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$E2E_CACHE/apt.log" 2>&1 ||
        { tail -20 "$E2E_CACHE/apt.log" >&2; die "apt-get install failed"; }
}
