# shellcheck shell=bash
# One certificate authority per cluster, and a certificate for each party.

# issue NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
issue() {
    local name=$1 subject=$2 names=${3:-}
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" \
        -keyout "$name.key" -out "$name.csr" 2>/dev/null
    {
        echo 'basicConstraints=critical,CA:FALSE'
        echo 'keyUsage=critical,digitalSignature'
        echo 'extendedKeyUsage=serverAuth,clientAuth'
        [[ -z $names ]] || echo "subjectAltName=$names"
    } >"$name.ext"
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" \
        -days 365 -extfile "$name.ext" -out "$name.crt" 2>/dev/null
    rm "$name.csr" "$name.ext"
}

# write_kubeconfig NAME FILE: certificates inside, so that the file alone is enough.
write_kubeconfig() {
    cat >"$2" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: e2e
  cluster:
    server: https://$E2E_NODE_IP:$E2E_APISERVER_PORT
    certificate-authority-data: $(base64 -w0 <ca.crt)
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 <"$1.crt")
    client-key-data: $(base64 -w0 <"$1.key")
contexts:
- name: e2e
  context: {cluster: e2e, user: $1}
current-context: e2e
EOF
}

make_certificates() {
    local service=$E2E_SERVICE_NET.0.1 party
    mkdir -p "$E2E_STATE/pki"
    # Without a subshell the whole script would change directory, and openssl wants many file names.
    (
        cd "$E2E_STATE/pki" || exit
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=containerssh-e2e' \
            -days 365 -addext 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature' -keyout ca.key -out ca.crt 2>/dev/null
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out service-accounts.key 2>/dev/null
        openssl pkey -in service-accounts.key -pubout -out service-accounts.pub

        issue apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$E2E_NODE_IP,IP:$service,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        issue kubelet-server "/CN=$E2E_NODE_NAME" "IP:127.0.0.1,IP:$E2E_NODE_IP,DNS:$E2E_NODE_NAME"
        issue kubelet-client "/O=system:masters/CN=apiserver-kubelet-client"
        issue admin "/O=system:masters/CN=admin"
        issue controller-manager "/CN=system:kube-controller-manager"
        issue scheduler "/CN=system:kube-scheduler"
        issue proxy "/CN=system:kube-proxy"
        issue kubelet "/O=system:nodes/CN=system:node:$E2E_NODE_NAME"
        for party in controller-manager scheduler proxy kubelet; do
            write_kubeconfig "$party" "$party.kubeconfig"
        done
        write_kubeconfig admin "$E2E_KUBECONFIG"
    )
}
