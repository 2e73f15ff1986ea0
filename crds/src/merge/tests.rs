//! The rules, one by one.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::{SSHGatewaySpec, Size};

fn tier(value: Value) -> AuditTier {
    serde_json::from_value(value).unwrap()
}

/// A policy of priority 0, created at its own second, so that order in a test is order by age.
fn policy(name: &str, born: i64, enforce: Option<Value>, default: Option<Value>) -> PolicyInput {
    PolicyInput {
        name: name.to_owned(),
        uid: Some(format!("uid-{name}")),
        generation: Some(1),
        created: Some(Time(Timestamp::from_second(born).unwrap())),
        priority: 0,
        body: PolicyBody::Readable { enforce: enforce.map(tier), default: default.map(tier) },
    }
}

fn enforcing(name: &str, born: i64, value: Value) -> PolicyInput {
    policy(name, born, Some(value), None)
}

fn merged(policies: &[PolicyInput], wish: Option<Value>) -> Merged {
    merge(policies, wish.map(tier).as_ref(), &baseline()).unwrap()
}

fn s3(bucket: &str) -> Value {
    json!({"s3": {"bucket": bucket, "region": "us-east-1"}})
}

#[test]
fn without_policies_and_wishes_the_baseline_holds() {
    let merged = merged(&[], None);
    assert_eq!(
        serde_json::to_value(&merged.effective).unwrap(),
        json!({
            "format": "None",
            "intercept": {"stdin": false, "stdout": false, "stderr": false, "passwords": false},
            "spool": {"medium": "EmptyDir", "size": "10Gi", "onFull": "Block", "durability": "Group"},
            "onFailure": "Deny",
        })
    );
    assert_eq!(merged.policy(), "Baseline");
    assert_eq!((merged.sources, merged.conflicts), (vec![], vec![]));
}

#[test]
fn a_gateway_can_tighten_what_is_enforced_and_cannot_loosen_it() {
    let demand = json!({
        "format": "Binary", "storage": s3("audit"), "onFailure": "Deny", "spool": {"onFull": "Block", "size": "5Gi"},
        "sessions": {"maxDuration": "12h"}, "allow": {"subsystems": ["sftp", "netconf"]},
    });
    let wish = json!({
        "format": "None", "onFailure": "Allow", "spool": {"onFull": "Deny", "size": "1Gi"},
        "sessions": {"maxDuration": "24h", "idleTimeout": "5m"}, "allow": {"subsystems": ["sftp", "shell"]},
    });
    let Merged { effective, conflicts, .. } = merged(&[enforcing("a", 1, demand)], Some(wish));
    assert_eq!(effective.format, AuditFormat::Binary);
    assert_eq!(effective.on_failure, OnFailure::Deny);
    assert_eq!(effective.spool.on_full, OnFull::Deny, "stricter wishes count");
    assert_eq!(effective.spool.size, Size::from_bytes(5 << 30));
    assert_eq!(effective.sessions.max_duration, Some("12h".parse().unwrap()));
    assert_eq!(effective.sessions.idle_timeout, Some("5m".parse().unwrap()));
    assert_eq!(effective.allow.subsystems, Some(vec!["sftp".to_owned()]));
    let refused: Vec<_> = conflicts
        .iter()
        .map(|conflict| match conflict {
            Conflict::Wish { field } => *field,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        refused,
        ["allow.subsystems", "format", "onFailure", "sessions.maxDuration", "spool.size"],
        "whoever wished is told"
    );
}

#[test]
fn defaults_fill_only_what_nobody_says() {
    let default = json!({"onFailure": "Deny", "sessions": {"maxDuration": "1h", "idleTimeout": "10m"}});
    let wish = json!({"onFailure": "Allow", "sessions": {"maxDuration": "8h"}});
    let Merged { effective, sources, conflicts, .. } =
        merged(&[policy("d", 1, None, Some(default))], Some(wish));
    assert_eq!(effective.on_failure, OnFailure::Allow);
    assert_eq!(effective.sessions.max_duration, Some("8h".parse().unwrap()));
    assert_eq!(effective.sessions.idle_timeout, Some("10m".parse().unwrap()));
    assert_eq!(sources[0].tier, Tier::Default);
    assert_eq!(conflicts, []);
}

#[test]
fn a_default_that_fills_nothing_is_no_source() {
    let merged = merged(
        &[policy("d", 1, None, Some(json!({"onFailure": "Deny"})))],
        Some(json!({"onFailure": "Allow"})),
    );
    assert_eq!(merged.policy(), "Baseline");
}

#[test]
fn an_enforced_lax_value_does_not_undo_a_strict_default() {
    let policies = [
        policy("default", 1, None, Some(json!({"onFailure": "Deny"}))),
        enforcing("enforce", 2, json!({"onFailure": "Allow"})),
    ];
    assert_eq!(merged(&policies, None).effective.on_failure, OnFailure::Deny);
}

#[test]
fn a_zero_limit_never_counts_as_the_shortest() {
    // The schema refuses 0s; a definition of the future may not, and below this zero means "no limit".
    let policies = [
        enforcing("a", 1, json!({"sessions": {"maxDuration": "0s"}})),
        enforcing("b", 2, json!({"sessions": {"maxDuration": "1h"}})),
    ];
    assert_eq!(merged(&policies, None).effective.sessions.max_duration, Some("1h".parse().unwrap()));
}

#[test]
fn enforced_privacy_beats_the_wish_and_the_wish_beats_the_default() {
    let policies = [policy(
        "p",
        1,
        Some(
            json!({"format": "Binary", "storage": s3("audit"), "intercept": {"passwords": "Forbid", "stdin": "Require"}}),
        ),
        Some(json!({"intercept": {"stdout": "Require", "stderr": "Require"}})),
    )];
    let wish = json!({"intercept": {"passwords": "Require", "stdout": "Forbid"}});
    let Merged { effective, conflicts, .. } = merged(&policies, Some(wish));
    let EffectiveIntercept { stdin, stdout, stderr, passwords, .. } = effective.intercept;
    assert_eq!((stdin, stdout, stderr, passwords), (true, false, true, false));
    assert_eq!(conflicts, [Conflict::Wish { field: "intercept.passwords" }]);
}

#[test]
fn contradicting_policies_follow_the_precedence_and_are_told() {
    let with = |stdin: &str| json!({"storage": s3("audit"), "intercept": {"stdin": stdin}});
    let older = enforcing("older", 1, with("Forbid"));
    let younger = enforcing("younger", 2, with("Require"));
    let result = merged(&[younger.clone(), older.clone()], None);
    assert!(!result.effective.intercept.stdin);
    assert_eq!(
        result.conflicts,
        [Conflict::Contradiction {
            field: "intercept.stdin",
            winner: "older".to_owned(),
            loser: "younger".to_owned()
        }]
    );
    let urgent = PolicyInput { priority: 1, ..younger };
    assert!(merged(&[urgent, older], None).effective.intercept.stdin);
}

#[test]
fn storage_is_taken_whole_by_priority_then_age_then_name() {
    let with = |name: &str, born: i64, priority: i32| PolicyInput {
        priority,
        ..enforcing(name, born, json!({"storage": s3(name)}))
    };
    let bucket = |policies: &[PolicyInput]| merged(policies, None).effective.storage.unwrap().s3.bucket;
    assert_eq!(bucket(&[with("bbb", 2, 0), with("aaa", 1, 0), with("ccc", 3, 5)]), "ccc");
    assert_eq!(bucket(&[with("bbb", 2, 0), with("zzz", 1, 0)]), "zzz");
    assert_eq!(bucket(&[with("bbb", 1, 0), with("aaa", 1, 0)]), "aaa");
    let unborn = PolicyInput { created: None, ..with("aaa", 1, 0) };
    assert_eq!(bucket(&[unborn, with("bbb", 9, 0)]), "bbb", "unknown age is youngest");
}

#[test]
fn losers_of_the_storage_are_told_unless_they_name_the_same() {
    let policies = [
        enforcing("a", 1, json!({"storage": s3("one")})),
        enforcing("b", 2, json!({"storage": s3("two")})),
        enforcing("c", 3, json!({"storage": s3("one")})),
    ];
    let result = merged(&policies, Some(json!({"storage": s3("mine")})));
    assert_eq!(
        result.conflicts,
        [
            Conflict::Overruled { field: "storage", winner: "a".to_owned(), loser: "b".to_owned() },
            Conflict::Wish { field: "storage" }
        ]
    );
    assert_eq!(result.effective.storage.unwrap().from, Origin::policy("a"));
}

#[test]
fn the_baselines_storage_is_there_for_whoever_records_and_asks_for_nothing() {
    let floor = AuditTier { storage: Some(serde_json::from_value(s3("floor")).unwrap()), ..baseline() };
    let silent = merge(&[], None, &floor).unwrap().effective;
    assert_eq!((silent.format, silent.storage), (AuditFormat::None, None));
    let asking = merge(&[], Some(&tier(json!({"format": "Binary"}))), &floor).unwrap().effective;
    assert_eq!(asking.storage.unwrap().from, Origin::baseline());
}

#[test]
fn the_gateways_own_storage_counts_over_a_default_one() {
    let policies = [policy("d", 1, None, Some(json!({"storage": s3("theirs")})))];
    assert_eq!(merged(&policies, None).effective.storage.unwrap().from, Origin::policy("d"));
    let result = merged(&policies, Some(json!({"storage": s3("mine")})));
    let storage = result.effective.storage.unwrap();
    assert_eq!((storage.s3.bucket.as_str(), storage.from), ("mine", Origin::gateway()));
    assert_eq!(result.conflicts, []);
}

#[test]
fn records_follow_from_demands() {
    let storage = json!({"storage": s3("audit")});
    assert_eq!(merged(&[], Some(storage.clone())).effective.format, AuditFormat::Binary, "where nobody says");
    let enforced = [enforcing("e", 1, storage.clone())];
    assert_eq!(merged(&enforced, Some(json!({"format": "None"}))).effective.format, AuditFormat::Binary);
    let default = [policy("d", 1, None, Some(storage))];
    let opted_out = merged(&default, Some(json!({"format": "None"}))).effective;
    assert_eq!((opted_out.format, opted_out.storage), (AuditFormat::None, None), "a default can be declined");
    let off = [policy("d", 1, None, Some(json!({"format": "None"})))];
    let wish = json!({"intercept": {"stdin": "Require"}, "storage": s3("mine")});
    assert!(merged(&off, Some(wish)).effective.intercept.stdin, "and so can one that records nothing");
}

#[test]
fn records_without_a_destination_are_an_error_that_names_who_asks() {
    let cases = [
        (
            vec![enforcing("strict", 1, json!({"intercept": {"stdin": "Require"}}))],
            None,
            "AuditPolicy strict",
        ),
        (vec![policy("mild", 1, None, Some(json!({"format": "Binary"})))], None, "AuditPolicy mild"),
        (vec![], Some(tier(json!({"format": "Binary"}))), "spec.audit asks"),
    ];
    for (policies, wish, who) in cases {
        let error = merge(&policies, wish.as_ref(), &baseline()).unwrap_err();
        assert!(matches!(error, MergeError::NoDestination { .. }));
        assert!(error.to_string().contains(who), "{error}");
    }
}

#[test]
fn a_policy_that_cannot_be_read_fails_closed() {
    let unreadable = PolicyInput {
        body: PolicyBody::Unreadable { reason: "unknown variant `Cbor`".to_owned() },
        ..enforcing("future", 9, json!({}))
    };
    let error = merge(&[enforcing("a", 1, json!({})), unreadable], None, &baseline()).unwrap_err();
    assert!(
        error.to_string().starts_with("AuditPolicy future cannot be read (unknown variant `Cbor`)"),
        "{error}"
    );
}

#[test]
fn sources_stand_in_order_of_precedence_and_name_a_policy_once() {
    let both = |name: &str, born: i64| {
        policy(name, born, Some(json!({"onFailure": "Deny"})), Some(json!({"spool": {"size": "1Gi"}})))
    };
    let result = merged(&[both("b", 2), both("a", 1), enforcing("silent", 0, json!({}))], None);
    let sources: Vec<_> = result.sources.iter().map(|s| (s.name.as_str(), s.tier)).collect();
    assert_eq!(
        sources,
        [("a", Tier::Enforce), ("b", Tier::Enforce), ("a", Tier::Default), ("b", Tier::Default)]
    );
    assert_eq!(result.policy(), "a,b");
}

#[test]
fn the_hash_is_of_the_settings_and_nothing_else() {
    let demand = json!({"format": "Binary", "storage": s3("audit"), "onFailure": "Deny"});
    let one = merged(&[enforcing("a", 1, demand.clone())], None);
    let again = PolicyInput { generation: Some(7), uid: None, ..enforcing("a", 3, demand) };
    assert_eq!(one.hash, merged(&[again], None).hash);
    let other = json!({"format": "Binary", "storage": s3("other"), "onFailure": "Deny"});
    assert_ne!(one.hash, merged(&[enforcing("a", 1, other)], None).hash);
    // A change of this value makes every gateway of every cluster report a new policy after an upgrade.
    assert_eq!(merged(&[], None).hash, "0d1dbf7c9e03e9ea28d82eb28d6d2a3ae51d8cd0342a18227f6734fc0dee0e4d");
}

#[test]
fn the_spool_of_the_spec_is_a_wish_too() {
    let spec = |audit: Value| -> SSHGatewaySpec {
        serde_json::from_value(json!({
            "authentication": {}, "backend": {"kubernetes": {"podTemplate": {"spec": {"containers": []}}}},
            "spool": {"medium": "Persistent", "size": "2Gi"}, "audit": audit,
        }))
        .unwrap()
    };
    let spool = spec(json!({"spool": {"size": "4Gi", "onFull": "Drop"}})).wish().unwrap().spool.unwrap();
    assert_eq!(spool.medium, Some(SpoolMedium::Persistent));
    assert_eq!(spool.size, Some(Size::from_bytes(4 << 30)));
    assert_eq!(spool.on_full, Some(OnFull::Drop));
    assert_eq!(spec(json!({})).wish().unwrap().spool.unwrap().size, Some(Size::from_bytes(2 << 30)));
}

#[test]
fn protection_is_joined_wherever_records_go() {
    let policies = [
        enforcing(
            "a",
            1,
            json!({"storage": s3("one"), "objectLock": {"mode": "Governance", "retention": "8760h"}}),
        ),
        enforcing(
            "b",
            2,
            json!({"storage": s3("two"), "objectLock": {"mode": "Compliance", "retention": "720h"}}),
        ),
        enforcing("c", 3, json!({"objectLock": {"legalHold": true}})),
    ];
    let wish = json!({"objectLock": {"mode": "None", "legalHold": false}});
    let Merged { effective, conflicts, .. } = merged(&policies, Some(wish));
    assert_eq!(
        serde_json::to_value(effective.object_lock).unwrap(),
        json!({"mode": "Compliance", "retention": "8760h", "legalHold": true})
    );
    assert_eq!(effective.storage.unwrap().s3.bucket, "one");
    for field in ["objectLock.mode", "objectLock.legalHold"] {
        assert!(conflicts.contains(&Conflict::Wish { field }), "{conflicts:?}");
    }
}

#[test]
fn recipients_add_up_within_a_tier_and_nobody_below_becomes_a_reader() {
    let with = |name: &str, born, to: &str| {
        enforcing(name, born, json!({"storage": s3("audit"), "encryptTo": [to]}))
    };
    let wish = json!({"encryptTo": ["mine"]});
    let both = merged(&[with("a", 1, "one"), with("b", 2, "two")], Some(wish.clone()));
    assert_eq!(both.effective.encrypt_to, ["one", "two"]);
    assert_eq!(both.conflicts, [Conflict::Wish { field: "encryptTo" }]);
    assert_eq!(both.why["encryptTo"], "AuditPolicy a (enforce), AuditPolicy b (enforce)");
    let alone = merged(&[enforcing("a", 1, json!({"storage": s3("audit")}))], Some(wish));
    assert_eq!((alone.effective.encrypt_to, alone.conflicts), (vec!["mine".to_owned()], vec![]));
}

#[test]
fn the_signing_key_is_taken_whole_and_its_giver_is_known() {
    let with = |name: &str, born| {
        enforcing(name, born, json!({"storage": s3("audit"), "signing": {"secretRef": {"name": name}}}))
    };
    let result =
        merged(&[with("aaa", 2), with("bbb", 1)], Some(json!({"signing": {"secretRef": {"name": "mine"}}})));
    let signing = result.effective.signing.unwrap();
    assert_eq!((signing.key.secret_ref.name.as_str(), signing.from), ("bbb", Origin::policy("bbb")));
    assert_eq!(
        result.conflicts,
        [
            Conflict::Overruled { field: "signing", winner: "bbb".to_owned(), loser: "aaa".to_owned() },
            Conflict::Wish { field: "signing" },
        ]
    );
    assert_eq!(result.why["signing"], "AuditPolicy bbb (enforce)");
}

fn receiver(host: &str) -> Value {
    json!({"webhook": {"url": format!("https://{host}/")}})
}

#[test]
fn receivers_of_events_add_up_and_one_named_twice_is_one() {
    let with = |name: &str, born, hosts: &[&str]| {
        let events: Vec<_> = hosts.iter().map(|host| receiver(host)).collect();
        enforcing(name, born, json!({"storage": s3("audit"), "events": events}))
    };
    let policies = [with("a", 1, &["siem"]), with("b", 2, &["siem", "soc"])];
    let result = merged(&policies, Some(json!({"events": [receiver("team"), receiver("siem")]})));
    let told: Vec<_> =
        result.effective.events.iter().map(|e| (e.target.address(), e.from.to_string())).collect();
    assert_eq!(
        told,
        [
            // Whose Secrets are meant tells a team's receiver from a policy's of the same address.
            ("https://siem/", "the gateway's spec.audit".to_owned()),
            ("https://siem/", "AuditPolicy a".to_owned()),
            ("https://soc/", "AuditPolicy b".to_owned()),
            ("https://team/", "the gateway's spec.audit".to_owned()),
        ]
    );
    assert_eq!(result.effective.format, AuditFormat::Binary, "events ask for a record");
}

#[test]
fn a_gateway_serves_so_many_receivers_and_those_of_policies_first() {
    let many = |n: usize| (0..n).map(|i| receiver(&format!("r{i}"))).collect::<Vec<_>>();
    let policy = enforcing("a", 1, json!({"storage": s3("audit"), "events": many(7)}));
    let wish = json!({"events": [receiver("t1"), receiver("t2")]});
    let result = merged(std::slice::from_ref(&policy), Some(wish));
    assert_eq!(result.effective.events.len(), 8);
    assert_eq!(result.conflicts, [Conflict::Wish { field: "events" }]);
    let another = enforcing("b", 2, json!({"events": [receiver("x"), receiver("y")]}));
    let error = merge(&[policy, another], None, &baseline()).unwrap_err();
    assert!(
        error.to_string().contains("9 receivers of events") && error.to_string().ends_with("a, b"),
        "{error}"
    );
}

#[test]
fn the_format_version_is_settled_by_precedence_and_means_nothing_without_the_format() {
    let with = |name: &str, born, version: i32| {
        enforcing(name, born, json!({"storage": s3("audit"), "formatVersion": version}))
    };
    let result = merged(&[with("a", 1, 2), with("b", 2, 1)], None);
    assert_eq!(result.effective.format_version, Some(2));
    assert!(
        matches!(&result.conflicts[..], [Conflict::Overruled { field: "formatVersion", loser, .. }] if loser == "b")
    );
    let casts = merged(
        &[policy("d", 1, None, Some(json!({"formatVersion": 2})))],
        Some(json!({"format": "Asciinema", "storage": s3("mine")})),
    );
    assert_eq!((casts.effective.format, casts.effective.format_version), (AuditFormat::Asciinema, None));
}

#[test]
fn every_setting_says_whose_it_is() {
    let policies = [
        policy(
            "strict",
            1,
            Some(
                json!({"storage": s3("audit"), "onFailure": "Deny", "sessions": {"maxDuration": "8h"}, "intercept": {"stdin": "Require"}}),
            ),
            Some(json!({"sessions": {"idleTimeout": "30m"}})),
        ),
        enforcing("also", 2, json!({"onFailure": "Deny", "sessions": {"maxDuration": "12h"}})),
    ];
    let wish = json!({"spool": {"size": "20Gi"}, "intercept": {"stdin": "Forbid", "stdout": "Require"}});
    let Merged { why, effective, .. } = merged(&policies, Some(wish));
    let of = |path: &str| why.get(path).map(String::as_str).unwrap_or_default();
    assert_eq!(of("onFailure"), "AuditPolicy strict (enforce), AuditPolicy also (enforce)");
    assert_eq!(of("sessions.maxDuration"), "AuditPolicy strict (enforce)");
    assert_eq!(of("sessions.idleTimeout"), "AuditPolicy strict (default)");
    assert_eq!(of("spool.size"), "spec.audit");
    assert_eq!(of("spool.onFull"), "the operator's baseline");
    assert_eq!(of("intercept.stdin"), "AuditPolicy strict (enforce)");
    assert_eq!(of("intercept.stdout"), "spec.audit");
    assert_eq!(of("intercept.passwords"), "built in");
    assert_eq!(of("storage"), "AuditPolicy strict (enforce)");
    assert_eq!(of("format"), "AuditPolicy strict (enforce)", "implied by what the policy demands");
    // Not one setting without an explanation, whatever is added later.
    let shown = serde_json::to_value(&effective).unwrap();
    let groups = ["intercept", "spool", "sessions", "allow", "objectLock"];
    for (name, value) in shown.as_object().unwrap() {
        let explained = match value.as_object().filter(|_| groups.contains(&name.as_str())) {
            Some(group) => group.keys().all(|key| why.contains_key(&format!("{name}.{key}"))),
            None => why.contains_key(name),
        };
        assert!(explained, "{name}: {why:?}");
    }
}

#[test]
fn a_hundred_policies_make_no_endless_explanation() {
    let policies: Vec<_> =
        (0..100).map(|i| enforcing(&format!("p{i:02}"), i, json!({"onFailure": "Deny"}))).collect();
    assert_eq!(
        merged(&policies, None).why["onFailure"],
        "AuditPolicy p00 (enforce), AuditPolicy p01 (enforce), AuditPolicy p02 (enforce) and 97 more"
    );
}
