# shellcheck shell=bash
# etcd, API server, controller manager and scheduler.

start_etcd() {
    # A test cluster's data need not survive a power cut, and fsync would set the pace of every write.
    start_daemon etcd etcd --name e2e --data-dir "$E2E_STATE/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "http://127.0.0.1:$E2E_ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$E2E_ETCD_PORT" \
        --listen-peer-urls "http://127.0.0.1:$E2E_ETCD_PEER_PORT" \
        --initial-advertise-peer-urls "http://127.0.0.1:$E2E_ETCD_PEER_PORT" \
        --initial-cluster "e2e=http://127.0.0.1:$E2E_ETCD_PEER_PORT"
}

start_apiserver() {
    local pki=$E2E_STATE/pki
    # InternalIP: exec and logs must not depend on anyone resolving the node's name.
    start_daemon kube-apiserver kube-apiserver \
        --advertise-address="$E2E_NODE_IP" --bind-address="$E2E_NODE_IP" --secure-port="$E2E_APISERVER_PORT" \
        --etcd-servers="http://127.0.0.1:$E2E_ETCD_PORT" \
        --service-cluster-ip-range="$E2E_SERVICE_CIDR" --service-node-port-range="$E2E_NODE_PORTS" \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file="$pki/service-accounts.pub" --service-account-signing-key-file="$pki/service-accounts.key" \
        --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
        --kubelet-certificate-authority="$pki/ca.crt" \
        --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
        --kubelet-preferred-address-types=InternalIP \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false
}

apiserver_ready() { [[ $(kctl get --raw /readyz 2>/dev/null) == ok ]]; }

start_controllers() {
    local pki=$E2E_STATE/pki
    # No leader election: there is one of each, and waiting for a lease costs seconds.
    start_daemon kube-controller-manager kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" \
        --bind-address=127.0.0.1 --secure-port="$E2E_CONTROLLER_MANAGER_PORT" --leader-elect=false \
        --root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/service-accounts.key" \
        --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
        --use-service-account-credentials --flex-volume-plugin-dir="$E2E_STATE/volume-plugins" --profiling=false
    start_daemon kube-scheduler kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" \
        --bind-address=127.0.0.1 --secure-port="$E2E_SCHEDULER_PORT" --leader-elect=false --profiling=false
}
