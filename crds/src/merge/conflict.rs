//! What lost in a merge, so that somebody can be told.

use std::fmt;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{EffectiveAudit, PolicyInput, input::Tiers, lattice};
use crate::{AuditFormat, AuditTier, Demand, EventTarget, LockMode};

/// Who says something.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Policy: an AuditPolicy. Gateway: the gateway's spec.audit. Baseline: the operator's own settings.
    pub kind: OriginKind,
    /// Name of the AuditPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

choice! {
    /// Kind of whoever says something.
    #[derive(PartialOrd, Ord)]
    pub enum OriginKind {
        /// An AuditPolicy.
        Policy,
        /// The gateway itself.
        Gateway,
        /// The operator's own settings.
        Baseline,
    }
}

impl Origin {
    /// An AuditPolicy.
    #[must_use]
    pub fn policy(name: &str) -> Self {
        Self { kind: OriginKind::Policy, name: Some(name.to_owned()) }
    }

    /// The gateway itself.
    #[must_use]
    pub fn gateway() -> Self {
        Self { kind: OriginKind::Gateway, name: None }
    }

    /// The operator's own settings.
    #[must_use]
    pub fn baseline() -> Self {
        Self { kind: OriginKind::Baseline, name: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.name.as_deref()) {
            (OriginKind::Policy, name) => write!(f, "AuditPolicy {}", name.unwrap_or("(unnamed)")),
            (OriginKind::Gateway, _) => f.write_str("the gateway's spec.audit"),
            (OriginKind::Baseline, _) => f.write_str("the operator's baseline"),
        }
    }
}

/// Something that somebody asked for and did not get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// Two policies of one tier contradict each other about a privacy field. `loser` is not Accepted.
    Contradiction {
        /// Path of the field.
        field: &'static str,
        /// Name of the policy whose demand counts.
        winner: String,
        /// Name of the policy whose demand does not.
        loser: String,
    },
    /// Two policies differ in something that is taken whole from one. `loser` is programmed in part only.
    Overruled {
        /// Path of the field.
        field: &'static str,
        /// Name of the policy whose storage counts.
        winner: String,
        /// Name of the policy whose storage does not.
        loser: String,
    },
    /// The gateway asks for something that its policies do not admit.
    Wish {
        /// Path of the field below `spec.audit`.
        field: &'static str,
    },
}

impl Conflict {
    /// Name of the policy that lost, if one did.
    #[must_use]
    pub fn loser(&self) -> Option<&str> {
        match self {
            Self::Contradiction { loser, .. } | Self::Overruled { loser, .. } => Some(loser),
            Self::Wish { .. } => None,
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction { field, winner, loser } => write!(
                f,
                "{field} of AuditPolicy {loser} contradicts that of AuditPolicy {winner}, which counts; give both the same value, or change spec.priority"
            ),
            Self::Overruled { field, winner, loser } => write!(
                f,
                "{field} of AuditPolicy {loser} is not used, because that of AuditPolicy {winner} counts; remove one, or change spec.priority"
            ),
            Self::Wish { field } => write!(
                f,
                "{field} of spec.audit or spec.spool is not granted, because audit policies demand otherwise; status.audit.effective has the value that counts"
            ),
        }
    }
}

/// Finds everything that lost, in a fixed order.
pub(super) fn find(tiers: &Tiers<'_>, wish: &AuditTier, effective: &EffectiveAudit) -> Vec<Conflict> {
    let mut found = contradictions(&tiers.enforce);
    found.extend(contradictions(&tiers.default));
    overruled(tiers, wish, "storage", |tier| tier.storage.clone(), &mut found);
    overruled(tiers, wish, "signing", |tier| tier.signing.clone(), &mut found);
    overruled(tiers, wish, "formatVersion", |tier| tier.format_version, &mut found);
    found.extend(refused(wish, effective).map(|field| Conflict::Wish { field }));
    found.sort();
    found.dedup();
    found
}

fn contradictions(tier: &[(&PolicyInput, &AuditTier)]) -> Vec<Conflict> {
    let fields = lattice::demands(&AuditTier::default()).map(|(path, _)| path);
    let mut found = Vec::new();
    for field in fields {
        let demand = |tier: &AuditTier| lattice::demands(tier).find(|(path, _)| *path == field)?.1;
        let mut stating = tier.iter().filter_map(|(policy, tier)| Some((policy, demand(tier)?)));
        let Some((winner, settled)) = stating.next() else { continue };
        found.extend(stating.filter(|(_, demand)| *demand != settled).map(|(loser, _)| {
            Conflict::Contradiction { field, winner: winner.name.clone(), loser: loser.name.clone() }
        }));
    }
    found
}

fn overruled<T: PartialEq>(
    tiers: &Tiers<'_>,
    wish: &AuditTier,
    field: &'static str,
    of: impl Fn(&AuditTier) -> Option<T>,
    found: &mut Vec<Conflict>,
) {
    let mut among =
        |policies: &[(&PolicyInput, &AuditTier)]| {
            let mut stating = policies.iter().filter_map(|(policy, tier)| Some((policy, of(tier)?)));
            let Some((winner, settled)) = stating.next() else { return false };
            found.extend(stating.filter(|(_, value)| *value != settled).map(|(loser, _)| {
                Conflict::Overruled { field, winner: winner.name.clone(), loser: loser.name.clone() }
            }));
            true
        };
    // A default that nobody uses is no conflict: it is there to be overridden.
    if !among(&tiers.enforce) && of(wish).is_none() {
        among(&tiers.default);
    }
}

/// Paths of the wishes that did not come true.
fn refused(wish: &AuditTier, effective: &EffectiveAudit) -> impl Iterator<Item = &'static str> {
    fn differs<T: PartialEq>(wish: Option<T>, effective: &T) -> bool {
        wish.is_some_and(|wish| wish != *effective)
    }
    let spool = wish.spool.unwrap_or_default();
    let sessions = wish.sessions.unwrap_or_default();
    let intercept = wish.intercept.unwrap_or_default();
    let recorded = |demand: Option<Demand>| demand.map(|demand| demand == Demand::Require);
    let recording = effective.format != AuditFormat::None;
    let lock = wish.object_lock.unwrap_or_default();
    let locked = effective.object_lock.unwrap_or_default();
    let told = |target: &EventTarget| effective.events.iter().any(|events| events.target == *target);
    let wished = wish.allow.clone().unwrap_or_default();
    let admitted = &effective.allow;
    [
        ("format", differs(wish.format, &effective.format)),
        ("intercept.stdin", differs(recorded(intercept.stdin), &effective.intercept.stdin)),
        ("intercept.stdout", differs(recorded(intercept.stdout), &effective.intercept.stdout)),
        ("intercept.stderr", differs(recorded(intercept.stderr), &effective.intercept.stderr)),
        ("intercept.passwords", differs(recorded(intercept.passwords), &effective.intercept.passwords)),
        (
            "intercept.forwarding",
            differs(recorded(intercept.forwarding), &effective.intercept.forwarding.unwrap_or_default()),
        ),
        (
            "storage",
            recording
                && wish.storage.as_ref().map(|storage| &storage.s3)
                    != effective.storage.as_ref().map(|storage| &storage.s3)
                && wish.storage.is_some(),
        ),
        (
            "formatVersion",
            effective.format == AuditFormat::Binary
                && wish.format_version.is_some()
                && wish.format_version != effective.format_version,
        ),
        (
            "objectLock.mode",
            recording && lock.mode.is_some() && lock.mode != Some(locked.mode.unwrap_or(LockMode::None)),
        ),
        ("objectLock.retention", recording && lock.retention.is_some() && lock.retention != locked.retention),
        (
            "objectLock.legalHold",
            recording && lock.legal_hold.is_some_and(|hold| hold != locked.legal_hold.unwrap_or_default()),
        ),
        ("encryptTo", recording && wish.encrypt_to.iter().any(|to| !effective.encrypt_to.contains(to))),
        (
            "signing",
            recording
                && wish.signing.is_some()
                && wish.signing.as_ref() != effective.signing.as_ref().map(|signing| &signing.key),
        ),
        ("events", recording && wish.events.iter().any(|target| !told(target))),
        ("spool.durability", differs(spool.durability, &effective.spool.durability)),
        ("spool.medium", differs(spool.medium, &effective.spool.medium)),
        ("spool.size", differs(spool.size, &effective.spool.size)),
        ("spool.onFull", differs(spool.on_full, &effective.spool.on_full)),
        ("onFailure", differs(wish.on_failure, &effective.on_failure)),
        (
            "sessions.maxDuration",
            sessions.max_duration.is_some() && sessions.max_duration != effective.sessions.max_duration,
        ),
        (
            "sessions.idleTimeout",
            sessions.idle_timeout.is_some() && sessions.idle_timeout != effective.sessions.idle_timeout,
        ),
        ("allow.subsystems", exceeds(wished.subsystems.as_ref(), admitted.subsystems.as_ref())),
        ("allow.forwarding", exceeds(wished.forwarding.as_ref(), admitted.forwarding.as_ref())),
        ("allow.modes", exceeds(wished.modes.as_ref(), admitted.modes.as_ref())),
    ]
    .into_iter()
    .filter_map(|(path, refused)| refused.then_some(path))
}

/// Whether a wish names what is not admitted.
fn exceeds<T: PartialEq>(wished: Option<&Vec<T>>, admitted: Option<&Vec<T>>) -> bool {
    matches!((wished, admitted), (Some(wished), Some(admitted)) if wished.iter().any(|item| !admitted.contains(item)))
}
