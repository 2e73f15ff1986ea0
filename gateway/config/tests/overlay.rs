//! What a configuration server may change of one connection, and what not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use containerssh_config::{Config, Syntax};
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
