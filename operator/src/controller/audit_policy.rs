//! One policy: which namespaces and gateways it covers, and how many of those obey it. It writes nothing but
//! status: what a policy does, it does through the gateways.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use containerssh_crds::{
    AuditPolicy, AuditPolicyStatus, Exclusion, SSHGateway,
    conditions::{
        ACCEPTED, AUDIT_POLICY_RESOLVED, Observation, PROGRAMMED, READY, RECONCILING, Reason, STALLED,
        Status, is_true, remove, upsert,
    },
    matches,
    merge::Conflict,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt, runtime::controller::Action};

use super::{bounded, resync, until};
use crate::{
    children::Owner,
    context::{Context, GuardedGateway},
    error::Error,
    gather::{
        audit::{self, GuardedPolicy},
        audit_keys,
    },
    index::{Kind, Name},
    status,
};

pub const KIND: &str = "AuditPolicy";

/// Entry for the controller.
pub async fn reconcile(policy: Arc<GuardedPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let name = Name { namespace: None, name: audit::name_of(&policy) };
    let run = reconcile_unbounded(&policy, &name, &context);
    bounded(KIND, &name, &context.metrics, &context.policy_backoff, run).await
}

/// How long to wait after a failure.
pub fn after_failure(policy: &GuardedPolicy, context: &Context) -> Action {
    let name = Name { namespace: None, name: audit::name_of(policy) };
    Action::requeue(context.policy_backoff.failed(name))
}

async fn reconcile_unbounded(
    guarded: &GuardedPolicy,
    name: &Name,
    context: &Context,
) -> Result<Action, Error> {
    let policy = match &guarded.0 {
        Ok(policy) => policy,
        Err(invalid) => {
            let Some(known) =
                status::read_raw::<AuditPolicy, AuditPolicyStatus>(&context.client, KIND, name).await?
            else {
                return Ok(Action::await_change());
            };
            let mut next = known.clone().unwrap_or_default();
            let generation = invalid.metadata.generation;
            let message = format!(
                "this release cannot read the policy ({}), so no gateway that it may cover takes up changes until that is mended; fix or delete it, or upgrade the operator",
                invalid.error
            );
            status::undecodable(
                &mut next.conditions,
                Reason::PolicyUnreadable,
                &message,
                generation,
                &status::now(),
            );
            next.observed_generation = generation;
            status::write::<AuditPolicy, _>(
                &context.client,
                &context.metrics,
                KIND,
                name,
                known.as_ref(),
                &next,
            )
            .await?;
            return Ok(resync());
        }
    };
    if policy.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = status::now();
    let facts = gather(context, policy, &now).await?;
    let known = policy.status.clone().unwrap_or_default();
    let next = compute(&known, policy.metadata.generation, &facts, &now);
    let wrote = status::write::<AuditPolicy, _>(
        &context.client,
        &context.metrics,
        KIND,
        name,
        policy.status.as_ref(),
        &next,
    )
    .await?;
    if wrote {
        for happening in status::happenings(&known.conditions, &next.conditions) {
            context.events.publish(&policy.object_ref(&()), &happening).await;
        }
    }
    Ok(until(policy.spec.next_expiry(&now))
        .map_or_else(resync, |expiry| Action::requeue(expiry.min(MAX_WAIT))))
}

/// What a policy's status is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub namespaces: usize,
    pub gateways: usize,
    pub programmed: usize,
    /// Up to [`NAMED`] gateways that do not obey it yet.
    pub lagging: Vec<String>,
    /// Demands that another policy of the same tier overrules.
    pub contradictions: Vec<String>,
    /// Its storage, or something else that is taken whole from one policy, is not used everywhere.
    pub overridden: Vec<String>,
    /// Secrets that it names and that are not there, with the fields that name them.
    pub missing: Vec<String>,
    /// Those in force.
    pub exclusions: Vec<Exclusion>,
}

/// So many names fit a message that people still read.
const NAMED: usize = 5;
/// An exclusion that ends in years is no reason not to look at the policy before.
const MAX_WAIT: Duration = Duration::from_secs(300);

async fn gather(context: &Context, policy: &AuditPolicy, now: &Time) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let no_labels = BTreeMap::new();
    // Once for all gateways: a thousand of them may be in ten namespaces.
    let mut selected: HashSet<String> = (context.namespaces.state().iter())
        .filter(|namespace| {
            let labels = namespace.metadata.labels.as_ref().unwrap_or(&no_labels);
            matches(&policy.spec, &namespace.name_any(), labels)
        })
        .map(|namespace| namespace.name_any())
        .collect();
    facts.namespaces = selected.len();
    // A namespace that does not exist yet may still be the one that a gateway names for its pods.
    selected.extend(policy.spec.namespaces.iter().cloned());
    for gateway in context.gateways() {
        look_at(context, policy, &gateway, &selected, now, &mut facts)?;
    }
    facts.lagging.sort();
    facts.lagging.truncate(NAMED);
    for list in [&mut facts.contradictions, &mut facts.overridden] {
        list.sort();
        list.dedup();
        list.truncate(NAMED);
    }
    facts.exclusions =
        policy.spec.exclude.iter().filter(|exclusion| exclusion.active(now)).cloned().collect();
    for (field, secret) in audit_keys::secrets_of_policy(policy) {
        if !context.reader.exists(Kind::Secret, &context.operator_namespace, secret).await? {
            facts.missing.push(format!("{}/{secret} ({field})", context.operator_namespace));
        }
    }
    facts.missing.dedup();
    Ok(facts)
}

fn look_at(
    context: &Context,
    policy: &AuditPolicy,
    gateway: &GuardedGateway,
    selected: &HashSet<String>,
    now: &Time,
    facts: &mut Facts,
) -> Result<(), Error> {
    let decoded = gateway.0.as_ref().ok();
    let labels = |name: &str| context.labels_of(name);
    let name = Name::of(gateway);
    if !audit::covers_gateway(policy, &name, decoded, |namespace| selected.contains(namespace), now) {
        return Ok(());
    }
    facts.gateways += 1;
    let Some(decoded) = decoded else {
        facts.lagging.push(name.to_string());
        return Ok(());
    };
    let owner = Owner { name: name.clone(), uid: decoded.uid().unwrap_or_default() };
    // Nothing has changed since the last look, or the same once more.
    let look = context.looks.current(&name, context.turn(&name), &owner.uid, now);
    let fresh;
    let resolved = match look.as_ref().map(|look| look.resolved.as_ref()) {
        Some(resolved) => resolved,
        None => {
            let policies = context.policies.state();
            fresh = audit::resolve(decoded, &owner, &policies, labels, &context.settings.fallback, now)?.ok();
            fresh.as_ref()
        }
    };
    let Some(resolved) = resolved else {
        facts.lagging.push(name.to_string());
        return Ok(());
    };
    if obeys(decoded, &resolved.merged.hash) {
        facts.programmed += 1;
    } else {
        facts.lagging.push(name.to_string());
    }
    let this = policy.name_any();
    for conflict in resolved.conflicts().iter().filter(|conflict| conflict.loser() == Some(this.as_str())) {
        match conflict {
            Conflict::Contradiction { .. } => facts.contradictions.push(conflict.to_string()),
            Conflict::Overruled { .. } => facts.overridden.push(conflict.to_string()),
            Conflict::Wish { .. } => {}
        }
    }
    Ok(())
}

/// Whether the gateway's status says that every pod applies the settings with this hash.
fn obeys(gateway: &SSHGateway, hash: &str) -> bool {
    gateway.status.as_ref().is_some_and(|status| {
        status.audit.as_ref().is_some_and(|audit| audit.hash == hash)
            && is_true(&status.conditions, AUDIT_POLICY_RESOLVED)
    })
}

fn compute(old: &AuditPolicyStatus, generation: Option<i64>, facts: &Facts, now: &Time) -> AuditPolicyStatus {
    let mut status = old.clone();
    let accepted = if !facts.missing.is_empty() {
        let message = format!("Secret {} does not exist; create it", facts.missing.join(", "));
        Observation::new(ACCEPTED, Status::False, Reason::RefNotFound, message)
    } else if !facts.contradictions.is_empty() {
        Observation::new(ACCEPTED, Status::False, Reason::Conflicted, facts.contradictions.join("; "))
    } else {
        Observation::new(ACCEPTED, Status::True, Reason::Accepted, "The policy is valid")
    };
    let counts = format!("{} of {} gateways obey it", facts.programmed, facts.gateways);
    let programmed = if facts.programmed < facts.gateways {
        let message = format!("{counts}; waiting for {}", facts.lagging.join(", "));
        Observation::new(PROGRAMMED, Status::False, Reason::PolicyRollingOut, message)
    } else if facts.gateways == 0 {
        Observation::new(PROGRAMMED, Status::True, Reason::NoMatch, "The policy covers no gateway")
    } else if !facts.overridden.is_empty() {
        let message = format!("{counts}; {}", facts.overridden.join("; "));
        Observation::new(PROGRAMMED, Status::True, Reason::PartiallyProgrammed, message)
    } else {
        Observation::new(PROGRAMMED, Status::True, Reason::Programmed, counts)
    };
    let cause =
        [&accepted, &programmed].into_iter().find(|observation| observation.status != Status::True).cloned();
    let ready = match &cause {
        None => Observation::new(READY, Status::True, Reason::Ready, programmed.message.clone()),
        Some(cause) => Observation::new(READY, Status::False, cause.reason, cause.message.clone()),
    };
    // A contradiction needs a person; the rest comes about by itself or with a Secret.
    let abnormal = cause.as_ref().map(|cause| {
        let stalled = cause.reason == Reason::Conflicted;
        let type_ = if stalled { STALLED } else { RECONCILING };
        Observation::new(type_, Status::True, cause.reason, cause.message.clone())
    });
    for type_ in [STALLED, RECONCILING] {
        if abnormal.as_ref().is_none_or(|observation| observation.type_ != type_) {
            remove(&mut status.conditions, type_);
        }
    }
    for observation in [Some(accepted), Some(programmed), Some(ready), abnormal].into_iter().flatten() {
        upsert(&mut status.conditions, observation, generation, now);
    }
    let count = |n: usize| Some(i32::try_from(n).unwrap_or(i32::MAX));
    status.observed_generation = generation;
    status.matched_namespaces = count(facts.namespaces);
    status.matched_gateways = count(facts.gateways);
    status.programmed_gateways = count(facts.programmed);
    status.exclusions.clone_from(&facts.exclusions);
    status
}

#[cfg(test)]
#[path = "audit_policy_tests.rs"]
mod tests;
