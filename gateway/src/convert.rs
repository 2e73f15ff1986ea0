//! `containerssh-gateway convert`: a configuration as the custom resources that mean the same to the operator, and a list of what has
//! no counterpart there.
//!
//! The list is made from the difference to the defaults, not from a list of known gaps: a setting that is neither translated
//! nor a default is named, whatever it is. The resources are written as data; that the operator's types understand them is a
//! test's business, so that the gateway does not depend on them.

use std::fmt::Write as _;

use containerssh_config::{
    AuditFormat, AuditStorage, AuthzAuth, Config, ConfigServer, KeyboardInteractiveAuth, OnFailure, PemOrFile,
};
use serde_json::{Map, Value, json};

mod login;

/// Where the operator looks for the Secret of a policy's store, unless it was installed elsewhere.
const OPERATOR_NAMESPACE: &str = "containerssh-system";

/// A configuration as custom resources.
#[derive(Debug)]
pub struct Converted {
    /// The objects, in the order in which to apply them.
    pub objects: Vec<Value>,
    /// What has to be done by hand, and settings that have no counterpart.
    pub notes: Vec<String>,
}

/// Keys that are translated, that the operator sets itself, or that lose their meaning with it.
const TRANSLATED: &[&str] = &[
    "ssh.banner",
    "ssh.hostkeys",
    "ssh.clientAliveInterval",
    "ssh.clientAliveCountMax",
    "ssh.loginGraceTime",
    "ssh.limits.connections",
    "ssh.limits.perSource",
    "ssh.limits.sessionsPerConnection",
    "auth.password.method",
    "auth.password.webhook.url",
    "auth.password.webhook.timeout",
    "auth.password.webhook.authTimeout",
    "auth.password.webhook.cacert",
    "auth.password.webhook.cert",
    "auth.password.webhook.key",
    "auth.publicKey.method",
    "auth.publicKey.webhook.url",
    "auth.publicKey.webhook.timeout",
    "auth.publicKey.webhook.authTimeout",
    "auth.publicKey.webhook.cacert",
    "auth.publicKey.webhook.cert",
    "auth.publicKey.webhook.key",
    "auth.publicKey.authorizedKeys.paths",
    "auth.publicKey.certificates.authorities",
    "auth.publicKey.certificates.principalsFile",
    "auth.publicKey.revokedKeys",
    "auth.keyboardInteractive.method",
    "auth.keyboardInteractive.oauth2.authTimeout",
    "auth.keyboardInteractive.oauth2.clientId",
    "auth.keyboardInteractive.oauth2.clientSecret",
    "auth.keyboardInteractive.oauth2.deviceFlowClients",
    "auth.keyboardInteractive.oauth2.oidc.authorizationCodeFlow",
    "auth.keyboardInteractive.oauth2.oidc.cacert",
    "auth.keyboardInteractive.oauth2.oidc.deviceFlow",
    "auth.keyboardInteractive.oauth2.oidc.enforceScopes",
    "auth.keyboardInteractive.oauth2.oidc.enforceUsername",
    "auth.keyboardInteractive.oauth2.oidc.extraScopes",
    "auth.keyboardInteractive.oauth2.oidc.redirectURI",
    "auth.keyboardInteractive.oauth2.oidc.url",
    "auth.keyboardInteractive.oauth2.oidc.usernameField",
    "auth.keyboardInteractive.oauth2.qrCodeClients",
    "auth.keyboardInteractive.oauth2.redirect",
    "auth.authz.method",
    "auth.authz.webhook.url",
    "auth.authz.webhook.timeout",
    "auth.authz.webhook.authTimeout",
    "auth.authz.webhook.cacert",
    "auth.authz.webhook.cert",
    "auth.authz.webhook.key",
    "auth.authenticationMethods",
    "configserver.url",
    "configserver.timeout",
    "configserver.cacert",
    "configserver.cert",
    "configserver.key",
    "configserver.transmitSensitiveMetadata",
    "backend",
    "kubernetes.connection",
    "kubernetes.pod.metadata.namespace",
    "kubernetes.pod.metadata.labels",
    "kubernetes.pod.metadata.annotations",
    "kubernetes.pod.metadata.generateName",
    "kubernetes.pod.spec",
    "kubernetes.pod.consoleContainerNumber",
    "kubernetes.pod.idleCommand",
    "kubernetes.pod.shellCommand",
    "kubernetes.pod.subsystems",
    "kubernetes.pod.deadline",
    "kubernetes.timeouts.podStart",
    "kubernetes.timeouts.podStop",
    "kubernetes.timeouts.commandStart",
    "audit.enable",
    "audit.format",
    "audit.storage",
    "audit.intercept",
    "audit.onFailure",
    "audit.s3.accessKey",
    "audit.s3.secretKey",
    "audit.s3.bucket",
    "audit.s3.region",
    "audit.s3.endpoint",
    "audit.s3.pathStyleAccess",
    "audit.s3.prefix",
    "audit.s3.local",
    "audit.s3.cacert",
    "drain.timeout",
    "log.level",
    "log.format",
    "metrics",
    "health",
];

/// Translates a configuration. `name` and `namespace` are the gateway's.
#[must_use]
pub fn convert(config: &Config, name: &str, namespace: &str) -> Converted {
    let mut made = Made { name, namespace, secrets: Vec::new(), notes: Vec::new() };
    let mut objects = Vec::new();
    let gateway = made.gateway(config);
    let policy = made.policy(config);
    objects.append(&mut made.secrets);
    objects.extend(policy);
    objects.push(gateway);
    let mut notes = made.notes;
    let (mine, default) = (plain(config), usual());
    differences("", &mine, &default, &mut notes);
    Converted { objects, notes }
}

impl Converted {
    /// As YAML documents, the notes as comments before them. **Holds secrets** where the configuration does.
    ///
    /// # Errors
    /// When a value has no form in YAML, which no setting has.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut text = String::new();
        for note in &self.notes {
            // A String takes everything.
            let _ = writeln!(text, "# {note}");
        }
        for object in &self.objects {
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(object)?);
        }
        Ok(text)
    }
}

fn plain(config: &Config) -> Value {
    // Strings, numbers and lists of them always have a JSON form.
    serde_json::to_value(config).unwrap_or_default()
}

/// The defaults, with the sections that a file leaves out where nothing is set in them.
fn usual() -> Value {
    let mut usual = plain(&Config::default());
    if let Some(auth) = usual.get_mut("auth") {
        put(auth, "authz", json!(AuthzAuth::default()));
        put(auth, "keyboardInteractive", json!(KeyboardInteractiveAuth::default()));
    }
    put(&mut usual, "configserver", json!(ConfigServer::default()));
    usual
}

/// Names every leaf that is set otherwise than by default and not translated.
fn differences(path: &str, mine: &Value, default: &Value, notes: &mut Vec<String>) {
    if mine == default || TRANSLATED.contains(&path) {
        return;
    }
    match mine {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differences(&path, value, default.get(key).unwrap_or(&Value::Null), notes);
            }
        }
        Value::Null => {}
        _ => notes.push(format!("{path} has no counterpart: SSHGateway cannot say it yet")),
    }
}

struct Made<'a> {
    name: &'a str,
    namespace: &'a str,
    secrets: Vec<Value>,
    notes: Vec<String>,
}

impl Made<'_> {
    fn gateway(&mut self, config: &Config) -> Value {
        let mut spec = json!({
            "authentication": self.authentication(config),
            "backend": {"kubernetes": self.backend(config)},
        });
        let default = Config::default();
        put(&mut spec, "configServer", self.config_server(config));
        put(&mut spec, "ssh", self.ssh(config, &default));
        let mut log = json!({});
        if config.log.level != default.log.level {
            match config.log.level.as_str() {
                level @ ("debug" | "info" | "notice" | "warning" | "error") => {
                    put(&mut log, "level", json!(capitalised(level)));
                }
                level => {
                    self.notes.push(format!("log.level {level} has no counterpart: Error is the highest"));
                }
            }
        }
        if config.log.format != default.log.format {
            put(&mut log, "format", json!("Text"));
        }
        put(&mut spec, "log", log);
        if config.drain != default.drain {
            put(&mut spec, "drain", json!({"timeout": time(config.drain.timeout)}));
        }
        self.object("SSHGateway", &spec)
    }

    fn object(&self, kind: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "containerssh.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        })
    }

    fn ssh(&mut self, config: &Config, default: &Config) -> Value {
        let (ssh, usual) = (&config.ssh, &default.ssh);
        let mut made = json!({});
        if !ssh.banner.is_empty() {
            put(&mut made, "banner", json!(ssh.banner));
        }
        if ssh.login_grace_time != usual.login_grace_time {
            if ssh.login_grace_time.is_zero() {
                self.notes
                    .push("ssh.loginGraceTime 0 has no counterpart: the default of 2m holds".to_owned());
            } else {
                put(&mut made, "loginGraceTime", json!(time(ssh.login_grace_time)));
            }
        }
        // The operator's default is not the file's.
        put(
            &mut made,
            "keepAlive",
            json!({"interval": time(ssh.client_alive_interval), "countMax": ssh.client_alive_count_max}),
        );
        let mut limits = json!({});
        for (key, value, usual) in [
            ("connections", ssh.limits.connections, usual.limits.connections),
            ("perSource", ssh.limits.per_source, usual.limits.per_source),
            (
                "sessionsPerConnection",
                ssh.limits.sessions_per_connection,
                usual.limits.sessions_per_connection,
            ),
        ] {
            if value != usual {
                put(&mut limits, key, json!(value));
            }
        }
        put(&mut made, "limits", limits);
        if !ssh.hostkeys.is_empty() {
            let secret = format!("{}-host-keys", self.name);
            let keys = ssh
                .hostkeys
                .iter()
                .enumerate()
                .map(|(index, key)| (format!("key-{index}"), key))
                .collect::<Vec<_>>();
            self.secret(&secret, "Opaque", &keys);
            put(&mut made, "hostKeysSecretRef", json!({"name": secret}));
        }
        made
    }

    /// A Secret of the gateway's namespace, unless nothing goes into it.
    fn keep(&mut self, name: &str, kind: &str, data: &Map<String, Value>) {
        if !data.is_empty() {
            self.secrets.push(json!({
                "apiVersion": "v1", "kind": "Secret", "type": kind,
                "metadata": {"name": name, "namespace": self.namespace}, "stringData": data,
            }));
        }
    }

    fn backend(&mut self, config: &Config) -> Value {
        let (pod, usual) = (&config.kubernetes.pod, Config::default().kubernetes);
        let mut metadata = json!({});
        for (key, entries) in [("labels", &pod.metadata.labels), ("annotations", &pod.metadata.annotations)] {
            if let Some(entries) = entries.as_ref().filter(|entries| !entries.is_empty()) {
                put(&mut metadata, key, json!(entries));
            }
        }
        // The type of Kubernetes always has a JSON form.
        let spec = serde_json::to_value(&pod.spec).unwrap_or_default();
        let mut template = json!({"spec": spec});
        put(&mut template, "metadata", metadata);
        let mut made = json!({"podTemplate": template});
        // "default" is what a file means that does not say; the operator then takes the gateway's own.
        let elsewhere = |namespace: &&str| *namespace != self.namespace && *namespace != "default";
        if let Some(namespace) = pod.metadata.namespace.as_deref().filter(elsewhere) {
            put(&mut made, "namespace", json!(namespace));
            self.notes.push(format!(
                "annotate namespace {namespace} with containerssh.io/allow-gateways-from: {}",
                self.namespace
            ));
        }
        if let Some(container) =
            pod.spec.containers.get(pod.console_container_number).filter(|_| pod.console_container_number > 0)
        {
            put(&mut made, "consoleContainer", json!(container.name));
        }
        if pod.idle_command != usual.pod.idle_command {
            put(&mut made, "idleCommand", json!(pod.idle_command));
        }
        if pod.shell_command != usual.pod.shell_command {
            put(&mut made, "shellCommand", json!(pod.shell_command));
        }
        if pod.subsystems != usual.pod.subsystems {
            put(&mut made, "subsystems", json!(pod.subsystems));
        }
        if pod.deadline != usual.pod.deadline {
            put(&mut made, "deadline", json!(time(pod.deadline)));
        }
        let (times, usual) = (&config.kubernetes.timeouts, &usual.timeouts);
        let mut timeouts = json!({});
        for (key, value, usual) in [
            ("podStart", times.pod_start, usual.pod_start),
            ("podStop", times.pod_stop, usual.pod_stop),
            ("commandStart", times.command_start, usual.command_start),
        ] {
            if value != usual {
                put(&mut timeouts, key, json!(time(value)));
            }
        }
        put(&mut made, "timeouts", timeouts);
        made
    }

    /// What the file says of recording becomes a policy, so that nobody with a role in the namespace can weaken it.
    fn policy(&mut self, config: &Config) -> Option<Value> {
        let audit = &config.audit;
        if !config.audit.is_recording() {
            return None;
        }
        if audit.storage != AuditStorage::S3 {
            self.notes
                .push("audit.storage has no counterpart but s3: the AuditPolicy names no store".to_owned());
        }
        let demand = |on: bool| if on { "Require" } else { "Forbid" };
        let intercept = &audit.intercept;
        let mut enforce = json!({
            "format": if audit.format == AuditFormat::Asciinema { "Asciinema" } else { "Binary" },
            "intercept": {
                "stdin": demand(intercept.stdin), "stdout": demand(intercept.stdout),
                "stderr": demand(intercept.stderr), "passwords": demand(intercept.passwords),
            },
            "onFailure": if audit.on_failure == OnFailure::Allow { "Allow" } else { "Deny" },
        });
        if audit.storage == AuditStorage::S3 {
            let store = self.store(config);
            put(&mut enforce, "storage", json!({"s3": store}));
        }
        Some(json!({
            "apiVersion": "containerssh.io/v1alpha1",
            "kind": "AuditPolicy",
            "metadata": {"name": format!("{}-{}", self.namespace, self.name)},
            "spec": {"namespaces": [self.namespace], "enforce": enforce},
        }))
    }

    fn store(&mut self, config: &Config) -> Value {
        let s3 = &config.audit.s3;
        let region = if s3.region.is_empty() { "us-east-1" } else { s3.region.as_str() };
        let mut made = json!({"bucket": s3.bucket, "region": region});
        if !s3.endpoint.is_empty() {
            put(&mut made, "endpoint", json!(s3.endpoint));
        }
        if s3.path_style_access {
            put(&mut made, "pathStyleAccess", json!(true));
        }
        if !s3.prefix.is_empty() {
            put(&mut made, "prefix", json!(s3.prefix.as_str()));
        }
        if let Some(authorities) = &s3.cacert {
            match authorities.file() {
                None => put(&mut made, "caBundle", json!(authorities)),
                Some(file) => self
                    .notes
                    .push(format!("put the contents of {} into the AuditPolicy's caBundle", file.display())),
            }
        }
        if let (Some(access), Some(secret)) = (&s3.access_key, &s3.secret_key) {
            let name = format!("{}-{}-audit", self.namespace, self.name);
            self.secrets.push(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
                "stringData": {"accessKey": access, "secretKey": secret},
            }));
            put(&mut made, "credentials", json!({"type": "Secret", "secretRef": {"name": name}}));
            self.notes.push(format!("Secret {name} belongs into the operator's namespace: correct it if that is not {OPERATOR_NAMESPACE}"));
        } else {
            put(&mut made, "credentials", json!({"type": "WorkloadIdentity"}));
        }
        made
    }

    /// A Secret with what stands inline; of files a note says what to do.
    fn secret(&mut self, name: &str, kind: &str, entries: &[(String, &PemOrFile)]) {
        let (namespace, mut data) = (self.namespace, Map::new());
        for (key, pem) in entries {
            match pem.file() {
                None => drop(data.insert(key.clone(), json!(pem))),
                Some(file) => self.notes.push(format!(
                    "put {} into Secret {name} of namespace {namespace} as {key}",
                    file.display()
                )),
            }
        }
        self.keep(name, kind, &data);
    }
}

/// Sets a field, unless there is nothing to say.
fn put(object: &mut Value, key: &str, value: Value) {
    if value.as_object().is_some_and(Map::is_empty) {
        return;
    }
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}

fn time(duration: std::time::Duration) -> String {
    containerssh_config::duration::format(duration)
}

fn capitalised(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
