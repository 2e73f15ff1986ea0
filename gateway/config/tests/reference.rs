//! ContainerSSH's keys and defaults, line by line of `data/reference.tsv`, and files as its versions wrote them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use containerssh_config::{AuthMethod, Config, Curve, GitHub, Syntax};
use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("data/reference.tsv");

struct Row {
    key: &'static str,
    reference: Value,
    verdict: &'static str,
    ours: Option<Value>,
}

fn rows() -> Vec<Row> {
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let ours = cells.get(3).filter(|cell| **cell != "-").map(|cell| json(cell));
            Row { key: cells[0], reference: json(cells[1]), verdict: cells[2], ours }
        })
        .collect()
}

fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.pointer(&format!("/{}", key.replace('.', "/"))).unwrap_or(&Value::Null)
}

/// A file that sets one key to a value and is otherwise the least that validates.
fn file(key: &str, value: &Value) -> String {
    let mut whole = json!({
        "auth": {"publicKey": {"authorizedKeys": {"paths": ["/keys/%u"]}}},
        "configserver": {"url": "http://config.example"},
    });
    if key.starts_with("auth.authz.webhook") {
        whole["auth"]["authz"] = json!({"method": "webhook", "webhook": {"url": "http://authz.example"}});
    }
    if key.starts_with("auth.keyboardInteractive.oauth2") {
        whole["auth"]["keyboardInteractive"] = json!({"method": "oauth2", "oauth2": {
            "clientId": "gateway", "oidc": {"url": "http://idp.example", "deviceFlow": true},
        }});
    }
    if key.starts_with("auth.keyboardInteractive.oauth2.github")
        || key == "auth.keyboardInteractive.oauth2.provider"
    {
        whole["auth"]["keyboardInteractive"]["oauth2"] = json!({"clientId": "gateway", "provider": "github"});
    }
    for section in ["password", "publicKey"] {
        if key.starts_with(&format!("auth.{section}.webhook")) {
            whole["auth"][section] = json!({"method": "webhook", "webhook": {"url": "http://hook.example"}});
        }
    }
    let mut place = &mut whole;
    for part in key.split('.') {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value.clone();
    serde_saphyr::to_string(&whole).unwrap()
}

/// Values that ContainerSSH has as "not set", which cannot be set here.
fn is_placeholder(row: &Row) -> bool {
    row.reference == json!("") && row.ours == Some(Value::Null)
}

#[test]
fn defaults_are_what_the_table_says() {
    let mut config = Config::default();
    // Sections that are left out while they say nothing.
    config.configserver.url = "x".into();
    config.auth.authz.webhook.url = "x".into();
    config.auth.keyboard_interactive.oauth2.client_id = "x".into();
    let mut actual = serde_json::to_value(&config).unwrap();
    actual["configserver"]["url"] = json!("");
    actual["auth"]["authz"]["webhook"]["url"] = json!("");
    actual["auth"]["keyboardInteractive"]["oauth2"]["clientId"] = json!("");
    actual["auth"]["keyboardInteractive"]["oauth2"]["github"] =
        serde_json::to_value(GitHub::default()).unwrap();
    actual["kubernetes"]["pod"]["spec"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    actual["geoip"] = serde_json::to_value(&Config::default().geoip).unwrap();
    actual["log"]["file"] = json!(Config::default().log.file);
    actual["log"]["syslog"] = serde_json::to_value(&Config::default().log.syslog).unwrap();
    let pod = &Config::default().kubernetes.pod;
    actual["kubernetes"]["pod"]["agentPath"] = json!(pod.agent_path);
    actual["audit"]["intercept"]["forwarding"] = json!(Config::default().audit.intercept.forwarding);
    actual["kubernetes"]["pod"]["createMissingPods"] = json!(pod.create_missing_pods);
    for row in rows() {
        let actual = at(&actual, row.key);
        match (row.verdict, &row.ours) {
            ("same", None) => assert_eq!(actual, &row.reference, "{}", row.key),
            ("other", Some(ours)) => {
                assert_eq!(actual, ours, "{}", row.key);
                assert_ne!(actual, &row.reference, "{}: say \"same\"", row.key);
            }
            ("refused", None) => {}
            other => panic!("{}: {other:?} makes no sense", row.key),
        }
    }
}

#[test]
fn the_reference_s_own_values_are_accepted_or_refused_by_name_and_line() {
    for row in rows() {
        if is_placeholder(&row)
            || row.key.ends_with("webhook.url")
            || row.key == "configserver.url"
            || row.key.ends_with("oauth2.clientId")
        {
            continue;
        }
        let text = file(row.key, &row.reference);
        let result = Config::parse(&text, "config.yaml", Syntax::Yaml);
        match row.verdict {
            "refused" => {
                let error = result.map(|_| ()).expect_err(row.key);
                let problem = &error.problems()[0];
                assert!(problem.message.contains(row.key), "{}: {error}", row.key);
                assert!(
                    problem.message.contains("not supported by this version")
                        || problem.message.contains("this version has no"),
                    "{error}"
                );
                let line = text.lines().nth(problem.line.unwrap() as usize - 1).unwrap();
                assert!(line.contains(row.key.rsplit('.').next().unwrap()), "{}: {line}", row.key);
            }
            _ => {
                if row.key == "kubernetes.pod.metadata.generateName"
                    || row.key == "kubernetes.connection.host"
                    // An agent needs the image that it is taken from, which the error names.
                    || row.key == "kubernetes.pod.disableAgent"
                {
                    continue;
                }
                result.unwrap_or_else(|error| panic!("{}: {error}\n{text}", row.key));
            }
        }
    }
}

#[test]
fn durations_are_nanoseconds_in_json_or_words() {
    let text = r#"{"auth": {"password": {"method": "webhook", "webhook": {"url": "http://a", "timeout": 5000000000, "authTimeout": "90s"}}}}"#;
    let config = Config::parse(text, "config.json", Syntax::Json).unwrap();
    assert_eq!(config.auth.password.webhook.timeout.as_secs(), 5);
    assert_eq!(config.auth.password.webhook.auth_timeout.as_secs(), 90);
}

fn warned(text: &str) -> (Config, Vec<String>) {
    let (config, warnings) = Config::parse_with_warnings(text, "config.yaml", Syntax::Yaml)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(warnings.iter().all(|warning| warning.code == "CONFIG_AUTH_URL_DEPRECATED"));
    (config, warnings.iter().map(ToString::to_string).collect())
}

#[test]
fn a_file_of_version_0_4_means_the_same_and_is_warned_of() {
    let (config, warnings) = warned(
        "ssh:\n  hostkeys: [/etc/ssh/key]\nauth:\n  timeout: 3s\n  url: \"http://auth.example\"\n  pubkey: true\n  password: true\n",
    );
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("line 5: auth.url is ContainerSSH 0.4's"), "{warnings:?}");
    for (method, webhook) in [
        (config.auth.password.method, &config.auth.password.webhook),
        (config.auth.public_key.method, &config.auth.public_key.webhook),
    ] {
        assert_eq!(method, AuthMethod::Webhook);
        assert_eq!(webhook.url, "http://auth.example");
        assert_eq!(webhook.timeout.as_secs(), 3);
    }
}

#[test]
fn switches_of_version_0_4_count() {
    let (config, _) = warned("auth: {url: 'http://a', pubkey: false}");
    assert_eq!(config.auth.password.method, AuthMethod::Webhook);
    assert_eq!(config.auth.public_key.method, AuthMethod::None);
    let (config, _) = warned("auth: {url: 'http://a', password: false}");
    assert_eq!(config.auth.password.method, AuthMethod::None);
    assert_eq!(config.auth.public_key.method, AuthMethod::Webhook);
    let error =
        Config::parse("auth: {url: 'http://a', password: false, pubkey: false}", "c.yaml", Syntax::Yaml)
            .unwrap_err();
    assert!(error.to_string().contains("nobody could log in"), "{error}");
}

#[test]
fn a_section_of_today_wins_over_the_old_url() {
    let (config, warnings) = warned(
        "auth:\n  url: http://old\n  password: {method: webhook, webhook: {url: 'http://new'}}\n  publicKey: {authorizedKeys: {paths: [/keys/%u]}}\n",
    );
    assert_eq!(config.auth.password.webhook.url, "http://new");
    assert_eq!(config.auth.public_key.webhook.url, "http://old");
    assert_eq!(config.auth.public_key.authorized_keys.paths, ["/keys/%u"]);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn old_keys_without_the_old_url_say_where_they_belong() {
    for (text, line, expected) in [
        ("auth:\n  password: true\n", 2, "auth.password"),
        ("auth:\n  pubkey: true\n  publicKey: {authorizedKeys: {paths: [/k]}}\n", 2, "auth.pubkey"),
        ("auth:\n  publicKey: {authorizedKeys: {paths: [/k]}}\n  cacert: x\n", 3, "auth.cacert"),
    ] {
        let error = Config::parse(text, "c.yaml", Syntax::Yaml).unwrap_err();
        let problem = error
            .problems()
            .iter()
            .find(|problem| problem.path == expected)
            .unwrap_or_else(|| panic!("{error}"));
        assert_eq!(problem.line, Some(line), "{error}");
        assert!(problem.message.contains("auth.url"), "{error}");
    }
}

#[test]
fn tls_names_are_understood_in_every_spelling() {
    let hook = |extra: &str| {
        let text = format!("auth: {{password: {{method: webhook, webhook: {{url: 'https://a', {extra}}}}}}}");
        Config::parse(&text, "c.yaml", Syntax::Yaml).map(|config| config.auth.password.webhook)
    };
    assert_eq!(hook("curves: 'X25519:prime256v1'").unwrap().curves, [Curve::X25519, Curve::Secp256r1]);
    assert_eq!(hook("curves: [secp384r1]").unwrap().curves, [Curve::Secp384r1]);
    let suites =
        hook("tlsVersion: '1.2', cipher: 'ECDHE-RSA-AES128-GCM-SHA256:TLS_ECDHE_RSA_AES_128_GCM_SHA256'")
            .unwrap()
            .cipher;
    assert_eq!(suites[0], suites[1]);
    for (wrong, words) in [
        ("curves: [x448]", "is not one of"),
        ("curves: [secp521r1]", "nothing that the TLS library has"),
        ("cipher: [TLS_RSA_WITH_NULL_MD5]", "is not one of"),
        ("cipher: [ECDHE-RSA-AES128-GCM-SHA256]", "no cipher suite of TLS 1.3"),
    ] {
        let error = hook(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn methods_in_a_row_have_to_be_configured_and_make_sense() {
    let parse = |lists: &str| {
        let text = format!(
            "auth: {{authenticationMethods: {lists}, publicKey: {{authorizedKeys: {{paths: [/k]}}}}, \
             password: {{method: webhook, webhook: {{url: 'http://a'}}}}}}"
        );
        Config::parse(&text, "c.yaml", Syntax::Yaml).map(|config| config.auth.authentication_methods)
    };
    let lists = parse("['publickey,password', password]").unwrap();
    assert_eq!(lists.iter().map(ToString::to_string).collect::<Vec<_>>(), ["publickey,password", "password"]);
    for (wrong, words) in [
        ("['publickey,keyboard-interactive']", "not configured"),
        ("['publickey,publickey']", "twice"),
        ("['']", "is not one of"),
        ("[gssapi-with-mic]", "is not one of"),
        ("publickey", "must be a list"),
    ] {
        let error = parse(wrong).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("auth.authenticationMethods"), "{wrong}: {error}");
    }
}

#[test]
fn circuit_breakers_and_the_teardown_webhook_are_configured_like_everything_else() {
    let parse = |auth: &str| {
        let text = format!("auth: {{publicKey: {{authorizedKeys: {{paths: [/k]}}}}, {auth}}}");
        Config::parse(&text, "c.yaml", Syntax::Yaml).map(|config| config.auth)
    };
    let webhook =
        |extra: &str| format!("password: {{method: webhook, webhook: {{url: 'http://a', {extra}}}}}");
    let default = parse(&webhook("")).unwrap().password.webhook.circuit_breaker;
    assert_eq!((default.failures, default.open_for.as_secs()), (5, 10));
    let off = parse(&webhook("circuitBreaker: {failures: 0}")).unwrap().password.webhook.circuit_breaker;
    assert_eq!(off.failures, 0);
    let teardown = parse("teardown: {method: webhook, webhook: {url: 'http://a', authTimeout: 1h}}").unwrap();
    assert_eq!(teardown.teardown.webhook.auth_timeout.as_secs(), 3600);
    for (wrong, key, words) in [
        (webhook("circuitBreaker: {openFor: 1ms}"), "circuitBreaker.openFor", "at least 100ms"),
        (webhook("circuitBreaker: {failure: 3}"), "circuitBreaker.failure", "did you mean \"failures\""),
        (webhook("circuitBreaker: {failures: -1}"), "circuitBreaker.failures", ""),
        ("teardown: {method: webhook}".to_owned(), "auth.teardown.webhook.url", "is missing"),
        ("teardown: {webhook: {url: 'http://a'}}".to_owned(), "auth.teardown.method", "must be \"webhook\""),
        (
            "teardown: {method: webhook, webhook: {url: 'http://a', circuitBreaker: {failures: 3}}}"
                .to_owned(),
            "auth.teardown.webhook.circuitBreaker",
            "has no effect",
        ),
    ] {
        let error = parse(&wrong).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn github_is_configured_by_the_reference_s_keys() {
    let parse = |oauth2: &str| {
        let text = format!("auth: {{keyboardInteractive: {{method: oauth2, oauth2: {{{oauth2}}}}}}}");
        Config::parse(&text, "c.yaml", Syntax::Yaml).map(|config| config.auth.keyboard_interactive)
    };
    let github = "clientId: c, provider: github";
    let least = parse(github).unwrap();
    assert_eq!((least.redirect(), least.oauth2.has_device_flow()), (None, true));
    let both = parse(&format!("{github}, clientSecret: s, deviceFlowClients: [SSH-2.0-OpenSSH]")).unwrap();
    assert!(both.redirect().is_some());
    let strict =
        parse(&format!("{github}, github: {{requireOrgMembership: acme, require2FA: true}}")).unwrap();
    assert_eq!(strict.oauth2.github.require_org_membership, "acme");
    assert!(strict.oauth2.github.require_2fa && strict.oauth2.github.enforce_username);
    for (wrong, words) in [
        ("provider: github", "oauth2.clientId"),
        ("clientId: c, github: {require2FA: true}", "must be \"github\""),
        ("clientId: c, provider: github, oidc: {url: 'http://a'}", "must be \"oidc\""),
        ("clientId: c, provider: github, deviceFlowClients: [x]", "oauth2.clientSecret"),
        ("clientId: c, provider: github, github: {requireOrgMembership: a/b}", "one organisation's name"),
        ("clientId: c, provider: github, github: {enforceScopes: ['a b']}", "one scope in each entry"),
        ("clientId: c, provider: github, github: {apiurl: api}", "must begin with http"),
        ("clientId: c, provider: github, github: {apiUrl: 'http://a'}", "did you mean \"apiurl\""),
        ("clientId: c, provider: generic", "does not say who the user is"),
    ] {
        let error = parse(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn logs_go_where_the_reference_s_keys_say() {
    let parse = |log: &str| {
        let text = format!("log: {{{log}}}\nauth: {{publicKey: {{authorizedKeys: {{paths: [/k]}}}}}}");
        Config::parse(&text, "c.yaml", Syntax::Yaml)
    };
    let syslog =
        parse("destination: syslog, syslog: {destination: 'logs.example:514', facility: local7, pid: true}");
    let syslog = syslog.unwrap().log.syslog;
    assert_eq!((syslog.facility.number(), syslog.is_local(), syslog.connection()), (23, false, None));
    let tls = parse("destination: syslog, syslog: {destination: '[::1]:6514', protocol: tls}").unwrap();
    assert_eq!(tls.log.syslog.connection().unwrap().host_and_port(), Some(("::1", 6514)));
    let stdout = parse("destination: stdout, file: relative").unwrap();
    assert_eq!(stdout.static_fingerprint(), parse("").unwrap().static_fingerprint());
    assert_ne!(stdout.static_fingerprint(), tls.static_fingerprint(), "another output needs a restart");
    for (wrong, words) in [
        ("destination: file, file: relative.log", "log.file (must be an absolute path)"),
        ("destination: syslog, syslog: {destination: logs}", "log.syslog.destination (must be"),
        ("destination: syslog, syslog: {destination: 'logs:0'}", "log.syslog.destination (must be"),
        ("destination: syslog, syslog: {protocol: tcp}", "log.syslog.protocol (has no effect"),
        ("destination: syslog, syslog: {cacert: /ca}", "log.syslog.cacert"),
        ("destination: syslog, syslog: {destination: 'l:1', protocol: tls, cert: /c}", "log.syslog.key"),
        ("destination: syslog, syslog: {tag: 'a b'}", "log.syslog.tag"),
        ("destination: syslog, syslog: {facility: local8}", "log.syslog.facility"),
        ("destination: sylog", "log.destination"),
    ] {
        let error = parse(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}
