//! What a gateway refers to: Secrets and ConfigMaps, read when they are needed.
//!
//! Their metadata is watched, so that a change is noticed; their contents are not kept, because an operator that
//! caches every Secret of a cluster is worth attacking.

use std::{collections::HashSet, sync::Arc};

use containerssh_crds::{KeyRef, SSHGateway, Webhook, conditions::Reason};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use crate::{
    apply::CALL_TIMEOUT,
    children::Owner,
    error::{Error, within},
    finding::{Finding, Subject},
    gather::{audit_keys, known::Known},
    index::{Kind, Name, Target},
    plan::{WebhookFiles, hostkeys},
};

/// Everything that a gateway's spec names, and the host keys that are made for it.
pub fn references(gateway: &SSHGateway, owner: &Owner) -> HashSet<Target> {
    let spec = &gateway.spec;
    let mut names: Vec<(Kind, String)> = Vec::new();
    let host_keys = spec.ssh.as_ref().and_then(|ssh| ssh.host_keys_secret_ref.as_ref());
    let made = || hostkeys::secret_name(&owner.name.name);
    names.push((Kind::Secret, host_keys.map_or_else(made, |reference| reference.name.clone())));
    let authentication = &spec.authentication;
    let public_key = authentication.public_key.as_ref();
    for source in public_key.map(|key| key.authorized_keys_from.as_slice()).unwrap_or_default() {
        names.extend(source.secret_ref.as_ref().map(|reference| (Kind::Secret, reference.name.clone())));
        names.extend(
            source.config_map_ref.as_ref().map(|reference| (Kind::ConfigMap, reference.name.clone())),
        );
    }
    let webhooks = [
        authentication.password.as_ref().map(|password| &password.webhook),
        public_key.and_then(|key| key.webhook.as_ref()),
    ];
    for webhook in webhooks.into_iter().flatten() {
        names.extend(webhook.ca_secret_ref.as_ref().map(|reference| (Kind::Secret, reference.name.clone())));
        names.extend(
            webhook.ca_config_map_ref.as_ref().map(|reference| (Kind::ConfigMap, reference.name.clone())),
        );
        names.extend(
            webhook
                .client_certificate_secret_ref
                .as_ref()
                .map(|reference| (Kind::Secret, reference.name.clone())),
        );
    }
    let audit = spec.audit.iter().flat_map(audit_keys::secrets_of);
    names.extend(audit.map(|(_, name)| (Kind::Secret, name.to_owned())));
    names.into_iter().map(|(kind, name)| (kind, Name::within(owner.namespace(), name))).collect()
}

/// Reads Secrets and ConfigMaps.
#[derive(Clone)]
pub struct Reader {
    client: Client,
    pub known: Arc<Known>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        within(CALL_TIMEOUT, || format!("read Secret {namespace}/{name}"), api.get_opt(name)).await
    }

    /// Whether there is such an object.
    pub async fn exists(&self, kind: Kind, namespace: &str, name: &str) -> Result<bool, Error> {
        let target = (kind, Name::within(namespace, name));
        if self.known.exists(&target) {
            return Ok(true);
        }
        let (epoch, what) = (self.known.epoch(), || format!("look for {kind} {namespace}/{name}"));
        let found = match kind {
            Kind::Secret => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                within(CALL_TIMEOUT, what, api.get_metadata_opt(name)).await?.is_some()
            }
            Kind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                within(CALL_TIMEOUT, what, api.get_metadata_opt(name)).await?.is_some()
            }
        };
        if found {
            self.known.keep_existing(epoch, target);
        }
        Ok(found)
    }

    /// One data key as text. `asked_by` is the path of the reference.
    pub async fn text(
        &self,
        subject: Subject,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: &str,
        asked_by: &str,
    ) -> Result<Result<String, Finding>, Error> {
        let found: Option<Option<Vec<u8>>> = match kind {
            Kind::Secret => (self.secret(namespace, name).await?)
                .map(|secret| secret.data.unwrap_or_default().remove(key).map(|bytes| bytes.0)),
            Kind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let what = || format!("read ConfigMap {namespace}/{name}");
                (within(CALL_TIMEOUT, what, api.get_opt(name)).await?)
                    .map(|map| map.data.unwrap_or_default().remove(key).map(String::into_bytes))
            }
        };
        let finding = |reason, message| Ok(Err(Finding::new(subject, reason, message)));
        let Some(data) = found else {
            return finding(Reason::RefNotFound, missing(kind, namespace, name, asked_by));
        };
        let Some(bytes) = data.filter(|bytes| !bytes.is_empty()) else {
            return finding(
                Reason::RefInvalid,
                format!(
                    "{kind} {namespace}/{name} ({asked_by}) has no data key {key:?}, or an empty one; add it"
                ),
            );
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Ok(text)),
            Err(_) => finding(
                Reason::RefInvalid,
                format!("{kind} {namespace}/{name} ({asked_by}): data key {key:?} is not text"),
            ),
        }
    }
}

fn missing(kind: Kind, namespace: &str, name: &str, asked_by: &str) -> String {
    format!("{kind} {namespace}/{name} ({asked_by}) does not exist; create it or change the reference")
}

/// Checks that every source of authorized keys exists; the kubelet mounts them, so their contents stay unread.
pub async fn authorized_keys(
    reader: &Reader,
    gateway: &SSHGateway,
    owner: &Owner,
) -> Result<Vec<Finding>, Error> {
    let namespace = owner.namespace();
    let mut findings = Vec::new();
    let Some(public_key) = &gateway.spec.authentication.public_key else { return Ok(findings) };
    for (number, source) in public_key.authorized_keys_from.iter().enumerate() {
        let secret = source.secret_ref.as_ref().map(|reference| (Kind::Secret, &reference.name));
        let config_map = source.config_map_ref.as_ref().map(|reference| (Kind::ConfigMap, &reference.name));
        let asked_by = format!("authentication.publicKey.authorizedKeysFrom[{number}]");
        for (kind, name) in secret.into_iter().chain(config_map) {
            if !reader.exists(kind, namespace, name).await? {
                let message = missing(kind, namespace, name, &asked_by);
                findings.push(Finding::new(Subject::ResolvedRefs, Reason::RefNotFound, message));
            }
        }
    }
    Ok(findings)
}

/// The PEM texts that a webhook refers to; what is amiss goes to `findings`.
pub async fn webhook(
    reader: &Reader,
    wanted: Option<&Webhook>,
    path: &str,
    namespace: &str,
    findings: &mut Vec<Finding>,
) -> Result<WebhookFiles, Error> {
    let mut files = WebhookFiles::default();
    let Some(wanted) = wanted else { return Ok(files) };
    let subject = Subject::ResolvedRefs;
    let sources: [(Kind, Option<&KeyRef>, &str); 2] = [
        (Kind::Secret, wanted.ca_secret_ref.as_ref(), "caSecretRef"),
        (Kind::ConfigMap, wanted.ca_config_map_ref.as_ref(), "caConfigMapRef"),
    ];
    for (kind, reference, field) in sources {
        let Some(reference) = reference else { continue };
        let asked_by = format!("{path}.{field}");
        match reader.text(subject, kind, namespace, &reference.name, reference.key(), &asked_by).await? {
            Ok(text) => keep_pem(&mut files.ca, &text, "CERTIFICATE", &asked_by, findings),
            Err(finding) => findings.push(finding),
        }
    }
    if let Some(reference) = &wanted.client_certificate_secret_ref {
        let asked_by = format!("{path}.clientCertificateSecretRef");
        for (key, slot, label) in
            [("tls.crt", &mut files.certificate, "CERTIFICATE"), ("tls.key", &mut files.key, "PRIVATE KEY")]
        {
            match reader.text(subject, Kind::Secret, namespace, &reference.name, key, &asked_by).await? {
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
            Subject::ResolvedRefs,
            Reason::RefInvalid,
            format!("{asked_by} leads to something that is no PEM text beginning with a {label}"),
        )),
    }
}
