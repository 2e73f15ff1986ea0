//! One tier of demands: the same type for a policy's `enforce` and `default` and for a gateway's own wish.
//!
//! Enums are declared from lax to strict, so that their derived order is the order of strictness.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    events::EventTarget,
    protection::{ObjectLock, Signing},
    s3::Storage,
};
use crate::{ConnectionMode, Size, Span};

/// Demands on the audit. Whatever is absent is not demanded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.storage)")
    .message("format: None records nothing, so there is nothing to store: remove storage or set format: Binary"))]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.events)")
    .message("format: None records nothing, and events tell of what is recorded: remove events or set format: Binary"))]
#[x_kube(validation = Rule::new("!has(self.formatVersion) || !has(self.format) || self.format == 'Binary'")
    .message("formatVersion goes with format: Binary only"))]
#[x_kube(validation = Rule::new("!has(self.format) || self.format != 'None' || !has(self.intercept) || !((has(self.intercept.stdin) && self.intercept.stdin == 'Require') || (has(self.intercept.stdout) && self.intercept.stdout == 'Require') || (has(self.intercept.stderr) && self.intercept.stderr == 'Require') || (has(self.intercept.passwords) && self.intercept.passwords == 'Require') || (has(self.intercept.forwarding) && self.intercept.forwarding == 'Require'))")
    .message("format: None records nothing, which contradicts intercept: Require; set format: Binary"))]
pub struct AuditTier {
    /// How sessions are recorded. Binary is the ContainerSSH audit log format and has everything, Asciinema
    /// is a terminal recording per session, None records nothing. Stricter: Binary, then Asciinema. Default:
    /// Binary where storage or events are set or an intercept is required, else None.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<AuditFormat>,

    /// Version of the format Binary: 1 is what every ContainerSSH tool reads, 2 is a sequence that can be
    /// read while it grows. Neither is stricter: the policy of highest precedence decides. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub format_version: Option<i32>,

    /// Which contents are recorded, beside connections, authentication and requests, which always are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercept: Option<Intercept>,

    /// Where records go. Never merged: one policy's storage is taken whole, chosen by priority, then age,
    /// then name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// How long nobody can delete a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,

    /// age recipients (age1...) that records are encrypted to, so that only their holders can read them.
    /// Policies of a tier add theirs up; where any enforces recipients, nobody below adds a reader. Default:
    /// not encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 62), regex(pattern = "^age1[ac-hj-np-z02-9]{58}$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub encrypt_to: Vec<String>,

    /// Key that the manifest of each record is signed with. Stricter: any; which one, the policy of highest
    /// precedence decides. Default: manifests are not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,

    /// Where records wait for their upload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolDemand>,

    /// What happens to a session that can no longer be recorded. Deny ends it and tells the user why, Allow
    /// lets it go on and counts the loss. Stricter: Deny. Default: Deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,

    /// Where events are sent as they happen, beside the record. Those of all policies and of the gateway
    /// add up, to 8 at most. Default: nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub events: Vec<EventTarget>,

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
        /// A terminal recording per session.
        Asciinema,
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
    /// What forwarded connections carry, in either direction. Default: not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Demand>,
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

    /// Strict lets a session go on only when what it did is on the disk, Group syncs many sessions' records
    /// together, up to 100 ms later. Stricter: Strict. Default: Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

choice! {
    /// When a record counts as written.
    #[derive(PartialOrd, Ord)]
    pub enum Durability {
        /// Within 100 ms.
        Group,
        /// Before the session goes on.
        Strict,
    }
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

    /// Kinds of forwarding that users may ask for; [] allows none. Direct is ssh -L, Reverse is ssh -R, DirectSocket
    /// and ReverseSocket are the same with Unix sockets, X11 is ssh -X, Agent is ssh -A. Default: all that the gateway
    /// offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub forwarding: Option<Vec<Forwarding>>,

    /// Values of a gateway's backend.kubernetes.mode that are allowed; a gateway of another mode runs nothing for
    /// anybody. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub modes: Option<Vec<ConnectionMode>>,
}

choice! {
    /// A kind of forwarding.
    #[derive(PartialOrd, Ord)]
    pub enum Forwarding {
        /// From the user to a port that the session's pod reaches.
        Direct,
        /// From a port of the session's pod to the user.
        Reverse,
        /// From the user to a Unix socket in the session's pod.
        DirectSocket,
        /// From a Unix socket in the session's pod to the user.
        ReverseSocket,
        /// From X11 programs to the user's display.
        X11,
        /// To the user's key agent.
        Agent,
    }
}
