use super::*;
use containerssh_crds::conditions::find;
use jiff::Timestamp;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn after(facts: &Facts) -> AuditPolicyStatus {
    compute(&AuditPolicyStatus::default(), Some(3), facts, &at(1))
}

fn reason<'a>(status: &'a AuditPolicyStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = find(&status.conditions, type_).unwrap();
    (condition.status.as_str(), condition.reason.as_str())
}

#[test]
fn a_policy_is_ready_once_every_covered_gateway_obeys_it() {
    let facts = Facts { namespaces: 2, gateways: 3, programmed: 3, ..Facts::default() };
    let status = after(&facts);
    assert_eq!(reason(&status, READY), ("True", "Ready"));
    assert_eq!(reason(&status, PROGRAMMED), ("True", "Programmed"));
    assert_eq!((status.matched_namespaces, status.matched_gateways), (Some(2), Some(3)));
    assert!(find(&status.conditions, RECONCILING).is_none() && find(&status.conditions, STALLED).is_none());
}

#[test]
fn gateways_that_lag_are_named() {
    let facts = Facts { gateways: 3, programmed: 2, lagging: vec!["a/dev".into()], ..Facts::default() };
    let status = after(&facts);
    assert_eq!(reason(&status, READY), ("False", "PolicyRollingOut"));
    assert!(
        find(&status.conditions, PROGRAMMED)
            .unwrap()
            .message
            .contains("2 of 3 gateways obey it; waiting for a/dev")
    );
    assert!(is_true(&status.conditions, RECONCILING));
}

#[test]
fn a_policy_without_gateways_has_done_all_it_can() {
    assert_eq!(reason(&after(&Facts::default()), PROGRAMMED), ("True", "NoMatch"));
    assert_eq!(reason(&after(&Facts::default()), READY), ("True", "Ready"));
}

#[test]
fn a_contradiction_needs_a_person_and_an_unused_storage_does_not() {
    let contradicted =
        Facts { gateways: 1, programmed: 1, contradictions: vec!["stdin".into()], ..Facts::default() };
    let status = after(&contradicted);
    assert_eq!(reason(&status, ACCEPTED), ("False", "Conflicted"));
    assert!(is_true(&status.conditions, STALLED));
    let overridden =
        Facts { gateways: 1, programmed: 1, overridden: vec!["storage".into()], ..Facts::default() };
    let status = after(&overridden);
    assert_eq!(reason(&status, PROGRAMMED), ("True", "PartiallyProgrammed"));
    assert_eq!(reason(&status, READY), ("True", "Ready"));
}

#[test]
fn a_missing_secret_is_named_and_its_arrival_clears_all() {
    let missing = Facts { missing: vec!["operator/s3".into()], ..Facts::default() };
    let status = after(&missing);
    assert_eq!(reason(&status, ACCEPTED), ("False", "RefNotFound"));
    let mended = compute(&status, Some(3), &Facts::default(), &at(2));
    assert_eq!(reason(&mended, READY), ("True", "Ready"));
    assert!(find(&mended.conditions, RECONCILING).is_none());
    assert_eq!(compute(&mended, Some(3), &Facts::default(), &at(9)), mended, "nothing new, nothing written");
}
