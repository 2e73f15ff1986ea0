//! The definitions as they are installed, and the examples that people copy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it is all tests, helpers too"
)]

use std::{collections::BTreeSet, path::Path, process::Command};

use containerssh_crds::{AuditPolicy, SSHGateway, Size, Span, crd, defaults};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn schema(kind: &str) -> Value {
    let definition = crd::definitions().unwrap().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].clone()
}

/// The schema of a field, by its path.
fn field(kind: &str, path: &str) -> Value {
    path.split('.').fold(schema(kind), |schema, name| {
        let schema = if schema.get("items").is_some() { schema["items"].clone() } else { schema };
        let next = schema["properties"][name].clone();
        assert!(next.is_object(), "{kind} has no {path} (at {name})");
        next
    })
}

#[test]
fn committed_definitions_are_those_of_the_types() {
    let output = Command::new(env!("CARGO_BIN_EXE_crdgen")).args(["--check", ROOT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_changed_definition_is_noticed() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drift");
    let run =
        |check: &[&str]| Command::new(env!("CARGO_BIN_EXE_crdgen")).args(check).arg(&root).output().unwrap();
    assert!(run(&[]).status.success());
    assert!(run(&["--check"]).status.success());
    let file = root.join("crds/yaml/auditpolicies.containerssh.io.yaml");
    let edited = std::fs::read_to_string(&file).unwrap().replace("auditpol\n", "ap\n");
    std::fs::write(&file, edited).unwrap();
    let output = run(&["--check"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("auditpolicies.containerssh.io.yaml"));
}

#[test]
fn every_field_of_ours_is_documented() {
    fn undocumented(schema: &Value, path: &str, found: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let path = format!("{path}.{name}");
                if property["description"].as_str().is_none_or(|text| text.len() < 6) {
                    found.push(path.clone());
                }
                undocumented(property, &path, found);
            }
        }
        if schema["items"].is_object() {
            undocumented(&schema["items"], path, found);
        }
    }
    let mut found = Vec::new();
    for kind in ["SSHGateway", "AuditPolicy"] {
        undocumented(&schema(kind)["properties"]["spec"], kind, &mut found);
        undocumented(&schema(kind)["properties"]["status"], kind, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn docs_name_the_defaults_that_hold() {
    let gateway = |path: &str, default: String| ("SSHGateway", format!("spec.{path}"), default);
    let span = |duration| Span::from(duration).to_string();
    let kubernetes = "backend.kubernetes";
    for (kind, path, default) in [
        gateway("replicas", defaults::REPLICAS.to_string()),
        gateway("service.port", defaults::SERVICE_PORT.to_string()),
        gateway("ssh.loginGraceTime", span(defaults::LOGIN_GRACE_TIME)),
        gateway("ssh.keepAlive.interval", span(defaults::KEEP_ALIVE_INTERVAL)),
        gateway("ssh.keepAlive.countMax", defaults::KEEP_ALIVE_COUNT_MAX.to_string()),
        gateway("podDisruptionBudget.maxUnavailable", defaults::MAX_UNAVAILABLE.to_string()),
        gateway("ssh.limits.unauthenticated", defaults::UNAUTHENTICATED.to_string()),
        gateway("ssh.limits.connections", defaults::CONNECTIONS.to_string()),
        gateway("ssh.limits.sessionsPerConnection", defaults::SESSIONS_PER_CONNECTION.to_string()),
        gateway("authentication.password.webhook.timeout", span(defaults::WEBHOOK_TIMEOUT)),
        gateway("authentication.password.webhook.caSecretRef.key", defaults::CA_KEY.to_owned()),
        gateway("authentication.keyboardInteractive.oidc.timeout", span(defaults::OIDC_TIMEOUT)),
        gateway(
            "authentication.keyboardInteractive.oidc.usernameClaim",
            defaults::OIDC_USERNAME_CLAIM.to_owned(),
        ),
        gateway("configServer.timeout", span(defaults::CONFIG_SERVER_TIMEOUT)),
        gateway(&format!("{kubernetes}.deadline"), span(defaults::POD_DEADLINE)),
        gateway(&format!("{kubernetes}.timeouts.podStart"), span(defaults::POD_START)),
        gateway(&format!("{kubernetes}.timeouts.podStop"), span(defaults::POD_STOP)),
        gateway(&format!("{kubernetes}.timeouts.commandStart"), span(defaults::COMMAND_START)),
        gateway("drain.timeout", span(defaults::DRAIN_TIMEOUT)),
        gateway("metrics.serviceMonitor.interval", span(defaults::METRICS_INTERVAL)),
        gateway("spool.size", defaults::SPOOL_SIZE.to_string()),
        ("AuditPolicy", "spec.enforce.spool.size".to_owned(), defaults::SPOOL_SIZE.to_string()),
    ] {
        let documented = field(kind, &path)["description"].as_str().unwrap().to_owned();
        // Compared as values where the docs prefer another spelling, such as 60s for 1m.
        let stated =
            documented.rsplit_once("Default: ").map(|(_, text)| text.trim_end_matches('.').to_owned());
        let stated = stated.unwrap_or_else(|| panic!("{path} names no default: {documented}"));
        let same = stated == default
            || stated.parse::<Span>().ok().is_some_and(|stated| Ok(stated) == default.parse())
            || stated.parse::<Size>().ok().is_some_and(|stated| Ok(stated) == default.parse());
        assert!(same, "{path}: documented as {stated}, is {default}");
    }
}

#[test]
fn optional_objects_and_list_items_carry_no_defaults() {
    fn defaults_below(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        if schema.get("default").is_some() {
            found.insert(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            defaults_below(property, &format!("{path}.{name}"), found);
        }
        if schema["items"].is_object() {
            defaults_below(&schema["items"], &format!("{path}[]"), found);
        }
    }
    let mut found = BTreeSet::new();
    defaults_below(&schema("SSHGateway"), "SSHGateway", &mut found);
    defaults_below(&schema("AuditPolicy"), "AuditPolicy", &mut found);
    // The scale subresource answers with an error where the number is absent.
    assert_eq!(found, BTreeSet::from(["SSHGateway.spec.replicas".to_owned()]));
}

#[test]
fn nothing_is_required_that_the_types_leave_out() {
    // A field with a schema of its own is required unless it has a default; the smallest objects show which must be there.
    fn required(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            found.insert(format!("{path}.{name}"));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            required(property, &format!("{path}.{name}"), found);
        }
        if schema["items"].is_object() {
            required(&schema["items"], &format!("{path}[]"), found);
        }
    }
    let mut found = BTreeSet::new();
    required(&schema("AuditPolicy")["properties"]["spec"]["properties"]["enforce"], "", &mut found);
    let expected = [
        ".events[].syslog.address",
        ".events[].syslog.clientCertificateSecretRef.name",
        ".events[].webhook.bearerTokenSecretRef.name",
        ".events[].webhook.clientCertificateSecretRef.name",
        ".events[].webhook.url",
        ".signing.secretRef",
        ".signing.secretRef.name",
        ".storage.s3",
        ".storage.s3.bucket",
        ".storage.s3.credentials.secretRef.name",
        ".storage.s3.credentials.type",
        ".storage.s3.region",
        ".storage.s3.serverSideEncryption.type",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn schemas_are_structural() {
    fn walk(value: &Value, path: &str) {
        match value {
            Value::Object(map) => {
                for keyword in ["anyOf", "oneOf", "allOf", "$ref", "nullable"] {
                    let is_schema =
                        map.contains_key("type") || map.contains_key("x-kubernetes-int-or-string");
                    assert!(!(is_schema && map.contains_key(keyword)), "{path} has {keyword}");
                }
                if let Some(format) = map.get("format").and_then(Value::as_str) {
                    assert!(["int32", "int64", "date-time"].contains(&format), "{path}: format {format}");
                }
                map.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key}")));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, path)),
            _ => {}
        }
    }
    walk(&schema("SSHGateway"), "SSHGateway");
    walk(&schema("AuditPolicy"), "AuditPolicy");
}

#[test]
fn objects_survive_being_read_and_written() {
    let gateway = include_str!("objects/gateway-full.yaml");
    let read: SSHGateway = serde_saphyr::from_str(gateway).unwrap();
    let raw: Value = serde_saphyr::from_str(gateway).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), raw, "no field is lost, none invented");
    let policy = include_str!("objects/policy-full.yaml");
    let read: AuditPolicy = serde_saphyr::from_str(policy).unwrap();
    let raw: Value = serde_saphyr::from_str(policy).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), raw, "no field is lost, none invented");
}

#[test]
fn the_full_examples_use_every_field() {
    fn missing(schema: &Value, object: &Value, path: &str, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match object.get(name) {
                None => found.push(path),
                // Upstream's own types are upstream's to test.
                Some(_) if ["affinity", "resources", "tolerations"].contains(&name.as_str()) => {}
                Some(value) => missing(property, value, &path, found),
            }
        }
    }
    let mut found = Vec::new();
    for (kind, text) in [
        ("SSHGateway", include_str!("objects/gateway-full.yaml")),
        ("AuditPolicy", include_str!("objects/policy-full.yaml")),
    ] {
        let object: Value = serde_saphyr::from_str(text).unwrap();
        missing(&schema(kind)["properties"]["spec"], &object["spec"], kind, &mut found);
    }
    // Excluded by rules: alternatives of which only one may be set.
    let alternatives = [
        ".caSecretRef",
        "certificateAuthorities.secretRef",
        "principalsFrom.secretRef",
        "ssh.hostKeys",
        "template.serviceAccountName",
        "env.deny",
        "signal.deny",
        "security.subsystem.allow",
        "kubernetes.persistent",
    ];
    found.retain(|path| !alternatives.iter().any(|alternative| path.ends_with(alternative)));
    assert_eq!(found, Vec::<String>::new());
}
