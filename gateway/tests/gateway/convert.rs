//! ContainerSSH's configuration as custom resources.

use std::path::Path;

use containerssh_config::{Config, Syntax};
use containerssh_gateway::convert;
use serde_json::{Value, json};

const FILE: &str = r#"
ssh:
  banner: hello
  hostkeys:
    - |
      -----BEGIN OPENSSH PRIVATE KEY-----
      inline
      -----END OPENSSH PRIVATE KEY-----
    - /etc/containerssh/second_key
  ciphers: [aes256-gcm@openssh.com]
  limits: {perSource: 5}
auth:
  url: https://auth.example/hook
  cacert: /etc/containerssh/ca.pem
  authTimeout: 30s
kubernetes:
  connection: {host: https://10.0.0.1, bearerTokenFile: /token, cacertFile: /ca}
  pod:
    metadata: {namespace: guests, labels: {team: blue}}
    spec: {containers: [{name: side, image: s}, {name: shell, image: debian}]}
    consoleContainerNumber: 1
    shellCommand: [/bin/zsh]
    exposeAuthMetadataAsEnv: {TEAM: TEAM}
  timeouts: {podStart: 90s}
security: {maxSessions: 3, env: {mode: filter, allow: [LANG]}}
audit:
  enable: true
  format: binary
  storage: s3
  intercept: {stdin: true, stdout: true}
  s3: {bucket: audit, region: eu-1, endpoint: "https://minio.example", pathStyleAccess: true, accessKey: AK, secretKey: SK, uploadPartSize: 6291456}
log: {level: debug}
"#;

fn converted(text: &str) -> convert::Converted {
    let config = Config::parse(text, "config.yaml", Syntax::Yaml).unwrap();
    convert::convert(&config, "dev", "team-a")
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The schema of a kind, as the cluster has it.
fn schema(kind: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/yaml");
    let definitions = std::fs::read_dir(directory).unwrap().map(|entry| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        serde_saphyr::from_str::<Value>(&text).unwrap()
    });
    let of_kind = |definition: &Value| definition["spec"]["names"]["kind"] == kind;
    let definition = definitions.into_iter().find(of_kind).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// That the API server would neither prune nor refuse a value.
fn fits(at: &str, value: &Value, schema: &Value) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match (value, schema["type"].as_str().unwrap_or_default()) {
        (Value::Object(map), "object") => {
            for (key, value) in map {
                let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
                fits(
                    &format!("{at}.{key}"),
                    value,
                    known.unwrap_or_else(|| panic!("{at}.{key} is not in the definition")),
                );
            }
            for needed in schema["required"].as_array().into_iter().flatten() {
                assert!(map.contains_key(needed.as_str().unwrap()), "{at} lacks {needed}");
            }
        }
        (Value::Array(list), "array") => list.iter().for_each(|value| fits(at, value, &schema["items"])),
        (Value::String(_), "string") | (Value::Bool(_), "boolean") | (Value::Number(_), "integer") => {
            if let Some(words) = schema["enum"].as_array() {
                assert!(words.contains(value), "{at}: {value} is none of {words:?}");
            }
        }
        (value, expected) => panic!("{at}: {value} is no {expected}"),
    }
}

#[test]
fn what_has_a_counterpart_fits_the_definitions() {
    let made = converted(FILE);
    for kind in ["SSHGateway", "AuditPolicy"] {
        let [object] = of(&made.objects, kind)[..] else { panic!("not one {kind}") };
        let mut schema = schema(kind);
        // Every object has it, and no definition says so.
        for key in ["apiVersion", "kind", "metadata"] {
            schema["properties"][key] = json!({"x-kubernetes-preserve-unknown-fields": true});
        }
        fits(kind, object, &schema);
    }
    let spec = &of(&made.objects, "SSHGateway")[0]["spec"];
    assert_eq!(spec["ssh"]["banner"], "hello");
    assert_eq!(spec["authentication"]["password"]["webhook"]["url"], "https://auth.example/hook");
    assert_eq!(spec["authentication"]["publicKey"]["webhook"]["timeout"], "30s");
    let backend = &spec["backend"]["kubernetes"];
    assert_eq!(backend["namespace"], "guests");
    assert_eq!(backend["consoleContainer"], "shell");
    assert_eq!(backend["shellCommand"], json!(["/bin/zsh"]));
    assert_eq!(backend["timeouts"]["podStart"], "1m30s");
    assert_eq!(backend["podTemplate"]["spec"]["containers"].as_array().unwrap().len(), 2);

    let policy = &of(&made.objects, "AuditPolicy")[0]["spec"];
    assert_eq!(policy["namespaces"], json!(["team-a"]));
    let enforce = &policy["enforce"];
    assert_eq!(
        enforce["intercept"],
        json!({"stdin": "Require", "stdout": "Require", "stderr": "Forbid", "passwords": "Forbid"})
    );
    assert_eq!(enforce["storage"]["s3"]["bucket"], "audit");
    assert_eq!(enforce["onFailure"], "Deny");

    let secrets = of(&made.objects, "Secret");
    let host_keys = secrets.iter().find(|secret| secret["metadata"]["name"] == "dev-host-keys").unwrap();
    assert!(host_keys["stringData"]["key-0"].as_str().unwrap().contains("inline"));
    assert!(secrets.iter().any(|secret| secret["stringData"]["secretKey"] == "SK"));
}

#[test]
fn what_has_none_is_named_and_what_is_a_file_says_where_to_put_it() {
    let notes = converted(FILE).notes;
    for expected in [
        "ssh.ciphers has no counterpart",
        "security.maxSessions has no counterpart",
        "security.env.mode has no counterpart",
        "security.env.allow has no counterpart",
        "kubernetes.pod.exposeAuthMetadataAsEnv.TEAM has no counterpart",
        "audit.s3.uploadPartSize has no counterpart",
        "put /etc/containerssh/second_key into Secret dev-host-keys of namespace team-a as key-1",
        "put /etc/containerssh/ca.pem into Secret dev-password-ca of namespace team-a as ca.crt",
        "annotate namespace guests with containerssh.io/allow-gateways-from: team-a",
    ] {
        assert!(notes.iter().any(|note| note.starts_with(expected)), "{expected}: {notes:#?}");
    }
    assert!(
        !notes.iter().any(|note| note.contains("auth.password") || note.contains("connection")),
        "{notes:#?}"
    );
}

/// Every way to log in, and the configuration server.
const LOGINS: &str = r#"
auth:
  publicKey:
    certificates:
      authorities: [/etc/containerssh/user-ca.pub, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO6vSqCZE2CmfN1cIktvGcA9gYbCSEBSSOobNKb5YJ9X"]
      principalsFile: /etc/principals/%u
    revokedKeys: [/etc/containerssh/revoked.krl]
  keyboardInteractive:
    method: oauth2
    oauth2:
      clientId: ssh
      clientSecret: hush
      authTimeout: 3m
      qrCodeClients: [SSH-2.0-OpenSSH]
      deviceFlowClients: [SSH-2.0-PuTTY]
      oidc: {url: "https://idp.example", deviceFlow: true, authorizationCodeFlow: true, redirectURI: "https://login.example/", usernameField: email, extraScopes: [email], timeout: 4s}
  authz: {method: webhook, webhook: {url: "https://authz.example", cacert: /etc/authz-ca.pem}}
  authenticationMethods: ["publickey,keyboard-interactive"]
configserver: {url: "https://config.example/x", timeout: 9s, cacert: /etc/config-ca.pem, cert: /etc/client.crt, key: /etc/client.key}
"#;

#[test]
fn ways_to_log_in_and_the_configuration_server_have_counterparts() {
    let made = converted(LOGINS);
    let gateway = of(&made.objects, "SSHGateway")[0];
    fits("SSHGateway.spec", &gateway["spec"], &schema("SSHGateway")["properties"]["spec"]);
    let authentication = &gateway["spec"]["authentication"];
    let keys = &authentication["publicKey"];
    assert_eq!(keys["certificateAuthorities"]["secretRef"]["name"], "dev-user-ca");
    assert_eq!(keys["revokedKeysFrom"], json!([{"secretRef": {"name": "dev-revoked", "key": "list-0"}}]));
    let oidc = &authentication["keyboardInteractive"]["oidc"];
    assert_eq!((&oidc["issuer"], &oidc["timeout"]), (&json!("https://idp.example"), &json!("3m")));
    assert_eq!(oidc["flows"], json!(["Device", "AuthorizationCode"]));
    assert_eq!(authentication["authorization"]["webhook"]["url"], "https://authz.example");
    assert_eq!(authentication["require"], json!([["publicKey", "keyboardInteractive"]]));
    let server = &gateway["spec"]["configServer"];
    assert_eq!((&server["url"], &server["timeout"]), (&json!("https://config.example/x"), &json!("9s")));
    assert_eq!(server["clientCertificateSecretRef"]["name"], "dev-configserver-client");
    let secrets = of(&made.objects, "Secret");
    let data = |name: &str| &secrets.iter().find(|s| s["metadata"]["name"] == name).unwrap()["stringData"];
    assert_eq!(data("dev-oidc-client")["clientSecret"], "hush");
    assert!(data("dev-user-ca")["ca-1.pub"].as_str().unwrap().starts_with("ssh-ed25519"));
    for expected in [
        "put /etc/containerssh/user-ca.pub into Secret dev-user-ca of namespace team-a as ca-0.pub",
        "make Secret dev-principals in namespace team-a with a data key for each user",
        "put /etc/containerssh/revoked.krl into Secret dev-revoked of namespace team-a as list-0",
        "put /etc/authz-ca.pem into Secret dev-authz-ca",
        "put /etc/client.key into Secret dev-configserver-client",
        "lead https://login.example/ to port 80 of Service dev-redirect in namespace team-a",
        "auth.keyboardInteractive.oauth2.oidc.timeout has no counterpart",
    ] {
        assert!(made.notes.iter().any(|note| note.starts_with(expected)), "{expected}: {:#?}", made.notes);
    }
    assert_eq!(made.notes.len(), 9, "{:#?}", made.notes);
}

#[test]
fn the_least_configuration_becomes_the_least_gateway() {
    let made = converted("auth: {publicKey: {authorizedKeys: {paths: [/keys/%u]}}}\n");
    assert_eq!(made.objects.len(), 1);
    assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
    assert!(made.notes[0].contains("Secret dev-authorized-keys-0"));
    let yaml = made.to_yaml().unwrap();
    assert!(
        yaml.starts_with("# make Secret") && yaml.contains("\n---\n") && yaml.contains("kind: SSHGateway"),
        "{yaml}"
    );
}
