//! From the policies that cover a gateway, and the gateway's own wish, to what its gateways do.
//!
//! # Rules
//!
//! 1. A policy has two tiers, `enforce` and `default`. Within a tier, policies are joined field by field; across
//!    tiers, a field is `enforce ⊔ (wish, else default, else baseline)`.
//! 2. `⊔` takes the stricter value: `Binary` over `Asciinema` over `None`, `Deny` over `Allow`, `Deny` over `Block`
//!    over `Drop`, `Persistent` over `EmptyDir`, `Strict` over `Group`, `Compliance` over `Governance` over `None`,
//!    the longer retention, the larger spool, the shorter limit; of allow-lists what is in all of them, of receivers
//!    of events what is in any. These are semilattices, so neither the order of objects nor their number matters, and adding an
//!    enforcing policy never relaxes a field. That is also why `enforce` joins with what would have held
//!    without it, instead of replacing it: an enforced `Allow` does not undo a default `Deny`.
//! 3. `Require` and `Forbid` have no order, because recording more is not always stricter. In one tier the
//!    policy of higher precedence wins and the contradiction is reported; `enforce` beats the wish, and the wish
//!    beats `default`.
//! 4. Storage is atomic: bucket, endpoint and credentials belong together. The policy of highest precedence
//!    gives all of it; losers are reported. The signing key and the format's version are settled the same way.
//! 5. Precedence is priority, then age, then name. It decides nothing but 3 and 4.
//! 6. Recipients of encryption add up within a tier, so that each policy's auditor can read. But a reader more is no
//!    stricter: where any policy enforces recipients, those are all of them, and a wish adds none.
//! 7. Records follow from demands: a tier, or a wish, that has a `Require`, names storage or receivers of events
//!    says `Binary` if it says nothing. Only the baseline's storage is there for whoever records, and asks for nothing.
//! 8. What has no valid result is an error, never a guess: a policy that cannot be read, or records without
//!    storage. The caller keeps the last good result, or keeps the gateway from starting.

mod conflict;
mod effective;
mod input;
mod lattice;
mod why;

pub use self::{
    conflict::{Conflict, Origin, OriginKind},
    effective::{
        EffectiveAudit, EffectiveEvents, EffectiveIntercept, EffectiveSigning, EffectiveSpool,
        EffectiveStorage,
    },
    input::{PolicyBody, PolicyInput, Source, Tier},
};
use crate::{
    AuditFormat, AuditTier, Demand, Durability, OnFailure, OnFull, SpoolDemand, SpoolMedium, defaults,
};
use effective::Taken;
use std::collections::{BTreeMap, BTreeSet};

/// A result with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// What the gateways do.
    pub effective: EffectiveAudit,
    /// SHA-256 over the canonical JSON of `effective`, in lower-case hex.
    pub hash: String,
    /// The tiers that had a say, strongest first.
    pub sources: Vec<Source>,
    /// Who decided each field of `effective`, by its path.
    pub why: BTreeMap<String, String>,
    /// What lost against something else. No reason to refuse the result; every entry is to be told to
    /// whoever can mend it.
    pub conflicts: Vec<Conflict>,
}

impl Merged {
    /// Names of the policies that had a say, strongest first, or `Baseline` without any: the printer column.
    #[must_use]
    pub fn policy(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for source in &self.sources {
            if !names.contains(&source.name.as_str()) {
                names.push(&source.name);
            }
        }
        if names.is_empty() { "Baseline".to_owned() } else { names.join(",") }
    }
}

/// Why there is no result. Fail closed.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A policy that may apply cannot be read, so what it demands is unknown.
    #[error(
        "AuditPolicy {name} cannot be read ({reason}); fix or delete it, or upgrade the operator if it comes from a newer version"
    )]
    Unreadable {
        /// The policy's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Sessions must be recorded, and there is nowhere to.
    #[error(
        "sessions must be recorded ({demanded_by} asks for it), but neither a policy nor spec.audit.storage says where to; set storage.s3"
    )]
    NoDestination {
        /// Who asks for records.
        demanded_by: Origin,
    },
    /// More receivers of events than a gateway serves.
    #[error(
        "audit policies name {count} receivers of events, and a gateway serves {MAX_EVENT_TARGETS}: remove some from {}",
        .policies.join(", ")
    )]
    TooManyReceivers {
        /// How many they name.
        count: usize,
        /// Names of the policies.
        policies: Vec<String>,
    },
    /// The result could not be encoded for its hash.
    #[error("the effective audit settings cannot be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
}

/// Receivers of events that a gateway serves: each has a queue in its memory.
const MAX_EVENT_TARGETS: usize = 8;

/// What holds where nothing is said: logs of connections, authentication and requests, but no record.
///
/// A record needs a bucket, and which one is nothing that a program can guess.
#[must_use]
pub fn baseline() -> AuditTier {
    AuditTier {
        format: Some(AuditFormat::None),
        spool: Some(SpoolDemand {
            medium: Some(SpoolMedium::EmptyDir),
            size: Some(defaults::SPOOL_SIZE),
            on_full: Some(OnFull::Block),
            durability: Some(Durability::Group),
        }),
        on_failure: Some(OnFailure::Deny),
        ..AuditTier::default()
    }
}

/// Fields of `upper`, and where it states none those of `lower`: how an operator's own baseline lies over the built-in.
#[must_use]
pub fn over(upper: &AuditTier, lower: &AuditTier) -> AuditTier {
    lattice::or(upper, lower)
}

/// Merges the policies that cover a gateway with its own wish, over a baseline.
///
/// `policies` are those that [`crate::matches`] selects, in any order; `tenant` is
/// [`wish()`](crate::SSHGatewaySpec::wish); `baseline` is [`baseline()`] or the operator's own.
///
/// # Errors
/// Where no valid result exists: see [`MergeError`].
pub fn merge(
    policies: &[PolicyInput],
    tenant: Option<&AuditTier>,
    baseline: &AuditTier,
) -> Result<Merged, MergeError> {
    let tiers = input::by_precedence(policies)?;
    let nothing = AuditTier::default();
    let wish = tenant.unwrap_or(&nothing);

    // Demands are spelled out before they are joined: what a policy implies must not depend on what another says.
    let spelled = |policies: &[(&PolicyInput, &AuditTier)]| {
        let tiers: Vec<_> = policies.iter().map(|(_, tier)| with_records((*tier).clone())).collect();
        lattice::join_all(tiers.iter())
    };
    let (enforced, default) = (spelled(&tiers.enforce), spelled(&tiers.default));
    let wished = with_records(wish.clone());
    // What would hold without enforcement.
    let base = lattice::or(&lattice::or(&wished, &default), baseline);
    let mut joined = lattice::join(&enforced, &base);
    // Rule 6: below an enforced list nobody becomes a reader.
    if !enforced.encrypt_to.is_empty() {
        joined.encrypt_to.clone_from(&enforced.encrypt_to);
    }

    let taken = Taken {
        storage: chosen(&tiers, wish, baseline, |tier| tier.storage.clone())
            .map(|(storage, from)| EffectiveStorage { s3: storage.s3, from }),
        signing: chosen(&tiers, wish, baseline, |tier| tier.signing.clone())
            .map(|(key, from)| EffectiveSigning { key, from }),
        events: receivers(&tiers, wish, baseline)?,
    };
    let format = joined.format.unwrap_or(AuditFormat::None);
    if format != AuditFormat::None && taken.storage.is_none() {
        return Err(MergeError::NoDestination { demanded_by: demander(&tiers, wish) });
    }

    let effective = EffectiveAudit::new(format, &joined, taken);
    let hash = effective.hash()?;
    let why = why::why(&tiers, wish, baseline, &effective)?;
    let conflicts = conflict::find(&tiers, wish, &effective);
    Ok(Merged { hash, sources: tiers.sources(wish), why, conflicts, effective })
}

/// Whether the tier makes sense only with a record.
fn demands_record(tier: &AuditTier) -> bool {
    tier.storage.is_some()
        || !tier.events.is_empty()
        || lattice::demands(tier).any(|(_, demand)| demand == Some(Demand::Require))
}

/// The tier with the format that its demands imply. That it also says None is what the schema refuses; in an object of
/// another release the demand counts.
fn with_records(tier: AuditTier) -> AuditTier {
    let format = match tier.format {
        None | Some(AuditFormat::None) if demands_record(&tier) => Some(AuditFormat::Binary),
        format => format,
    };
    AuditTier { format, ..tier }
}

/// What is taken whole from one, and from whom.
fn chosen<T>(
    tiers: &input::Tiers<'_>,
    wish: &AuditTier,
    baseline: &AuditTier,
    of: impl Fn(&AuditTier) -> Option<T>,
) -> Option<(T, Origin)> {
    let among = |policies: &[(&PolicyInput, &AuditTier)]| {
        policies.iter().find_map(|(policy, tier)| Some((of(tier)?, Origin::policy(&policy.name))))
    };
    among(&tiers.enforce)
        .or_else(|| of(wish).map(|value| (value, Origin::gateway())))
        .or_else(|| among(&tiers.default))
        .or_else(|| of(baseline).map(|value| (value, Origin::baseline())))
}

/// Everybody's receivers of events: those of enforcing policies, and those of the wish, else of the defaults, else of
/// the baseline. One that several name counts once, and as the strongest's; a gateway's own is another one, because
/// its Secrets are in another namespace.
fn receivers(
    tiers: &input::Tiers<'_>,
    wish: &AuditTier,
    baseline: &AuditTier,
) -> Result<Vec<EffectiveEvents>, MergeError> {
    let named = |tier: &AuditTier, from: Origin| {
        let from =
            move |target: &crate::EventTarget| EffectiveEvents { target: target.clone(), from: from.clone() };
        tier.events.iter().map(from).collect::<Vec<_>>()
    };
    let among = |policies: &[(&PolicyInput, &AuditTier)]| {
        policies
            .iter()
            .flat_map(|(policy, tier)| named(tier, Origin::policy(&policy.name)))
            .collect::<Vec<_>>()
    };
    let mut all = among(&tiers.enforce);
    let wished = named(wish, Origin::gateway());
    if wished.is_empty() {
        let default = among(&tiers.default);
        all.extend(if default.is_empty() { named(baseline, Origin::baseline()) } else { default });
    }
    once(&mut all);
    if all.len() > MAX_EVENT_TARGETS {
        let policies: BTreeSet<String> = all.iter().filter_map(|events| events.from.name.clone()).collect();
        return Err(MergeError::TooManyReceivers {
            count: all.len(),
            policies: policies.into_iter().collect(),
        });
    }
    // A wish takes the room that is left; what does not fit is reported as not granted.
    let room = MAX_EVENT_TARGETS - all.len();
    let mut wished = wished;
    once(&mut wished);
    EffectiveAudit::sort_events(&mut wished);
    all.extend(wished.into_iter().take(room));
    EffectiveAudit::sort_events(&mut all);
    Ok(all)
}

/// Keeps the first of equal receivers.
fn once(all: &mut Vec<EffectiveEvents>) {
    let mut seen = BTreeSet::new();
    all.retain(|events| seen.insert(lattice::key(&events.target)));
}

/// Who asks for records: whom to tell that they have nowhere to go.
fn demander(tiers: &input::Tiers<'_>, wish: &AuditTier) -> Origin {
    let asks = |tier: &AuditTier| {
        demands_record(tier) || tier.format.is_some_and(|format| format != AuditFormat::None)
    };
    let among = |policies: &[(&PolicyInput, &AuditTier)]| {
        policies.iter().find(|(_, tier)| asks(tier)).map(|(policy, _)| Origin::policy(&policy.name))
    };
    among(&tiers.enforce)
        .or_else(|| asks(wish).then(Origin::gateway))
        .or_else(|| among(&tiers.default))
        .unwrap_or_else(Origin::baseline)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
