//! Which audit applies to a gateway: the policies that cover it, merged, and the keys for their storage.
//!
//! Fails closed. A policy that cannot be decoded may enforce anything on anyone, so it holds back every gateway; a
//! namespace whose labels are not known yet is waited for.

use std::{collections::BTreeMap, sync::Arc};

use containerssh_config::{KeyPrefix, Secret as Hidden};
use containerssh_crds::{
    AuditPolicy, SSHGateway, StatusAudit,
    conditions::Reason,
    defaults, matches,
    merge::{self, Conflict, MergeError, Merged, OriginKind, PolicyBody, PolicyInput},
};
use kube::{ResourceExt, core::DeserializeGuard};

use super::refs::Reader;
use crate::{
    args::NoPolicy,
    children::Owner,
    error::Error,
    finding::{Finding, Subject},
    index::Kind,
    plan::{Audit, S3Keys, pods_namespace},
};

/// An AuditPolicy as watched: decoded, or the reason why not.
pub type GuardedPolicy = DeserializeGuard<AuditPolicy>;

/// A resolved audit with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub merged: Merged,
}

impl Resolved {
    /// As it stands in the gateway's status.
    pub fn status(&self) -> StatusAudit {
        StatusAudit {
            policy: self.merged.policy(),
            hash: self.merged.hash.clone(),
            sources: self.merged.sources.clone(),
            effective: self.merged.effective.clone(),
        }
    }

    pub fn conflicts(&self) -> &[Conflict] {
        &self.merged.conflicts
    }

    /// As the plan needs it.
    pub fn audit(&self, keys: Option<S3Keys>) -> Audit {
        let mut sources: Vec<String> = Vec::new();
        for source in &self.merged.sources {
            if !sources.contains(&source.name) {
                sources.push(source.name.clone());
            }
        }
        Audit { effective: self.merged.effective.clone(), hash: self.merged.hash.clone(), sources, keys }
    }
}

/// The policies that cover a gateway: those that select its namespace or the namespace of its pods, and every one
/// that cannot be read.
pub fn covering<'a>(
    policies: &'a [Arc<GuardedPolicy>],
    namespaces: &[(&str, &BTreeMap<String, String>)],
) -> Vec<PolicyInput> {
    let covers =
        |policy: &'a AuditPolicy| namespaces.iter().any(|(name, labels)| matches(&policy.spec, name, labels));
    policies
        .iter()
        .filter_map(|guarded| match &guarded.0 {
            Ok(policy) => covers(policy).then(|| PolicyInput::from(policy)),
            Err(invalid) => Some(PolicyInput {
                name: invalid.metadata.name.clone().unwrap_or_default(),
                uid: invalid.metadata.uid.clone(),
                generation: invalid.metadata.generation,
                created: invalid.metadata.creation_timestamp.clone(),
                priority: 0,
                body: PolicyBody::Unreadable { reason: invalid.error.clone() },
            }),
        })
        .collect()
}

/// Merges them. The outer error is transient; the inner one is for a person.
pub fn resolve(
    gateway: &SSHGateway,
    owner: &Owner,
    policies: &[Arc<GuardedPolicy>],
    labels: impl Fn(&str) -> Option<BTreeMap<String, String>>,
    no_policy: NoPolicy,
) -> Result<Result<Resolved, Finding>, Error> {
    let unseen = |name: &str| Error::NamespaceUnseen { name: name.to_owned() };
    let own = owner.namespace();
    let own_labels = labels(own).ok_or_else(|| unseen(own))?;
    let pods = pods_namespace(gateway, owner);
    // A namespace of pods that does not exist is a finding elsewhere; it has no labels to be selected by.
    let pods_labels = if pods == own { own_labels.clone() } else { labels(pods).unwrap_or_default() };
    let inputs = covering(policies, &[(own, &own_labels), (pods, &pods_labels)]);
    Ok(merged(gateway, own, &inputs, no_policy))
}

fn merged(
    gateway: &SSHGateway,
    namespace: &str,
    inputs: &[PolicyInput],
    no_policy: NoPolicy,
) -> Result<Resolved, Finding> {
    let finding = |reason, message: String| Finding::new(Subject::AuditPolicyResolved, reason, message);
    if inputs.is_empty() && no_policy == NoPolicy::Deny {
        return Err(finding(
            Reason::NoPolicy,
            format!(
                "no AuditPolicy covers namespace {namespace}, and this operator runs no gateway without one (--no-policy=deny); ask a cluster administrator for a policy that covers it"
            ),
        ));
    }
    let merged = merge::merge(inputs, gateway.spec.wish().as_ref(), &merge::baseline()).map_err(|error| {
        let reason = match &error {
            MergeError::Unreadable { .. } => Reason::PolicyUnreadable,
            MergeError::NoDestination { .. } => Reason::NoDestination,
            MergeError::Encoding(_) => Reason::Invalid,
        };
        finding(reason, error.to_string())
    })?;
    // The schema's pattern admits a little more than the gateway does.
    if let Some(storage) = &merged.effective.storage
        && let Some(Err(why)) = storage.s3.prefix.as_deref().map(str::parse::<KeyPrefix>)
    {
        return Err(finding(Reason::Invalid, format!("storage.s3.prefix of {}: {why}", storage.from)));
    }
    Ok(Resolved { merged })
}

/// Static keys of the storage, if it uses any. Only whoever names the Secret decides where it is looked for: a
/// policy's in the operator's namespace, a gateway's in its own.
pub async fn keys(
    resolved: &Resolved,
    reader: &Reader,
    owner: &Owner,
    operator_namespace: &str,
) -> Result<Result<Option<S3Keys>, Finding>, Error> {
    let Some(storage) = &resolved.merged.effective.storage else { return Ok(Ok(None)) };
    let Some(reference) = storage.s3.secret() else { return Ok(Ok(None)) };
    let namespace = match storage.from.kind {
        OriginKind::Policy | OriginKind::Baseline => operator_namespace,
        OriginKind::Gateway => owner.namespace(),
    };
    let asked_by = format!("storage.s3.credentials of {}", storage.from);
    let subject = Subject::AuditPolicyResolved;
    let mut values = Vec::with_capacity(2);
    for key in [defaults::S3_ACCESS_KEY, defaults::S3_SECRET_KEY] {
        match reader.text(subject, Kind::Secret, namespace, &reference.name, key, &asked_by).await? {
            // Keys are often stored with the line end of the file they came from.
            Ok(text) => values.push(Hidden::new(text.trim())),
            Err(finding) => return Ok(Err(finding)),
        }
    }
    let [access_key, secret_key] =
        <[Hidden; 2]>::try_from(values).unwrap_or_else(|_| [Hidden::new(""), Hidden::new("")]);
    Ok(Ok(Some(S3Keys { access_key, secret_key })))
}

/// Whether a policy covers a gateway; a gateway that cannot be decoded is covered by its own namespace at least.
pub fn covers_gateway(
    policy: &AuditPolicy,
    namespace: &str,
    gateway: Option<&SSHGateway>,
    labels: impl Fn(&str) -> Option<BTreeMap<String, String>>,
) -> bool {
    let pods = gateway.and_then(|gateway| gateway.spec.backend.kubernetes.namespace.clone());
    [Some(namespace.to_owned()), pods]
        .into_iter()
        .flatten()
        .any(|name| matches(&policy.spec, &name, &labels(&name).unwrap_or_default()))
}

/// The Secrets in the operator's namespace that a policy refers to.
pub fn secrets_of(policy: &AuditPolicy) -> impl Iterator<Item = String> + '_ {
    [policy.spec.enforce.as_ref(), policy.spec.default.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|tier| tier.storage.as_ref()?.s3.secret())
        .map(|reference| reference.name.clone())
}

/// Name of a policy, decoded or not.
pub fn name_of(guarded: &GuardedPolicy) -> String {
    match &guarded.0 {
        Ok(policy) => policy.name_any(),
        Err(invalid) => invalid.metadata.name.clone().unwrap_or_default(),
    }
}
