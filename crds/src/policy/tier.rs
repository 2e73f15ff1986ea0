//! One tier of demands: the same type for a policy's `enforce` and `default` and for a gateway's own wish.
//!
//! Enums are declared from lax to strict, so that their derived order is the order of strictness.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::s3::Storage;
use crate::{Size, Span};

/// Demands on the audit. Whatever is absent is not demanded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.storage)")
    .message("format: None records nothing, so there is nothing to store: remove storage or set format: Binary"))]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.intercept) || !((has(self.intercept.stdin) && self.intercept.stdin == 'Require') || (has(self.intercept.stdout) && self.intercept.stdout == 'Require') || (has(self.intercept.stderr) && self.intercept.stderr == 'Require') || (has(self.intercept.passwords) && self.intercept.passwords == 'Require'))")
    .message("format: None records nothing, which contradicts intercept: Require; set format: Binary"))]
pub struct AuditTier {
    /// How sessions are recorded. Binary is the ContainerSSH audit log format, None records nothing.
    /// Stricter: Binary. Default: Binary where storage is set or an intercept is required, else None.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<AuditFormat>,

    /// Which contents are recorded, beside connections, authentication and requests, which always are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercept: Option<Intercept>,

    /// Where records go. Never merged: one policy's storage is taken whole, chosen by priority, then age,
    /// then name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Where records wait for their upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolDemand>,

    /// What happens to a session that can no longer be recorded. Deny ends it and tells the user why, Allow
    /// lets it go on and counts the loss. Stricter: Deny. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,

    /// Limits on sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionLimits>,

    /// What users may do; several lists leave what is in all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
}

choice! {
    /// The record's format.
    #[derive(PartialOrd, Ord)]
    pub enum AuditFormat {
        /// No record.
        None,
        /// ContainerSSH's binary audit log.
        Binary,
    }
}

choice! {
    /// Three-valued with absence: recording more is not always stricter, so neither value beats the other.
    #[derive(PartialOrd, Ord)]
    pub enum Demand {
        /// Must be recorded.
        Require,
        /// Must not be recorded.
        Forbid,
    }
}

/// Contents that may be recorded.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intercept {
    /// What users type or send. Default: not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Demand>,
    /// What programs print on standard output. Default: not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Demand>,
    /// What programs print on standard error. Default: not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Demand>,
    /// Passwords that users log in with. Default: not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Demand>,
}

/// Demands on the spool.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolDemand {
    /// EmptyDir lives as long as the gateway pod, Persistent is a volume that outlives it. Stricter:
    /// Persistent. Default: EmptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<SpoolMedium>,

    /// Least size of each gateway pod's spool, such as 10Gi. Stricter: the larger. Default: 10Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,

    /// What happens while the spool is full. Deny ends sessions, Block makes them wait for uploads, Drop
    /// loses records and counts them. Stricter: Deny, then Block. Default: Block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_full: Option<OnFull>,
}

choice! {
    /// Where the spool lives.
    #[derive(PartialOrd, Ord)]
    pub enum SpoolMedium {
        /// On the node, gone with the pod.
        EmptyDir,
        /// On a volume of its own.
        Persistent,
    }
}

choice! {
    /// What a full spool does to sessions.
    #[derive(PartialOrd, Ord)]
    pub enum OnFull {
        /// Lose records and count them.
        Drop,
        /// Hold sessions until there is room.
        Block,
        /// End sessions.
        Deny,
    }
}

choice! {
    /// What a failing record does to its session.
    #[derive(PartialOrd, Ord)]
    pub enum OnFailure {
        /// The session goes on unrecorded.
        Allow,
        /// The session ends.
        Deny,
    }
}

/// Limits on sessions.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionLimits {
    /// Longest life of a connection, such as 12h. Stricter: the shorter. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')")
        .message("must be longer than 0s; leave it out for no limit"))]
    pub max_duration: Option<Span>,

    /// How long a connection may carry no data, such as 30m. Stricter: the shorter. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')")
        .message("must be longer than 0s; leave it out for no limit"))]
    pub idle_timeout: Option<Span>,
}

/// What users may do.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// Subsystems that users may start, such as sftp; [] allows none. Default: all that the gateway offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64), regex(pattern = "^[!-~]+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub subsystems: Option<Vec<String>>,
}
