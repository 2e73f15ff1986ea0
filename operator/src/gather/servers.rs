//! The servers that a gateway asks about its users: webhooks, an identity provider, a configuration server. What their
//! references lead to becomes a part of the gateway's configuration, so that a rotation restarts nothing.

use containerssh_crds::{
    ConfigServer, KeyRef, NameRef, OpenIDConnect, SSHGatewaySpec, Webhook, conditions::Reason, defaults,
};

use super::refs::Reader;
use crate::{
    error::Error,
    finding::{Finding, Subject},
    index::Kind,
    plan::{ServerFiles, TlsFiles},
};

const SUBJECT: Subject = Subject::ResolvedRefs;

/// What a server is trusted by, and shown.
#[derive(Debug, Clone, Copy, Default)]
struct Tls<'a> {
    ca_secret: Option<&'a KeyRef>,
    ca_config_map: Option<&'a KeyRef>,
    client_certificate: Option<&'a NameRef>,
}

impl<'a> From<&'a Webhook> for Tls<'a> {
    fn from(webhook: &'a Webhook) -> Self {
        Self {
            ca_secret: webhook.ca_secret_ref.as_ref(),
            ca_config_map: webhook.ca_config_map_ref.as_ref(),
            client_certificate: webhook.client_certificate_secret_ref.as_ref(),
        }
    }
}

impl<'a> From<&'a ConfigServer> for Tls<'a> {
    fn from(server: &'a ConfigServer) -> Self {
        Self {
            ca_secret: server.ca_secret_ref.as_ref(),
            ca_config_map: server.ca_config_map_ref.as_ref(),
            client_certificate: server.client_certificate_secret_ref.as_ref(),
        }
    }
}

impl<'a> From<&'a OpenIDConnect> for Tls<'a> {
    fn from(provider: &'a OpenIDConnect) -> Self {
        Self {
            ca_secret: provider.ca_secret_ref.as_ref(),
            ca_config_map: provider.ca_config_map_ref.as_ref(),
            client_certificate: None,
        }
    }
}

/// The references of each server, in the order of [`PATHS`].
fn servers(spec: &SSHGatewaySpec) -> [Tls<'_>; 5] {
    let authentication = &spec.authentication;
    let password = authentication.password.as_ref().map(|password| Tls::from(&password.webhook));
    let public_key = authentication.public_key.as_ref().and_then(|key| key.webhook.as_ref());
    [
        password,
        public_key.map(Tls::from),
        authentication.authorization.as_ref().map(|authorization| Tls::from(&authorization.webhook)),
        provider(spec).map(Tls::from),
        spec.config_server.as_ref().map(Tls::from),
    ]
    .map(Option::unwrap_or_default)
}

/// Where the references of each server stand in a spec.
const PATHS: [&str; 5] = [
    "authentication.password.webhook",
    "authentication.publicKey.webhook",
    "authentication.authorization.webhook",
    "authentication.keyboardInteractive.oidc",
    "configServer",
];

fn provider(spec: &SSHGatewaySpec) -> Option<&OpenIDConnect> {
    spec.authentication.keyboard_interactive.as_ref().map(|interactive| &interactive.oidc)
}

/// Everything that servers of a spec refer to.
pub(super) fn references(spec: &SSHGatewaySpec) -> impl Iterator<Item = (Kind, String)> {
    let secret = provider(spec).and_then(|provider| provider.client_secret_ref.as_ref());
    let tls = servers(spec).into_iter().flat_map(|tls| {
        [
            tls.ca_secret.map(|reference| (Kind::Secret, reference.name.clone())),
            tls.ca_config_map.map(|reference| (Kind::ConfigMap, reference.name.clone())),
            tls.client_certificate.map(|reference| (Kind::Secret, reference.name.clone())),
        ]
    });
    tls.flatten().chain(secret.map(|reference| (Kind::Secret, reference.name.clone())))
}

/// What the references lead to; what is amiss goes to `findings`.
pub async fn gather(
    reader: &Reader,
    spec: &SSHGatewaySpec,
    namespace: &str,
    findings: &mut Vec<Finding>,
) -> Result<ServerFiles, Error> {
    let mut found: [TlsFiles; 5] = Default::default();
    for ((tls, path), found) in servers(spec).into_iter().zip(PATHS).zip(&mut found) {
        *found = files(reader, tls, path, namespace, findings).await?;
    }
    let [password, public_key, authorization, provider_files, config_server] = found;
    let mut client_secret = None;
    if let Some(reference) = provider(spec).and_then(|provider| provider.client_secret_ref.as_ref()) {
        let asked_by = "authentication.keyboardInteractive.oidc.clientSecretRef";
        let (name, key) = (&reference.name, defaults::CLIENT_SECRET);
        match reader.text(SUBJECT, Kind::Secret, namespace, name, key, asked_by).await? {
            // Secrets are often stored with the line end of the file they came from.
            Ok(text) => client_secret = Some(containerssh_config::Secret::new(text.trim())),
            Err(finding) => findings.push(finding),
        }
    }
    Ok(ServerFiles {
        password,
        public_key,
        authorization,
        provider: provider_files,
        config_server,
        client_secret,
    })
}

async fn files(
    reader: &Reader,
    tls: Tls<'_>,
    path: &str,
    namespace: &str,
    findings: &mut Vec<Finding>,
) -> Result<TlsFiles, Error> {
    let mut files = TlsFiles::default();
    let sources = [
        (Kind::Secret, tls.ca_secret, "caSecretRef"),
        (Kind::ConfigMap, tls.ca_config_map, "caConfigMapRef"),
    ];
    for (kind, reference, field) in sources {
        let Some(reference) = reference else { continue };
        let asked_by = format!("{path}.{field}");
        match reader.text(SUBJECT, kind, namespace, &reference.name, reference.key(), &asked_by).await? {
            Ok(text) => keep_pem(&mut files.ca, &text, "CERTIFICATE", &asked_by, findings),
            Err(finding) => findings.push(finding),
        }
    }
    if let Some(reference) = tls.client_certificate {
        let asked_by = format!("{path}.clientCertificateSecretRef");
        for (key, slot, label) in
            [("tls.crt", &mut files.certificate, "CERTIFICATE"), ("tls.key", &mut files.key, "PRIVATE KEY")]
        {
            match reader.text(SUBJECT, Kind::Secret, namespace, &reference.name, key, &asked_by).await? {
                Ok(text) => keep_pem(slot, &text, label, &asked_by, findings),
                Err(finding) => findings.push(finding),
            }
        }
    }
    Ok(files)
}

/// The gateway tells PEM text from a file name by its first line, so that must be sure here.
fn keep_pem(slot: &mut Option<String>, text: &str, label: &str, asked_by: &str, findings: &mut Vec<Finding>) {
    let trimmed = text.trim_start();
    let begin = trimmed.find("-----BEGIN ").and_then(|at| trimmed.get(at..));
    match begin {
        Some(pem) if pem.lines().next().is_some_and(|line| line.contains(label)) => {
            *slot = Some(pem.to_owned());
        }
        _ => findings.push(Finding::new(
            SUBJECT,
            Reason::RefInvalid,
            format!("{asked_by} leads to something that is no PEM text beginning with a {label}"),
        )),
    }
}
