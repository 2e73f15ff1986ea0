//! The gateway as a workload: its pods, its Service, its log, its spool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::TcpRoute;
use crate::{NameRef, Size, Span, SpoolMedium, schema};

choice! {
    /// When an image is pulled.
    #[derive(Default)]
    pub enum PullPolicy {
        /// Before every start.
        Always,
        /// Where the node lacks it.
        #[default]
        IfNotPresent,
        /// Not at all.
        Never,
    }
}

/// The Service that users connect to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')")
    .message("externalTrafficPolicy goes with type: LoadBalancer or NodePort only"))]
#[x_kube(validation = Rule::new("!has(self.nodePort) || (has(self.type) && self.type != 'ClusterIP')")
    .message("nodePort goes with type: LoadBalancer or NodePort only"))]
#[x_kube(validation = Rule::new("!(has(self.loadBalancerClass) || has(self.loadBalancerSourceRanges)) || (has(self.type) && self.type == 'LoadBalancer')")
    .message("loadBalancerClass and loadBalancerSourceRanges go with type: LoadBalancer only"))]
pub struct Service {
    /// ClusterIP is reachable within the cluster, NodePort on every node, LoadBalancer by the cloud's load
    /// balancer. Default: ClusterIP.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,

    /// Port of the Service. Default: 22.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,

    /// Annotations of the Service, such as those that configure a load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Local keeps the users' addresses, which the audit records, and sends connections only to nodes with a
    /// gateway pod. Cluster hides them behind a node's. Default: Local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,

    /// Port on every node. Default: one that the cluster chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub node_port: Option<i32>,

    /// Which of the cluster's load balancers. Cannot change. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,

    /// Networks from which the load balancer takes connections, such as 192.0.2.0/24. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(network, isCIDR(network))")
        .message("write networks as in 192.0.2.0/24 or 2001:db8::/32"))]
    pub load_balancer_source_ranges: Vec<String>,

    /// A TCPRoute of the Gateway API that leads to the Service. The proxy's address then stands for the users',
    /// unless it speaks the PROXY protocol. Where the cluster has no such kind, the condition Integrated says so.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_route: Option<TcpRoute>,
}

choice! {
    /// Kind of Service.
    #[derive(Default)]
    pub enum ServiceType {
        /// Within the cluster.
        #[default]
        ClusterIP,
        /// On every node.
        NodePort,
        /// By the cloud's load balancer.
        LoadBalancer,
    }
}

choice! {
    /// How a Service takes traffic from outside.
    #[derive(Default)]
    pub enum ExternalTrafficPolicy {
        /// By way of any node.
        Cluster,
        /// On the node it arrives at.
        #[default]
        Local,
    }
}

/// Where audit records wait for their upload.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.storageClassName) || has(self.persistentVolumeClaimRetentionPolicy)) || !has(self.medium) || self.medium == 'Persistent'")
    .message("storageClassName and persistentVolumeClaimRetentionPolicy go with medium: Persistent only"))]
pub struct GatewaySpool {
    /// EmptyDir lives as long as the gateway pod, Persistent is a volume for each pod that outlives it. A
    /// policy may demand Persistent. Default: EmptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<SpoolMedium>,

    /// Size for each gateway pod, such as 10Gi. A policy may demand more. Default: 10Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,

    /// Storage class of the volumes. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes. They may hold records that were never uploaded: where an AuditPolicy covers
    /// the gateway they are retained, whatever is said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_retention_policy: Option<VolumeRetention>,
}

/// What becomes of volumes that no pod uses any more.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRetention {
    /// When the gateway is deleted. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<Retention>,

    /// When the gateway is scaled down. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<Retention>,
}

choice! {
    /// What becomes of something that is not used any more.
    #[derive(Default)]
    pub enum Retention {
        /// It stays.
        #[default]
        Retain,
        /// It goes.
        Delete,
    }
}

/// How a gateway pod stops.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long a pod that was told to stop waits for its sessions before it ends them. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// The gateway's own log.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Least severity that is written. Default: Notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,

    /// JSON is one object a line, Text is for people. Default: JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
}

choice! {
    /// Severity, as ContainerSSH names it.
    #[derive(Default)]
    pub enum LogLevel {
        /// Everything.
        Debug,
        /// What happens.
        Info,
        /// What an administrator cares about.
        #[default]
        Notice,
        /// What may become a fault.
        Warning,
        /// Faults.
        Error,
    }
}

choice! {
    /// Form of the log.
    #[derive(Default)]
    pub enum LogFormat {
        /// One JSON object a line.
        #[default]
        JSON,
        /// Tab-separated text.
        Text,
    }
}

/// The gateway pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.serviceAccountName) && has(self.serviceAccountAnnotations))")
    .message("serviceAccountAnnotations go on the ServiceAccount that the operator makes: remove serviceAccountName, or annotate that account yourself"))]
pub struct WorkloadTemplate {
    /// Labels and annotations of the pods. Keys under containerssh.io and app.kubernetes.io are the
    /// operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,

    /// Labels of the nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,

    /// Where the pods like to run. Default: spread over nodes and zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Priority class of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// ServiceAccount of the pods, in the gateway's namespace; the operator grants it the rights on the
    /// users' pods. Default: one that the operator makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,

    /// Annotations of the ServiceAccount that the operator makes, such as eks.amazonaws.com/role-arn for the
    /// credentials type WorkloadIdentity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub service_account_annotations: BTreeMap<String, String>,

    /// Environment variables of the gateway. Those that would decide where records go, and whom the gateway
    /// trusts, are not the team's: names that begin with AWS_, SSL_CERT_, POD_ or GATEWAY_ or end in _PROXY.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("self.all(e, !e.name.matches('^(AWS_|SSL_CERT_|POD_|GATEWAY_|NODE_NAME$)') && !e.name.matches('(?i)_PROXY$'))")
        .message("names that begin with AWS_, SSL_CERT_, POD_ or GATEWAY_ or end in _PROXY would decide where records go: they are not the team's"))]
    pub env: Vec<EnvironmentVariable>,

    /// Volumes of the pods, beside those of the operator; see kubectl explain pod.spec.volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::volumes")]
    pub volumes: Vec<VolumeDocument>,

    /// Where the gateway sees these volumes: below /mnt, so that nothing of its own is hidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<ExtraMount>,

    /// How the pods spread over nodes. Default: over nodes and zones, as a preference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// Secrets in the gateway's namespace with credentials for the registry of the gateway's image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<NameRef>,

    /// Runtime class of the pods. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
}

/// An environment variable with a plain value.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A volume, kept as written: see [`crate::PodSpecDocument`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeDocument(pub serde_json::Map<String, serde_json::Value>);

/// Where the gateway sees a volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraMount {
    /// Name of one of the volumes.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Directory below /mnt.
    #[schemars(length(max = 1024), regex(pattern = r"^/mnt(/[-_A-Za-z0-9][-._A-Za-z0-9]*)+$"))]
    pub mount_path: String,
    /// Whether the gateway may only read. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// The PodDisruptionBudget of the gateway pods.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Whether the operator makes one. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// How many gateway pods a drain of nodes may end at a time. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_unavailable: Option<i32>,
}

/// Labels and annotations.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// The NetworkPolicy around the gateway pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.enabled || !has(self.sources)")
    .message("sources go with enabled: true only"))]
pub struct NetworkPolicySwitch {
    /// Whether the operator makes one: in on the SSH and metrics ports, out to DNS, the API server, the
    /// storage and the webhooks. Default without networkPolicy: true.
    pub enabled: bool,

    /// Networks whose users may connect, such as 10.0.0.0/8. Pods within the cluster are known by their own
    /// addresses. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(network, isCIDR(network))")
        .message("write networks as in 10.0.0.0/8 or 2001:db8::/32"))]
    pub sources: Vec<String>,
}
