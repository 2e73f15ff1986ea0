//! What holds for every set of policies.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::{option, prelude::*, sample::Index};

use super::*;
use crate::{
    Allow, ConnectionMode, EventSyslog, EventTarget, Forwarding, Intercept, LockMode, NameRef, ObjectLock,
    S3Storage, SessionLimits, Signing, Size, Span, Storage,
};

fn span() -> impl Strategy<Value = Span> {
    (1..5u64).prop_map(|n| std::time::Duration::from_secs(n).into())
}

fn demand() -> impl Strategy<Value = Option<Demand>> {
    option::of(prop_oneof![Just(Demand::Require), Just(Demand::Forbid)])
}

fn intercept() -> impl Strategy<Value = Intercept> {
    (demand(), demand(), demand(), demand(), demand()).prop_map(
        |(stdin, stdout, stderr, passwords, forwarding)| Intercept {
            stdin,
            stdout,
            stderr,
            passwords,
            forwarding,
        },
    )
}

fn bucket(name: String) -> Storage {
    Storage {
        s3: S3Storage {
            bucket: name,
            region: "r".to_owned(),
            endpoint: None,
            prefix: None,
            path_style_access: None,
            ca_bundle: None,
            acl: None,
            server_side_encryption: None,
            credentials: None,
        },
    }
}

fn storage() -> impl Strategy<Value = Storage> {
    "[ab]{3}".prop_map(bucket)
}

fn spool() -> impl Strategy<Value = SpoolDemand> {
    (
        option::of(prop_oneof![Just(SpoolMedium::EmptyDir), Just(SpoolMedium::Persistent)]),
        option::of((1..5u64).prop_map(|n| Size::from_bytes(n << 32))),
        option::of(prop_oneof![Just(OnFull::Drop), Just(OnFull::Block), Just(OnFull::Deny)]),
        option::of(prop_oneof![Just(Durability::Group), Just(Durability::Strict)]),
    )
        .prop_map(|(medium, size, on_full, durability)| SpoolDemand {
            medium,
            size,
            on_full,
            durability,
        })
}

fn lock() -> impl Strategy<Value = ObjectLock> {
    (
        option::of(prop_oneof![
            Just((LockMode::None, None)),
            span().prop_map(|retention| (LockMode::Governance, Some(retention))),
            span().prop_map(|retention| (LockMode::Compliance, Some(retention))),
        ]),
        option::of(any::<bool>()),
    )
        .prop_map(|(locked, legal_hold)| ObjectLock {
            mode: locked.map(|(mode, _)| mode),
            retention: locked.and_then(|(_, retention)| retention),
            legal_hold,
        })
}

/// Three addresses, so that the most policies and a wish can name is within what a gateway serves.
fn receivers() -> impl Strategy<Value = Vec<EventTarget>> {
    proptest::sample::subsequence(vec!["a:1", "b:1", "c:1"], 0..=3).prop_map(|addresses| {
        let target = |address: &str| EventTarget {
            syslog: Some(EventSyslog { address: address.to_owned(), ..EventSyslog::default() }),
            webhook: None,
        };
        addresses.into_iter().map(target).collect()
    })
}

fn recipients() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(vec!["one", "two", "three"], 0..=3)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn signing() -> impl Strategy<Value = Signing> {
    "[ab]".prop_map(|name| Signing { secret_ref: NameRef { name } })
}

fn allow() -> impl Strategy<Value = Allow> {
    use proptest::sample::subsequence;
    let forwarding = vec![Forwarding::Direct, Forwarding::Reverse, Forwarding::X11];
    (
        option::of(subsequence(vec!["a", "b", "c"], 0..=3)),
        option::of(subsequence(forwarding, 0..=3)),
        option::of(subsequence(
            vec![ConnectionMode::Connection, ConnectionMode::Session, ConnectionMode::Persistent],
            0..=3,
        )),
    )
        .prop_map(|(subsystems, forwarding, modes)| Allow {
            subsystems: subsystems.map(|names| names.into_iter().map(str::to_owned).collect()),
            forwarding,
            modes,
        })
}

prop_compose! {
    fn tier_fields()(
        format in option::of(prop_oneof![
            Just(AuditFormat::None), Just(AuditFormat::Asciinema), Just(AuditFormat::Binary),
        ]),
        format_version in option::of(1..=2),
        protection in (option::of(lock()), recipients(), option::of(signing()), receivers()),
        intercept in option::of(intercept()),
        storage in option::of(storage()),
        spool in option::of(spool()),
        on_failure in option::of(prop_oneof![Just(OnFailure::Allow), Just(OnFailure::Deny)]),
        sessions in option::of((option::of(span()), option::of(span()))),
        allow in option::of(allow()),
    ) -> AuditTier {
        let (object_lock, encrypt_to, signing, events) = protection;
        AuditTier {
            format, format_version, intercept, storage, object_lock, encrypt_to, signing, spool, on_failure, events,
            sessions: sessions.map(|(max_duration, idle_timeout)| SessionLimits { max_duration, idle_timeout }),
            allow,
        }
    }
}

prop_compose! {
    fn policy_fields(name: usize)(
        priority in 0..3, born in 0..3i64, enforce in option::of(tier()), default in option::of(tier()),
    ) -> PolicyInput {
        PolicyInput {
            name: format!("p{name}"),
            uid: None,
            generation: None,
            created: Some(Time(Timestamp::from_second(born).unwrap())),
            priority,
            body: PolicyBody::Readable { enforce, default },
        }
    }
}

/// Boxed, as policies are: the trees of nested tuples are too large for a test thread's stack otherwise.
fn tier() -> BoxedStrategy<AuditTier> {
    tier_fields().boxed()
}

fn policy(name: usize) -> BoxedStrategy<PolicyInput> {
    policy_fields(name).boxed()
}

/// Up to four policies, with a name each.
fn policies() -> impl Strategy<Value = Vec<PolicyInput>> {
    (policy(0), policy(1), policy(2), policy(3), 0..=4usize)
        .prop_map(|(a, b, c, d, n)| [a, b, c, d].into_iter().take(n).collect())
}

/// A baseline with storage, so that no case is lost to a missing destination.
fn floor() -> AuditTier {
    AuditTier { storage: Some(bucket("floor".to_owned())), ..baseline() }
}

fn run(policies: &[PolicyInput], wish: Option<&AuditTier>) -> Merged {
    merge(policies, wish, &floor()).unwrap()
}

fn enforce_only(mut policy: PolicyInput) -> PolicyInput {
    if let PolicyBody::Readable { default, .. } = &mut policy.body {
        *default = None;
    }
    policy
}

proptest! {
    #[test]
    fn the_order_of_policies_never_matters(
        policies in policies(), wish in option::of(tier()), shuffle in proptest::collection::vec(any::<Index>(), 4),
    ) {
        let mut shuffled = policies.clone();
        for (i, index) in shuffle.iter().enumerate().take(shuffled.len()) {
            let j = index.index(shuffled.len());
            shuffled.swap(i, j);
        }
        prop_assert_eq!(run(&policies, wish.as_ref()), run(&shuffled, wish.as_ref()));
    }

    #[test]
    fn a_policy_counts_once_however_often_it_is_given(
        policies in policies(), wish in option::of(tier()),
    ) {
        let twice: Vec<_> = policies.iter().chain(&policies).cloned().collect();
        prop_assert_eq!(run(&policies, wish.as_ref()), run(&twice, wish.as_ref()));
    }

    #[test]
    fn joining_is_a_semilattice(a in tier(), b in tier(), c in tier()) {
        let join = lattice::join;
        let ordered = |mut tier: AuditTier| {
            // Fields without an order follow the precedence instead.
            tier.intercept = None;
            tier.storage = None;
            tier.signing = None;
            tier.format_version = None;
            tier
        };
        let (a, b, c) = (ordered(a), ordered(b), ordered(c));
        prop_assert_eq!(join(&a, &join(&b, &c)), join(&join(&a, &b), &c));
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&a, &a), join(&a, &AuditTier::default()));
    }

    #[test]
    fn an_enforcing_policy_never_relaxes_a_field(
        policies in policies(), wish in option::of(tier()), extra in policy(9).prop_map(enforce_only),
    ) {
        let before = run(&policies, wish.as_ref()).effective;
        let with: Vec<_> = policies.into_iter().chain([extra]).collect();
        let after = run(&with, wish.as_ref()).effective;
        prop_assert_eq!(after.relaxations(&before), Vec::<&str>::new());
    }

    #[test]
    fn a_wish_never_relaxes_what_is_enforced(policies in policies(), wish in tier()) {
        let enforcing: Vec<_> = policies.iter().cloned().map(enforce_only).collect();
        // What is enforced, and nothing else: the laxest baseline there is.
        let laxest = AuditTier {
            format: Some(AuditFormat::None),
            storage: floor().storage,
            spool: Some(SpoolDemand {
                medium: Some(SpoolMedium::EmptyDir),
                size: Some(Size::from_bytes(1)),
                on_full: Some(OnFull::Drop),
                durability: Some(Durability::Group),
            }),
            on_failure: Some(OnFailure::Allow),
            ..AuditTier::default()
        };
        let enforced = merge(&enforcing, None, &laxest).unwrap().effective;
        let wished = run(&policies, Some(&wish)).effective;
        prop_assert_eq!(wished.relaxations(&enforced), Vec::<&str>::new());
    }

    #[test]
    fn enforced_privacy_and_storage_hold_against_any_wish(policies in policies(), wish in tier()) {
        let without = run(&policies, None);
        let with = run(&policies, Some(&wish));
        let tiers = input::by_precedence(&policies).unwrap();
        let enforced = lattice::join_all(tiers.enforce.iter().map(|(_, tier)| *tier));
        let recorded = |effective: &EffectiveAudit| {
            let EffectiveIntercept { stdin, stdout, stderr, passwords, forwarding } = effective.intercept;
            [stdin, stdout, stderr, passwords, forwarding.unwrap_or_default()]
        };
        for ((path, demand), recorded) in lattice::demands(&enforced).zip(recorded(&with.effective)) {
            match demand {
                Some(Demand::Require) => prop_assert!(recorded, "{path}"),
                Some(Demand::Forbid) => prop_assert!(!recorded, "{path}"),
                None => {}
            }
        }
        if enforced.storage.is_some() {
            prop_assert_eq!(with.effective.storage, without.effective.storage);
        }
    }

    #[test]
    fn an_enforced_recipient_stays_one_and_a_wish_adds_none(policies in policies(), wish in tier(), extra in policy(9).prop_map(enforce_only)) {
        let enforced = |policies: &[PolicyInput]| {
            let tiers = input::by_precedence(policies).unwrap();
            lattice::join_all(tiers.enforce.iter().map(|(_, tier)| *tier)).encrypt_to
        };
        let before = enforced(&policies);
        let with: Vec<_> = policies.into_iter().chain([extra]).collect();
        let effective = run(&with, Some(&wish)).effective;
        if effective.format != AuditFormat::None {
            prop_assert!(before.iter().all(|to| effective.encrypt_to.contains(to)));
            let all = enforced(&with);
            prop_assert!(all.is_empty() || effective.encrypt_to == all);
        }
    }

    #[test]
    fn no_setting_is_without_its_reason(policies in policies(), wish in option::of(tier())) {
        let Merged { why, sources, .. } = run(&policies, wish.as_ref());
        prop_assert!(why.values().all(|who| !who.is_empty()));
        // Who is named had a say.
        for who in why.values().flat_map(|who| who.split(", ")) {
            if let Some(name) = who.strip_prefix("AuditPolicy ").and_then(|rest| rest.split(' ').next()) {
                prop_assert!(sources.iter().any(|source| source.name == name), "{who}: {sources:?}");
            }
        }
    }

    #[test]
    fn a_settled_privacy_demand_flips_only_with_a_report(policies in policies(), extra in policy(9).prop_map(enforce_only)) {
        let enforced = |policies: &[PolicyInput]| {
            let tiers = input::by_precedence(policies).unwrap();
            lattice::join_all(tiers.enforce.iter().map(|(_, tier)| *tier))
        };
        let before = enforced(&policies);
        let with: Vec<_> = policies.into_iter().chain([extra]).collect();
        let after = enforced(&with);
        let reported = run(&with, None).conflicts;
        for ((path, before), (_, after)) in lattice::demands(&before).zip(lattice::demands(&after)) {
            let told = reported.iter().any(|conflict| matches!(conflict, Conflict::Contradiction { field, .. } if *field == path));
            prop_assert!(before.is_none() || before == after || told, "{path}");
        }
    }
}
