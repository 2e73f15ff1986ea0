//! From the policies that cover a gateway, and the gateway's own wish, to what its gateways do.
//!
//! # Rules
//!
//! 1. A policy has two tiers, `enforce` and `default`. Within a tier, policies are joined field by field; across
//!    tiers, a field is `enforce ⊔ (wish, else default, else baseline)`.
//! 2. `⊔` takes the stricter value: `Binary` over `None`, `Deny` over `Allow`, `Deny` over `Block` over `Drop`,
//!    `Persistent` over `EmptyDir`, the larger spool, the shorter limit, and of allow-lists what is in all of
//!    them. These are semilattices, so neither the order of objects nor their number matters, and adding an
//!    enforcing policy never relaxes a field. That is also why `enforce` joins with what would have held
//!    without it, instead of replacing it: an enforced `Allow` does not undo a default `Deny`.
//! 3. `Require` and `Forbid` have no order, because recording more is not always stricter. In one tier the
//!    policy of higher precedence wins and the contradiction is reported; `enforce` beats the wish, and the wish
//!    beats `default`.
//! 4. Storage is atomic: bucket, endpoint and credentials belong together. The policy of highest precedence
//!    gives all of it; losers are reported.
//! 5. Precedence is priority, then age, then name. It decides nothing but 3 and 4.
//! 6. Records follow from demands: a tier, or a wish, that has a `Require` or names storage says `Binary`. Only the
//!    baseline's storage is there for whoever records, and asks for nothing.
//! 7. What has no valid result is an error, never a guess: a policy that cannot be read, or records without
//!    storage. The caller keeps the last good result, or keeps the gateway from starting.

mod conflict;
mod effective;
mod input;
mod lattice;

pub use self::{
    conflict::{Conflict, Origin, OriginKind},
    effective::{EffectiveAudit, EffectiveIntercept, EffectiveSpool, EffectiveStorage},
    input::{PolicyBody, PolicyInput, Source, Tier},
};
use crate::{AuditFormat, AuditTier, Demand, OnFailure, OnFull, SpoolDemand, SpoolMedium, defaults};

/// A result with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// What the gateways do.
    pub effective: EffectiveAudit,
    /// SHA-256 over the canonical JSON of `effective`, in lower-case hex.
    pub hash: String,
    /// The tiers that had a say, strongest first.
    pub sources: Vec<Source>,
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
    /// The result could not be encoded for its hash.
    #[error("the effective audit settings cannot be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
}

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
        }),
        on_failure: Some(OnFailure::Deny),
        ..AuditTier::default()
    }
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

    let enforced = with_records(lattice::join_all(tiers.enforce.iter().map(|(_, tier)| *tier)));
    let default = with_records(lattice::join_all(tiers.default.iter().map(|(_, tier)| *tier)));
    let wished = with_records(wish.clone());
    // What would hold without enforcement.
    let base = lattice::or(&lattice::or(&wished, &default), baseline);
    let joined = lattice::join(&enforced, &base);

    let storage = storage(&tiers, wish, baseline);
    let format = joined.format.unwrap_or(AuditFormat::None);
    if format == AuditFormat::Binary && storage.is_none() {
        return Err(MergeError::NoDestination { demanded_by: demander(&tiers, wish) });
    }

    let effective = EffectiveAudit::new(format, &joined, storage);
    let hash = effective.hash()?;
    let conflicts = conflict::find(&tiers, wish, &effective);
    Ok(Merged { hash, sources: tiers.sources(wish), conflicts, effective })
}

/// Whether the tier makes sense only with a record.
fn demands_record(tier: &AuditTier) -> bool {
    tier.storage.is_some() || lattice::demands(tier).any(|(_, demand)| demand == Some(Demand::Require))
}

/// The tier with the format that its demands imply.
fn with_records(tier: AuditTier) -> AuditTier {
    let format = if demands_record(&tier) { Some(AuditFormat::Binary) } else { tier.format };
    AuditTier { format, ..tier }
}

/// The one storage, and who gives it.
fn storage(tiers: &input::Tiers<'_>, wish: &AuditTier, baseline: &AuditTier) -> Option<EffectiveStorage> {
    let of = |policies: &[(&PolicyInput, &AuditTier)]| {
        policies.iter().find_map(|(policy, tier)| {
            tier.storage.as_ref().map(|storage| (storage.clone(), Origin::policy(&policy.name)))
        })
    };
    of(&tiers.enforce)
        .or_else(|| wish.storage.clone().map(|storage| (storage, Origin::gateway())))
        .or_else(|| of(&tiers.default))
        .or_else(|| baseline.storage.clone().map(|storage| (storage, Origin::baseline())))
        .map(|(storage, from)| EffectiveStorage { s3: storage.s3, from })
}

/// Who asks for records: whom to tell that they have nowhere to go.
fn demander(tiers: &input::Tiers<'_>, wish: &AuditTier) -> Origin {
    let asks = |tier: &AuditTier| demands_record(tier) || tier.format == Some(AuditFormat::Binary);
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
