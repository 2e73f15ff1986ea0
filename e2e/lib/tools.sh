# shellcheck shell=bash
# Builds the Go programs of e2e/tools once per version into the cache.

E2E_TOOLS=(kubernetes minio local-path-provisioner)

go_module_version() {
    sed -n "s,^[[:space:]]*$2 \(v[^ ]*\).*,\1,p" "$E2E_DIR/tools/$1/go.mod" | head -n1
}

# Programs that are told their version by the linker: without it they call themselves v0.0.0 or 1.20,
# and version checks of kubectl, kubelet and charts misfire.
tool_ldflags() {
    local flags="-s -w" version minor
    if [[ $1 == kubernetes ]]; then
        version=$(go_module_version kubernetes k8s.io/kubernetes)
        minor=$(cut -d. -f2 <<<"$version")
        flags+=" -X k8s.io/component-base/version.gitVersion=$version"
        flags+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
        flags+=" -X helm.sh/helm/v3/internal/version.version=$(go_module_version kubernetes helm.sh/helm/v3)"
        local package
        for package in chartutil lint/rules; do
            flags+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$minor"
        done
    fi
    echo "$flags"
}

tool_dir() {
    echo "$E2E_CACHE/tools/$1-$( (go env GOVERSION; tool_ldflags "$1"; hash_of "$E2E_DIR/tools/$1") | sha256sum | cut -c1-16)"
}

build_tool() {
    local name=$1 dir=$2 packages=(tool) cgo=0
    # Dex comes with SQLite, which is C.
    [[ $name != dex ]] || cgo=1
    # A main package of our own beside the modules' programs.
    [[ -d $E2E_DIR/tools/$name/coredns ]] && packages+=(./coredns)
    step "building $name (minutes when the Go cache is empty)"
    rm -rf "$E2E_CACHE/tools/$name"-*
    mkdir -p "$dir.part"
    # A collector that waits longer saves a seventh of the compiler's time, for memory that is free again at once.
    # -mod=readonly and no -buildvcs: what is committed is what is built, whatever GOFLAGS the machine has.
    (
        cd "$E2E_DIR/tools/$name"
        CGO_ENABLED=$cgo GOGC=400 GOFLAGS='' GOWORK=off nice -n 5 go build -mod=readonly -buildvcs=false -trimpath \
            -ldflags "$(tool_ldflags "$name")" -o "$dir.part/" "${packages[@]}"
    ) >"$dir.log" 2>&1 || { tail -20 "$dir.log" >&2; return 1; }
    # etcd's program is named after its directory.
    [[ ! -e $dir.part/server ]] || mv "$dir.part/server" "$dir.part/etcd"
    mv "$dir.part" "$dir"
    step "built $name"
}

build_missing() {
    local name dir
    for name in "$@"; do
        dir=$(tool_dir "$name")
        [[ -d $dir ]] || build_tool "$name" "$dir" || return 1
    done
}

build_tools() {
    local name job
    mkdir -p "$E2E_CACHE/bin" "$E2E_CACHE/tools"
    # Two scripts at once would build the same things twice, on the same cores.
    exec 8>"$E2E_CACHE/lock"
    flock 8
    # Side by side, since one build leaves cores idle while it downloads, compiles its largest package, or links. The
    # provisioner after Kubernetes, whose libraries it then finds compiled: builds that run at once share nothing.
    build_missing minio &
    job=$!
    build_missing kubernetes local-path-provisioner || die "a tool did not build"
    wait "$job" || die "a tool did not build"
    for name in "${E2E_TOOLS[@]}"; do
        ln -sf "$(tool_dir "$name")"/* "$E2E_CACHE/bin/"
    done
    exec 8>&-
}
