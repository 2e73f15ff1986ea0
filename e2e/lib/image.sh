# shellcheck shell=bash
# Container images: built by buildah without a network, kept as archives by content, imported into the cluster's containerd.

image_storage() {
    buildah --root "$E2E_CACHE/buildah/root" --runroot "$E2E_CACHE/buildah/run" --storage-driver vfs "$@"
}

image_archive() { echo "$E2E_CACHE/images/$1-$2.tar"; }

# build_image NAME CONTAINERFILE CONTEXT: leaves localhost/NAME:dev in the cache, and the path of its archive in images/NAME.
build_image() {
    local name=$1 containerfile=$2 context=$3 hash archive
    mkdir -p "$E2E_CACHE/images"
    hash=$(hash_of "$containerfile" "$context")
    archive=$(image_archive "$name" "$hash")
    if [[ ! -e $archive ]]; then
        step "building image $name"
        rm -f "$E2E_CACHE/images/$name"-????????????????.tar
        # buildah refuses to write anywhere without a policy, and the package that ships one is only recommended.
        echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$E2E_CACHE/images/policy.json"
        # chroot isolation: no namespaces or runtime are needed to copy files. A fixed time stamp makes equal content equal images.
        image_storage build --isolation chroot --quiet --timestamp 0 --signature-policy "$E2E_CACHE/images/policy.json" \
            --tag "localhost/$name:dev" --file "$containerfile" "$context" >/dev/null
        # docker-archive: the one format in which the full name travels along.
        image_storage push --quiet --signature-policy "$E2E_CACHE/images/policy.json" \
            "localhost/$name:dev" "docker-archive:$archive.part:localhost/$name:dev" >/dev/null
        image_storage rmi --force "localhost/$name:dev" >/dev/null
        mv "$archive.part" "$archive"
    fi
    echo "$archive" >"$E2E_CACHE/images/$name"
}

# import_images NAME...: only what this cluster does not hold yet.
import_images() {
    local name archive
    for name in "$@"; do
        archive=$(cat "$E2E_CACHE/images/$name" 2>/dev/null) || die "image $name has not been built"
        [[ $(cat "$E2E_STATE/images/$name" 2>/dev/null) != "$archive" ]] || continue
        step "importing image $name"
        ctr --address "$E2E_CONTAINERD" --namespace k8s.io images import --snapshotter "$E2E_SNAPSHOTTER" "$archive" >/dev/null
        mkdir -p "$E2E_STATE/images"
        echo "$archive" >"$E2E_STATE/images/$name"
    done
}

# stage DIRECTORY: an empty build context whose modes do not depend on the umask.
stage() {
    rm -rf "$1"
    install -d -m 755 "$1" "$1/rootfs"
}
