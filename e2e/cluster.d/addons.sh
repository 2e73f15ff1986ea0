# shellcheck shell=bash
# What runs inside the cluster: DNS, volumes, the object store.

E2E_MANIFESTS=(coredns local-path-provisioner minio)

make_s3_credentials() {
    # Per cluster: a constant would sooner or later be somebody's real password.
    E2E_S3_ACCESS_KEY=e2e$(openssl rand -hex 8)
    E2E_S3_SECRET_KEY=$(openssl rand -hex 20)
    declare -p E2E_S3_ACCESS_KEY E2E_S3_SECRET_KEY | sed 's/^declare -- //' >"$E2E_STATE/s3.env"
}

load_s3_credentials() {
    # shellcheck source=/dev/null
    source "$E2E_STATE/s3.env"
}

apply_addons() {
    local manifest forward=''
    grep -q nameserver "$E2E_STATE/resolv.conf" && forward='forward . /etc/resolv.conf'
    install -d -m 755 "$E2E_STATE/volumes"
    # The pod's user: a hostPath volume gets its ownership from nobody else.
    install -d -m 700 -o 65532 -g 65532 "$E2E_STATE/minio"
    export E2E_STATE E2E_DNS_IP E2E_S3_IP E2E_S3_ACCESS_KEY E2E_S3_SECRET_KEY E2E_DNS_FORWARD=$forward
    for manifest in "${E2E_MANIFESTS[@]}"; do
        # Named variables only: manifests hold shell scripts with variables of their own.
        # shellcheck disable=SC2016
        envsubst '$E2E_STATE $E2E_DNS_IP $E2E_DNS_FORWARD $E2E_S3_IP $E2E_S3_ACCESS_KEY $E2E_S3_SECRET_KEY' \
            <"$E2E_DIR/cluster.d/manifests/$manifest.yaml"
        echo ---
    done | kctl apply --server-side --filename - >/dev/null
}

deployment_available() { [[ $(kctl -n "$1" get deployment "$2" -o 'jsonpath={.status.availableReplicas}') == 1 ]]; }

wait_for_addons() {
    wait_for 90 'CoreDNS' deployment_available kube-system coredns
    wait_for 90 'the volume provisioner' deployment_available local-path-storage local-path-provisioner
    wait_for 90 'MinIO' deployment_available minio minio
}

# s3 METHOD PATH-AND-QUERY [CURL-OPTION...]: one signed request.
s3() {
    local method=$1 resource=$2
    shift 2
    # The key is passed in a file: arguments are visible to every process of the machine.
    curl --silent --show-error --fail-with-body --max-time 10 --request "$method" \
        --aws-sigv4 "aws:amz:$E2E_S3_REGION:s3" \
        --config <(printf 'user = "%s:%s"\n' "$E2E_S3_ACCESS_KEY" "$E2E_S3_SECRET_KEY") \
        "$@" "$E2E_S3_ENDPOINT/$resource"
}

# A bucket can only be given an object lock when it is made; the lock brings versioning along.
make_bucket() {
    local retention='<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>'
    s3 HEAD "$E2E_S3_BUCKET" --head --output /dev/null 2>/dev/null ||
        s3 PUT "$E2E_S3_BUCKET" --header 'x-amz-bucket-object-lock-enabled: true'
    # Older curl signs a body only when it is told the body's hash.
    s3 PUT "$E2E_S3_BUCKET?object-lock=" --data "$retention" --header 'Content-Type: application/xml' \
        --header "x-amz-content-sha256: $(printf %s "$retention" | sha256sum | cut -d' ' -f1)" \
        --header "Content-MD5: $(printf %s "$retention" | openssl md5 -binary | base64)"
}
