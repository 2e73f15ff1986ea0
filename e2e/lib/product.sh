# shellcheck shell=bash
# The product on a cluster: which cluster, its images, its charts.

: "${E2E_OPERATOR_NAMESPACE:=containerssh-system}"
: "${E2E_GATEWAY_IMAGE:=localhost/containerssh-gateway:dev}"
: "${E2E_AGENT_IMAGE:=localhost/containerssh-agent:dev}"
: "${E2E_OPERATOR_IMAGE:=localhost/containerssh-operator:dev}"

# use_cluster: the one that KUBECONFIG names, or one of our own, which is made if it is not up.
use_cluster() {
    if [[ -n ${KUBECONFIG:-} ]]; then
        step "using the cluster of $KUBECONFIG"
        [[ -n ${E2E_S3_ENDPOINT:-} ]] ||
            die "with a cluster of your own, say where S3 is: E2E_S3_ENDPOINT, E2E_S3_ACCESS_KEY, E2E_S3_SECRET_KEY, E2E_S3_BUCKET"
        return
    fi
    "$E2E_DIR/cluster" up
    load_cluster_environment
}

# load_cluster_environment: KUBECONFIG and the object store of our own cluster, for this shell and its children.
load_cluster_environment() {
    local lines
    lines=$("$E2E_DIR/cluster" env)
    eval "$lines"
}

# own_cluster: whether the cluster is one that e2e/cluster made.
own_cluster() { [[ ${KUBECONFIG:-} == "$E2E_KUBECONFIG" ]]; }

# build_images: built and brought to the nodes. A cluster of somebody else's must have been given them already.
build_images() {
    "$E2E_DIR/images" build
    if own_cluster; then
        "$E2E_DIR/images" import
    fi
}

# install_charts: both charts, new or upgraded, and the operator ready.
install_charts() {
    local charts=$E2E_DIR/../charts
    step "installing the charts"
    helm upgrade --install containerssh-crds "$charts/containerssh-crds" --wait >/dev/null
    helm upgrade --install containerssh-operator "$charts/containerssh-operator" \
        --namespace "$E2E_OPERATOR_NAMESPACE" --create-namespace --wait --timeout 3m \
        --set-string "image.repository=${E2E_OPERATOR_IMAGE%:*}" --set-string "image.tag=${E2E_OPERATOR_IMAGE##*:}" \
        --set-string "gateway.image.repository=${E2E_GATEWAY_IMAGE%:*}" --set-string "gateway.image.tag=${E2E_GATEWAY_IMAGE##*:}" \
        --set-string "agent.image.repository=${E2E_AGENT_IMAGE%:*}" --set-string "agent.image.tag=${E2E_AGENT_IMAGE##*:}" \
        --set-string "podAnnotations.image=$(image_digest)" >/dev/null
    step "operator ready"
}

# image_digest: what the images were built from, so that a rebuilt image under the same tag restarts the operator.
image_digest() {
    cat "$E2E_CACHE"/images/containerssh-{operator,gateway}.id | sha256sum | cut -c1-16
}

remove_charts() {
    helm uninstall containerssh-operator --namespace "$E2E_OPERATOR_NAMESPACE" --ignore-not-found --wait >/dev/null
    helm uninstall containerssh-crds --ignore-not-found >/dev/null
}
