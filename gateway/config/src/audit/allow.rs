//! `audit.policy.allow`: what the policies in force leave, at most, to settings of a connection's own.
//!
//! The operator takes what a policy does not allow out of the file itself; this says it once more for the configuration
//! server, whose answers are laid over the file and could put it back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Config, ForwardingKind, PodMode};

/// `audit.policy.allow`. What is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PolicyAllow {
    /// Kinds of forwarding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Vec<ForwardingKind>>,
    /// Subsystems, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystems: Option<Vec<String>>,
    /// Values of `kubernetes.pod.mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modes: Option<Vec<PodMode>>,
}

impl PolicyAllow {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a connection's own configuration takes that the policies of the gateway's do not leave: a key, and why not. None
/// where no policy is in force.
pub(crate) fn exceeded(gateway: &Config, own: &Config) -> Option<(String, &'static str)> {
    let policy = &gateway.audit.policy;
    if policy.hash.is_empty() && policy.allow.is_default() {
        return None;
    }
    let (kubernetes, before) = (&own.kubernetes, &gateway.kubernetes);
    if own.backend != gateway.backend {
        return Some((
            "backend".to_owned(),
            "cannot be changed where an audit policy is in force: programs would run beside the gateway's records and keys",
        ));
    }
    if kubernetes.connection != before.connection {
        return Some((
            "kubernetes.connection".to_owned(),
            "cannot be changed where an audit policy is in force: it names files of the gateway, and to whom they are shown",
        ));
    }
    if kubernetes.pod.metadata.namespace != before.pod.metadata.namespace {
        return Some((
            "kubernetes.pod.metadata.namespace".to_owned(),
            "cannot be changed where an audit policy is in force: another namespace may have another policy",
        ));
    }
    if policy.allow.modes.as_ref().is_some_and(|modes| !modes.contains(&kubernetes.pod.mode)) {
        return Some(("kubernetes.pod.mode".to_owned(), NOT_LEFT));
    }
    let left = |name: &String| {
        let allowed = policy.allow.subsystems.as_ref();
        before.pod.subsystems.contains_key(name) && allowed.is_none_or(|allowed| allowed.contains(name))
    };
    if let Some(name) = kubernetes.pod.subsystems.keys().find(|name| !left(name)) {
        return Some((format!("kubernetes.pod.subsystems.{name}"), NOT_LEFT));
    }
    let allowed = policy.allow.forwarding.as_ref()?;
    let forwarding = &own.security.forwarding;
    (ForwardingKind::ALL.iter().find(|kind| forwarding.allows(**kind) && !allowed.contains(kind)))
        .map(|kind| (format!("security.forwarding.{}", kind.key()), NOT_LEFT))
}

const NOT_LEFT: &str = "is not among those that the gateway's audit policy leaves";
