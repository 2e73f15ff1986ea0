//! One gateway: gather, plan, apply, prune, tell.

use std::{sync::Arc, time::Duration};

use containerssh_config::{Config, Syntax};
use containerssh_crds::{
    SSHGateway, SSHGatewayStatus,
    conditions::{READY, Reason, find},
};
use futures::{StreamExt, stream};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams},
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::controller::Action,
};
use serde_json::json;

use super::{bounded, resync, until};
use crate::{
    apply::{CALL_TIMEOUT, Outcome},
    backoff::jittered,
    children::{Child, ChildKind, Owner},
    code,
    context::{Context, GuardedGateway},
    error::{Error, within},
    events::Happening,
    gather::{
        self, Gathered, guests,
        observed::{self, Replicas},
        pods,
    },
    index::Name,
    looks::Look,
    plan::{self, Audit, Plan, PlanError, config, workload},
    prune,
    status::{self, Facts},
};

pub const KIND: &str = "SSHGateway";
/// Holds a gateway whose children stand in another namespace, where no owner reference reaches.
const FINALIZER: &str = "containerssh.io/children";
/// While something is under way, pods are asked this often how far they are.
const POLL_CHANGING: Duration = Duration::from_secs(15);
/// A node takes some time beyond a pod's grace period to say that the pod is gone.
const NODE_LAG: Duration = Duration::from_secs(60);
/// Sessions are counted this often.
const POLL_STEADY: Duration = Duration::from_secs(60);
const POLL_JITTER: f64 = 0.2;
/// Objects of one gateway that are written at once: most of the time of a write is the store's.
const APPLIED_AT_ONCE: usize = 4;

/// Entry for the controller.
pub async fn reconcile(gateway: Arc<GuardedGateway>, context: Arc<Context>) -> Result<Action, Error> {
    let name = Name::of(gateway.as_ref());
    let run = reconcile_unbounded(&gateway, &name, &context);
    let result = bounded(KIND, &name, &context.metrics, &context.gateway_backoff, run).await;
    if let (Err(error), DeserializeGuard(Ok(gateway))) = (&result, gateway.as_ref()) {
        tell_failure(&context, gateway, &name, error).await;
    }
    result
}

/// How long to wait after a failure.
pub fn after_failure(gateway: &GuardedGateway, context: &Context) -> Action {
    Action::requeue(context.gateway_backoff.failed(Name::of(gateway)))
}

async fn reconcile_unbounded(
    guarded: &GuardedGateway,
    name: &Name,
    context: &Context,
) -> Result<Action, Error> {
    match &guarded.0 {
        Err(invalid) => undecodable(context, name, invalid).await,
        Ok(gateway) => {
            let owner = Owner { name: name.clone(), uid: gateway.uid().unwrap_or_default() };
            if gateway.metadata.deletion_timestamp.is_some() {
                return clean_up(context, gateway, &owner).await;
            }
            keep(context, &Arc::new(gateway.clone()), &owner).await
        }
    }
}

/// A gateway that is wanted: a full look if anything it depends on has changed, else only its pods are asked.
async fn keep(context: &Context, gateway: &Arc<SSHGateway>, owner: &Owner) -> Result<Action, Error> {
    // Read before anything else: a mark that comes while we look makes the look an old one.
    let turn = context.turn(&owner.name);
    let known = introduce(context, gateway, owner).await?;
    let look = match context.looks.current(&owner.name, turn, &owner.uid, &status::now()) {
        Some(look) => look,
        None => {
            let look = look_at(context, gateway, owner).await?;
            context.looks.keep(owner.name.clone(), turn, look)
        }
    };
    let pods = pods::gather(&context.http, context.pods.of(&owner.name)).await;
    let facts = Facts {
        generation: look.generation,
        owner,
        findings: &look.findings,
        missing: look.missing.as_deref(),
        audit: look.resolved.as_ref().map(|resolved| (resolved.status(), resolved.conflicts())),
        replicas: look.replicas,
        pods: &pods,
        address: look.address.clone(),
        fingerprints: look.fingerprints.clone(),
    };
    let next = status::gateway(&known, facts, &status::now());
    publish(context, gateway, owner, &known, &next).await?;
    Ok(requeue(&next, look.next_expiry()))
}

/// Gathers, plans, applies and prunes.
async fn look_at(context: &Context, gateway: &Arc<SSHGateway>, owner: &Owner) -> Result<Look, Error> {
    let gathered = gather::gather(context, gateway, owner).await?;
    let Gathered { mut findings, resolved, audit, host_keys, inputs } = gathered;
    let plan = match inputs.as_ref().map(plan::plan) {
        Some(Ok(plan)) => Some(plan),
        Some(Err(PlanError::Finding(finding))) => {
            findings.push(finding);
            None
        }
        Some(Err(PlanError::Render(error))) => return Err(error),
        None => None,
    };
    let missing = plan.as_ref().and_then(|plan| plan.missing.clone());
    let mut replicas = None;
    match &plan {
        Some(plan) => {
            set_finalizer(context, gateway, owner, reaches_elsewhere(plan, owner)).await?;
            apply(context, plan, owner).await?;
            let (client, applier) = (&context.client, &context.applier);
            replicas = context.observations.replicas(client, applier, owner, plan.workload).await?;
            let replacement_ready = replicas.is_some_and(|r: Replicas| r.ready > 0 || r.desired == 0);
            prune::prune(&context.applier, owner, &plan.children, replacement_ready).await?;
        }
        // What runs goes on running as it was, but a policy binds it all the same.
        None => {
            if let Some(audit) = &audit {
                impose(context, owner, audit).await?;
            }
            for kind in [ChildKind::Deployment, ChildKind::StatefulSet] {
                replicas = observed::replicas(&context.client, owner, kind).await?.or(replicas);
            }
        }
    }
    Ok(Look {
        uid: owner.uid.clone(),
        generation: gateway.metadata.generation,
        findings,
        missing,
        resolved,
        replicas,
        address: context.observations.address(&context.client, &context.applier, owner).await?,
        fingerprints: host_keys.map(|keys| keys.fingerprints),
    })
}

/// Poll soon while anything is under way or wrong; the watches tell of most changes anyway.
fn requeue(status: &SSHGatewayStatus, expiry: Option<&Time>) -> Action {
    use containerssh_crds::conditions::{AUDIT_POLICY_RESOLVED, RECONCILING, STALLED, is_true};
    let conditions = &status.conditions;
    let changing = is_true(conditions, RECONCILING)
        || is_true(conditions, STALLED)
        || !is_true(conditions, READY)
        || !is_true(conditions, AUDIT_POLICY_RESOLVED);
    let poll = jittered(if changing { POLL_CHANGING } else { POLL_STEADY }, POLL_JITTER);
    Action::requeue(until(expiry).map_or(poll, |expiry| expiry.min(poll)))
}

/// The status so far; on first sight one that says "not looked at yet", written before anything slow.
async fn introduce(
    context: &Context,
    gateway: &SSHGateway,
    owner: &Owner,
) -> Result<SSHGatewayStatus, Error> {
    let known = gateway.status.clone().unwrap_or_default();
    if find(&known.conditions, READY).is_some() {
        return Ok(known);
    }
    let mut first = known.clone();
    status::first(&mut first.conditions, gateway.metadata.generation, &status::now());
    write(context, owner, gateway.status.as_ref(), &first).await?;
    Ok(first)
}

async fn write(
    context: &Context,
    owner: &Owner,
    old: Option<&SSHGatewayStatus>,
    new: &SSHGatewayStatus,
) -> Result<bool, Error> {
    status::write::<SSHGateway, _>(&context.client, &context.metrics, KIND, &owner.name, old, new).await
}

/// Writes the status, and tells of what changed.
async fn publish(
    context: &Context,
    gateway: &SSHGateway,
    owner: &Owner,
    known: &SSHGatewayStatus,
    next: &SSHGatewayStatus,
) -> Result<(), Error> {
    if !write(context, owner, Some(known), next).await? {
        return Ok(());
    }
    for happening in status::happenings(&known.conditions, &next.conditions) {
        context.events.publish(&reference(gateway), &happening).await;
    }
    Ok(())
}

fn reference(gateway: &SSHGateway) -> ObjectReference {
    gateway.object_ref(&())
}

/// Applies every child, the workload last: what a pod needs stands before the pods. One whose name is taken does not hold
/// back the others: the configuration, and with it a policy, must reach what runs.
async fn apply(context: &Context, plan: &Plan, owner: &Owner) -> Result<(), Error> {
    let mut in_the_way = None;
    for wave in Wave::ALL {
        let each: Vec<_> = (plan.children.iter().filter(|child| Wave::of(child.kind) == wave))
            .map(|child| apply_one(context, child, owner))
            .collect();
        let mut failed = None;
        let mut applied = stream::iter(each).buffer_unordered(APPLIED_AT_ONCE);
        while let Some((child, outcome)) = applied.next().await {
            match outcome {
                Ok(Outcome::Unchanged) => {}
                Ok(outcome) => {
                    tracing::info!(code = code::OPERATOR_APPLIED, object = %owner.name, child = %child, created = (outcome == Outcome::Created), "A gateway's object was written");
                }
                Err(error @ (Error::Foreign { .. } | Error::Leaving { .. })) => {
                    in_the_way.get_or_insert(error);
                }
                // What is under way is finished, or what it would have made might be missing for ever.
                Err(error) => {
                    // A kind that was removed: the next try does without, and says so.
                    if child.kind.is_optional() && error.is_unknown_kind() {
                        context.served.set(child.kind, false);
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        drop(applied);
        if let Some(error) = failed {
            return Err(error);
        }
    }
    in_the_way.map_or(Ok(()), Err)
}

/// What has to be there before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wave {
    Parts,
    /// The API server lets nobody bind a role that it does not know.
    Bindings,
    Workloads,
}

impl Wave {
    const ALL: [Self; 3] = [Self::Parts, Self::Bindings, Self::Workloads];

    fn of(kind: ChildKind) -> Self {
        match kind {
            ChildKind::RoleBinding => Self::Bindings,
            kind if kind.is_workload() => Self::Workloads,
            _ => Self::Parts,
        }
    }
}

async fn apply_one<'a>(
    context: &Context,
    child: &'a Child,
    owner: &Owner,
) -> (&'a Child, Result<Outcome, Error>) {
    (child, context.applier.apply(child, owner).await)
}

fn reaches_elsewhere(plan: &Plan, owner: &Owner) -> bool {
    plan.children.iter().any(|child| child.namespace != owner.namespace())
}

/// Adds the finalizer before anything is made elsewhere, removes it when nothing is left there.
async fn set_finalizer(
    context: &Context,
    gateway: &SSHGateway,
    owner: &Owner,
    wanted: bool,
) -> Result<(), Error> {
    let mut finalizers = gateway.finalizers().to_vec();
    let present = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if wanted == present {
        return Ok(());
    }
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    } else {
        if prune::prune_elsewhere(&context.applier, owner).await? > 0 {
            // The deletions come back as events, and the next reconcile finds nothing left.
            return Ok(());
        }
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let api = status::untyped::<SSHGateway>(&context.client, &owner.name);
    // A merge patch replaces the list: the version keeps another controller's finalizer from being lost.
    let patch =
        json!({"metadata": {"finalizers": finalizers, "resourceVersion": gateway.resource_version()}});
    let what = || format!("set the finalizer of {KIND} {}", owner.name);
    context.metrics.wrote(KIND, "finalizer");
    match within(
        CALL_TIMEOUT,
        what,
        api.patch(&owner.name.name, &PatchParams::default(), &Patch::Merge(patch)),
    )
    .await
    {
        // It is gone, which is what a removal is for.
        Err(error) if !wanted && error.status_code() == Some(404) => Ok(()),
        other => other.map(drop),
    }
}

/// A gateway on its way out. What stands in its own namespace is the garbage collector's, unless more stands elsewhere:
/// then its pods have to end first, since the rights with which they end their guests stand there, and no owner
/// reference reaches those guests.
async fn clean_up(context: &Context, gateway: &SSHGateway, owner: &Owner) -> Result<Action, Error> {
    if !gateway.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::await_change());
    }
    prune::stop(&context.applier, owner).await?;
    if !context.pods.of(&owner.name).is_empty() && !overdue(gateway) {
        return Ok(Action::requeue(jittered(POLL_CHANGING, POLL_JITTER)));
    }
    guests::end(&context.client, owner, plan::pods_namespace(gateway, owner)).await?;
    set_finalizer(context, gateway, owner, false).await?;
    tracing::info!(code = code::OPERATOR_CLEANED_UP, object = %owner.name, "A gateway's objects in other namespaces are being deleted");
    Ok(Action::requeue(jittered(POLL_CHANGING, POLL_JITTER)))
}

/// Whether the pods of a gateway that is being deleted have had all their time: a node that is gone must not keep the
/// gateway for ever.
fn overdue(gateway: &SSHGateway) -> bool {
    let Some(since) = &gateway.metadata.deletion_timestamp else { return false };
    let passed = status::now().0.duration_since(since.0);
    let grace = workload::grace_period(&gateway.spec).saturating_add(NODE_LAG);
    Duration::try_from(passed).is_ok_and(|passed| passed > grace)
}

/// Makes the last good configuration of a gateway obey the audit that applies now. Without this, a team could
/// break its own spec just before a stricter policy comes, and keep what runs as it is.
async fn impose(context: &Context, owner: &Owner, audit: &Audit) -> Result<(), Error> {
    let name = config::secret_name(&owner.name.name);
    let Some(found) = context.reader.secret(owner.namespace(), &name).await? else { return Ok(()) };
    let Some(text) = found.data.as_ref().and_then(|data| data.get(config::FILE)) else { return Ok(()) };
    let text = String::from_utf8_lossy(&text.0);
    // A file of an older release that this one cannot read is left to its gateways, which can.
    let Ok(mut config) = Config::parse(&text, &name, Syntax::Yaml) else { return Ok(()) };
    let before = config.clone();
    config::impose(&mut config, audit);
    if config == before {
        return Ok(());
    }
    let text = config.to_yaml().map_err(|error| Error::render("the gateway's configuration", error))?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: found.metadata.name,
            namespace: found.metadata.namespace,
            labels: found.metadata.labels,
            owner_references: found.metadata.owner_references,
            ..ObjectMeta::default()
        },
        type_: found.type_,
        data: Some([(config::FILE.to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    };
    context.applier.apply(&Child::new(ChildKind::Secret, &secret)?, owner).await?;
    tracing::info!(code = code::OPERATOR_POLICY_IMPOSED, object = %owner.name, policyHash = %audit.hash, "A gateway whose spec is broken obeys its policies as they are now");
    Ok(())
}

/// An object that this release cannot decode. Its pods go on with the last good configuration: without the spec
/// nobody knows what the team itself asked to be recorded, and less than that must not be imposed.
async fn undecodable(context: &Context, name: &Name, invalid: &InvalidObject) -> Result<Action, Error> {
    let Some(known) = status::read_raw::<SSHGateway, SSHGatewayStatus>(&context.client, KIND, name).await?
    else {
        return Ok(Action::await_change());
    };
    let mut next = known.clone().unwrap_or_default();
    let message = format!(
        "this release cannot read the object ({}); mend the field, or upgrade the operator if the object comes from a newer version",
        invalid.error
    );
    let generation = invalid.metadata.generation;
    status::undecodable(&mut next.conditions, Reason::Invalid, &message, generation, &status::now());
    next.observed_generation = generation;
    status::write::<SSHGateway, _>(&context.client, &context.metrics, KIND, name, known.as_ref(), &next)
        .await?;
    Ok(resync())
}

/// Writes a failure into the status; that this may fail too is no news.
async fn tell_failure(context: &Context, gateway: &SSHGateway, name: &Name, error: &Error) {
    if gateway.metadata.deletion_timestamp.is_some() {
        return;
    }
    let known = gateway.status.clone().unwrap_or_default();
    let mut next = known.clone();
    status::failed(&mut next.conditions, error, gateway.metadata.generation, &status::now());
    next.observed_generation = gateway.metadata.generation;
    let wrote =
        status::write::<SSHGateway, _>(&context.client, &context.metrics, KIND, name, Some(&known), &next)
            .await;
    if matches!(wrote, Ok(true)) && error.needs_a_person() {
        let happening =
            Happening { warning: true, reason: error.reason().to_owned(), note: error.to_string() };
        context.events.publish(&reference(gateway), &happening).await;
    }
}
