//! What comes out of a merge.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{conflict::Origin, lattice};
use crate::{
    Allow, AuditFormat, AuditTier, Demand, Durability, EventTarget, LockMode, ObjectLock, OnFailure, OnFull,
    S3Storage, SessionLimits, Signing, Size, SpoolMedium, defaults,
};

/// The settings that result from all policies and the gateway's own wish.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveAudit {
    /// How sessions are recorded.
    pub format: AuditFormat,
    /// Version of the format Binary, where anybody asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_version: Option<i32>,
    /// Which contents are recorded.
    pub intercept: EffectiveIntercept,
    /// Where records go; absent where nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<EffectiveStorage>,
    /// How long nobody can delete a record; absent where that is left to the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
    /// Who alone can read records; empty where they are not encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub encrypt_to: Vec<String>,
    /// Key that manifests are signed with; absent where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing: Option<EffectiveSigning>,
    /// Where records wait for their upload.
    pub spool: EffectiveSpool,
    /// What happens to a session that can no longer be recorded.
    pub on_failure: OnFailure,
    /// Where events are sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub events: Vec<EffectiveEvents>,
    /// Limits on sessions; absent limits do not exist.
    // An empty object must not be written: where it held something before, server-side apply makes null of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sessions: SessionLimits,
    /// What users may do; absent lists admit everything.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow: Allow,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which contents are recorded.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveIntercept {
    /// What users type or send.
    pub stdin: bool,
    /// What programs print on standard output.
    pub stdout: bool,
    /// What programs print on standard error.
    pub stderr: bool,
    /// Passwords that users log in with.
    pub passwords: bool,
    /// What forwarded connections carry; absent where that is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<bool>,
}

/// Where records go, and who says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveStorage {
    /// The bucket.
    pub s3: S3Storage,
    /// Who gives it. A policy's secretRef is in the operator's namespace, a gateway's in its own.
    pub from: Origin,
}

/// Key that manifests are signed with, and who says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSigning {
    /// The key.
    pub key: Signing,
    /// Who gives it. A policy's secretRef is in the operator's namespace, a gateway's in its own.
    pub from: Origin,
}

/// A receiver of events, and who says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveEvents {
    /// The receiver.
    pub target: EventTarget,
    /// Who names it. A policy's secretRefs are in the operator's namespace, a gateway's in its own.
    pub from: Origin,
}

/// Where records wait for their upload.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveSpool {
    /// Where it lives.
    pub medium: SpoolMedium,
    /// Size for each gateway pod.
    pub size: Size,
    /// What happens while it is full.
    pub on_full: OnFull,
    /// When a record counts as written.
    pub durability: Durability,
}

/// What is taken whole from somebody, with whose it is.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) storage: Option<EffectiveStorage>,
    pub(super) signing: Option<EffectiveSigning>,
    pub(super) events: Vec<EffectiveEvents>,
}

impl EffectiveAudit {
    pub(super) fn new(format: AuditFormat, tier: &AuditTier, taken: Taken) -> Self {
        let recording = format != AuditFormat::None;
        let required = |demand: Option<Demand>| recording && demand == Some(Demand::Require);
        let intercept = tier.intercept.unwrap_or_default();
        let spool = tier.spool.unwrap_or_default();
        let sessions = tier.sessions.unwrap_or_default();
        let lock = tier.object_lock.filter(|_| recording).map(|lock| match lock.mode {
            None | Some(LockMode::None) => {
                ObjectLock { mode: None, retention: None, legal_hold: lock.legal_hold.filter(|hold| *hold) }
            }
            Some(_) => ObjectLock { legal_hold: lock.legal_hold.filter(|hold| *hold), ..lock },
        });
        Self {
            format,
            format_version: tier.format_version.filter(|_| format == AuditFormat::Binary),
            intercept: EffectiveIntercept {
                stdin: required(intercept.stdin),
                stdout: required(intercept.stdout),
                stderr: required(intercept.stderr),
                passwords: required(intercept.passwords),
                forwarding: required(intercept.forwarding).then_some(true),
            },
            storage: taken.storage.filter(|_| recording),
            object_lock: lock.filter(|lock| *lock != ObjectLock::default()),
            encrypt_to: if recording { tier.encrypt_to.clone() } else { Vec::new() },
            signing: taken.signing.filter(|_| recording),
            spool: EffectiveSpool {
                medium: spool.medium.unwrap_or(SpoolMedium::EmptyDir),
                size: spool.size.unwrap_or(defaults::SPOOL_SIZE),
                on_full: spool.on_full.unwrap_or(OnFull::Block),
                durability: spool.durability.unwrap_or(Durability::Group),
            },
            on_failure: tier.on_failure.unwrap_or(OnFailure::Deny),
            events: if recording { taken.events } else { Vec::new() },
            sessions: SessionLimits {
                max_duration: sessions.max_duration.and_then(crate::Span::nonzero),
                idle_timeout: sessions.idle_timeout.and_then(crate::Span::nonzero),
            },
            allow: tier.allow.clone().unwrap_or_default(),
        }
    }

    /// Orders the receivers by what they are, not by who names them.
    pub(super) fn sort_events(events: &mut [EffectiveEvents]) {
        events.sort_by_cached_key(lattice::key);
    }

    /// SHA-256 over canonical JSON (sorted keys, no white space), in lower-case hex: the same settings have
    /// the same hash, whoever computes it and in whatever order fields are declared.
    ///
    /// # Errors
    /// Where the settings cannot be encoded as JSON.
    pub fn hash(&self) -> Result<String, serde_json::Error> {
        let mut text = String::new();
        canonical(&serde_json::to_value(self)?, &mut text);
        Ok(hex::encode(Sha256::digest(text)))
    }

    /// Paths of the fields with an order of strictness that are laxer here than they were `before`.
    #[must_use]
    pub fn relaxations(&self, before: &Self) -> Vec<&'static str> {
        let longer = |now: Option<crate::Span>, before: Option<crate::Span>| {
            before.is_some_and(|before| now.is_none_or(|now| now > before))
        };
        let (now, earlier) = (&self.allow, &before.allow);
        let lock = |effective: &Self| effective.object_lock.unwrap_or_default();
        let (locked, locked_before) = (lock(self), lock(before));
        let told = |target: &EventTarget| self.events.iter().any(|now| now.target == *target);
        [
            ("format", self.format < before.format),
            ("objectLock.mode", locked.mode < locked_before.mode),
            ("objectLock.retention", locked.retention < locked_before.retention),
            ("objectLock.legalHold", locked.legal_hold < locked_before.legal_hold),
            // Who may read has no order, but that not everybody may has.
            ("encryptTo", self.encrypt_to.is_empty() && !before.encrypt_to.is_empty()),
            ("signing", self.signing.is_none() && before.signing.is_some()),
            ("spool.durability", self.spool.durability < before.spool.durability),
            ("events", before.events.iter().any(|events| !told(&events.target))),
            ("spool.medium", self.spool.medium < before.spool.medium),
            ("spool.size", self.spool.size < before.spool.size),
            ("spool.onFull", self.spool.on_full < before.spool.on_full),
            ("onFailure", self.on_failure < before.on_failure),
            ("sessions.maxDuration", longer(self.sessions.max_duration, before.sessions.max_duration)),
            ("sessions.idleTimeout", longer(self.sessions.idle_timeout, before.sessions.idle_timeout)),
            ("allow.subsystems", admits_more(now.subsystems.as_ref(), earlier.subsystems.as_ref())),
            ("allow.forwarding", admits_more(now.forwarding.as_ref(), earlier.forwarding.as_ref())),
            ("allow.modes", admits_more(now.modes.as_ref(), earlier.modes.as_ref())),
        ]
        .into_iter()
        .filter_map(|(path, relaxed)| relaxed.then_some(path))
        .collect()
    }
}

/// Whether a list admits what an earlier one did not; absence admits everything.
fn admits_more<T: PartialEq>(now: Option<&Vec<T>>, before: Option<&Vec<T>>) -> bool {
    before.is_some_and(|before| now.is_none_or(|now| now.iter().any(|item| !before.contains(item))))
}

/// JSON with sorted keys. Not left to the map type, whose order depends on a feature that any crate of a
/// build may switch on.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod canonical_tests {
    use super::*;

    #[test]
    fn json_is_canonical_whatever_the_order_of_keys() {
        let mut text = String::new();
        let value: Value =
            serde_json::from_str(r#"{ "b": [1, {"z": null, "a": "q\"\n"}], "a": true }"#).unwrap();
        canonical(&value, &mut text);
        assert_eq!(text, r#"{"a":true,"b":[1,{"a":"q\"\n","z":null}]}"#);
    }
}
