//! `SSHGateway`: an SSH server that gives every connection a pod of its own.

mod authentication;
mod backend;
mod certificates;
mod config_server;
mod integrations;
mod oidc;
mod security;
mod ssh;
mod status;
mod workload;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use self::{
    authentication::{
        Authentication, AuthenticationMethod, Authorization, AuthorizedKeysSource,
        KeyboardInteractiveAuthentication, PasswordAuthentication, PublicKeyAuthentication, Webhook,
    },
    backend::{
        Agent, AgentInjection, AgentTransport, Backend, CONSENT_ANNOTATION, ConnectionMode,
        KubernetesBackend, PersistentPods, PodSpecDocument, PodTemplate, Timeouts, WarmPool,
        namespace_consents,
    },
    certificates::{CertificateAuthorities, RevokedKeysSource},
    config_server::ConfigServer,
    integrations::{GatewayMetrics, ParentRef, ServiceMonitor, TcpRoute},
    oidc::{OidcFlow, OpenIDConnect},
    security::{CommandRule, ListRule, Security, SecurityMode, SwitchRule},
    ssh::{
        AlgorithmProfile, Algorithms, ConnectionLimits, HostKeyAlgorithm, HostKeys, KeepAlive, Penalties,
        ProxyProtocol, Ssh,
    },
    status::{ExcludedFrom, ReplicaStatus, SSHGatewayStatus, StatusAudit},
    workload::{
        DisruptionBudget, Drain, EnvironmentVariable, ExternalTrafficPolicy, ExtraMount, GatewaySpool, Log,
        LogFormat, LogLevel, NetworkPolicySwitch, PullPolicy, Retention, Service, ServiceType,
        TemplateMetadata, VolumeDocument, VolumeRetention, WorkloadTemplate,
    },
};
use crate::{AuditTier, SpoolDemand, defaults};

/// The gateway that the user wants.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "containerssh.io",
    version = "v1alpha1",
    kind = "SSHGateway",
    plural = "sshgateways",
    singular = "sshgateway",
    shortname = "sshgw",
    category = "ssh",
    namespaced,
    status = "SSHGatewayStatus",
    derive = "PartialEq",
    doc = "SSHGateway is an SSH server: it authenticates users, starts a pod for each connection, runs their sessions in it, records them as the AuditPolicies of its namespace demand, and deletes the pod.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas.ready",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether users can connect"
    ),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.address",
        description = "Where users connect to"
    ),
    printcolumn(
        name = "Sessions",
        type_ = "integer",
        json_path = ".status.sessions",
        description = "Sessions at this time"
    ),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".status.audit.policy",
        description = "Audit policies that apply"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas.ready",
        description = "Gateway pods that are ready",
        priority = 1
    ),
    printcolumn(
        name = "Rollout",
        type_ = "string",
        json_path = ".status.rollout",
        description = "How far the last change is, and who still uses what was before it",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the gateway is ready or not",
        priority = 1
    ),
    printcolumn(
        name = "Policy Hash",
        type_ = "string",
        json_path = ".status.audit.hash",
        description = "Hash of the effective audit settings",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name: at most 52 characters, so that names derived from it stay within 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: begin with a letter and use only a-z, 0-9 and '-', because a Service gets this name")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.ssh) && has(self.ssh.penalties) && has(self.service) && has(self.service.externalTrafficPolicy) && self.service.externalTrafficPolicy == 'Cluster')")
    .message("ssh.penalties need the users' own addresses, which service.externalTrafficPolicy: Cluster hides: one offender would lock everybody out"))]
#[x_kube(validation = Rule::new("!(has(self.ssh) && has(self.ssh.penalties) && !has(self.ssh.proxyProtocol) && has(self.service) && has(self.service.tcpRoute))")
    .message("ssh.penalties need the users' own addresses, which the proxy of service.tcpRoute hides unless it speaks the PROXY protocol (ssh.proxyProtocol)"))]
pub struct SSHGatewaySpec {
    /// Number of gateway pods. An autoscaler may own it through the scale subresource; leave it out of the
    /// manifest then. Default: 2.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,

    /// Image of the gateway. Default: that of the operator's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^\S+$"))]
    pub image: Option<String>,

    /// When the kubelet pulls the gateway's image. Default: IfNotPresent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Resources of each gateway pod. Default: requests of 100m CPU and 128Mi memory, no limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// The Service that users connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,

    /// The SSH protocol's settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,

    /// Who may log in, and how. At least one method.
    pub authentication: Authentication,

    /// A server that is asked for settings of each connection's own, once its user is known. What AuditPolicies
    /// demand it cannot change, and what they allow it cannot exceed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_server: Option<ConfigServer>,

    /// Where sessions run.
    pub backend: Backend,

    /// What users may do once they are let in. Where an AuditPolicy allows less, that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,

    /// What this gateway asks of its audit. Where an AuditPolicy enforces a field, only a stricter wish
    /// counts; status.audit.effective shows the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditTier>,

    /// Where audit records wait for their upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<GatewaySpool>,

    /// How a gateway pod stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,

    /// The gateway's own log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,

    /// What watches the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<GatewayMetrics>,

    /// The gateway pods themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<WorkloadTemplate>,

    /// The NetworkPolicy around the gateway pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicySwitch>,

    /// How many of the gateway pods may go away at a time when nodes are drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_disruption_budget: Option<DisruptionBudget>,
}

fn default_replicas() -> i32 {
    defaults::REPLICAS
}

impl SSHGatewaySpec {
    /// What the gateway asks of its audit: `spec.audit`, and the medium and size of `spec.spool`, which are
    /// wishes as well. Where both speak, the stricter counts.
    #[must_use]
    pub fn wish(&self) -> Option<AuditTier> {
        let Some(spool) = &self.spool else { return self.audit.clone() };
        let mut wish = self.audit.clone().unwrap_or_default();
        let demanded = wish.spool.unwrap_or_default();
        wish.spool = Some(SpoolDemand {
            medium: demanded.medium.max(spool.medium),
            size: demanded.size.max(spool.size),
            on_full: demanded.on_full,
            durability: demanded.durability,
        });
        Some(wish)
    }
}
