//! What goes into a merge.

use std::{cmp::Reverse, collections::BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::{MergeError, lattice};
use crate::{AuditPolicy, AuditTier};

/// A policy that covers the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyInput {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
    /// Its generation.
    pub generation: Option<i64>,
    /// When it was created; unknown counts as youngest.
    pub created: Option<Time>,
    /// Its precedence.
    pub priority: i32,
    /// What it demands.
    pub body: PolicyBody,
}

/// What a policy demands.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a cluster has a handful of policies, and nearly all are readable"
)]
pub enum PolicyBody {
    /// Known.
    Readable {
        /// What nobody below can weaken.
        enforce: Option<AuditTier>,
        /// What holds where nobody says otherwise.
        default: Option<AuditTier>,
    },
    /// Unknown: the object could not be decoded. It may enforce anything.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

impl From<&AuditPolicy> for PolicyInput {
    fn from(policy: &AuditPolicy) -> Self {
        Self {
            name: policy.name_any(),
            uid: policy.metadata.uid.clone(),
            generation: policy.metadata.generation,
            created: policy.metadata.creation_timestamp.clone(),
            priority: policy.spec.priority(),
            body: PolicyBody::Readable {
                enforce: policy.spec.enforce.clone(),
                default: policy.spec.default.clone(),
            },
        }
    }
}

choice! {
    /// Tier of a policy.
    #[derive(PartialOrd, Ord)]
    pub enum Tier {
        /// What nobody below can weaken.
        Enforce,
        /// What holds where nobody says otherwise.
        Default,
    }
}

/// A policy's tier that had a say.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Name of the AuditPolicy.
    pub name: String,
    /// Uid of the AuditPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Which of its tiers: Enforce, or Default where that fills what is not said otherwise.
    pub tier: Tier,
    /// Generation of the AuditPolicy that was taken into account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// Both tiers' policies, strongest first.
pub(super) struct Tiers<'a> {
    pub(super) enforce: Vec<(&'a PolicyInput, &'a AuditTier)>,
    pub(super) default: Vec<(&'a PolicyInput, &'a AuditTier)>,
}

/// Sorts policies by precedence. Fails closed on the first that cannot be read.
pub(super) fn by_precedence(policies: &[PolicyInput]) -> Result<Tiers<'_>, MergeError> {
    let mut sorted: Vec<&PolicyInput> = policies.iter().collect();
    sorted.sort_by_key(|policy| {
        let age = (policy.created.is_none(), policy.created.clone());
        (Reverse(policy.priority), age, policy.name.clone(), policy.uid.clone())
    });
    sorted.dedup();
    let mut tiers = Tiers { enforce: Vec::new(), default: Vec::new() };
    for policy in sorted {
        match &policy.body {
            PolicyBody::Readable { enforce, default } => {
                tiers.enforce.extend(enforce.as_ref().map(|tier| (policy, tier)));
                tiers.default.extend(default.as_ref().map(|tier| (policy, tier)));
            }
            PolicyBody::Unreadable { reason } => {
                return Err(MergeError::Unreadable { name: policy.name.clone(), reason: reason.clone() });
            }
        }
    }
    Ok(tiers)
}

impl Tiers<'_> {
    /// Those that had a say: an enforcing tier that states anything, a default tier that states anything
    /// which the wish leaves open.
    pub(super) fn sources(&self, wish: &AuditTier) -> Vec<Source> {
        let wished: BTreeSet<&str> = lattice::stated(wish).collect();
        let enforcing = self.enforce.iter().filter(|(_, tier)| lattice::stated(tier).next().is_some());
        let filling =
            self.default.iter().filter(|(_, tier)| lattice::stated(tier).any(|path| !wished.contains(path)));
        enforcing
            .map(|(policy, _)| (policy, Tier::Enforce))
            .chain(filling.map(|(policy, _)| (policy, Tier::Default)))
            .map(|(policy, tier)| Source {
                name: policy.name.clone(),
                uid: policy.uid.clone(),
                tier,
                generation: policy.generation,
            })
            .collect()
    }
}
