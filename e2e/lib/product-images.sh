# shellcheck shell=bash
# The product's own programs and images, and the webhook server of its tests.

E2E_PRODUCT_IMAGES=(containerssh-gateway containerssh-agent containerssh-operator containerssh-e2e-webhook)

# program_path NAME: where the build leaves a program.
program_path() {
    echo "${CARGO_TARGET_DIR:-${E2E_DIR%/*}/target}/$(rustc --print host-tuple)/release/$1"
}

# Static, so that the images need no libc. glibc's own resolver works in a static program (glibc 2.34 and newer have its parts
# built in), which spares a musl toolchain that not every machine can install.
build_programs() {
    local target
    target=$(rustc --print host-tuple)
    step "building the programs"
    # The flag belongs to the target alone: proc-macros are built for the host, and cannot be static. RUSTFLAGS would override it.
    (
        cd "$E2E_DIR/.." || exit
        env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS cargo build --quiet --release --locked --target "$target" \
            --config "target.$target.rustflags = ['-C', 'target-feature=+crt-static']" \
            -p containerssh-gateway -p containerssh-agent -p containerssh-operator -p containerssh-auditlog-tool -p containerssh-e2e
    )
}

# stage_program CONTEXT NAME: a root file system with one program, certificates to trust, and a user.
stage_program() {
    local rootfs=$1/rootfs
    install "$(program_path "$2")" "$rootfs/$2"
    install -d -m 755 "$rootfs/etc" "$rootfs/etc/ssl" "$rootfs/etc/ssl/certs"
    install -m 644 /etc/ssl/certs/ca-certificates.crt "$rootfs/etc/ssl/certs/"
    stage_accounts "$rootfs"
}

# containerfile IMAGE: what it is built by.
containerfile() {
    case $1 in
    containerssh-agent) echo "$E2E_DIR/../gateway/agent/Containerfile" ;;
    containerssh-e2e-*) echo "$E2E_DIR/images.d/$1/Containerfile" ;;
    *) echo "$E2E_DIR/../${1#containerssh-}/Containerfile" ;;
    esac
}

build_product_images() {
    local name context
    for name in "${E2E_PRODUCT_IMAGES[@]}"; do
        context=$(mktemp -d)
        stage "$context/context"
        stage_program "$context/context" "$name"
        build_image "$name" "$(containerfile "$name")" "$context/context"
        rm -rf "$context"
    done
}
