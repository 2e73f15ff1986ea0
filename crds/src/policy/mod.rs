//! `AuditPolicy`: what a cluster administrator demands of the gateways in some namespaces.
//!
//! Cluster-scoped, because a namespaced object could be written by anyone with a broad role in that
//! namespace and would vanish with it. Two tiers: `enforce`, which nobody below can weaken, and `default`,
//! which holds where neither a policy enforces nor the gateway asks for something. How several policies and a
//! gateway's own wish combine is defined in [`crate::merge`].

mod events;
mod exclusion;
mod protection;
mod s3;
mod selection;
mod tier;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use self::{
    events::{
        EVENT_TYPES, EventBatch, EventCompression, EventEncoding, EventSyslog, EventTarget, EventWebhook,
        SyslogProtocol,
    },
    exclusion::Exclusion,
    protection::{LockMode, ObjectLock, Signing},
    s3::{
        CannedAcl, CredentialsType, EncryptionType, S3Credentials, S3Storage, ServerSideEncryption, Storage,
    },
    selection::matches,
    tier::{
        Allow, AuditFormat, AuditTier, Demand, Durability, Forwarding, Intercept, OnFailure, OnFull,
        SessionLimits, SpoolDemand, SpoolMedium,
    },
};
use crate::schema;

/// Which gateways the policy covers, and what it demands of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "containerssh.io",
    version = "v1alpha1",
    kind = "AuditPolicy",
    plural = "auditpolicies",
    singular = "auditpolicy",
    shortname = "auditpol",
    category = "ssh",
    status = "AuditPolicyStatus",
    derive = "PartialEq",
    doc = "AuditPolicy says what the SSH gateways of some namespaces must record and where records go. It is cluster-scoped, so that no namespace owner can weaken it. Where several policies cover a gateway, the strictest value of each field wins.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every covered gateway obeys the policy"
    ),
    printcolumn(
        name = "Gateways",
        type_ = "integer",
        json_path = ".status.matchedGateways",
        description = "Gateways that the policy covers"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "integer",
        json_path = ".status.programmedGateways",
        description = "Gateways that obey the policy already"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Priority",
        type_ = "integer",
        json_path = ".spec.priority",
        description = "Precedence among policies",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why the policy is ready or not",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name: at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.namespaces) || has(self.namespaceSelector)")
    .message("set namespaces, namespaceSelector or both; namespaceSelector: {} selects every namespace")
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("has(self.enforce) || has(self.default)")
    .message("set enforce, default or both: a policy without either demands nothing")
    .reason(Reason::FieldValueRequired))]
pub struct AuditPolicySpec {
    /// Names of the namespaces that the policy covers. Added to those that namespaceSelector selects. A
    /// gateway is covered if its own namespace or the one its pods run in is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,

    /// Covers the namespaces with these labels; {} covers all. Whoever may edit a Namespace's labels decides
    /// what this selects: prefer names, or the label kubernetes.io/metadata.name, which the API server keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,

    /// Precedence among policies, used only to choose the storage, the signing key and the format version,
    /// and to settle a contradiction between Require and Forbid: the highest wins, then the oldest policy, then the first by name. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: Option<i32>,

    /// Gateways that the policy does not cover for some time. There is no other way out of a policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub exclude: Vec<Exclusion>,

    /// What nobody below can weaken. A gateway's own wish counts only where it is stricter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce: Option<AuditTier>,

    /// What holds where no policy enforces anything and the gateway does not ask for anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<AuditTier>,
}

impl AuditPolicySpec {
    /// The precedence that counts.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.priority.unwrap_or(0)
    }
}

/// What the operator saw.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditPolicyStatus {
    /// Generation of the policy that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Accepted (valid and without contradiction), Programmed (covered gateways obey), Ready (both).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// How many namespaces the policy covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_namespaces: Option<i32>,

    /// How many gateways the policy covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_gateways: Option<i32>,

    /// How many of the covered gateways obey the policy in every pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed_gateways: Option<i32>,

    /// The exclusions that are in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub exclusions: Vec<Exclusion>,
}
