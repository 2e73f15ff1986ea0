# shellcheck shell=bash
# Guests: what users log in to. A usual one, a tiny one (lib/system-images.sh), and one without a shell.

E2E_GUEST_IMAGES=(containerssh-guest-busybox containerssh-guest-noshell containerssh-guest-debian)
E2E_GUEST_PACKAGES=(bash coreutils git ncurses-bin openssh-sftp-server procps python3 rsync)

stage_containerssh-guest-noshell() {
    compile_pause "$1/rootfs/pause"
    stage_accounts "$1/rootfs"
}

# The machine's own repositories, whichever mirror it uses, less those of other vendors.
debian_sources() {
    # Images of Debian come without apt's lists, and then apt names no repository at all.
    [[ -n $(apt-get indextargets) ]] || apt-get update -qq
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u
}

# make_debian_rootfs TAR
make_debian_rootfs() {
    local suite
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    step "making a Debian root file system"
    # Manual pages and documentation are most of the files of a small system.
    mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${E2E_GUEST_PACKAGES[*]}")" \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        "$suite" "$1" - < <(debian_sources)
}

build_debian_image() {
    local key rootfs
    key=$( (echo "${E2E_GUEST_PACKAGES[@]}" && cat /etc/debian_version && declare -f make_debian_rootfs) | sha256sum | cut -c1-16)
    rootfs=$E2E_CACHE/rootfs/debian-$key
    if [[ ! -d $rootfs ]]; then
        rm -rf "$E2E_CACHE/rootfs"
        mkdir -p "$rootfs.part"
        make_debian_rootfs "$rootfs.part/rootfs.tar"
        mv "$rootfs.part" "$rootfs"
    fi
    # Also under the name that docs/examples use: it cannot be pulled here, and the examples are tested as they stand.
    build_image containerssh-guest-debian "$E2E_DIR/images.d/containerssh-guest-debian/Containerfile" "$rootfs" debian:12
}

build_guest_images() {
    build_staged_image containerssh-guest-busybox
    build_staged_image containerssh-guest-noshell
    build_debian_image
}
