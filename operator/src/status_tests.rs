use super::*;
use crate::gather::pods::{GatewayPod, Report};
use containerssh_crds::{conditions::is_true, merge};
use jiff::Timestamp;
use proptest::prelude::*;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn owner() -> Owner {
    Owner { name: Name::within("team-a", "dev"), uid: "u".into() }
}

fn audit() -> StatusAudit {
    let merged = merge::merge(&[], None, &merge::baseline()).unwrap();
    StatusAudit {
        policy: merged.policy(),
        hash: merged.hash.clone(),
        sources: merged.sources,
        effective: merged.effective,
        why: [].into(),
        exclusions: vec![],
    }
}

fn pods(count: usize, hash: &str) -> Pods {
    let report = Report { policy_hash: Some(hash.to_owned()), sessions: 1 };
    let pod = |n| GatewayPod {
        name: format!("dev-{n}"),
        ready: true,
        leaving: false,
        report: Some(report.clone()),
        trouble: None,
    };
    Pods((0..count).map(pod).collect())
}

const SETTLED: Replicas = Replicas { desired: 2, ready: 2, updated: 2, existing: 2, current: true };

struct Case {
    findings: Vec<Finding>,
    missing: Option<Vec<String>>,
    audit: Option<StatusAudit>,
    replicas: Option<Replicas>,
    pods: Pods,
}

impl Case {
    fn good() -> Self {
        Self {
            findings: vec![],
            missing: None,
            audit: Some(audit()),
            replicas: Some(SETTLED),
            pods: pods(2, &audit().hash),
        }
    }

    fn after(&self, old: &SSHGatewayStatus, second: i64) -> SSHGatewayStatus {
        let owner = owner();
        let facts = Facts {
            generation: Some(4),
            owner: &owner,
            findings: &self.findings,
            missing: self.missing.as_deref(),
            audit: self.audit.clone().map(|audit| (audit, &[][..])),
            replicas: self.replicas,
            pods: &self.pods,
            address: Some("10.0.0.1:22".into()),
            fingerprints: Some(vec!["SHA256:x".into()]),
        };
        gateway(old, facts, &at(second))
    }
}

fn types(status: &SSHGatewayStatus) -> Vec<&str> {
    status.conditions.iter().filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect()
}

#[test]
fn all_well_means_ready_and_nothing_abnormal() {
    let status = Case::good().after(&SSHGatewayStatus::default(), 1);
    assert_eq!(types(&status), [ACCEPTED, RESOLVED_REFS, AUDIT_POLICY_RESOLVED, AVAILABLE, READY]);
    assert_eq!(status.conditions.len(), 5, "abnormal conditions are removed, not false");
    assert_eq!((status.sessions, status.observed_generation), (Some(2), Some(4)));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(4)));
}

#[test]
fn a_kind_that_the_cluster_lacks_is_told_once_and_keeps_nobody_out() {
    let good = Case::good().after(&SSHGatewayStatus::default(), 1);
    let lacking = Case { missing: Some(vec!["no TCPRoute here".into()]), ..Case::good() };
    let status = lacking.after(&good, 2);
    assert!(is_true(&status.conditions, READY));
    assert!(find(&status.conditions, STALLED).is_none() && find(&status.conditions, RECONCILING).is_none());
    let integrated = find(&status.conditions, INTEGRATED).unwrap();
    assert_eq!((integrated.status.as_str(), integrated.reason.as_str()), ("False", "KindNotServed"));
    let told = happenings(&good.conditions, &status.conditions);
    assert_eq!((told.len(), told[0].warning, told[0].note.as_str()), (1, true, "no TCPRoute here"));
    assert!(happenings(&status.conditions, &lacking.after(&status, 3).conditions).is_empty());

    let served = Case { missing: Some(vec![]), ..Case::good() }.after(&status, 4);
    assert!(is_true(&served.conditions, INTEGRATED));
    let no_more = Case::good().after(&served, 5);
    assert!(find(&no_more.conditions, INTEGRATED).is_none(), "nothing is asked for any more");
}

#[test]
fn a_rollout_is_told_in_words_until_the_last_old_session_has_ended() {
    let told = |replicas, pods| {
        let case = Case { replicas: Some(replicas), pods, ..Case::good() };
        case.after(&SSHGatewayStatus::default(), 1).rollout.unwrap()
    };
    let hash = audit().hash;
    assert_eq!(told(SETTLED, pods(2, &hash)), "Complete");
    let under_way = Replicas { updated: 1, existing: 3, ..SETTLED };
    assert_eq!(told(under_way, pods(3, &hash)), "1 of 2 updated, 2 ready, 2 old");
    let mut draining = pods(3, &hash);
    draining.0[2].leaving = true;
    draining.0[2].report = Some(Report { policy_hash: Some(hash.clone()), sessions: 17 });
    assert_eq!(told(SETTLED, draining), "Complete, 1 draining with 17 sessions");
    let zero = Replicas { desired: 0, ready: 0, updated: 0, existing: 0, current: true };
    assert_eq!(told(zero, pods(0, &hash)), "Scaled to zero");
}

#[test]
fn the_same_facts_later_change_nothing() {
    let case = Case::good();
    let first = case.after(&SSHGatewayStatus::default(), 1);
    assert_eq!(case.after(&first, 99), first);
}

#[test]
fn a_missing_reference_is_waited_for_and_a_bad_spec_is_not() {
    let finding = |subject, reason, text: &str| Finding::new(subject, reason, text);
    let missing = Case {
        findings: vec![finding(Subject::ResolvedRefs, Reason::RefNotFound, "Secret a/b does not exist")],
        ..Case::good()
    };
    let status = missing.after(&SSHGatewayStatus::default(), 1);
    assert!(is_true(&status.conditions, RECONCILING) && find(&status.conditions, STALLED).is_none());
    let ready = find(&status.conditions, READY).unwrap();
    assert_eq!((ready.status.as_str(), ready.message.as_str()), ("False", "Secret a/b does not exist"));

    let bad = Case {
        findings: vec![
            finding(Subject::Accepted, Reason::InvalidPodTemplate, "refused"),
            finding(Subject::ResolvedRefs, Reason::RefNotFound, "Secret a/b does not exist"),
        ],
        ..Case::good()
    };
    let status = bad.after(&status, 2);
    assert!(is_true(&status.conditions, STALLED) && find(&status.conditions, RECONCILING).is_none());
    let ready = find(&status.conditions, READY).unwrap();
    assert_eq!(ready.message, "refused; Secret a/b does not exist", "everything wrong is told at once");
    assert_eq!(types(&Case::good().after(&status, 3)).last(), Some(&READY));
}

#[test]
fn a_policy_is_resolved_only_once_every_pod_obeys_it() {
    let late = Case { pods: pods(2, "old"), ..Case::good() };
    let status = late.after(&SSHGatewayStatus::default(), 1);
    let policy = find(&status.conditions, AUDIT_POLICY_RESOLVED).unwrap();
    assert_eq!((policy.status.as_str(), policy.reason.as_str()), ("False", "PolicyRollingOut"));
    assert!(is_true(&status.conditions, RECONCILING));
    assert!(is_true(&status.conditions, READY), "users can connect meanwhile");
}

#[test]
fn policies_without_a_result_leave_the_last_audit_standing() {
    let good = Case::good().after(&SSHGatewayStatus::default(), 1);
    let finding = Finding::new(Subject::AuditPolicyResolved, Reason::PolicyUnreadable, "AuditPolicy x");
    let broken = Case { findings: vec![finding], audit: None, ..Case::good() };
    let status = broken.after(&good, 2);
    assert_eq!(status.audit, good.audit);
    assert!(is_true(&status.conditions, STALLED));
    assert_eq!(find(&status.conditions, AUDIT_POLICY_RESOLVED).unwrap().reason, "PolicyUnreadable");
}

#[test]
fn a_gateway_scaled_to_zero_is_what_was_asked_for() {
    let none = Replicas { desired: 0, ready: 0, updated: 0, existing: 0, current: true };
    let case = Case { replicas: Some(none), pods: Pods::default(), ..Case::good() };
    let status = case.after(&SSHGatewayStatus::default(), 1);
    assert!(is_true(&status.conditions, READY) && find(&status.conditions, RECONCILING).is_none());
    assert_eq!(find(&status.conditions, AVAILABLE).unwrap().reason, "ScaledToZero");
}

#[test]
fn why_pods_do_not_start_stands_in_the_summary() {
    let mut broken = pods(1, "x");
    if let Some(pod) = broken.0.first_mut() {
        pod.ready = false;
        pod.trouble = Some("image gw:1 cannot be pulled".into());
    }
    let starting = Replicas { ready: 0, ..SETTLED };
    let case = Case { replicas: Some(starting), pods: broken, ..Case::good() };
    let status = case.after(&SSHGatewayStatus::default(), 1);
    let ready = find(&status.conditions, READY).unwrap();
    assert_eq!(ready.message, "0 of 2 gateway pods are ready: image gw:1 cannot be pulled");
}

#[test]
fn sessions_are_unknown_while_no_ready_pod_answers() {
    let mut silent = pods(2, "x");
    silent.0.iter_mut().for_each(|pod| pod.report = None);
    let case = Case { pods: silent, ..Case::good() };
    assert_eq!(case.after(&SSHGatewayStatus::default(), 1).sessions, None);
}

#[test]
fn a_new_object_is_never_taken_for_healthy() {
    let mut conditions = vec![];
    first(&mut conditions, Some(1), &at(1));
    assert_eq!(find(&conditions, READY).unwrap().status, "Unknown");
    assert!(is_true(&conditions, RECONCILING));
}

#[test]
fn an_error_of_the_cluster_does_not_take_readiness_away() {
    let mut conditions = Case::good().after(&SSHGatewayStatus::default(), 1).conditions;
    let error = Error::Timeout { what: "apply Service a/b".into(), after: CALL_TIMEOUT };
    failed(&mut conditions, &error, Some(4), &at(2));
    assert!(is_true(&conditions, READY) && is_true(&conditions, RECONCILING));
    let taken = Error::Foreign { kind: "Service".into(), namespace: "a".into(), name: "b".into() };
    failed(&mut conditions, &taken, Some(4), &at(3));
    assert!(is_true(&conditions, STALLED) && !is_true(&conditions, READY));
}

#[test]
fn events_tell_of_transitions_and_of_nothing_else() {
    let fresh = SSHGatewayStatus::default();
    let starting = Case { replicas: Some(Replicas { ready: 0, ..SETTLED }), ..Case::good() }.after(&fresh, 1);
    assert_eq!(happenings(&[], &starting.conditions), [], "a start is no news");
    let ready = Case::good().after(&starting, 2);
    let told = happenings(&starting.conditions, &ready.conditions);
    assert_eq!(told.iter().map(|h| (h.warning, h.reason.as_str())).collect::<Vec<_>>(), [(false, "Ready")]);
    let finding = Finding::new(Subject::Accepted, Reason::InvalidPodTemplate, "refused");
    let broken = Case { findings: vec![finding], ..Case::good() }.after(&ready, 3);
    let told = happenings(&ready.conditions, &broken.conditions);
    assert!(!told.is_empty() && told.iter().all(|h| h.warning && h.note == "refused"), "{told:?}");
    assert_eq!(happenings(&broken.conditions, &broken.conditions), []);
}

proptest! {
    /// What kstatus (Flux, Argo CD) relies on, whatever the facts.
    #[test]
    fn conditions_always_make_sense(
        ready in 0..4, updated in 0..4, existing in 0..4, desired in 0..4, current: bool, obeys: bool,
        known: bool, broken in proptest::option::of(0..3_usize),
    ) {
        let subjects = [
            (Subject::Accepted, Reason::Invalid),
            (Subject::ResolvedRefs, Reason::RefNotFound),
            (Subject::AuditPolicyResolved, Reason::NoDestination),
        ];
        let findings: Vec<Finding> =
            broken.map(|n| Finding::new(subjects[n].0, subjects[n].1, "wrong")).into_iter().collect();
        let hash = if obeys { audit().hash } else { "old".to_owned() };
        let case = Case {
            missing: None,
            findings: findings.clone(),
            audit: (broken != Some(2)).then(audit),
            replicas: known.then_some(Replicas { desired, ready, updated, existing, current }),
            pods: pods(usize::try_from(ready).unwrap(), &hash),
        };
        let status = case.after(&Case::good().after(&SSHGatewayStatus::default(), 1), 2);
        let conditions = &status.conditions;
        prop_assert!(find(conditions, READY).is_some());
        prop_assert!(!(is_true(conditions, RECONCILING) && is_true(conditions, STALLED)));
        prop_assert!(conditions.iter().all(|c| c.status != "False" || (c.type_ != RECONCILING && c.type_ != STALLED)));
        prop_assert!(findings.is_empty() || !is_true(conditions, READY));
        let mut names: Vec<_> = conditions.iter().map(|c| c.type_.clone()).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), conditions.len());
        prop_assert_eq!(case.after(&status, 3), status);
    }
}
