# shellcheck shell=bash
# Names, networks and ports of the cluster. Each can be set from the environment, for machines where a default is taken.

: "${E2E_BRIDGE:=cssh0}"
: "${E2E_POD_NET:=10.244}"     # first two bytes of a /16
: "${E2E_SERVICE_NET:=10.96}"  # likewise
: "${E2E_NODE_NAME:=e2e}"
: "${E2E_SNAPSHOTTER:=overlayfs}" # `native` where the state directory is itself on an overlay

# The bridge's own address: the one address that both pods and the host reach, so the API server and kubelet listen there and nowhere else.
E2E_NODE_IP=$E2E_POD_NET.0.1
E2E_POD_CIDR=$E2E_POD_NET.0.0/16
E2E_SERVICE_CIDR=$E2E_SERVICE_NET.0.0/16
E2E_DNS_IP=$E2E_SERVICE_NET.0.10
# Fixed, so that pods and host tests use one endpoint and nothing has to be looked up.
E2E_S3_IP=$E2E_SERVICE_NET.0.20

: "${E2E_APISERVER_PORT:=16443}"
: "${E2E_KUBELET_PORT:=16250}"
: "${E2E_ETCD_PORT:=16379}"
: "${E2E_ETCD_PEER_PORT:=16380}"
: "${E2E_CONTROLLER_MANAGER_PORT:=16257}"
: "${E2E_SCHEDULER_PORT:=16259}"
: "${E2E_KUBELET_HEALTH_PORT:=16248}"
: "${E2E_PROXY_HEALTH_PORT:=16256}"
: "${E2E_PROXY_METRICS_PORT:=16249}"
: "${E2E_NODE_PORTS:=30000-32767}"

: "${E2E_S3_BUCKET:=audit}"
E2E_S3_REGION=us-east-1
E2E_S3_ENDPOINT=http://$E2E_S3_IP:9000

E2E_KUBECONFIG=$E2E_STATE/kubeconfig
E2E_CONTAINERD=$E2E_STATE/run/containerd.sock

kctl() { kubectl --kubeconfig "$E2E_KUBECONFIG" "$@"; }
