//! What a configuration server may change of one connection, and what not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use containerssh_config::{Config, ForwardingKind, PodMode, PolicyAllow, Syntax};
use proptest::prelude::*;
use serde_json::{Value, json};

fn base() -> Config {
    let text = "auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\n\
                security: {maxSessions: 5, env: {mode: filter, allow: [LANG]}}\n\
                kubernetes: {pod: {metadata: {labels: {a: '1', b: '2'}}, spec: {containers: [{name: c, image: i}]}}}\n";
    Config::parse(text, "c.yaml", Syntax::Yaml).unwrap()
}

fn refused(config: &Config, answer: &Value) -> String {
    config.overlaid(answer).map(|_| panic!("accepted: {answer}")).unwrap_err().to_string()
}

#[test]
fn an_empty_answer_changes_nothing() {
    assert_eq!(base().overlaid(&json!({})).unwrap(), base());
    assert_eq!(
        base().overlaid(&json!({"security": {}, "kubernetes": {"pod": {}}, "backend": null})).unwrap(),
        base()
    );
}

#[test]
fn mappings_are_merged_lists_are_replaced_and_zeros_count() {
    let config = base()
        .overlaid(&json!({
            "security": {"maxSessions": 0, "env": {"allow": []}, "forceCommand": "id"},
            "kubernetes": {"pod": {
                "metadata": {"labels": {"b": "3", "c": "4"}},
                "spec": {"containers": [{"name": "own", "image": "own:1"}, {"name": "side", "image": "s"}]},
                "subsystems": {},
                "consoleContainerNumber": 1,
            }},
            "log": {"level": "debug"},
        }))
        .unwrap();
    assert_eq!(config.security.max_sessions, 0);
    assert_eq!(config.security.env.allow, Vec::<String>::new());
    assert_eq!(config.security.env.mode, base().security.env.mode);
    assert_eq!(config.security.force_command, "id");
    let labels = config.kubernetes.pod.metadata.labels.unwrap();
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("a", "1"), ("b", "3"), ("c", "4")].map(|(a, b)| (a.into(), b.into()))
    );
    assert_eq!(config.kubernetes.pod.spec.containers.len(), 2);
    assert!(config.kubernetes.pod.subsystems.is_empty());
    assert_eq!(config.log.level.as_str(), "debug");
}

#[test]
fn a_whole_structure_of_the_go_library_sets_only_what_is_set() {
    let config = base()
        .overlaid(&json!({
            "ssh": {"listen": "", "ciphers": null, "clientAliveInterval": 0, "hostkeys": []},
            "auth": {"password": {"method": ""}, "url": ""},
            "audit": {"enable": false, "format": ""},
            "docker": {"connection": {"host": ""}, "timeouts": {"http": 0}},
            "sshproxy": {"port": 0},
            "log": {"level": "emerg", "format": "", "syslog": {"pid": false}},
            "backend": "",
            "security": {"maxSessions": 0, "defaultMode": "", "env": {"mode": "", "allow": null, "deny": null}, "forceCommand": "id"},
            "kubernetes": {"connection": {"host": "", "qps": 0}, "pod": {
                "metadata": {"creationTimestamp": null, "annotations": {}},
                "spec": {"containers": [{"name": "own", "image": "own:1", "tty": false}]},
                "subsystems": null,
            }, "timeouts": {"podStart": 0}},
        }))
        .unwrap();
    assert_eq!(config.security.force_command, "id");
    assert_eq!(config.security.max_sessions, 5);
    assert_eq!(config.security.env, base().security.env);
    assert_eq!(config.kubernetes.timeouts, base().kubernetes.timeouts);
    assert_eq!(config.kubernetes.pod.spec.containers[0].image.as_deref(), Some("own:1"));
    assert_eq!(config.log, base().log);
}

#[test]
fn what_has_no_effect_or_no_meaning_is_refused_by_name() {
    for (answer, words) in [
        (json!({"audit": {"enable": true}}), "audit (has no effect for a single connection"),
        (json!({"ssh": {"listen": "0.0.0.0:1"}}), "ssh (has no effect"),
        (json!({"session": {"maxDuration": "0s"}}), "session (cannot be set"),
        (json!({"drain": {}}), "drain (cannot be set"),
        (json!({"log": {"format": "text"}}), "log.format"),
        (json!({"docker": {"execution": {}, "connection": {"host": "x"}}}), "docker is not supported"),
        (json!({"backend": "docker"}), "backend"),
        (json!({"kubernets": {}}), "did you mean \"kubernetes\""),
        (json!({"security": {"maxSession": 1}}), "did you mean \"maxSessions\""),
        (json!({"security": {"maxSessions": "1"}}), "security.maxSessions"),
        (json!({"kubernetes": {"pod": {"spec": {"containers": []}}}}), "at least one container"),
        (json!({"kubernetes": {"pod": {"spec": {"containers": [{"name": "x"}]}}}}), "image"),
        (json!([]), "must be a mapping"),
    ] {
        let error = refused(&base(), &answer);
        assert!(error.contains(words), "{answer}: {error}");
        assert!(error.starts_with("configuration server: "), "{error}");
    }
}

#[test]
fn recording_and_limits_of_sessions_stay_whatever_is_said() {
    let mut config = base();
    config.audit.policy.hash = "abc".into();
    for answer in [json!({"audit": {"intercept": {"stdin": false}, "enable": true}}), json!({"session": {}})]
    {
        refused(&config, &answer);
    }
    let error = refused(&config, &json!({"kubernetes": {"pod": {"subsystems": {"other": "/bin/other"}}}}));
    assert!(error.contains("kubernetes.pod.subsystems.other") && error.contains("audit policy"), "{error}");
    let fewer = config.overlaid(&json!({"kubernetes": {"pod": {"subsystems": {}}}})).unwrap();
    assert!(fewer.kubernetes.pod.subsystems.is_empty());
    assert_eq!(fewer.audit, config.audit);
    assert_eq!(fewer.session, config.session);
}

/// A gateway under a policy that allows little, as the operator writes its file.
fn under_policy() -> Config {
    let mut config = base();
    config.audit.policy.hash = "abc".into();
    config.audit.policy.allow = PolicyAllow {
        forwarding: Some(vec![ForwardingKind::Direct]),
        subsystems: Some(vec!["sftp".into()]),
        modes: Some(vec![PodMode::Connection, PodMode::Session]),
    };
    config
}

#[test]
fn what_a_policy_took_is_not_given_back() {
    let config = under_policy();
    for (answer, words) in [
        (
            json!({"security": {"forwarding": {"x11ForwardingMode": "enable"}}}),
            "forwarding.x11ForwardingMode",
        ),
        (json!({"security": {"forwarding": {"agentForwardingMode": "enable"}}}), "agentForwardingMode"),
        (json!({"kubernetes": {"pod": {"subsystems": {"netconf": "/bin/netconf"}}}}), "subsystems.netconf"),
        (
            json!({"kubernetes": {"pod": {"mode": "persistent", "metadata": {"name": "dev-{username}"}}}}),
            "kubernetes.pod.mode",
        ),
        (json!({"backend": "local"}), "backend"),
        (
            json!({"kubernetes": {"connection": {"host": "https://elsewhere.example", "bearerTokenFile": "/etc/x"}}}),
            "kubernetes.connection",
        ),
        (json!({"kubernetes": {"pod": {"metadata": {"namespace": "other"}}}}), "pod.metadata.namespace"),
    ] {
        let error = refused(&config, &answer);
        assert!(error.contains(words) && error.contains("audit policy"), "{answer}: {error}");
        base().overlaid(&answer).unwrap_or_else(|error| panic!("without a policy: {answer}: {error}"));
    }
}

#[test]
fn what_a_policy_leaves_can_be_set_for_a_connection() {
    let config = under_policy()
        .overlaid(&json!({
            "security": {"forwarding": {"forwardingMode": "enable"}, "shell": {"mode": "disable"}},
            "kubernetes": {"pod": {"mode": "session", "subsystems": {"sftp": "/opt/sftp"}}},
        }))
        .unwrap();
    assert!(config.security.forwarding.allows(ForwardingKind::Direct));
    assert_eq!(config.kubernetes.pod.mode, PodMode::Session);
    assert_eq!(config.kubernetes.pod.subsystems["sftp"], "/opt/sftp");
}

#[test]
fn an_execution_model_that_is_not_allowed_serves_nobody_whatever_the_server_allows_its_users() {
    let mut config = under_policy();
    config.audit.policy.allow.modes = Some(vec![PodMode::Session]);
    for answer in [json!({}), json!({"security": {"shell": {"mode": "enable"}}})] {
        assert!(refused(&config, &answer).contains("kubernetes.pod.mode"), "{answer}");
    }
}

/// A part of what a file may say, and of what it must not.
fn part() -> impl Strategy<Value = Value> {
    let switch = prop_oneof![Just("enable"), Just("disable")];
    let kind = proptest::sample::select(ForwardingKind::ALL);
    prop_oneof![
        4 => (kind, switch.clone()).prop_map(|(kind, mode)| json!({"security": {"forwarding": {kind.key(): mode}}})),
        2 => proptest::sample::select(vec!["sftp", "netconf"])
            .prop_map(|name| json!({"kubernetes": {"pod": {"subsystems": {name: "/bin/x"}}}})),
        1 => Just(json!({"kubernetes": {"pod": {"subsystems": {}}}})),
        2 => proptest::sample::select(vec!["connection", "session", "persistent"])
            .prop_map(|mode| json!({"kubernetes": {"pod": {"mode": mode}}})),
        1 => Just(json!({"kubernetes": {"pod": {"metadata": {"name": "dev-{username}"}}}})),
        1 => proptest::sample::select(vec!["default", "other"])
            .prop_map(|name| json!({"kubernetes": {"pod": {"metadata": {"namespace": name}}}})),
        2 => switch.prop_map(|mode| json!({"security": {"defaultMode": mode, "shell": {"mode": mode}}})),
        1 => proptest::sample::select(vec!["kubernetes", "local"]).prop_map(|name| json!({"backend": name})),
        1 => Just(json!({"kubernetes": {"connection": {"host": "h", "bearerTokenFile": "/t"}}})),
        1 => Just(json!({"audit": {"enable": false, "policy": {"allow": {}}}})),
        1 => Just(json!({"session": {"maxDuration": "0s"}})),
    ]
}

/// Lays one part of an answer over the others.
fn lay(answer: &mut Value, part: Value) {
    match (answer, part) {
        (Value::Object(answer), Value::Object(part)) => {
            for (key, value) in part {
                lay(answer.entry(key).or_insert(Value::Null), value);
            }
        }
        (answer, part) => *answer = part,
    }
}

fn some<T: Clone + std::fmt::Debug + 'static>(of: Vec<T>) -> impl Strategy<Value = Option<Vec<T>>> {
    let most = of.len();
    proptest::option::of(proptest::sample::subsequence(of, 0..=most))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a server answers: what comes of it obeys the policy, or nothing comes of it.
    #[test]
    fn no_answer_gives_more_than_a_policy_allows(
        parts in proptest::collection::vec(part(), 0..5),
        forwarding in some(ForwardingKind::ALL.to_vec()),
        subsystems in some(vec!["sftp".to_owned(), "netconf".to_owned()]),
        modes in some(PodMode::ALL.to_vec()),
    ) {
        let mut gateway = under_policy();
        gateway.audit.policy.allow = PolicyAllow { forwarding, subsystems, modes };
        let mut answer = json!({});
        parts.into_iter().for_each(|part| lay(&mut answer, part));
        let Ok(own) = gateway.overlaid(&answer) else { return Ok(()) };
        let allow = &gateway.audit.policy.allow;
        for kind in ForwardingKind::ALL {
            let allowed = allow.forwarding.as_ref().is_none_or(|allowed| allowed.contains(kind));
            prop_assert!(allowed || !own.security.forwarding.allows(*kind), "{kind} by {answer}");
        }
        for name in own.kubernetes.pod.subsystems.keys() {
            prop_assert!(gateway.kubernetes.pod.subsystems.contains_key(name), "{name} by {answer}");
            prop_assert!(allow.subsystems.as_ref().is_none_or(|allowed| allowed.contains(name)));
        }
        prop_assert!(allow.modes.as_ref().is_none_or(|modes| modes.contains(&own.kubernetes.pod.mode)));
        prop_assert_eq!(&own.audit, &gateway.audit);
        prop_assert_eq!(&own.session, &gateway.session);
        prop_assert_eq!(&own.backend, &gateway.backend);
        prop_assert_eq!(&own.kubernetes.connection, &gateway.kubernetes.connection);
        prop_assert_eq!((&own.auth, &own.ssh, &own.drain), (&gateway.auth, &gateway.ssh, &gateway.drain));
    }
}
