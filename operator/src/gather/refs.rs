//! What a gateway refers to: Secrets and ConfigMaps, read when they are needed.
//!
//! Their metadata is watched, so that a change is noticed; their contents are not kept, because an operator that
//! caches every Secret of a cluster is worth attacking.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use containerssh_crds::{SSHGateway, conditions::Reason};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client};

use crate::{
    apply::CALL_TIMEOUT,
    children::Owner,
    error::{Error, within},
    finding::{Finding, Subject},
    gather::{audit_keys, keys, known::Known, servers},
    index::{Kind, Name, Target},
    plan::hostkeys,
};

/// Everything that a gateway's spec names, and the host keys that are made for it.
pub fn references(gateway: &SSHGateway, owner: &Owner) -> HashSet<Target> {
    let spec = &gateway.spec;
    let host_keys = spec.ssh.as_ref().and_then(|ssh| ssh.host_keys_secret_ref.as_ref());
    let made = || hostkeys::secret_name(&owner.name.name);
    let host_keys = host_keys.map_or_else(made, |reference| reference.name.clone());
    let audit = spec.audit.iter().flat_map(audit_keys::secrets_of);
    let names = std::iter::once((Kind::Secret, host_keys))
        .chain(audit.map(|(_, name)| (Kind::Secret, name.to_owned())))
        .chain(keys::references(spec))
        .chain(servers::references(spec));
    names.map(|(kind, name)| (kind, Name::within(owner.namespace(), name))).collect()
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

    /// Everything that the object holds, by data key; None = there is no such object.
    pub async fn data(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
        Ok(match kind {
            Kind::Secret => (self.secret(namespace, name).await?).map(|secret| {
                secret.data.into_iter().flatten().map(|(key, ByteString(bytes))| (key, bytes)).collect()
            }),
            Kind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                let what = || format!("read ConfigMap {namespace}/{name}");
                within(CALL_TIMEOUT, what, api.get_opt(name)).await?.map(|map| {
                    let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
                    let binary = map.binary_data.into_iter().flatten();
                    text.chain(binary.map(|(key, ByteString(bytes))| (key, bytes))).collect()
                })
            }
        })
    }

    /// One data key. `asked_by` is the path of the reference.
    pub async fn bytes(
        &self,
        subject: Subject,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: &str,
        asked_by: &str,
    ) -> Result<Result<Vec<u8>, Finding>, Error> {
        let Some(mut data) = self.data(kind, namespace, name).await? else {
            let message = missing(kind, namespace, name, asked_by);
            return Ok(Err(Finding::new(subject, Reason::RefNotFound, message)));
        };
        Ok(data.remove(key).filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
            let message = format!(
                "{kind} {namespace}/{name} ({asked_by}) has no data key {key:?}, or an empty one; add it"
            );
            Finding::new(subject, Reason::RefInvalid, message)
        }))
    }

    /// One data key as text.
    pub async fn text(
        &self,
        subject: Subject,
        kind: Kind,
        namespace: &str,
        name: &str,
        key: &str,
        asked_by: &str,
    ) -> Result<Result<String, Finding>, Error> {
        let bytes = self.bytes(subject, kind, namespace, name, key, asked_by).await?;
        Ok(bytes.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| {
                let message = format!("{kind} {namespace}/{name} ({asked_by}): data key {key:?} is not text");
                Finding::new(subject, Reason::RefInvalid, message)
            })
        }))
    }
}

pub(super) fn missing(kind: Kind, namespace: &str, name: &str, asked_by: &str) -> String {
    format!("{kind} {namespace}/{name} ({asked_by}) does not exist; create it or change the reference")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Every object that a spec names by a field of the kind `...SecretRef` or `...ConfigMapRef`.
    fn named(value: &Value, found: &mut HashSet<Target>) {
        match value {
            Value::Object(map) => {
                for (field, value) in map {
                    let kind = match field.to_lowercase() {
                        field if field.ends_with("secretref") => Some(Kind::Secret),
                        field if field.ends_with("configmapref") => Some(Kind::ConfigMap),
                        _ => None,
                    };
                    match (kind, value.get("name").and_then(Value::as_str)) {
                        (Some(kind), Some(name)) => {
                            found.insert((kind, Name::within("default", name)));
                        }
                        _ => named(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|value| named(value, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_a_gateway_names_is_watched() {
        let text = include_str!("../../../crds/tests/objects/gateway-full.yaml");
        let object: Value = serde_saphyr::from_str(text).unwrap();
        let gateway: SSHGateway = serde_json::from_value(object.clone()).unwrap();
        let owner = Owner { name: Name::within("default", "full"), uid: "u".into() };
        let mut expected = HashSet::new();
        named(&object["spec"], &mut expected);
        assert!(expected.len() > 15, "only {} references were found", expected.len());
        assert_eq!(references(&gateway, &owner), expected);
    }
}
