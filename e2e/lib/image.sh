# shellcheck shell=bash
# Container images: built by buildah without a network, kept as archives by content, imported into the cluster's containerd.

image_storage() {
    buildah --root "$E2E_CACHE/buildah/root" --runroot "$E2E_CACHE/buildah/run" --storage-driver vfs "$@"
}

image_archive() { echo "$E2E_CACHE/images/$1-$(cat "$E2E_CACHE/images/$1.id").tar"; }

# build_image NAME CONTAINERFILE CONTEXT [REFERENCE]: an archive of localhost/NAME:dev in the cache, also known as REFERENCE,
# and in images/NAME.id the hash of what it was made from.
build_image() {
    local name=$1 containerfile=$2 context=$3 reference=${4:-localhost/$1:dev} hash archive
    mkdir -p "$E2E_CACHE/images"
    hash=$( (echo "$reference" && hash_of "$containerfile" "$context") | sha256sum | cut -c1-16)
    archive=$E2E_CACHE/images/$name-$hash.tar
    # Two builds at once would meet in one container storage.
    exec 7>"$E2E_CACHE/images/lock"
    flock 7
    if [[ ! -e $archive ]]; then
        step "building image $name"
        # Sixteen characters, and not any: names of images may begin with one another.
        rm -f "$E2E_CACHE/images/$name"-????????????????.tar
        # buildah refuses to write anywhere without a policy, and the package that ships one is only recommended.
        echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$E2E_CACHE/images/policy.json"
        # chroot isolation: no namespaces or runtime are needed to copy files. A fixed time stamp makes equal content equal images.
        image_storage build --isolation chroot --quiet --timestamp 0 --signature-policy "$E2E_CACHE/images/policy.json" \
            --tag "localhost/$name:dev" --file "$containerfile" "$context" >/dev/null
        # docker-archive: the one format in which full names travel along, that of the image and that of the destination.
        image_storage push --quiet --signature-policy "$E2E_CACHE/images/policy.json" \
            "localhost/$name:dev" "docker-archive:$archive.part:$reference" >/dev/null
        image_storage rmi --force "localhost/$name:dev" >/dev/null
        mv "$archive.part" "$archive"
    fi
    echo "$hash" >"$E2E_CACHE/images/$name.id"
    exec 7>&-
}

# import_images NAME...: only what this cluster does not hold yet.
import_images() {
    local name
    mkdir -p "$E2E_STATE/images"
    for name in "$@"; do
        [[ -e $E2E_CACHE/images/$name.id ]] || die "image $name has not been built"
        ! cmp -s "$E2E_CACHE/images/$name.id" "$E2E_STATE/images/$name.id" || continue
        step "importing image $name"
        ctr --address "$E2E_CONTAINERD" --namespace k8s.io images import --snapshotter "$E2E_SNAPSHOTTER" \
            "$(image_archive "$name")" >/dev/null
        cp "$E2E_CACHE/images/$name.id" "$E2E_STATE/images/$name.id"
    done
}

# stage DIRECTORY: an empty build context whose modes do not depend on the umask.
stage() {
    rm -rf "$1"
    install -d -m 755 "$1" "$1/rootfs"
}
