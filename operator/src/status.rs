//! Statuses: from facts to conditions, and their way to the apiserver.
//!
//! Computing is pure and starts from the status that is there, so that times move only with what they time; writing
//! happens only when something differs. What Flux and Argo CD make of the result follows kstatus: `Stalled` means that
//! nobody but a person can help, `Reconciling` that it is under way, and `Ready` is always there.

use std::fmt::Debug;

use containerssh_crds::{
    ReplicaStatus, SSHGatewayStatus, StatusAudit,
    conditions::{
        ACCEPTED, AUDIT_POLICY_RESOLVED, AVAILABLE, INTEGRATED, Observation, READY, RECONCILING,
        RESOLVED_REFS, Reason, STALLED, Status, find, remove, upsert,
    },
    merge::Conflict,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    MANAGER,
    apply::CALL_TIMEOUT,
    children::Owner,
    error::{Error, within},
    events::Happening,
    finding::{Finding, Subject},
    gather::{observed::Replicas, pods::Pods},
    index::Name,
    metrics::Metrics,
};

/// What a gateway's status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    pub generation: Option<i64>,
    pub owner: &'a Owner,
    pub findings: &'a [Finding],
    /// Optional objects that are asked for and cannot be, in sentences; None = none is asked for.
    pub missing: Option<&'a [String]>,
    /// The audit that applies and what lost in it; None = the policies gave no result.
    pub audit: Option<(StatusAudit, &'a [Conflict])>,
    /// None = no workload yet.
    pub replicas: Option<Replicas>,
    pub pods: &'a Pods,
    pub address: Option<String>,
    /// None = unknown at this time; those known before stay.
    pub fingerprints: Option<Vec<String>>,
}

/// The next status of a gateway.
pub fn gateway(old: &SSHGatewayStatus, facts: Facts<'_>, now: &Time) -> SSHGatewayStatus {
    let mut status = old.clone();
    let generation = facts.generation;
    let mut conditions = Conditions { list: std::mem::take(&mut status.conditions), generation, now };
    conditions.set(subject(facts.findings, Subject::Accepted, Reason::Accepted, "The spec is valid"));
    let refs = "Everything that the spec refers to is there";
    conditions.set(subject(facts.findings, Subject::ResolvedRefs, Reason::ResolvedRefs, refs));
    let (policy, obeyed) = policy(&facts);
    conditions.set(policy);
    let replicas = facts.replicas.unwrap_or_default();
    let available = available(facts.replicas, facts.pods.trouble());
    conditions.set(available.clone());

    match facts.missing {
        None => conditions.drop(INTEGRATED),
        Some([]) => {
            let message = "Every object of an optional kind is there";
            conditions.set(Observation::new(INTEGRATED, Status::True, Reason::Integrated, message));
        }
        Some(missing) => {
            let message = missing.join("; ");
            conditions.set(Observation::new(INTEGRATED, Status::False, Reason::KindNotServed, message));
        }
    }

    let settled = replicas.settled() && obeyed;
    let ready = match (facts.findings.first(), available.status) {
        // What is wrong stands in the summary, or nobody finds it: `kubectl get` shows only this one.
        (Some(first), _) => Observation::new(READY, Status::False, first.reason, joined(facts.findings)),
        (None, Status::True) => {
            Observation::new(READY, Status::True, Reason::Ready, available.message.clone())
        }
        // None wanted, none there: as asked for.
        (None, _) if available.reason == Reason::ScaledToZero => {
            Observation::new(READY, Status::True, Reason::ScaledToZero, available.message.clone())
        }
        (None, _) => Observation::new(READY, Status::False, Reason::NotReady, available.message.clone()),
    };
    conditions.set(ready);

    let stalling: Vec<&Finding> = facts.findings.iter().filter(|finding| finding.is_stalling()).collect();
    if let Some(first) = stalling.first() {
        conditions.set(Observation::new(
            STALLED,
            Status::True,
            first.reason,
            joined(stalling.iter().copied()),
        ));
        conditions.drop(RECONCILING);
    } else if let Some(missing) = facts.findings.first() {
        conditions.set(Observation::new(RECONCILING, Status::True, missing.reason, joined(facts.findings)));
        conditions.drop(STALLED);
    } else if !settled {
        let (reason, message) = if replicas.settled() {
            (
                Reason::PolicyRollingOut,
                "Waiting for every gateway pod to take the audit settings up".to_owned(),
            )
        } else {
            let Replicas { desired, ready, updated, existing, .. } = replicas;
            let counts =
                format!("{updated} of {desired} gateway pods run the newest template, {ready} are ready");
            let old = existing.saturating_sub(updated);
            (
                Reason::RollingOut,
                if old > 0 { format!("{counts}; {old} of the old ones are still there") } else { counts },
            )
        };
        conditions.set(Observation::new(RECONCILING, Status::True, reason, message));
        conditions.drop(STALLED);
    } else {
        conditions.drop(RECONCILING);
        conditions.drop(STALLED);
    }

    status.conditions = conditions.list;
    status.observed_generation = generation;
    status.address = facts.address;
    if let Some(fingerprints) = facts.fingerprints {
        status.host_key_fingerprints = fingerprints;
    }
    status.replicas = facts.replicas.map(|replicas| ReplicaStatus {
        desired: replicas.desired,
        ready: replicas.ready,
        updated: replicas.updated,
        draining: count(facts.pods.leaving()),
        draining_sessions: count(facts.pods.leaving_sessions()),
    });
    status.rollout = facts.replicas.map(|replicas| rollout(replicas, facts.pods));
    status.sessions = sessions(facts.pods);
    let selector: Vec<String> =
        facts.owner.selector_labels().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    status.selector = Some(selector.join(","));
    // While policies give no result, the last one stands: it is what still runs.
    if let Some((audit, _)) = facts.audit {
        status.audit = Some(audit);
    }
    status
}

/// How far the last change of the pods is, as `kubectl rollout status` would say it. Sessions of pods that stop are what
/// still holds a change up.
fn rollout(replicas: Replicas, pods: &Pods) -> String {
    let Replicas { desired, ready, updated, existing, .. } = replicas;
    let mut text = match (replicas.settled(), desired) {
        (true, 0) => "Scaled to zero".to_owned(),
        (true, _) => "Complete".to_owned(),
        (false, _) => format!("{updated} of {desired} updated, {ready} ready"),
    };
    let old = existing.saturating_sub(updated);
    if !replicas.settled() && old > 0 {
        text.push_str(&format!(", {old} old"));
    }
    let leaving = pods.leaving();
    if leaving > 0 {
        let sessions = pods.leaving_sessions();
        text.push_str(&format!(", {leaving} draining with {sessions} sessions"));
    }
    text
}

struct Conditions<'a> {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: &'a Time,
}

impl Conditions<'_> {
    fn set(&mut self, observation: Observation) {
        upsert(&mut self.list, observation, self.generation, self.now);
    }

    fn drop(&mut self, type_: &str) {
        remove(&mut self.list, type_);
    }
}

/// None when pods are ready and none of them can be asked: a zero would be a lie.
fn sessions(pods: &Pods) -> Option<i32> {
    let silent = pods.0.iter().any(|pod| pod.ready) && pods.0.iter().all(|pod| pod.report.is_none());
    if silent { None } else { count(pods.sessions()) }
}

fn count(number: u64) -> Option<i32> {
    Some(i32::try_from(number).unwrap_or(i32::MAX))
}

fn joined<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    findings.into_iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")
}

fn subject(findings: &[Finding], subject: Subject, good: Reason, message: &str) -> Observation {
    let mut about = findings.iter().filter(|finding| finding.subject == subject).peekable();
    match about.peek().map(|first| first.reason) {
        Some(reason) => Observation::new(subject.condition(), Status::False, reason, joined(about)),
        None => Observation::new(subject.condition(), Status::True, good, message),
    }
}

/// AuditPolicyResolved, and whether every pod obeys the result.
fn policy(facts: &Facts<'_>) -> (Observation, bool) {
    let about = |status, reason, message| Observation::new(AUDIT_POLICY_RESOLVED, status, reason, message);
    let broken = facts.findings.iter().any(|finding| finding.subject == Subject::AuditPolicyResolved);
    let Some((audit, conflicts)) = facts.audit.as_ref().filter(|_| !broken) else {
        return (subject(facts.findings, Subject::AuditPolicyResolved, Reason::PolicyApplied, ""), false);
    };
    let none_wanted = facts.replicas.is_some_and(|replicas| replicas.desired == 0 && replicas.existing == 0);
    let obeyed = facts.pods.all_apply(&audit.hash) || none_wanted;
    if !obeyed {
        let message = format!("The settings of {} are not in force in every gateway pod yet", audit.policy);
        return (about(Status::False, Reason::PolicyRollingOut, message), false);
    }
    let observation = if !conflicts.is_empty() {
        let all: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
        about(Status::True, Reason::Conflicted, all.join("; "))
    } else if audit.sources.is_empty() {
        about(
            Status::True,
            Reason::Baseline,
            "No AuditPolicy covers this gateway; the operator's baseline holds".to_owned(),
        )
    } else {
        about(Status::True, Reason::PolicyApplied, format!("Every gateway pod obeys {}", audit.policy))
    };
    (observation, true)
}

fn available(replicas: Option<Replicas>, trouble: Option<&str>) -> Observation {
    let about = |status, reason, message: String| Observation::new(AVAILABLE, status, reason, message);
    match replicas {
        None => about(Status::False, Reason::Unavailable, "There are no gateway pods yet".to_owned()),
        Some(replicas) if replicas.desired == 0 => {
            about(Status::False, Reason::ScaledToZero, "spec.replicas is 0".to_owned())
        }
        Some(replicas) => {
            let mut message = format!("{} of {} gateway pods are ready", replicas.ready, replicas.desired);
            if let Some(trouble) = trouble {
                message.push_str(": ");
                message.push_str(trouble);
            }
            if replicas.ready > 0 {
                about(Status::True, Reason::Available, message)
            } else {
                about(Status::False, Reason::Unavailable, message)
            }
        }
    }
}

/// The status of an object that is seen for the first time: a missing Ready would count as healthy.
pub fn first(conditions: &mut Vec<Condition>, generation: Option<i64>, now: &Time) {
    let message = "The operator has not looked at it yet";
    for type_ in [READY, ACCEPTED] {
        upsert(
            conditions,
            Observation::new(type_, Status::Unknown, Reason::Pending, message),
            generation,
            now,
        );
    }
    upsert(
        conditions,
        Observation::new(RECONCILING, Status::True, Reason::Progressing, message),
        generation,
        now,
    );
}

/// A reconcile failed: what was ready stays ready, but the way to the wanted state is not finished.
pub fn failed(conditions: &mut Vec<Condition>, error: &Error, generation: Option<i64>, now: &Time) {
    if error.needs_a_person() {
        for (type_, status) in [(ACCEPTED, Status::False), (READY, Status::False), (STALLED, Status::True)] {
            upsert(
                conditions,
                Observation::new(type_, status, Reason::Invalid, error.to_string()),
                generation,
                now,
            );
        }
        remove(conditions, RECONCILING);
        return;
    }
    upsert(
        conditions,
        Observation::new(RECONCILING, Status::True, Reason::ApiError, error.to_string()),
        generation,
        now,
    );
    remove(conditions, STALLED);
    if find(conditions, READY).is_none() {
        upsert(
            conditions,
            Observation::new(READY, Status::Unknown, Reason::ApiError, error.to_string()),
            generation,
            now,
        );
    }
}

/// An object that this release cannot decode.
pub fn undecodable(
    conditions: &mut Vec<Condition>,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) {
    for (type_, status) in [(ACCEPTED, Status::False), (READY, Status::False), (STALLED, Status::True)] {
        upsert(conditions, Observation::new(type_, status, reason, message), generation, now);
    }
    remove(conditions, RECONCILING);
}

/// What is worth an Event: a condition that a person watches has flipped, or a conflict is new.
pub fn happenings(old: &[Condition], new: &[Condition]) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for condition in new {
        let before = find(old, &condition.type_);
        let flipped = before.is_none_or(|before| before.status != condition.status);
        let conflict = condition.reason == Reason::Conflicted.as_str()
            && before.is_none_or(|before| before.message != condition.message);
        let bad = condition.status == Status::False.as_str();
        let worth = match condition.type_.as_str() {
            // A new gateway whose pods start is no news; one that stops being ready is.
            READY => {
                let starting = condition.reason == Reason::NotReady.as_str()
                    && before.is_none_or(|before| before.status != Status::True.as_str());
                flipped && condition.status != Status::Unknown.as_str() && !starting
            }
            // Good news about these is in Ready; bad news names what to mend, and may be one of several.
            ACCEPTED | RESOLVED_REFS | AUDIT_POLICY_RESOLVED | INTEGRATED => {
                (flipped && bad && condition.reason != Reason::PolicyRollingOut.as_str()) || conflict
            }
            _ => false,
        };
        if worth {
            happenings.push(Happening {
                warning: bad || conflict,
                reason: condition.reason.clone(),
                note: condition.message.clone(),
            });
        }
    }
    // Ready repeats the message of the condition that broke it.
    happenings.dedup_by(|a, b| a.note == b.note && a.reason == b.reason);
    happenings
}

/// The status of an object that cannot be decoded as a whole, if that part can. None = the object is gone.
pub async fn read_raw<K, S>(
    client: &Client,
    kind: &'static str,
    name: &Name,
) -> Result<Option<Option<S>>, Error>
where
    K: Resource<DynamicType = ()>,
    S: DeserializeOwned,
{
    let what = || format!("read {kind} {name}");
    let raw = within(CALL_TIMEOUT, what, untyped::<K>(client, name).get_opt(&name.name)).await?;
    Ok(raw.map(|raw| serde_json::from_value(raw.data.get("status")?.clone()).ok()))
}

/// An API that neither decodes nor needs the object's type.
pub fn untyped<K: Resource<DynamicType = ()>>(client: &Client, name: &Name) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    match &name.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Writes a status by server-side apply, if it differs.
pub async fn write<K, S>(
    client: &Client,
    metrics: &Metrics,
    kind: &'static str,
    name: &Name,
    old: Option<&S>,
    new: &S,
) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()>,
    S: Serialize + PartialEq + Debug,
{
    if old == Some(new) {
        return Ok(false);
    }
    let resource = ApiResource::erase::<K>(&());
    let api = untyped::<K>(client, name);
    let patch = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name.name},
        "status": new,
    });
    let params = PatchParams::apply(MANAGER).force();
    let what = || format!("write the status of {kind} {name}");
    metrics.wrote(kind, "status");
    match within(CALL_TIMEOUT, what, api.patch_status(&name.name, &params, &Patch::Apply(patch))).await {
        Ok(_) => Ok(true),
        // Deleted meanwhile: nobody is left to read it.
        Err(error) if error.status_code() == Some(404) => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn now() -> Time {
    Time(jiff::Timestamp::now())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
