//! Whatever a policy looks like: no panic, and no gateway that runs with less than what a policy enforces.

use std::sync::Arc;

use containerssh_crds::{AuditFormat, AuditTier, Demand, SSHGateway, merge::OriginKind};
use proptest::{prelude::*, sample::Index, strategy::ValueTree};
use serde_json::{Value, json};

use crate::{
    baseline::Fallback,
    children::Owner,
    gather::{audit, audit::GuardedPolicy, pod_check},
    index::Name,
    plan::{Audit, AuditKeys, Inputs, ServerFiles, config, hostkeys::HostKeys, plan},
    served::Kinds,
    status::now,
};

const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6vSqCZE2CmfN1cIktvGcA9gYbCSEBSSOobNKb5YJ9X";
const FULL: &str = include_str!("../../../crds/tests/objects/policy-full.yaml");

/// Any JSON that a newer release, a broken client or an edited etcd may hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        "\\PC{0,12}".prop_map(Value::from),
        // Words that mean something somewhere.
        proptest::sample::select(vec![
            "None",
            "Binary",
            "Asciinema",
            "Allow",
            "Deny",
            "Require",
            "Forbid",
            "Drop",
            "0s",
            "1ms",
            "99999h",
            "1Gi",
            "0",
            "",
            "a",
            "{year}/",
            "/x",
            "age1",
            "2030-01-01T00:00:00Z",
            "https://[::1",
            "-----BEGIN CERTIFICATE-----",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every place below the value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut step = |name: &str, value: &Value| {
        let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(place.clone());
        places(value, &place, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| step(name, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| step(&i.to_string(), value)),
        _ => {}
    }
}

/// A full policy for the gateway's namespace, with some of its values replaced.
fn policy() -> impl Strategy<Value = GuardedPolicy> {
    proptest::collection::vec((any::<Index>(), value()), 0..4).prop_map(|changes| {
        let mut object: Value = serde_saphyr::from_str(FULL).unwrap();
        object["spec"]["namespaces"] = json!(["team-a"]);
        for (index, value) in changes {
            let mut found = Vec::new();
            places(&object["spec"], "/spec", &mut found);
            // Who is covered is another property's business.
            found
                .retain(|place| !place.starts_with("/spec/namespace") && !place.starts_with("/spec/exclude"));
            let place = index.get(&found);
            *object.pointer_mut(place).unwrap() = value;
        }
        serde_json::from_value(object).unwrap()
    })
}

fn gateway(wish: &Value) -> SSHGateway {
    let mut object = json!({
        "apiVersion": "containerssh.io/v1alpha1", "kind": "SSHGateway",
        "metadata": {"name": "dev", "namespace": "team-a", "uid": "u"},
        "spec": {
            "authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": "k"}}]}},
            "backend": {"kubernetes": {"podTemplate": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}},
        },
    });
    object["spec"]["audit"] = wish.clone();
    serde_json::from_value(object).unwrap()
}

fn owner() -> Owner {
    Owner { name: Name::within("team-a", "dev"), uid: "u".into() }
}

/// Wishes that ask for as little as possible, and for what is not theirs.
fn wish() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!({}),
        json!({"format": "None", "onFailure": "Allow", "spool": {"onFull": "Drop", "size": "1Gi", "durability": "Group"}}),
        json!({"intercept": {"stdin": "Forbid", "stdout": "Forbid", "stderr": "Forbid", "passwords": "Require"}}),
        json!({"storage": {"s3": {"bucket": "mine", "region": "r"}}, "objectLock": {"mode": "None"}}),
    ])
}

/// Fails where the configuration gives less than the tier demands.
fn assert_obeyed(tier: &AuditTier, audit: &Audit) {
    let mut rendered = containerssh_config::Config::default();
    config::impose(&mut rendered, audit);
    let rendered = rendered.audit;
    if tier.format.is_some_and(|format| format != AuditFormat::None) || tier.storage.is_some() {
        assert!(rendered.is_recording());
    }
    let intercept = tier.intercept.unwrap_or_default();
    for (demand, recorded) in [
        (intercept.stdin, rendered.intercept.stdin),
        (intercept.stdout, rendered.intercept.stdout),
        (intercept.stderr, rendered.intercept.stderr),
        (intercept.passwords, rendered.intercept.passwords),
        (intercept.forwarding, rendered.intercept.forwarding),
    ] {
        assert!(demand.is_none_or(|demand| recorded == (demand == Demand::Require)), "{demand:?}");
    }
    if tier.on_failure == Some(containerssh_crds::OnFailure::Deny) {
        assert_eq!(rendered.on_failure, containerssh_config::OnFailure::Deny);
    }
    assert!(tier.encrypt_to.iter().all(|to| rendered.encryption.recipients.contains(to)));
    assert!(rendered.events.len() >= tier.events.len().min(1));
    if let Some(storage) = &tier.storage {
        assert_eq!(rendered.s3.bucket, storage.s3.bucket);
        assert_eq!(audit.effective.storage.as_ref().unwrap().from.kind, OriginKind::Policy);
    }
    if let Some(retention) = tier.object_lock.and_then(|lock| lock.retention)
        && rendered.s3.object_lock.mode != containerssh_config::LockMode::None
    {
        assert!(rendered.s3.object_lock.retention >= retention.get());
    }
}

/// The property below would hold of nothing if every policy were refused.
#[test]
fn a_full_policy_is_obeyed_whatever_the_gateway_wishes() {
    let mut object: Value = serde_saphyr::from_str(FULL).unwrap();
    object["spec"]["namespaces"] = json!(["team-a"]);
    let policy: GuardedPolicy = serde_json::from_value(object).unwrap();
    let tier = policy.0.as_ref().unwrap().spec.enforce.clone().unwrap();
    let policies = [Arc::new(policy)];
    let wish = json!({"format": "None", "intercept": {"stdin": "Forbid"}, "onFailure": "Allow"});
    let fallback = Fallback::default();
    let resolved =
        audit::resolve(&gateway(&wish), &owner(), &policies, |_| Some([].into()), &fallback, &now());
    let audit = resolved.unwrap().unwrap().audit(AuditKeys::default());
    assert_eq!(config::check(&audit), Ok(()));
    assert_obeyed(&tier, &audit);
}

const GATEWAY: &str = include_str!("../../../crds/tests/objects/gateway-full.yaml");

/// A gateway that uses every field, with some of its values replaced; None = it cannot be decoded, which is told elsewhere.
fn odd_gateway() -> impl Strategy<Value = Option<SSHGateway>> {
    proptest::collection::vec((any::<Index>(), value()), 0..5).prop_map(|changes| {
        let mut object: Value = serde_saphyr::from_str(GATEWAY).unwrap();
        object["metadata"] = json!({"name": "dev", "namespace": "team-a", "uid": "u"});
        // A field of the future is a finding, and would hide everything else.
        object
            .pointer_mut("/spec/backend/kubernetes/podTemplate/spec")
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("fieldOfANewerCluster");
        object
            .pointer_mut("/spec/template/volumes/0")
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("fieldOfANewerCluster");
        for (index, value) in changes {
            let mut found = Vec::new();
            places(&object["spec"], "/spec", &mut found);
            let place = index.get(&found);
            *object.pointer_mut(place).unwrap() = value;
        }
        serde_json::from_value(object).ok()
    })
}

fn inputs_of(gateway: SSHGateway, policy: GuardedPolicy) -> Option<Inputs> {
    let policies = [Arc::new(policy)];
    let fallback = Fallback::default();
    let resolved = audit::resolve(&gateway, &owner(), &policies, |_| Some([].into()), &fallback, &now());
    let audit = resolved.unwrap().ok()?.audit(AuditKeys::default());
    config::check(&audit).ok()?;
    Some(Inputs {
        owner: owner(),
        default_image: "gateway:1".into(),
        agent_image: "agent".into(),
        operator_namespace: "containerssh".into(),
        pod: pod_check::known_fields(&gateway.spec.backend.kubernetes.pod_template.spec).ok()?,
        volumes: pod_check::known_volumes(&gateway).ok()?,
        audit,
        host_keys: HostKeys { secret: "k".into(), files: vec!["k".into()], fingerprints: vec!["f".into()] },
        authorities: vec![AUTHORITY.to_owned()],
        servers: ServerFiles::default(),
        served: Kinds { service_monitor: true, tcp_route: true },
        gateway: Arc::new(gateway),
    })
}

fn full_policy() -> GuardedPolicy {
    let mut object: Value = serde_saphyr::from_str(FULL).unwrap();
    object["spec"]["namespaces"] = json!(["team-a"]);
    object["spec"]["enforce"]["allow"] =
        json!({"subsystems": ["sftp"], "forwarding": ["Direct"], "modes": ["Connection"]});
    serde_json::from_value(object).unwrap()
}

/// The property below would hold of nothing if every gateway were refused.
#[test]
fn a_full_gateway_gets_a_plan_under_a_full_policy() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let plans = (0..64).filter(|_| {
        let gateway = odd_gateway().new_tree(&mut runner).unwrap().current();
        gateway
            .and_then(|gateway| inputs_of(gateway, full_policy()))
            .is_some_and(|inputs| plan(&inputs).is_ok())
    });
    assert!(plans.count() > 8);
}

proptest! {
    // Each renders, writes and reads a whole configuration.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_gateway_makes_the_operator_panic_or_gets_more_than_its_policy_allows(gateway in odd_gateway()) {
        let Some(inputs) = gateway.and_then(|gateway| inputs_of(gateway, full_policy())) else { return Ok(()) };
        let Ok(_) = plan(&inputs) else { return Ok(()) };
        let rendered = config::render(&inputs);
        let tier = full_policy().0.unwrap().spec.enforce.unwrap();
        assert_obeyed(&tier, &inputs.audit);
        prop_assert!(rendered.kubernetes.pod.subsystems.keys().all(|name| name == "sftp"));
        let never = containerssh_config::ForwardingMode::Disable;
        let forwarding = &rendered.security.forwarding;
        prop_assert_eq!(forwarding.reverse_forwarding_mode, never);
        prop_assert_eq!(forwarding.x11_forwarding_mode, never);
        prop_assert_eq!(forwarding.agent_forwarding_mode, never);
        // The file that the gateway reads says the same.
        let text = rendered.to_yaml().unwrap();
        let read = containerssh_config::Config::parse(&text, "config", containerssh_config::Syntax::Yaml);
        prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(rendered));
    }
}

proptest! {
    #[test]
    fn no_policy_makes_the_operator_panic_or_a_gateway_run_with_less(policy in policy(), wish in wish()) {
        let enforced = policy.0.as_ref().ok().map(|policy| policy.spec.enforce.clone().unwrap_or_default());
        let policies = [Arc::new(policy)];
        let gateway = gateway(&wish);
        let resolved = audit::resolve(
            &gateway, &owner(), &policies, |_| Some([].into()), &Fallback::default(), &now(),
        ).unwrap();
        match (enforced, resolved) {
            (Some(tier), Ok(resolved)) => {
                let keys = AuditKeys::default();
                let audit = resolved.audit(keys);
                // What the gateway would refuse reaches none.
                if config::check(&audit).is_ok() {
                    assert_obeyed(&tier, &audit);
                }
            }
            (Some(_), Err(finding)) => prop_assert!(!finding.message.is_empty()),
            (None, Ok(_)) => prop_assert!(false, "a policy that cannot be read binds nobody"),
            (None, Err(finding)) => prop_assert!(finding.message.contains("cannot be read"), "{}", finding),
        }
    }
}
