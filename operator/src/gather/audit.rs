//! Which audit applies to a gateway: the policies that cover it, merged, and the keys for their storage.
//!
//! Fails closed. A policy that cannot be decoded may enforce anything, so it holds back every gateway that it may cover;
//! a namespace whose labels are not known yet is waited for.

use std::{collections::BTreeMap, sync::Arc};

use containerssh_crds::{
    AuditPolicy, ExcludedFrom, SSHGateway, StatusAudit,
    conditions::Reason,
    matches,
    merge::{self, Conflict, MergeError, Merged, PolicyBody, PolicyInput},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

pub use super::policy::GuardedPolicy;
use crate::{
    baseline::{Fallback, NoPolicy},
    children::Owner,
    error::Error,
    finding::{Finding, Subject},
    index::Name,
    plan::{Audit, AuditKeys, pods_namespace},
};

/// A resolved audit with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub merged: Merged,
    /// The policies that would cover the gateway and do not for now, by name.
    pub exclusions: Vec<ExcludedFrom>,
}

impl Resolved {
    /// As it stands in the gateway's status.
    pub fn status(&self) -> StatusAudit {
        StatusAudit {
            policy: self.merged.policy(),
            hash: self.merged.hash.clone(),
            sources: self.merged.sources.clone(),
            effective: self.merged.effective.clone(),
            why: self.merged.why.clone(),
            exclusions: self.exclusions.clone(),
        }
    }

    /// When a policy holds again that does not now.
    pub fn next_expiry(&self) -> Option<&Time> {
        self.exclusions.iter().map(|excluded| &excluded.expires_at).min()
    }

    pub fn conflicts(&self) -> &[Conflict] {
        &self.merged.conflicts
    }

    /// As the plan needs it.
    pub fn audit(&self, keys: AuditKeys) -> Audit {
        let mut sources: Vec<String> = Vec::new();
        for source in &self.merged.sources {
            if !sources.contains(&source.name) {
                sources.push(source.name.clone());
            }
        }
        Audit { effective: self.merged.effective.clone(), hash: self.merged.hash.clone(), sources, keys }
    }
}

/// The policies that cover a gateway: those that select its namespace or the namespace of its pods and do not exclude
/// it, and those that may do so and cannot be read. And those that exclude it.
fn covering(
    policies: &[Arc<GuardedPolicy>],
    owner: &Owner,
    namespaces: &[(&str, &BTreeMap<String, String>)],
    now: &Time,
) -> (Vec<PolicyInput>, Vec<ExcludedFrom>) {
    let (mut inputs, mut exclusions) = (Vec::new(), Vec::new());
    for guarded in policies {
        match &guarded.0 {
            Ok(policy) => {
                if !namespaces.iter().any(|(name, labels)| matches(&policy.spec, name, labels)) {
                    continue;
                }
                match policy.spec.exclusion(owner.namespace(), &owner.name.name, now) {
                    None => inputs.push(PolicyInput::from(policy)),
                    Some(exclusion) => exclusions.push(ExcludedFrom {
                        policy: policy.name_any(),
                        reason: exclusion.reason.clone(),
                        expires_at: exclusion.expires_at.clone(),
                    }),
                }
            }
            Err(invalid) => {
                if namespaces.iter().any(|(name, labels)| invalid.may_cover(name, labels)) {
                    inputs.push(PolicyInput {
                        name: invalid.metadata.name.clone().unwrap_or_default(),
                        uid: invalid.metadata.uid.clone(),
                        generation: invalid.metadata.generation,
                        created: invalid.metadata.creation_timestamp.clone(),
                        priority: 0,
                        body: PolicyBody::Unreadable { reason: invalid.error.clone() },
                    });
                }
            }
        }
    }
    exclusions.sort();
    (inputs, exclusions)
}

/// Merges them. The outer error is transient; the inner one is for a person.
pub fn resolve(
    gateway: &SSHGateway,
    owner: &Owner,
    policies: &[Arc<GuardedPolicy>],
    labels: impl Fn(&str) -> Option<BTreeMap<String, String>>,
    fallback: &Fallback,
    now: &Time,
) -> Result<Result<Resolved, Finding>, Error> {
    let unseen = |name: &str| Error::NamespaceUnseen { name: name.to_owned() };
    let own = owner.namespace();
    let own_labels = labels(own).ok_or_else(|| unseen(own))?;
    let pods = pods_namespace(gateway, owner);
    // A namespace of pods that does not exist is a finding elsewhere; it has no labels to be selected by.
    let pods_labels = if pods == own { own_labels.clone() } else { labels(pods).unwrap_or_default() };
    let namespaces = [(own, &own_labels), (pods, &pods_labels)];
    let (inputs, exclusions) = covering(policies, owner, &namespaces, now);
    Ok(merged(gateway, own, &inputs, fallback).map(|merged| Resolved { merged, exclusions }))
}

fn merged(
    gateway: &SSHGateway,
    namespace: &str,
    inputs: &[PolicyInput],
    fallback: &Fallback,
) -> Result<Merged, Finding> {
    let finding = |reason, message: String| Finding::new(Subject::AuditPolicyResolved, reason, message);
    if inputs.is_empty() && fallback.no_policy == NoPolicy::Deny {
        return Err(finding(
            Reason::NoPolicy,
            format!(
                "no AuditPolicy covers namespace {namespace}, and this operator runs no gateway without one (--no-policy=deny); ask a cluster administrator for a policy that covers it"
            ),
        ));
    }
    merge::merge(inputs, gateway.spec.wish().as_ref(), &fallback.baseline).map_err(|error| {
        let reason = match &error {
            MergeError::Unreadable { .. } => Reason::PolicyUnreadable,
            MergeError::NoDestination { .. } => Reason::NoDestination,
            MergeError::TooManyReceivers { .. } | MergeError::Encoding(_) => Reason::Invalid,
        };
        finding(reason, error.to_string())
    })
}

/// Whether a policy that `selects` some namespaces covers a gateway; one that cannot be decoded is covered by its own
/// namespace at least.
pub fn covers_gateway(
    policy: &AuditPolicy,
    name: &Name,
    gateway: Option<&SSHGateway>,
    selects: impl Fn(&str) -> bool,
    now: &Time,
) -> bool {
    let namespace = name.namespace.as_deref().unwrap_or_default();
    if policy.spec.exclusion(namespace, &name.name, now).is_some() {
        return false;
    }
    let pods = gateway.and_then(|gateway| gateway.spec.backend.kubernetes.namespace.as_deref());
    selects(namespace) || pods.is_some_and(selects)
}

/// Name of a policy, decoded or not.
pub fn name_of(guarded: &GuardedPolicy) -> String {
    match &guarded.0 {
        Ok(policy) => policy.name_any(),
        Err(invalid) => invalid.metadata.name.clone().unwrap_or_default(),
    }
}
