//! Who may log in, and the servers that are asked about it.

use containerssh_config::{
    AuthMethod, AuthenticationMethod, Config, KeyboardInteractiveAuth, KeyboardInteractiveMethod, OAuth2,
    PemOrFile, Webhook,
};
use serde_json::{Map, Value, json};

use super::{Made, put, time};

impl Made<'_> {
    pub(super) fn authentication(&mut self, config: &Config) -> Value {
        let mut made = json!({});
        if config.auth.password.method == AuthMethod::Webhook {
            let webhook = self.webhook(&config.auth.password.webhook, "password");
            put(&mut made, "password", json!({"webhook": webhook}));
        }
        let mut key = json!({});
        if config.auth.public_key.method == AuthMethod::Webhook {
            let webhook = self.webhook(&config.auth.public_key.webhook, "publickey");
            put(&mut key, "webhook", webhook);
        }
        let mut sources = Vec::new();
        for (index, path) in config.auth.public_key.authorized_keys.paths.iter().enumerate() {
            let secret = format!("{}-authorized-keys-{index}", self.name);
            self.notes.push(format!(
                "make Secret {secret} in namespace {} with a data key for each user, from the files {path}",
                self.namespace
            ));
            sources.push(json!({"secretRef": {"name": secret}}));
        }
        if !sources.is_empty() {
            put(&mut key, "authorizedKeysFrom", json!(sources));
        }
        self.certificates(config, &mut key);
        put(&mut made, "publicKey", key);
        put(&mut made, "keyboardInteractive", self.provider(&config.auth.keyboard_interactive));
        if config.auth.authz.method == AuthMethod::Webhook {
            let webhook = self.webhook(&config.auth.authz.webhook, "authz");
            put(&mut made, "authorization", json!({"webhook": webhook}));
        }
        let lists: Vec<Vec<&str>> = (config.auth.authentication_methods.iter())
            .map(|list| list.methods().iter().map(|method| field_of(*method)).collect())
            .collect();
        if !lists.is_empty() {
            put(&mut made, "require", json!(lists));
        }
        made
    }

    /// Who may sign certificates, for whom, and what is revoked.
    fn certificates(&mut self, config: &Config, key: &mut Value) {
        let (certificates, namespace) = (&config.auth.public_key.certificates, self.namespace);
        if !certificates.authorities.is_empty() {
            let secret = format!("{}-user-ca", self.name);
            let mut data = Map::new();
            for (index, authority) in certificates.authorities.iter().enumerate() {
                let entry = format!("ca-{index}.pub");
                if authority.starts_with('/') {
                    self.notes.push(format!(
                        "put {authority} into Secret {secret} of namespace {namespace} as {entry}"
                    ));
                } else {
                    data.insert(entry, json!(authority));
                }
            }
            self.keep(&secret, "Opaque", &data);
            let mut made = json!({"secretRef": {"name": secret}});
            if let Some(file) = &certificates.principals_file {
                let secret = format!("{}-principals", self.name);
                self.notes.push(format!(
                    "make Secret {secret} in namespace {namespace} with a data key for each user, from the files {file}"
                ));
                put(&mut made, "principalsFrom", json!({"secretRef": {"name": secret}}));
            }
            put(key, "certificateAuthorities", made);
        }
        let secret = format!("{}-revoked", self.name);
        let mut lists = Vec::new();
        for (index, file) in config.auth.public_key.revoked_keys.iter().enumerate() {
            let entry = format!("list-{index}");
            self.notes.push(format!("put {file} into Secret {secret} of namespace {namespace} as {entry}"));
            lists.push(json!({"secretRef": {"name": secret, "key": entry}}));
        }
        if !lists.is_empty() {
            put(key, "revokedKeysFrom", json!(lists));
        }
    }

    fn provider(&mut self, interactive: &KeyboardInteractiveAuth) -> Value {
        if interactive.method != KeyboardInteractiveMethod::OAuth2 {
            return json!({});
        }
        let (oauth2, oidc, usual) = (&interactive.oauth2, &interactive.oauth2.oidc, OAuth2::default());
        let mut flows = Vec::new();
        if oidc.device_flow {
            flows.push("Device");
        }
        if oidc.authorization_code_flow {
            flows.push("AuthorizationCode");
        }
        let mut made = json!({"issuer": oidc.url, "clientID": oauth2.client_id, "flows": flows});
        if let Some(secret) = &oauth2.client_secret {
            let name = format!("{}-oidc-client", self.name);
            self.keep(&name, "Opaque", &Map::from_iter([("clientSecret".to_owned(), json!(secret))]));
            put(&mut made, "clientSecretRef", json!({"name": name}));
        }
        if oidc.authorization_code_flow {
            put(&mut made, "redirectURI", json!(oidc.redirect_uri));
            self.notes.push(format!(
                "lead {} to port 80 of Service {}-redirect in namespace {}, which the operator makes",
                oidc.redirect_uri, self.name, self.namespace
            ));
        }
        if oidc.username_field != usual.oidc.username_field {
            put(&mut made, "usernameClaim", json!(oidc.username_field));
        }
        if oidc.enforce_username {
            put(&mut made, "enforceUsername", json!(true));
        }
        if oauth2.auth_timeout != usual.auth_timeout {
            put(&mut made, "timeout", json!(time(oauth2.auth_timeout)));
        }
        let both = oidc.device_flow && oidc.authorization_code_flow;
        for (key, list) in [
            ("extraScopes", &oidc.extra_scopes),
            ("enforceScopes", &oidc.enforce_scopes),
            ("qrCodeClients", &oauth2.qr_code_clients),
            // With one flow there is nothing to choose, and the definition says so.
            (
                "deviceFlowClients",
                if both { &oauth2.device_flow_clients } else { &usual.device_flow_clients },
            ),
        ] {
            if !list.is_empty() {
                put(&mut made, key, json!(list));
            }
        }
        self.trust(&mut made, oidc.cacert.as_ref(), "oidc");
        json!({"oidc": made})
    }

    pub(super) fn config_server(&mut self, config: &Config) -> Value {
        let (server, usual) = (&config.configserver, Config::default().configserver);
        if !server.is_set() {
            return json!({});
        }
        let mut made = json!({"url": server.url});
        if server.timeout != usual.timeout {
            put(&mut made, "timeout", json!(time(server.timeout)));
        }
        if server.transmit_sensitive_metadata {
            put(&mut made, "transmitSensitiveMetadata", json!(true));
        }
        self.trust(&mut made, server.cacert.as_ref(), "configserver");
        self.client_certificate(&mut made, server.cert.as_ref(), server.key.as_ref(), "configserver");
        made
    }

    fn webhook(&mut self, webhook: &Webhook, purpose: &str) -> Value {
        let mut made = json!({"url": webhook.url, "timeout": time(webhook.auth_timeout)});
        self.trust(&mut made, webhook.cacert.as_ref(), purpose);
        self.client_certificate(&mut made, webhook.cert.as_ref(), webhook.key.as_ref(), purpose);
        made
    }

    fn trust(&mut self, made: &mut Value, authority: Option<&PemOrFile>, purpose: &str) {
        if let Some(authority) = authority {
            let secret = format!("{}-{purpose}-ca", self.name);
            self.secret(&secret, "Opaque", &[("ca.crt".to_owned(), authority)]);
            put(made, "caSecretRef", json!({"name": secret, "key": "ca.crt"}));
        }
    }

    fn client_certificate(
        &mut self,
        made: &mut Value,
        certificate: Option<&PemOrFile>,
        key: Option<&PemOrFile>,
        purpose: &str,
    ) {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            let secret = format!("{}-{purpose}-client", self.name);
            let entries = [("tls.crt".to_owned(), certificate), ("tls.key".to_owned(), key)];
            self.secret(&secret, "kubernetes.io/tls", &entries);
            put(made, "clientCertificateSecretRef", json!({"name": secret}));
        }
    }
}

/// The field of `spec.authentication` that a method is.
const fn field_of(method: AuthenticationMethod) -> &'static str {
    match method {
        AuthenticationMethod::PublicKey => "publicKey",
        AuthenticationMethod::Password => "password",
        AuthenticationMethod::KeyboardInteractive => "keyboardInteractive",
    }
}
