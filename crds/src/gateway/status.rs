//! What the operator and the gateways report.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    merge::{EffectiveAudit, Source},
    schema,
};

/// What the operator and the gateways report.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SSHGatewayStatus {
    /// Generation of the gateway that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready is the summary. Accepted: the spec is valid. ResolvedRefs: all Secrets and ConfigMaps exist.
    /// AuditPolicyResolved: the policies give a result. Available: enough pods run. Integrated, where the spec
    /// asks for such: the cluster has the kinds ServiceMonitor and TCPRoute. Reconciling and Stalled are there
    /// only while they are true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Where users connect to, as host:port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Fingerprints of the host keys, as ssh-keygen -l shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub host_key_fingerprints: Vec<String>,

    /// The gateway pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaStatus>,

    /// How far the last change of the pods is, in words, and how many sessions old pods still carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,

    /// Sessions over all gateway pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<i32>,

    /// Label selector of the gateway pods, for autoscalers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The audit that applies to this gateway, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<StatusAudit>,
}

/// Counts of gateway pods.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// How many there should be.
    pub desired: i32,
    /// How many take connections.
    pub ready: i32,
    /// How many run the newest template.
    pub updated: i32,
    /// How many were told to stop and wait for their sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<i32>,
    /// Sessions that those still carry, as far as they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining_sessions: Option<i32>,
}

/// The audit that applies to a gateway.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAudit {
    /// Names of the policies that apply, strongest first, or Baseline where none does.
    pub policy: String,

    /// SHA-256 of the effective settings, in hex. Each record carries it.
    pub hash: String,

    /// The policies that apply, strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub sources: Vec<Source>,

    /// The settings that result.
    pub effective: EffectiveAudit,

    /// Who decided each of these settings, by its path: policies with their tier, spec.audit, or the
    /// operator's baseline.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::explanations")]
    pub why: BTreeMap<String, String>,

    /// Policies that would cover the gateway, but have an exclusion for it in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub exclusions: Vec<ExcludedFrom>,
}

/// A policy that does not cover the gateway for some time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedFrom {
    /// Name of the AuditPolicy.
    pub policy: String,
    /// Why, as the policy says.
    pub reason: String,
    /// When the policy holds again.
    pub expires_at: Time,
}
