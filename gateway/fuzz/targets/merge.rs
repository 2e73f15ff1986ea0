//! Up to three policies and a gateway's wish, full ones with edits: merged in any order they give the same, a policy that cannot be
//! read gives nothing, and nobody gets less than what an enforcing policy demands.

use std::sync::OnceLock;

use containerssh_crds::merge::{EffectiveAudit, PolicyBody, PolicyInput, baseline, merge};
use containerssh_crds::{
    AuditFormat, AuditPolicySpec, AuditTier, Demand, Durability, LockMode, OnFailure, OnFull, SpoolMedium,
};
use serde_json::Value;

#[path = "objects.rs"]
mod objects;
use objects::{Bytes, example};

fn full() -> &'static Value {
    static FULL: OnceLock<Value> = OnceLock::new();
    FULL.get_or_init(|| example(include_str!("../../../crds/tests/objects/policy-full.yaml")))
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut policies: Vec<PolicyInput> =
        (0..=bytes.byte() % 3).map(|number| policy(number, &bytes.edited(full()))).collect();
    let wish: Option<AuditTier> = (bytes.byte() & 1 == 1)
        .then(|| serde_json::from_value(bytes.edited(full())["spec"]["enforce"].take()).ok())
        .flatten();

    let merged = merge(&policies, wish.as_ref(), &baseline());
    let unreadable = policies.iter().any(|policy| matches!(policy.body, PolicyBody::Unreadable { .. }));
    assert!(!(unreadable && merged.is_ok()), "a policy that cannot be read binds nobody");
    if let Ok(merged) = &merged {
        for policy in &policies {
            if let PolicyBody::Readable { enforce: Some(tier), .. } = &policy.body {
                obeyed(tier, &merged.effective, policies.len() == 1);
            }
        }
    }
    policies.reverse();
    match (merged, merge(&policies, wish.as_ref(), &baseline())) {
        (Ok(one), Ok(other)) => assert_eq!((one.effective, one.hash), (other.effective, other.hash)),
        (one, other) => assert_eq!(one.is_ok(), other.is_ok(), "the order decides"),
    }
}

fn policy(number: u8, object: &Value) -> PolicyInput {
    let (priority, body) = match serde_json::from_value::<AuditPolicySpec>(object["spec"].clone()) {
        Ok(spec) => (spec.priority(), PolicyBody::Readable { enforce: spec.enforce, default: spec.default }),
        Err(error) => (0, PolicyBody::Unreadable { reason: error.to_string() }),
    };
    PolicyInput {
        name: format!("policy-{number}"),
        uid: None,
        generation: None,
        created: None,
        priority,
        body,
    }
}

/// Panics where the settings give less than a tier demands. Contradictions of several policies are settled by precedence.
fn obeyed(tier: &AuditTier, effective: &EffectiveAudit, alone: bool) {
    match tier.format {
        Some(AuditFormat::Binary) => assert_eq!(effective.format, AuditFormat::Binary),
        Some(AuditFormat::Asciinema) => assert_ne!(effective.format, AuditFormat::None),
        Some(AuditFormat::None) | None => {}
    }
    if alone {
        let (wanted, is) = (tier.intercept.unwrap_or_default(), effective.intercept);
        for (demand, recorded) in [
            (wanted.stdin, is.stdin),
            (wanted.stdout, is.stdout),
            (wanted.stderr, is.stderr),
            (wanted.passwords, is.passwords),
            (wanted.forwarding, is.forwarding.unwrap_or_default()),
        ] {
            assert!(demand.is_none_or(|demand| recorded == (demand == Demand::Require)), "{demand:?}");
        }
    }
    if tier.on_failure == Some(OnFailure::Deny) {
        assert_eq!(effective.on_failure, OnFailure::Deny);
    }
    let spool = tier.spool.unwrap_or_default();
    assert!(
        spool.medium != Some(SpoolMedium::Persistent) || effective.spool.medium == SpoolMedium::Persistent
    );
    assert!(spool.on_full != Some(OnFull::Deny) || effective.spool.on_full == OnFull::Deny);
    assert!(spool.durability != Some(Durability::Strict) || effective.spool.durability == Durability::Strict);
    assert!(spool.size.is_none_or(|size| effective.spool.size >= size));
    assert!(tier.encrypt_to.iter().all(|reader| effective.encrypt_to.contains(reader)));
    let (sessions, limits) = (tier.sessions.unwrap_or_default(), effective.sessions);
    assert!(sessions.max_duration.is_none_or(|most| limits.max_duration.is_some_and(|is| is <= most)));
    assert!(sessions.idle_timeout.is_none_or(|most| limits.idle_timeout.is_some_and(|is| is <= most)));
    let (allow, left) = (tier.allow.clone().unwrap_or_default(), &effective.allow);
    within(allow.subsystems.as_ref(), left.subsystems.as_ref());
    within(allow.forwarding.as_ref(), left.forwarding.as_ref());
    within(allow.modes.as_ref(), left.modes.as_ref());
    let lock = tier.object_lock.unwrap_or_default();
    if lock.mode.is_some_and(|mode| mode != LockMode::None) && effective.format != AuditFormat::None {
        let is = effective.object_lock.expect("a lock is demanded");
        assert!(is.retention >= lock.retention && is.mode.is_some_and(|mode| mode != LockMode::None));
    }
    if tier.storage.is_some() && effective.format != AuditFormat::None {
        assert!(effective.storage.is_some());
    }
}

/// Panics where more is left than a list allows.
fn within<T: PartialEq + std::fmt::Debug>(allowed: Option<&Vec<T>>, left: Option<&Vec<T>>) {
    if let Some(allowed) = allowed {
        let left = left.expect("a limit is demanded");
        assert!(left.iter().all(|item| allowed.contains(item)), "{left:?} of {allowed:?}");
    }
}
