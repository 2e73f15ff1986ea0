# shellcheck shell=bash
# The images that the cluster itself runs on.

E2E_SYSTEM_IMAGES=(e2e-pause e2e-coredns e2e-minio e2e-local-path-provisioner containerssh-guest-busybox)

compile_pause() {
    # Cached like the other binaries; no libc start-up cost and no libc in the image.
    gcc -Os -static -s -o "$1" "$E2E_DIR/images.d/e2e-pause/pause.c"
}

# stage_accounts ROOTFS: user names for root and the unprivileged user that our images run as.
stage_accounts() {
    install -d -m 755 "$1/etc"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh' >"$1/etc/passwd"
    printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >"$1/etc/group"
    chmod 644 "$1/etc/passwd" "$1/etc/group"
    install -d -m 1777 "$1/tmp"
    install -d -m 700 "$1/root"
    install -d -m 700 -o 65532 -g 65532 "$1/home/nonroot"
}

stage_e2e-pause() { compile_pause "$1/rootfs/pause"; }
stage_e2e-coredns() { install "$E2E_CACHE/bin/coredns" "$1/rootfs/"; }
stage_e2e-minio() { install "$E2E_CACHE/bin/minio" "$1/rootfs/"; install -d -m 1777 "$1/rootfs/tmp"; }
stage_e2e-local-path-provisioner() { install "$E2E_CACHE/bin/local-path-provisioner" "$1/rootfs/"; }

stage_containerssh-guest-busybox() {
    local rootfs=$1/rootfs applet
    install -d -m 755 "$rootfs/bin" "$rootfs/usr/bin"
    install /bin/busybox "$rootfs/bin/busybox"
    for applet in $(/bin/busybox --list); do
        # The list names busybox itself, and a link to itself would replace the program.
        [[ $applet == busybox ]] || ln -s busybox "$rootfs/bin/$applet"
    done
    stage_accounts "$rootfs"
}

build_staged_image() {
    local name=$1 context
    context=$(mktemp -d)
    stage "$context/context"
    "stage_$name" "$context/context"
    build_image "$name" "$E2E_DIR/images.d/$name/Containerfile" "$context/context"
    rm -rf "$context"
}

# What the system images are made from, as one short hash: staging tens of megabytes to find that nothing changed takes a second.
system_images_key() {
    local name sources=("$E2E_DIR/lib/system-images.sh" "$E2E_DIR/lib/image.sh")
    for name in "${E2E_SYSTEM_IMAGES[@]}"; do
        sources+=("$E2E_DIR/images.d/$name")
    done
    (
        hash_of "${sources[@]}"
        dpkg-query -W -f '${Version}\n' busybox-static libc6-dev
        for name in "${E2E_TOOLS[@]}"; do tool_dir "$name"; done
    ) | sha256sum | cut -c1-16
}

build_system_images() {
    local name key
    key=$(system_images_key)
    mkdir -p "$E2E_CACHE/images"
    [[ $(cat "$E2E_CACHE/images/system.key" 2>/dev/null) != "$key" ]] || return 0
    for name in "${E2E_SYSTEM_IMAGES[@]}"; do
        build_staged_image "$name"
    done
    echo "$key" >"$E2E_CACHE/images/system.key"
}
