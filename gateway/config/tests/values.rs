//! What a file means: defaults, explicit values, and that what is written reads back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::time::Duration;

use containerssh_config::{
    ByteSize, Cipher, Config, ForwardingMode, LogFormat, LogLevel, OnFailure, OnFull, PemOrFile, PodMode,
    Syntax, WarmPool,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const FULL: &str = include_str!("data/full.yaml");
/// The least that validates.
const LEAST: &str = "auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\n";

fn yaml(text: &str) -> Config {
    Config::parse(text, "config.yaml", Syntax::Yaml).unwrap_or_else(|error| panic!("{error}\n---\n{text}"))
}

fn with(extra: &str) -> Config {
    yaml(&format!("{LEAST}{extra}"))
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null)
}

#[test]
fn defaults_are_the_reference_s() {
    let value = serde_json::to_value(Config::default()).unwrap();
    let minute = json!("1m");
    for (path, expected) in [
        ("ssh.listen", json!("0.0.0.0:2222")),
        ("ssh.serverVersion", json!("SSH-2.0-ContainerSSH")),
        ("ssh.banner", json!("")),
        ("ssh.hostkeys", json!([])),
        ("ssh.clientAliveInterval", json!("0s")),
        ("ssh.clientAliveCountMax", json!(3)),
        ("auth.password.method", json!("")),
        ("auth.password.webhook.url", json!("")),
        ("auth.password.webhook.allowRedirects", json!(false)),
        ("auth.password.webhook.timeout", json!("2s")),
        ("auth.password.webhook.authTimeout", minute.clone()),
        ("auth.password.webhook.tlsVersion", json!("1.3")),
        ("auth.publicKey.method", json!("")),
        ("auth.publicKey.webhook.authTimeout", minute.clone()),
        ("kubernetes.connection.path", json!("/api")),
        ("kubernetes.connection.qps", json!(50.0)),
        ("kubernetes.connection.burst", json!(100)),
        ("kubernetes.pod.metadata.namespace", json!("default")),
        ("kubernetes.pod.spec.containers.0.name", json!("shell")),
        ("kubernetes.pod.spec.containers.0.image", json!("containerssh/containerssh-guest-image")),
        ("kubernetes.pod.consoleContainerNumber", json!(0)),
        ("kubernetes.pod.mode", json!("connection")),
        ("kubernetes.pod.subsystems", json!({"sftp": "/usr/lib/openssh/sftp-server"})),
        ("kubernetes.timeouts.podStart", minute.clone()),
        ("kubernetes.timeouts.podStop", minute.clone()),
        ("kubernetes.timeouts.commandStart", minute.clone()),
        ("kubernetes.timeouts.signal", minute.clone()),
        ("kubernetes.timeouts.window", minute),
        ("kubernetes.timeouts.http", json!("15s")),
        ("audit.enable", json!(false)),
        ("audit.format", json!("none")),
        ("audit.storage", json!("none")),
        ("audit.file.directory", json!("/var/log/audit")),
        ("audit.s3.local", json!("/var/lib/audit")),
        ("audit.s3.pathStyleAccess", json!(false)),
        ("audit.s3.uploadPartSize", json!(5_242_880)),
        ("audit.s3.parallelUploads", json!(20)),
        ("audit.s3.metadata", json!({"ip": false, "username": false})),
        ("audit.intercept", json!({"stdin": false, "stdout": false, "stderr": false, "passwords": false})),
        ("security.defaultMode", json!("")),
        ("security.forwarding.x11ForwardingMode", json!("disable")),
        ("log.level", json!("notice")),
        ("log.format", json!("ljson")),
        ("log.destination", json!("stdout")),
        ("metrics", json!({"enable": false, "listen": "0.0.0.0:9100", "path": "/metrics"})),
        ("health", json!({"enable": false, "listen": "0.0.0.0:7000"})),
        // Ours.
        ("backend", json!("kubernetes")),
        (
            "ssh.limits",
            json!({"connections": 10000, "unauthenticated": 1024, "perSource": 0, "sessionsPerConnection": 64}),
        ),
        ("ssh.loginGraceTime", json!("2m")),
        ("kubernetes.pod.deadline", json!("168h")),
        ("kubernetes.pod.disableAgent", json!(true)),
        ("audit.formatVersion", json!(1)),
        ("audit.s3.serverSideEncryption", json!({"type": "none"})),
        ("audit.s3.objectLock", json!({"mode": "none", "legalHold": false})),
        ("audit.s3.abortStaleUploadsAfter", json!("24h")),
        ("audit.onFailure", json!("deny")),
        ("audit.events", json!([])),
        ("audit.eventLimits", json!({"queue": "64Mi", "dataBytes": "32Ki"})),
        ("audit.spool", json!({"size": "10Gi", "onFull": "block", "durability": "group"})),
        ("audit.encryption", json!({"recipients": []})),
        ("audit.signing", json!({})),
        ("session", json!({"maxDuration": "0s", "idleTimeout": "0s"})),
        ("drain", json!({"timeout": "1m"})),
    ] {
        assert_eq!(*at(&value, path), expected, "{path}");
    }
}

#[test]
fn only_modern_algorithms_are_offered_by_default() {
    let value = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(
        *at(&value, "ssh.kex"),
        json!(["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"])
    );
    assert_eq!(
        *at(&value, "ssh.ciphers"),
        json!([
            "chacha20-poly1305@openssh.com",
            "aes256-gcm@openssh.com",
            "aes128-gcm@openssh.com",
            "aes256-ctr",
            "aes128-ctr"
        ])
    );
    assert_eq!(
        *at(&value, "ssh.macs"),
        json!(["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"])
    );
}

#[test]
fn a_full_file_is_taken_over() {
    let config = yaml(FULL);
    assert_eq!(config.ssh.ciphers, [Cipher::Aes256Gcm, Cipher::Aes192Ctr]);
    assert_eq!(config.ssh.limits.connections, 0);
    assert_eq!(config.ssh.hostkeys[0].file().unwrap().to_str(), Some("/etc/containerssh/host.key"));
    assert!(config.ssh.hostkeys[1].is_inline());
    assert_eq!(config.auth.password.webhook.timeout, Duration::from_millis(100));
    assert_eq!(config.auth.password.webhook.auth_timeout, Duration::from_secs(5400));
    assert_eq!(config.auth.public_key.webhook.timeout, Duration::from_secs(3));
    assert_eq!(config.kubernetes.connection.bearer_token.as_ref().unwrap().expose(), "SECRET5");
    assert_eq!(config.kubernetes.pod.metadata.namespace.as_deref(), Some("shells"));
    let limits = config.kubernetes.pod.spec.containers[0].resources.as_ref().unwrap();
    assert_eq!(limits.limits.as_ref().unwrap()["cpu"].0, "1");
    assert_eq!(limits.requests.as_ref().unwrap()["cpu"].0, "0.5");
    assert_eq!(limits.requests.as_ref().unwrap()["memory"].0, "1000000");
    assert_eq!(config.kubernetes.pod.deadline, Duration::ZERO);
    assert!(config.kubernetes.pod.subsystems.is_empty());
    assert_eq!(config.audit.spool.size, ByteSize(3 << 29));
    assert_eq!((config.audit.on_failure, config.audit.spool.on_full), (OnFailure::Allow, OnFull::Drop));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Text));
    assert_eq!(config.metrics.listen, "[::]:9101".parse().unwrap());
    assert_eq!(config.drain.timeout, Duration::ZERO);
}

#[test]
fn explicit_zeros_and_empties_are_what_they_say() {
    let config = with(
        "ssh: {limits: {connections: 0, sessionsPerConnection: 0}, loginGraceTime: 0}\n\
         kubernetes: {pod: {subsystems: {}, deadline: 0s}}\ndrain: {timeout: 0}\nlog: {level: emerg}\n",
    );
    assert_eq!((config.ssh.limits.connections, config.ssh.limits.sessions_per_connection), (0, 0));
    assert_eq!(config.ssh.limits.unauthenticated, 1024);
    assert_eq!(config.ssh.login_grace_time, Duration::ZERO);
    assert!(config.kubernetes.pod.subsystems.is_empty());
    assert_eq!(config.kubernetes.pod.deadline, Duration::ZERO);
    assert_eq!(config.drain.timeout, Duration::ZERO);
    assert_eq!(config.log.level, LogLevel::Emerg);
}

#[test]
fn an_authority_alone_is_a_way_to_log_in() {
    let with = |methods: &str| {
        let text = format!(
            "auth: {{{methods}publicKey: {{certificates: {{authorities: [/etc/ca.pub]}}}}}}\n\
             kubernetes: {{pod: {{spec: {{containers: [{{name: c, image: i}}]}}}}}}\n"
        );
        Config::parse(&text, "c.yaml", Syntax::Yaml)
    };
    assert!(with("").unwrap().auth.has_method());
    with("authenticationMethods: [publickey], ").unwrap();
    assert!(with("authenticationMethods: [password], ").unwrap_err().to_string().contains("not configured"));
}

#[test]
fn an_absent_value_is_the_default() {
    let config = with("ssh:\nlog: ~\naudit:\n  s3: null\ndrain:\n  timeout:\n");
    assert_eq!(config, with(""));
}

#[test]
fn a_given_pod_replaces_the_default_one_but_keeps_its_namespace() {
    let config =
        with("kubernetes: {pod: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: y}]}}}\n");
    assert_eq!(config.kubernetes.pod.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(config.kubernetes.pod.spec.containers.len(), 1);
    assert_eq!(config.kubernetes.pod.spec.containers[0].image.as_deref(), Some("y"));
    // The default image is not inherited by a container that names none.
    let error = Config::parse(
        &format!("{LEAST}kubernetes: {{pod: {{spec: {{containers: [{{name: x}}]}}}}}}"),
        "f",
        Syntax::Yaml,
    )
    .unwrap_err();
    assert!(error.to_string().contains("kubernetes.pod.spec.containers[0].image (is missing)"), "{error}");
}

#[test]
fn anchors_and_merge_keys_work() {
    let config = yaml(
        "auth:\n  password:\n    method: webhook\n    webhook: &hook {url: 'http://a', timeout: 1s}\n  publicKey:\n    \
         method: webhook\n    webhook:\n      <<: *hook\n      url: http://b\n",
    );
    assert_eq!(config.auth.public_key.webhook.url, "http://b");
    assert_eq!(config.auth.public_key.webhook.timeout, Duration::from_secs(1));
}

#[test]
fn json_means_the_same_as_yaml() {
    let config = yaml(FULL);
    let json = serde_json::to_string_pretty(&config).unwrap();
    assert_eq!(Config::parse(&json, "config.json", Syntax::Json).unwrap(), config);
    // Tabs, escapes and durations in nanoseconds, as JSON has them.
    let text = "{\n\t\"auth\": {\"publicKey\": {\"authorizedKeys\": {\"paths\": [\"\\/k\\u0065ys\\/%u\"]}}},\n\t\
                \"drain\": {\"timeout\": 5000000000}\n}";
    let config = Config::parse(text, "config.json", Syntax::Json).unwrap();
    assert_eq!(config.auth.public_key.authorized_keys.paths, ["/keys/%u"]);
    assert_eq!(config.drain.timeout, Duration::from_secs(5));
}

#[test]
fn a_file_is_json_by_its_name() {
    let directory = std::env::temp_dir().join(format!("containerssh-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (json, yaml) = (directory.join("c.json"), directory.join("c.yaml"));
    std::fs::write(&json, LEAST).unwrap();
    std::fs::write(&yaml, LEAST).unwrap();
    assert!(Config::load(&json).unwrap_err().to_string().contains("c.json:1: is not valid JSON"));
    assert_eq!(Config::load(&yaml).unwrap(), with(""));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_is_written_reads_back_to_the_same() {
    for text in [FULL, LEAST] {
        let config = yaml(text);
        let written = config.to_yaml().unwrap();
        assert_eq!(yaml(&written), config, "{written}");
        assert_eq!(yaml(&written).to_yaml().unwrap(), written);
    }
}

#[test]
fn secrets_show_only_in_the_file_itself() {
    let config = yaml(FULL);
    let (written, dumped, debug) = (config.to_yaml().unwrap(), config.dump().unwrap(), format!("{config:?}"));
    for number in 1..=8 {
        let secret = format!("SECRET{number}");
        assert!(written.contains(&secret), "{secret}");
        assert!(!dumped.contains(&secret), "{secret}\n{dumped}");
        assert!(!debug.contains(&secret), "{secret}\n{debug}");
    }
    // What is no secret stays readable, and writing after dumping is not masked.
    for public in ["PUBLIC1", "/etc/containerssh/host.key", "/etc/containerssh/tls.key", "audit-logs"] {
        assert!(dumped.contains(public), "{public}\n{dumped}");
    }
    assert_eq!(config.to_yaml().unwrap(), written);
}

#[test]
fn inline_text_that_may_be_a_key_is_hidden_however_broken() {
    for text in [
        "-----BEGIN RSA PRIVATE KEY-----\nSECRET",
        "  -----BEGIN PRIVATE KEY-----\nSECRET",
        "SECRET\n-----END PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\nSECRET",
    ] {
        let mut config = with("");
        config.ssh.hostkeys = vec![PemOrFile::new(text)];
        assert!(!config.dump().unwrap().contains("SECRET"), "{text}");
        assert!(!format!("{config:?}").contains("SECRET"), "{text}");
    }
}

#[test]
fn the_fingerprint_changes_with_what_needs_a_restart_and_nothing_else() {
    let base = with("");
    let print = base.static_fingerprint();
    assert_eq!(print.len(), 64);
    assert_eq!(print, with("").static_fingerprint());
    for restart in [
        "ssh: {listen: '127.0.0.1:22'}",
        "ssh: {hostkeys: [/a]}",
        "audit: {s3: {local: /x}}",
        "audit: {file: {directory: /x}}",
        "health: {enable: true}",
        "health: {listen: '127.0.0.1:1'}",
        "metrics: {listen: '127.0.0.1:1'}",
        "metrics: {path: /x}",
    ] {
        assert_ne!(with(restart).static_fingerprint(), print, "{restart}");
    }
    for reload in [
        "ssh: {banner: hi, limits: {connections: 1}}",
        "audit: {s3: {bucket: other}, intercept: {stdin: true}, policy: {hash: x}}",
        "log: {level: debug}",
        "drain: {timeout: 1s}",
        "session: {idleTimeout: 1s}",
        "kubernetes: {pod: {spec: {containers: [{name: a, image: b}]}}}",
    ] {
        assert_eq!(with(reload).static_fingerprint(), print, "{reload}");
    }
}

fn configs() -> impl Strategy<Value = Config> {
    let text = "\\PC{0,40}";
    let durations = prop::collection::vec(0..u64::from(u32::MAX), 3);
    let words = prop::collection::btree_map("[A-Za-z_]{1,8}", "\\PC{1,20}", 0..4);
    let odd = prop_oneof![
        any::<String>(),
        Just("null".to_owned()),
        Just("~".to_owned()),
        Just("no".to_owned()),
        Just("1.3".to_owned()),
        Just("0x10".to_owned()),
        Just("- a\n  b: c\n\n\n".to_owned()),
        Just("  leading\n trailing  \n".to_owned()),
        Just("line\r\nends\ttabs\u{7f}\u{85}\u{2028}\u{feff}".to_owned()),
    ];
    (text, durations, words, odd, any::<[bool; 6]>(), any::<u32>(), 1..u64::MAX / 4).prop_map(
        |(text, nanos, words, odd, flags, number, size)| {
            let mut config = with("");
            config.ssh.banner = odd.chars().take(4000).collect();
            config.ssh.limits.per_source = number;
            config.session.max_duration = Duration::from_nanos(nanos[0]);
            config.drain.timeout = Duration::from_nanos(nanos[1]);
            config.kubernetes.pod.expose_auth_metadata_as_env =
                words.keys().map(|word| (format!("{word} of"), word.clone())).collect();
            config.kubernetes.pod.metadata.annotations = Some(words);
            config.kubernetes.pod.idle_command = vec!["sh".into(), odd];
            config.audit.policy.hash = text;
            config.audit.spool.size = ByteSize(size);
            config.audit.intercept.stdin = flags[0];
            config.audit.intercept.passwords = flags[1];
            config.metrics.enable = flags[2];
            config.health.enable = flags[3];
            config.audit.s3.path_style_access = flags[4];
            config.audit.s3.metadata.ip = flags[5];
            config
        },
    )
}

proptest! {
    #[test]
    fn any_configuration_reads_back_to_the_same(config in configs()) {
        let written = config.to_yaml().unwrap();
        let read = Config::parse(&written, "f", Syntax::Yaml).map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?;
        prop_assert_eq!(&read, &config);
        let json = serde_json::to_string(&config).unwrap();
        let read = Config::parse(&json, "f", Syntax::Json).map_err(|error| TestCaseError::fail(format!("{error}\n{json}")))?;
        prop_assert_eq!(&read, &config);
    }
}

#[test]
fn forwarding_and_what_stands_around_connections_are_configured_and_left_out_where_they_are_not() {
    let text = "auth: {publicKey: {authorizedKeys: {paths: [/keys]}}}
ssh: {motd: hello, limits: {perUser: 3}, proxyProtocol: {trustedCIDRs: [10.0.0.0/8, '2001:db8::/32']}}
security: {forwarding: {forwardingMode: enable, agentForwardingMode: enable, socketListenMode: filter}}
audit: {intercept: {forwarding: true}}
";
    let config = Config::parse(text, "c.yaml", Syntax::Yaml).unwrap();
    assert_eq!((config.ssh.motd.as_str(), config.ssh.limits.per_user), ("hello", 3));
    assert_eq!(config.ssh.proxy_protocol.trusted_cidrs.len(), 2);
    let forwarding = &config.security.forwarding;
    assert_eq!(forwarding.forwarding_mode, ForwardingMode::Enable);
    assert_eq!(forwarding.agent_forwarding_mode, ForwardingMode::Enable);
    assert_eq!(forwarding.socket_listen_mode, ForwardingMode::Disable);
    assert!(config.audit.intercept.forwarding);
    assert_eq!(Config::parse(&config.to_yaml().unwrap(), "c.yaml", Syntax::Yaml).unwrap(), config);
    let default = Config::default().to_yaml().unwrap();
    for key in ["motd", "perUser", "proxyProtocol", "agentForwardingMode"] {
        assert!(!default.contains(key), "{key}");
    }
}

#[test]
fn the_models_of_execution_are_taken_over() {
    let persistent = with(
        "kubernetes: {pod: {mode: persistent, metadata: {name: 'dev-{username}'}, createMissingPods: true, idleTimeout: 8h}}\n",
    );
    let pod = &persistent.kubernetes.pod;
    assert_eq!(pod.mode, PodMode::Persistent);
    assert!(pod.create_missing_pods && pod.creates_pods());
    assert_eq!(pod.idle_timeout, Duration::from_secs(8 * 3600));
    // A pod that is there already brings its own containers and command.
    let attached = with(
        "kubernetes: {pod: {mode: persistent, metadata: {name: box}, consoleContainerNumber: 3, idleCommand: []}}\n",
    );
    assert!(!attached.kubernetes.pod.creates_pods());
    let session = with(
        "kubernetes: {pod: {mode: session, spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}\n",
    );
    assert_eq!(session.kubernetes.pod.mode, PodMode::Session);
    let pool = with("kubernetes: {pod: {warmPool: {size: 3}}}\n").kubernetes.pod.warm_pool;
    assert_eq!(pool, WarmPool { size: 3, max_age: Duration::from_secs(3600) });
}
