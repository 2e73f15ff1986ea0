//! What is wrong with a file, and how that is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use containerssh_config::{Config, ConfigError, MAX_CONFIG_BYTES, Syntax};
use proptest::prelude::*;
use serde_json::{Value, json};

const FULL: &str = include_str!("data/full.yaml");
const LEAST: &str = "auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\n";

fn error(text: &str) -> ConfigError {
    Config::parse(text, "c.yaml", Syntax::Yaml).err().unwrap_or_else(|| panic!("was accepted:\n{text}"))
}

fn full() -> Value {
    serde_saphyr::from_str(FULL).unwrap()
}

/// Mappings whose keys are the user's own.
const FREE: [&str; 11] = [
    "subsystems",
    "exposeAuthMetadataAsEnv",
    "exposeAuthMetadataAsLabels",
    "exposeAuthMetadataAsAnnotations",
    "labels",
    "annotations",
    "nodeSelector",
    "limits",
    "requests",
    "emptyDir",
    "matchLabels",
];

/// Every part of a value with its path, as a JSON pointer and as errors show it.
fn parts(value: &Value, pointer: &str, shown: &str, found: &mut Vec<(String, String)>) {
    found.push((pointer.to_owned(), shown.to_owned()));
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let shown = if shown.is_empty() { key.clone() } else { format!("{shown}.{key}") };
                parts(value, &format!("{pointer}/{escaped}"), &shown, found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                parts(value, &format!("{pointer}/{index}"), &format!("{shown}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn all_parts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    parts(&full(), "", "", &mut found);
    found
}

#[test]
fn an_unknown_key_is_refused_at_every_depth() {
    let mut tried = 0;
    for (pointer, shown) in all_parts() {
        let mut value = full();
        let name = pointer.rsplit('/').next().unwrap();
        // resources.limits is free, ssh.limits is not.
        let free = FREE.contains(&name) && shown != "ssh.limits" && name != "emptyDir";
        let Some(Value::Object(map)) = value.pointer_mut(&pointer) else { continue };
        if free {
            continue;
        }
        map.insert("zzUnknown".into(), json!(1));
        let path = if shown.is_empty() { "zzUnknown".to_owned() } else { format!("{shown}.zzUnknown") };
        let text = serde_saphyr::to_string(&value).unwrap();
        let error = error(&text);
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!(problem.path, path);
        assert!(problem.message.starts_with(&format!("unknown key {path} (")), "{error}");
        let line = problem.line.unwrap() as usize;
        assert!(text.lines().nth(line - 1).unwrap().contains("zzUnknown"), "{error}\n{text}");
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_at_every_key() {
    let mut tried = 0;
    for (pointer, shown) in all_parts().into_iter().skip(1) {
        let original = full().pointer(&pointer).unwrap().clone();
        let wrongs = match original {
            Value::Object(_) => vec![json!("text"), json!(5), json!([]), json!(true)],
            Value::Array(_) => vec![json!("text"), json!(5), json!({"zz": 1}), json!(true)],
            Value::String(_) => vec![json!(["zz"]), json!({"zz": 1}), json!(true)],
            _ => vec![json!("text zz"), json!(["zz"]), json!({"zz": 1})],
        };
        for wrong in wrongs {
            let mut value = full();
            *value.pointer_mut(&pointer).unwrap() = wrong.clone();
            let text = serde_saphyr::to_string(&value).unwrap();
            // A probe's port may be a name as well as a number, and a quantity is any text to its type.
            if wrong.is_string()
                && (shown.ends_with("httpGet.port") || shown.contains(".resources."))
                && !original.is_object()
            {
                continue;
            }
            let Err(error) = Config::parse(&text, "c.yaml", Syntax::Yaml) else {
                panic!("{shown} = {wrong} was accepted")
            };
            let problem = error.problems().iter().find(|problem| problem.path.starts_with(&shown));
            let problem = problem.unwrap_or_else(|| panic!("{shown} = {wrong}: {error}"));
            assert!(problem.line.is_some(), "{error}");
            assert!(problem.message.contains("must be") || problem.message.contains("is not"), "{error}");
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn errors_name_file_line_path_and_what_to_do() {
    for (text, expected) in [
        ("ssh:\n  lisen: x\n", "c.yaml:2: unknown key ssh.lisen (did you mean \"listen\"?)"),
        ("ssh:\n  hostKeys: []\n", "c.yaml:2: unknown key ssh.hostKeys (did you mean \"hostkeys\"?)"),
        ("shh: {}\n", "c.yaml:1: unknown key shh (did you mean \"ssh\"?)"),
        (
            "log: {colour: red}\n",
            "c.yaml:1: unknown key log.colour (known keys here: destination, file, format, level, syslog)",
        ),
        (
            "kubernetes: {pod: {spec: {containers: [{name: a, image: b, comand: [x]}]}}}",
            "c.yaml:1: unknown key kubernetes.pod.spec.containers[0].comand (did you mean \"command\"?)",
        ),
        (
            "drain:\n  timeout: soon\n",
            "c.yaml:2: invalid configuration option: drain.timeout (\"soon\" is not a duration: write it like \"60s\", \
             \"1h30m\" or \"100ms\", or as a number of nanoseconds)",
        ),
        (
            "ssh:\n  limits:\n    connections: -1\n",
            "c.yaml:3: invalid configuration option: ssh.limits.connections (must be a whole number from 0 to 4294967295, \
             but is the number -1)",
        ),
        (
            "ssh:\n  banner: 5\n",
            "c.yaml:2: invalid configuration option: ssh.banner (must be a string (put it in quotes), but is the number 5)",
        ),
        (
            "health: {enable: yes}\n",
            "c.yaml:1: invalid configuration option: health.enable (must be true or false, but is a string)",
        ),
        (
            "log: {level: loud}\n",
            "c.yaml:1: invalid configuration option: log.level (\"loud\" is not one of debug, info, notice, warning, error, \
             crit, alert, emerg, or 7 to 0)",
        ),
        (
            "ssh: {macs: [hmac-sha1]}\n",
            "c.yaml:1: invalid configuration option: ssh.macs[0] (\"hmac-sha1\" is weak (SHA-1) and not offered: remove it)",
        ),
        (
            "ssh: {listen: localhost}\n",
            "c.yaml:1: invalid configuration option: ssh.listen (\"localhost\" is not an address to listen on: write IP \
             and port, like \"0.0.0.0:2222\" or \"[::]:2222\")",
        ),
        (
            "backend: docker\n",
            "c.yaml:1: invalid configuration option: backend (\"docker\" is not supported by this version: use \"kubernetes\" or \"local\")",
        ),
        (
            "local: {shellCommand: []}\n",
            "c.yaml:1: invalid configuration option: local.shellCommand (must name a program)",
        ),
        (
            "local: {runAs: root}\n",
            "c.yaml:1: invalid configuration option: local.runAs (\"root\" is not one of \"login\", \"gateway\")",
        ),
        (
            "geoip: {maxmind-file: x}\n",
            "c.yaml:1: unknown key geoip.maxmind-file (did you mean \"maxmind-geoip2-file\"?)",
        ),
        (
            "geoip:\n  maxmind-geoip2-file: x\n  provider: maxmind\n",
            "c.yaml:2: invalid configuration option: geoip.maxmind-geoip2-file (must be an absolute path)",
        ),
        (
            "auth: {cacert: x}\n",
            "c.yaml:1: auth.cacert is not supported by this version: it belongs to ContainerSSH 0.4's auth.url, which is not there: \
             set it in auth.password.webhook and auth.publicKey.webhook",
        ),
        (
            "security:\n  maxSessions: -2\n",
            "c.yaml:2: invalid configuration option: security.maxSessions (must be -1 (no limit) or more)",
        ),
        ("ssh:\n  banner: a\n  banner: b\n", "c.yaml:3: key \"banner\" is there twice"),
        ("a: 1\n---\nb: 2\n", "c.yaml:3: holds more than one YAML document"),
        ("ssh: !secret x\n", "c.yaml:1: has a tag (!name), which means nothing here"),
        ("ssh: *x\n", "c.yaml:1: uses an alias (*name) whose anchor (&name) is not there"),
        ("[1, 2]\n", "c.yaml:1: invalid configuration (must be a mapping, but is a list)"),
        ("just text\n", "c.yaml:1: invalid configuration (must be a mapping, but is a string)"),
    ] {
        let shown = error(text).to_string();
        assert!(shown.lines().any(|line| line == expected), "{text}\nexpected {expected}\ngot      {shown}");
    }
}

#[test]
fn broken_rules_are_named_with_their_lines() {
    let hook = |lines: &str| format!("auth:\n  password:\n    method: webhook\n    webhook:\n{lines}");
    let pod = |lines: &str| format!("{LEAST}kubernetes:\n  pod:\n{lines}");
    let s3 = |lines: &str| {
        format!(
            "{LEAST}audit:\n  enable: true\n  format: binary\n  storage: s3\n  s3:\n    bucket: b\n    region: r\n{lines}"
        )
    };
    for (text, expected) in [
        (String::new(), "invalid configuration option: auth (no way to authenticate"),
        (
            hook("      timeout: 1s\n"),
            "4: invalid configuration option: auth.password.webhook.url (is missing)",
        ),
        (
            hook("      url: ftp://x\n"),
            "5: invalid configuration option: auth.password.webhook.url (must begin with http",
        ),
        (
            hook("      url: https://\n"),
            "5: invalid configuration option: auth.password.webhook.url (names no host)",
        ),
        (
            hook("      url: http://u:p@h\n"),
            "5: invalid configuration option: auth.password.webhook.url (must not hold a user name",
        ),
        (
            hook("      url: http://h/?a\n"),
            "5: invalid configuration option: auth.password.webhook.url (must not have a query",
        ),
        (
            hook("      url: http://h\n      timeout: 99ms\n"),
            "6: invalid configuration option: auth.password.webhook.timeout (must be at least 100ms)",
        ),
        (
            hook("      url: http://h\n      authTimeout: 1s\n"),
            "6: invalid configuration option: auth.password.webhook.authTimeout (must not be shorter",
        ),
        (hook("      url: http://h\n      cert: /c\n"), "auth.password.webhook.key (is missing: cert is set"),
        (
            format!("{LEAST}\n")
                .replace("publicKey: {", "password: {webhook: {url: 'http://h'}}, publicKey: {"),
            "auth.password.method (must be \"webhook\"",
        ),
        (
            "auth: {publicKey: {authorizedKeys: {paths: [keys]}}}".into(),
            "paths[0] (must be an absolute path)",
        ),
        ("auth: {publicKey: {authorizedKeys: {paths: [/k/%h]}}}".into(), "paths[0] (has a placeholder"),
        ("auth: {publicKey: {authorizedKeys: {paths: [/k/%]}}}".into(), "paths[0] (has a placeholder"),
        (
            format!("{LEAST}ssh:\n  serverVersion: x\n"),
            "3: invalid configuration option: ssh.serverVersion (must begin",
        ),
        (format!("{LEAST}ssh:\n  kex: []\n"), "3: invalid configuration option: ssh.kex (must not be empty"),
        (format!("{LEAST}ssh:\n  hostkeys: ['']\n"), "ssh.hostkeys[0] (is empty"),
        (
            format!("{LEAST}ssh:\n  clientAliveInterval: 1ms\n"),
            "3: invalid configuration option: ssh.clientAliveInterval (must be at least 1s",
        ),
        (
            format!("{LEAST}ssh:\n  clientAliveCountMax: 0\n"),
            "3: invalid configuration option: ssh.clientAliveCountMax (must be at least 1)",
        ),
        (format!("{LEAST}ssh:\n  banner: {}\n", "x".repeat(17_000)), "ssh.banner (must not be longer"),
        (
            pod("    spec: {containers: []}\n"),
            "kubernetes.pod.spec.containers (must have at least one container)",
        ),
        (pod("    spec: {containers: [{image: x}]}\n"), "containers[0].name (is missing)"),
        (pod("    spec: {containers: [{name: x, image: ''}]}\n"), "containers[0].image (is missing)"),
        (
            pod("    spec: {initContainers: [{name: x}], containers: [{name: y, image: z}]}\n"),
            "initContainers[0].image (is missing)",
        ),
        (
            pod("    consoleContainerNumber: 1\n"),
            "4: invalid configuration option: kubernetes.pod.consoleContainerNumber (is 1, but",
        ),
        (pod("    idleCommand: []\n"), "kubernetes.pod.idleCommand (must not be empty)"),
        (pod("    subsystems: {sftp: ''}\n"), "kubernetes.pod.subsystems.sftp (must not be empty"),
        (pod("    mode: shared\n"), "kubernetes.pod.mode (\"shared\" is not one of"),
        (
            pod("    mode: session\n    spec: {restartPolicy: Always, containers: [{name: x, image: y}]}\n"),
            "kubernetes.pod.spec.restartPolicy (must be \"Never\"",
        ),
        (pod("    mode: persistent\n"), "kubernetes.pod.metadata.name (is missing: mode"),
        (
            pod("    mode: persistent\n    metadata: {name: Dev}\n"),
            "kubernetes.pod.metadata.name (must be of lowercase",
        ),
        (
            pod("    mode: persistent\n    metadata: {name: a}\n    idleTimeout: 1h\n"),
            "kubernetes.pod.idleTimeout (needs createMissingPods",
        ),
        (
            pod(
                "    mode: persistent\n    metadata: {name: a}\n    createMissingPods: true\n    idleTimeout: 1s\n",
            ),
            "kubernetes.pod.idleTimeout (must be at least 1m",
        ),
        (
            pod("    mode: persistent\n    metadata: {name: a}\n    warmPool: {size: 1}\n"),
            "kubernetes.pod.warmPool.size (must be 0 in mode",
        ),
        (
            pod(
                "    mode: persistent\n    metadata: {name: a}\n    createMissingPods: true\n    idleCommand: []\n",
            ),
            "kubernetes.pod.idleCommand (must not be empty)",
        ),
        (pod("    createMissingPods: true\n"), "kubernetes.pod.createMissingPods (has an effect in mode"),
        (pod("    idleTimeout: 1h\n"), "kubernetes.pod.idleTimeout (has an effect in mode"),
        (pod("    warmPool: {size: 1001}\n"), "kubernetes.pod.warmPool.size (must be at most 1000)"),
        (pod("    warmPool: {maxAge: 1s}\n"), "kubernetes.pod.warmPool.maxAge (must be at least 1m)"),
        (pod("    warmPool: {count: 1}\n"), "kubernetes.pod.warmPool.count"),
        (
            pod("    exposeAuthMetadataAsLabels: {TEAM: 'my team'}\n"),
            "kubernetes.pod.exposeAuthMetadataAsLabels.TEAM (\"my team\" is not a name",
        ),
        (
            pod("    exposeAuthMetadataAsEnv: {TEAM: 'a=b'}\n"),
            "kubernetes.pod.exposeAuthMetadataAsEnv.TEAM (\"a=b\" is not a name",
        ),
        (pod("    disableAgent: false\n"), "kubernetes.pod.agent.image (is missing"),
        (
            pod("    agent: {transport: exec}\n"),
            "kubernetes.pod.agent (has no effect: set disableAgent to false",
        ),
        (
            pod("    agent: {injection: off}\n"),
            "kubernetes.pod.agent.injection (\"off\" is what kubernetes.pod.disableAgent",
        ),
        (pod("    agentPath: agent\n"), "kubernetes.pod.agentPath (must be an absolute path"),
        (pod("    metadata: {name: fixed}\n"), "kubernetes.pod.metadata.name (must not be set"),
        (pod("    metadata: {namespace: ''}\n"), "kubernetes.pod.metadata.namespace (is missing"),
        (pod("    deadline: 1ms\n"), "kubernetes.pod.deadline (must be at least 1s"),
        (
            format!("{LEAST}kubernetes: {{connection: {{qps: 0}}}}"),
            "kubernetes.connection.qps (must be greater than 0)",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{qps: .nan}}}}"),
            "c.yaml:2: has a number that is not finite",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{burst: 0}}}}"),
            "kubernetes.connection.burst (must be at least 1)",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{path: /x}}}}"),
            "kubernetes.connection.path (must be \"/api\"",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{username: x}}}}"),
            "kubernetes.connection.password (username and",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{cert: /file}}}}"),
            "kubernetes.connection.cert (must be PEM text; use certFile",
        ),
        (
            format!("{LEAST}kubernetes: {{connection: {{bearerToken: a, bearerTokenFile: b}}}}"),
            "bearerTokenFile (bearerToken is set",
        ),
        (
            format!("{LEAST}kubernetes: {{timeouts: {{podStart: 0}}}}"),
            "kubernetes.timeouts.podStart (must be longer than 0)",
        ),
        (
            format!("{LEAST}audit: {{enable: true, storage: file}}"),
            "audit.format (is none, so nothing would be recorded",
        ),
        (
            format!("{LEAST}audit: {{enable: true, format: binary}}"),
            "audit.storage (is none, so nothing would be recorded",
        ),
        (
            format!("{LEAST}audit: {{enable: true, format: binary, storage: file, file: {{directory: x}}}}"),
            "audit.file.directory (must be an absolute path)",
        ),
        (
            format!("{LEAST}audit: {{enable: true, format: binary, storage: s3}}"),
            "audit.s3.bucket (is missing)",
        ),
        (
            s3("    uploadPartSize: 5242879\n"),
            "9: invalid configuration option: audit.s3.uploadPartSize (must be between",
        ),
        (s3("    parallelUploads: 0\n"), "audit.s3.parallelUploads (must be between 1 and 1000)"),
        (s3("    accessKey: a\n"), "audit.s3.secretKey (accessKey and secretKey belong together)"),
        (
            s3("    accessKeyFile: a\n    secretKeyFile: /b\n"),
            "audit.s3.accessKeyFile (must be an absolute path)",
        ),
        (s3("    endpoint: minio:9000\n"), "audit.s3.endpoint (must begin with http"),
        (s3("    local: spool\n"), "audit.s3.local (must be an absolute path)"),
        (s3("    prefix: '{user}'\n"), "audit.s3.prefix (has no placeholder {user}"),
        (s3("  spool: {size: 1Ki}\n"), "audit.spool.size (must be at least 16Mi)"),
        (
            format!("{LEAST}audit: {{format: ttyrec}}"),
            "audit.format (\"ttyrec\" is not one of \"none\", \"binary\", \"asciinema\")",
        ),
        (format!("{LEAST}metrics: {{path: metrics}}"), "metrics.path (must begin with '/'"),
        (
            format!("{LEAST}security: {{forwarding: {{forwardingMode: ''}}}}"),
            "forwardingMode (\"\" would be read as \"disable\": say so",
        ),
        (
            format!("{LEAST}security: {{command: {{allow: [ls]}}}}"),
            "security.command.allow (has no effect in mode \"enable\": set security.command.mode to \"filter\", or remove the list)",
        ),
        (
            format!("{LEAST}security: {{defaultMode: filter, env: {{deny: [LD_PRELOAD]}}}}"),
            "security.env.deny (has no effect in mode \"filter\"",
        ),
        (
            format!("{LEAST}security: {{command: {{mode: filter, allowPatterns: ['ok', 'a)|(?:b']}}}}"),
            "security.command.allowPatterns[1] (is not a regular expression: unopened group",
        ),
        (
            format!("{LEAST}security: {{signal: {{deny: [SIGKILL]}}}}"),
            "\"SIGKILL\" would never match: signals are named without SIG",
        ),
    ] {
        let shown = error(&text).to_string();
        assert!(shown.contains(expected), "{text}\nexpected {expected}\ngot      {shown}");
    }
}

#[test]
fn many_errors_come_at_once_in_order_and_without_repetition() {
    let text = "ssh:\n  lisen: x\n  clientAliveInterval: true\n  macs: [hmac-sha1]\nauth:\n  password:\n    method: webhook\n    \
                webhook: {url: 5}\nbackend: docker\naudit: {enable: true}\n";
    let error = error(text);
    let shown: Vec<(Option<u64>, &str)> =
        error.problems().iter().map(|problem| (problem.line, problem.path.as_str())).collect();
    assert_eq!(
        shown,
        [
            (Some(2), "ssh.lisen"),
            (Some(3), "ssh.clientAliveInterval"),
            (Some(4), "ssh.macs[0]"),
            // The URL has the wrong type; that it is missing as well would be said in vain.
            (Some(8), "auth.password.webhook.url"),
            (Some(9), "backend"),
            (Some(10), "audit.format"),
            (Some(10), "audit.storage"),
        ]
    );
}

#[test]
fn secrets_do_not_show_in_errors() {
    for text in [
        "kubernetes: {connection: {password: [SECRET]}}",
        "kubernetes: {connection: {bearerToken: {SECRET: 1}}}",
        "audit: {s3: {accessKey: SECRET, secretKey: true}}",
        "audit: {enable: SECRET}",
        "ssh: {hostkeys: SECRET}",
        "ssh: {hostkeys: [\"-----BEGIN PRIVATE KEY-----\\nSECRET\"], clientAliveCountMax: SECRET}",
    ] {
        let shown = error(text).to_string();
        // A key's name is no secret; the second case has one.
        assert!(!shown.contains("SECRET") || text.contains("{SECRET:"), "{shown}");
    }
}

#[test]
fn bombs_and_huge_files_are_refused_quickly() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let parts = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
    }
    assert!(error(&bomb).to_string().contains("alias"), "{}", error(&bomb));

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(error(&deep).to_string().contains("c.yaml:1: is "));
    let deep = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
    assert!(error(&deep).to_string().contains("nested too deeply"));
    assert!(Config::parse(&"[".repeat(1_000_000), "c.json", Syntax::Json).is_err());

    let huge = "#".repeat(MAX_CONFIG_BYTES + 1);
    assert_eq!(error(&huge).to_string(), "c.yaml: is larger than 1048576 bytes");
    let many = format!("ssh: {{banner: [{}]}}", "1,".repeat(200_000));
    assert!(error(&many).to_string().contains("too large"));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let path = std::env::temp_dir().join(format!("containerssh-config-errors-{}", std::process::id()));
    let shown = path.display();
    assert!(Config::load(&path).unwrap_err().to_string().starts_with(&format!("{shown}: cannot be read: ")));
    std::fs::write(&path, b"ssh: {}\nlog: \xff\n").unwrap();
    assert_eq!(Config::load(&path).unwrap_err().to_string(), format!("{shown}:2: is not valid UTF-8"));
    std::fs::remove_file(&path).unwrap();
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Config::parse(&text, "f", Syntax::Yaml);
        let _ = Config::parse(&text, "f", Syntax::Json);
    }

    #[test]
    fn yaml_like_text_never_panics(text in "([ \\-a-z:&*!|>\\[\\]{}#'\"%@`,?\n\t0-9]|ssh|auth|<<|kubernetes|pod|spec){0,80}") {
        let _ = Config::parse(&text, "f", Syntax::Yaml);
        let _ = Config::parse(&text, "f", Syntax::Json);
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..FULL.len(), removed in 0_usize..20, added in "[ \\-a-z:&*!\\[\\]{}\n]{0,6}") {
        let end = (at + removed).min(FULL.len());
        let text = format!("{}{added}{}", &FULL[..at], &FULL[end..]);
        let _ = Config::parse(&text, "f", Syntax::Yaml);
    }
}
