//! A full gateway with edits under a full policy with edits: no panic, no configuration that the gateway would not read, and none
//! with less than what the policy enforces, whatever a configuration server says besides.

use std::sync::{Arc, OnceLock};

use containerssh_config::{Config, ForwardingKind, ForwardingMode, OnFailure, Secret, Syntax};
use containerssh_crds::{AuditPolicySpec, Demand, Forwarding, SSHGateway};
use containerssh_operator::baseline::Fallback;
use containerssh_operator::children::Owner;
use containerssh_operator::gather::{audit, audit::GuardedPolicy, pod_check};
use containerssh_operator::index::Name;
use containerssh_operator::plan::hostkeys::HostKeys;
use containerssh_operator::plan::{AuditKeys, Inputs, ServerFiles, config, plan};
use containerssh_operator::served::Kinds;
use containerssh_operator::status::now;
use serde_json::{Value, json};

#[path = "objects.rs"]
mod objects;
use objects::{Bytes, example};

const AUTHORITY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6vSqCZE2CmfN1cIktvGcA9gYbCSEBSSOobNKb5YJ9X";

fn full(kind: &str) -> &'static Value {
    static FULL: OnceLock<[Value; 2]> = OnceLock::new();
    let [gateway, policy] = FULL.get_or_init(|| {
        [
            example(include_str!("../../../crds/tests/objects/gateway-full.yaml")),
            example(include_str!("../../../crds/tests/objects/policy-full.yaml")),
        ]
    });
    if kind == "gateway" { gateway } else { policy }
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut policy = bytes.edited(full("policy"));
    // Whom a policy covers is no question here.
    if let Some(spec) = policy["spec"].as_object_mut() {
        spec.remove("exclude");
        spec.remove("namespaceSelector");
        spec.insert("namespaces".to_owned(), json!(["team-a"]));
    }
    let mut gateway = bytes.edited(full("gateway"));
    gateway["metadata"] = json!({"name": "dev", "namespace": "team-a", "uid": "u"});
    let Ok(gateway) = serde_json::from_value::<SSHGateway>(gateway) else { return };

    let enforced = serde_json::from_value::<AuditPolicySpec>(policy["spec"].clone());
    let guarded: GuardedPolicy =
        serde_json::from_value(policy).expect("an object is guarded, whatever it holds");
    let owner = Owner { name: Name::within("team-a", "dev"), uid: "u".into() };
    let policies = [Arc::new(guarded)];
    let labels = |_: &str| Some([].into());
    let resolved = audit::resolve(&gateway, &owner, &policies, labels, &Fallback::default(), &now());
    let Ok(resolved) = resolved.expect("every namespace is known") else { return };
    let tier = enforced.expect("a policy that cannot be read binds nobody").enforce.unwrap_or_default();
    let audit = resolved.audit(AuditKeys::default());
    if config::check(&audit).is_err() {
        return;
    }

    let spec = &gateway.spec;
    let (Ok(pod), Ok(volumes)) = (
        pod_check::known_fields(&spec.backend.kubernetes.pod_template.spec),
        pod_check::known_volumes(&gateway),
    ) else {
        return;
    };
    let inputs = Inputs {
        owner,
        default_image: "gateway:1".into(),
        agent_image: "agent:1".into(),
        operator_namespace: "containerssh".into(),
        pod,
        volumes,
        audit,
        host_keys: HostKeys { secret: "k".into(), files: vec!["k".into()], fingerprints: vec!["f".into()] },
        authorities: vec![AUTHORITY.to_owned()],
        servers: ServerFiles { client_secret: Some(Secret::new("s")), ..ServerFiles::default() },
        served: Kinds { service_monitor: true, tcp_route: true },
        gateway: Arc::new(gateway),
    };
    if plan(&inputs).is_err() {
        return;
    }
    let rendered = config::render(&inputs);
    let text = rendered.to_yaml().expect("a configuration has a form in YAML");
    let read = Config::parse(&text, "config", Syntax::Yaml).expect("the gateway reads what it is given");
    assert_eq!(read, rendered);

    let intercept = tier.intercept.unwrap_or_default();
    for (demand, recorded) in [
        (intercept.stdin, rendered.audit.intercept.stdin),
        (intercept.stdout, rendered.audit.intercept.stdout),
        (intercept.stderr, rendered.audit.intercept.stderr),
        (intercept.passwords, rendered.audit.intercept.passwords),
    ] {
        assert!(demand.is_none_or(|demand| recorded == (demand == Demand::Require)), "{demand:?}");
    }
    if tier.on_failure == Some(containerssh_crds::OnFailure::Deny) {
        assert_eq!(rendered.audit.on_failure, OnFailure::Deny);
    }
    assert!(tier.encrypt_to.iter().all(|to| rendered.audit.encryption.recipients.contains(to)));
    let allow = tier.allow.unwrap_or_default();
    if let Some(allowed) = &allow.subsystems {
        assert!(rendered.kubernetes.pod.subsystems.keys().all(|name| allowed.contains(name)));
    }
    for (wanted, kind) in [
        (Forwarding::Direct, ForwardingKind::Direct),
        (Forwarding::Reverse, ForwardingKind::Reverse),
        (Forwarding::DirectSocket, ForwardingKind::DirectSocket),
        (Forwarding::ReverseSocket, ForwardingKind::ReverseSocket),
        (Forwarding::X11, ForwardingKind::X11),
        (Forwarding::Agent, ForwardingKind::Agent),
    ] {
        if allow.forwarding.as_ref().is_some_and(|allowed| !allowed.contains(&wanted)) {
            assert!(!rendered.security.forwarding.allows(kind), "{kind}");
            let answer = json!({"security": {"forwarding": {kind.key(): ForwardingMode::Enable.as_str()}}});
            assert!(rendered.overlaid(&answer).is_err(), "{kind} by a configuration server");
        }
    }
    assert!(rendered.overlaid(&json!({"backend": "local"})).is_err());
}
