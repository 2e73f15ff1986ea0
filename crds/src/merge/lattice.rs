//! The order of strictness, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{Allow, AuditTier, Demand, Intercept, ObjectLock, SessionLimits, Span, SpoolDemand};

/// The stricter of two values whose order is that of strictness; absence is the laxest.
fn stricter<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.max(b)
}

/// The shorter of two limits. Zero would mean "no limit" further down, so it counts as absence here.
fn shorter(a: Option<Span>, b: Option<Span>) -> Option<Span> {
    match (a.and_then(Span::nonzero), b.and_then(Span::nonzero)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What is in both lists, sorted; absence admits everything.
fn in_both<T: Ord + Clone>(a: Option<&Vec<T>>, b: Option<&Vec<T>>) -> Option<Vec<T>> {
    let set = |list: &Vec<T>| list.iter().cloned().collect::<BTreeSet<_>>();
    let list = match (a.map(set), b.map(set)) {
        (Some(a), Some(b)) => a.intersection(&b).cloned().collect(),
        (a, b) => a.or(b)?,
    };
    Some(list.into_iter().collect())
}

/// What is in either list, in an order that depends on nothing but the contents.
pub(super) fn in_either<T: Clone + Serialize>(a: &[T], b: &[T]) -> Vec<T> {
    let all: BTreeMap<String, &T> = a.iter().chain(b).map(|item| (key(item), item)).collect();
    all.into_values().cloned().collect()
}

/// What tells one item of a list from another. These types are plain data, which always has a JSON form.
pub(super) fn key(item: &impl Serialize) -> String {
    serde_json::to_string(item).unwrap_or_default()
}

/// Joins two tiers. `a` is the one of higher precedence, which tells only in the fields without an order.
pub(super) fn join(a: &AuditTier, b: &AuditTier) -> AuditTier {
    fieldwise(a, b, Join)
}

/// Takes each field from `a`, else from `b`.
pub(super) fn or(a: &AuditTier, b: &AuditTier) -> AuditTier {
    fieldwise(a, b, Or)
}

/// Joins tiers that come in order of precedence.
pub(super) fn join_all<'a>(tiers: impl Iterator<Item = &'a AuditTier>) -> AuditTier {
    tiers.fold(AuditTier::default(), |joined, tier| join(&joined, tier))
}

/// How two values of a field become one.
trait Combine: Copy {
    fn ordered<T: Ord>(self, a: Option<T>, b: Option<T>) -> Option<T>;
    fn limit(self, a: Option<Span>, b: Option<Span>) -> Option<Span>;
    fn list<T: Ord + Clone>(self, a: Option<&Vec<T>>, b: Option<&Vec<T>>) -> Option<Vec<T>>;
    fn set<T: Clone + Serialize>(self, a: &[T], b: &[T]) -> Vec<T>;
}

#[derive(Clone, Copy)]
struct Join;
impl Combine for Join {
    fn ordered<T: Ord>(self, a: Option<T>, b: Option<T>) -> Option<T> {
        stricter(a, b)
    }
    fn limit(self, a: Option<Span>, b: Option<Span>) -> Option<Span> {
        shorter(a, b)
    }
    fn list<T: Ord + Clone>(self, a: Option<&Vec<T>>, b: Option<&Vec<T>>) -> Option<Vec<T>> {
        in_both(a, b)
    }
    fn set<T: Clone + Serialize>(self, a: &[T], b: &[T]) -> Vec<T> {
        in_either(a, b)
    }
}

#[derive(Clone, Copy)]
struct Or;
impl Combine for Or {
    fn ordered<T: Ord>(self, a: Option<T>, b: Option<T>) -> Option<T> {
        a.or(b)
    }
    fn limit(self, a: Option<Span>, b: Option<Span>) -> Option<Span> {
        a.and_then(Span::nonzero).or(b)
    }
    fn list<T: Ord + Clone>(self, a: Option<&Vec<T>>, b: Option<&Vec<T>>) -> Option<Vec<T>> {
        in_both(a.or(b), None)
    }
    fn set<T: Clone + Serialize>(self, a: &[T], b: &[T]) -> Vec<T> {
        in_either(if a.is_empty() { b } else { a }, &[])
    }
}

/// Written without `..`, so that a new field does not compile until its order is decided.
fn fieldwise(a: &AuditTier, b: &AuditTier, how: impl Combine) -> AuditTier {
    let AuditTier {
        format,
        format_version,
        intercept,
        storage,
        object_lock,
        encrypt_to,
        signing,
        spool,
        on_failure,
        events,
        sessions,
        allow,
    } = a;
    AuditTier {
        format: how.ordered(*format, b.format),
        format_version: format_version.or(b.format_version),
        intercept: group(intercept.as_ref(), b.intercept.as_ref(), |a, b| Intercept {
            stdin: a.stdin.or(b.stdin),
            stdout: a.stdout.or(b.stdout),
            stderr: a.stderr.or(b.stderr),
            passwords: a.passwords.or(b.passwords),
            forwarding: a.forwarding.or(b.forwarding),
        }),
        storage: storage.clone().or_else(|| b.storage.clone()),
        object_lock: group(object_lock.as_ref(), b.object_lock.as_ref(), |a, b| ObjectLock {
            mode: how.ordered(a.mode, b.mode),
            retention: how.ordered(a.retention, b.retention),
            legal_hold: how.ordered(a.legal_hold, b.legal_hold),
        }),
        encrypt_to: how.set(encrypt_to, &b.encrypt_to),
        signing: signing.clone().or_else(|| b.signing.clone()),
        spool: group(spool.as_ref(), b.spool.as_ref(), |a, b| SpoolDemand {
            medium: how.ordered(a.medium, b.medium),
            size: how.ordered(a.size, b.size),
            on_full: how.ordered(a.on_full, b.on_full),
            durability: how.ordered(a.durability, b.durability),
        }),
        on_failure: how.ordered(*on_failure, b.on_failure),
        events: how.set(events, &b.events),
        sessions: group(sessions.as_ref(), b.sessions.as_ref(), |a, b| SessionLimits {
            max_duration: how.limit(a.max_duration, b.max_duration),
            idle_timeout: how.limit(a.idle_timeout, b.idle_timeout),
        }),
        allow: group(allow.as_ref(), b.allow.as_ref(), |a, b| Allow {
            subsystems: how.list(a.subsystems.as_ref(), b.subsystems.as_ref()),
            forwarding: how.list(a.forwarding.as_ref(), b.forwarding.as_ref()),
            modes: how.list(a.modes.as_ref(), b.modes.as_ref()),
        }),
    }
}

/// Combines two groups of fields of which either may be absent: an absent group states nothing.
fn group<G: Default>(a: Option<&G>, b: Option<&G>, combine: impl FnOnce(&G, &G) -> G) -> Option<G> {
    if a.is_none() && b.is_none() {
        return None;
    }
    let nothing = G::default();
    Some(combine(a.unwrap_or(&nothing), b.unwrap_or(&nothing)))
}

/// The fields without an order, by path.
pub(super) fn demands(tier: &AuditTier) -> impl Iterator<Item = (&'static str, Option<Demand>)> + use<> {
    let intercept = tier.intercept.unwrap_or_default();
    [
        ("intercept.stdin", intercept.stdin),
        ("intercept.stdout", intercept.stdout),
        ("intercept.stderr", intercept.stderr),
        ("intercept.passwords", intercept.passwords),
        ("intercept.forwarding", intercept.forwarding),
    ]
    .into_iter()
}

/// Paths of the fields that the tier states.
pub(super) fn stated(tier: &AuditTier) -> impl Iterator<Item = &'static str> + use<> {
    let spool = tier.spool.unwrap_or_default();
    let sessions = tier.sessions.unwrap_or_default();
    let lock = tier.object_lock.unwrap_or_default();
    let allow = tier.allow.as_ref();
    [
        ("format", tier.format.is_some()),
        ("formatVersion", tier.format_version.is_some()),
        ("storage", tier.storage.is_some()),
        ("objectLock.mode", lock.mode.is_some()),
        ("objectLock.retention", lock.retention.is_some()),
        ("objectLock.legalHold", lock.legal_hold.is_some()),
        ("encryptTo", !tier.encrypt_to.is_empty()),
        ("signing", tier.signing.is_some()),
        ("spool.medium", spool.medium.is_some()),
        ("spool.size", spool.size.is_some()),
        ("spool.onFull", spool.on_full.is_some()),
        ("spool.durability", spool.durability.is_some()),
        ("onFailure", tier.on_failure.is_some()),
        ("events", !tier.events.is_empty()),
        ("sessions.maxDuration", sessions.max_duration.is_some()),
        ("sessions.idleTimeout", sessions.idle_timeout.is_some()),
        ("allow.subsystems", allow.is_some_and(|allow| allow.subsystems.is_some())),
        ("allow.forwarding", allow.is_some_and(|allow| allow.forwarding.is_some())),
        ("allow.modes", allow.is_some_and(|allow| allow.modes.is_some())),
    ]
    .into_iter()
    .chain(demands(tier).map(|(path, demand)| (path, demand.is_some())))
    .filter_map(|(path, stated)| stated.then_some(path))
}
