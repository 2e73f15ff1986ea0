//! Host keys: how clients recognise the gateway, and therefore the one thing that must never change by itself.
//!
//! Made once, in `<gateway>-host-keys`, and kept for ever: that Secret has no owner reference and no UID label, so
//! neither garbage collection nor pruning reaches it, and a gateway that is deleted and made again keeps its
//! identity; unless the gateway says `retention: Delete`, which makes it the Secret's owner. Whoever wants new keys has the
//! Secret deleted. Keys of other algorithms are added to it, and none is ever taken out or replaced. A team may also bring a
//! Secret of its own.

use std::collections::BTreeMap;

use containerssh_crds::{HostKeyAlgorithm, Retention, SSHGatewaySpec};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::api::ObjectMeta;
use russh::keys::{
    Algorithm, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key,
    ssh_key::{LineEnding, private::KeypairData},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    children::{NAME_LABEL, NAMESPACE_LABEL, Owner, label},
    error::Error,
};

/// Where the pods see them.
pub const DIRECTORY: &str = "/etc/containerssh/host-keys";
/// Which keys are made unless the gateway says: Ed25519 for everybody, ECDSA for clients that know no Ed25519 (FIPS). RSA is
/// left out altogether: every client that lacks both is older than the gateway's key exchanges, and a 3072-bit key costs
/// seconds to make.
const USUAL: [HostKeyAlgorithm; 2] = [HostKeyAlgorithm::Ed25519, HostKeyAlgorithm::ECDSAP256];

/// Data key and algorithm of each that can be made.
const fn made(algorithm: HostKeyAlgorithm) -> (&'static str, Algorithm) {
    match algorithm {
        HostKeyAlgorithm::Ed25519 => ("ssh_host_ed25519_key", Algorithm::Ed25519),
        HostKeyAlgorithm::ECDSAP256 => {
            ("ssh_host_ecdsa_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
        }
        HostKeyAlgorithm::ECDSAP384 => {
            ("ssh_host_ecdsa_p384_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 })
        }
        HostKeyAlgorithm::ECDSAP521 => {
            ("ssh_host_ecdsa_p521_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 })
        }
    }
}

/// What a gateway wants of the keys that are made for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Empty: the usual ones, and whatever else is there.
    pub algorithms: Vec<HostKeyAlgorithm>,
    /// The Secret goes with the gateway.
    pub owned: bool,
}

impl Wanted {
    pub fn of(spec: &SSHGatewaySpec) -> Self {
        let wanted = spec.ssh.as_ref().and_then(|ssh| ssh.host_keys.clone()).unwrap_or_default();
        Self { algorithms: wanted.algorithms, owned: wanted.retention == Some(Retention::Delete) }
    }

    /// Those that have to be there. The usual ones of a Secret that is there are its own business: an administrator may
    /// have taken one out.
    fn made(&self) -> &[HostKeyAlgorithm] {
        if self.algorithms.is_empty() { &USUAL } else { &self.algorithms }
    }
}

/// A Secret of host keys as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// All that it holds.
    pub keys: HostKeys,
    /// The algorithm of each, in the order of `keys.files`.
    algorithms: Vec<Algorithm>,
    /// Made by the operator for a gateway of this name, which it says by its labels.
    made_for: Option<(String, String)>,
    /// Controllers of the Secret, by UID.
    owners: Vec<String>,
    pub resource_version: Option<String>,
}

impl Stored {
    /// Those of the keys that a gateway wants.
    pub fn choose(&self, wanted: &Wanted) -> HostKeys {
        if wanted.algorithms.is_empty() {
            return self.keys.clone();
        }
        let chosen: Vec<Algorithm> = wanted.algorithms.iter().map(|algorithm| made(*algorithm).1).collect();
        let of_each = self.keys.files.iter().zip(&self.keys.fingerprints).zip(&self.algorithms);
        let (files, fingerprints) = of_each
            .filter(|(_, algorithm)| chosen.contains(algorithm))
            .map(|((file, fingerprint), _)| (file.clone(), fingerprint.clone()))
            .unzip();
        HostKeys { secret: self.keys.secret.clone(), files, fingerprints }
    }

    /// What has to change for the gateway to have what it wants: a merge patch. None = nothing, or the Secret is not ours
    /// to change. Slow in debug builds where keys are missing.
    pub fn amend(&self, wanted: &Wanted, owner: &Owner) -> Result<Option<Value>, Error> {
        let (namespace, name) = (owner.namespace().to_owned(), owner.name.name.clone());
        if self.made_for != Some((namespace, name)) {
            return Ok(None);
        }
        let lacking =
            (wanted.algorithms.iter()).filter(|algorithm| !self.algorithms.contains(&made(**algorithm).1));
        let mut data = BTreeMap::new();
        for algorithm in lacking {
            let (file, key) = new_key(*algorithm, owner)?;
            data.insert(file, key);
        }
        let owners: Vec<OwnerReference> = wanted.owned.then(|| owner.reference()).into_iter().collect();
        let owners_differ = self.owners.contains(&owner.uid) != wanted.owned;
        if data.is_empty() && !owners_differ {
            return Ok(None);
        }
        // The version keeps a key that somebody else makes at the same time from being overwritten.
        let mut metadata = json!({"resourceVersion": self.resource_version});
        if let (true, Value::Object(metadata)) = (owners_differ, &mut metadata) {
            metadata.insert("ownerReferences".to_owned(), json!(owners));
        }
        Ok(Some(json!({"metadata": metadata, "data": data})))
    }
}

/// What a Secret of host keys holds, without the keys themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeys {
    /// The Secret.
    pub secret: String,
    /// Data keys that hold a private key, sorted; each is a file in [`DIRECTORY`].
    pub files: Vec<String>,
    /// `SHA256:...` of each public key, in the order of `files`, as OpenSSH prints it.
    pub fingerprints: Vec<String>,
}

impl HostKeys {
    /// Names the set of public keys: pods are replaced when it changes, because host keys cannot be reloaded.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.fingerprints.join("\n")))
    }
}

/// Name of the Secret that is made when the gateway names none.
pub fn secret_name(gateway: &str) -> String {
    format!("{gateway}-host-keys")
}

/// A new key, and its data key.
fn new_key(algorithm: HostKeyAlgorithm, owner: &Owner) -> Result<(String, ByteString), Error> {
    let (file, algorithm) = made(algorithm);
    let mut key =
        PrivateKey::random(&mut rand::rng(), algorithm).map_err(|error| Error::HostKey(error.to_string()))?;
    key.set_comment(format!("{}/{}", owner.namespace(), owner.name.name));
    let text = key.to_openssh(LineEnding::LF).map_err(|error| Error::HostKey(error.to_string()))?;
    Ok((file.to_owned(), ByteString(text.as_bytes().to_vec())))
}

/// New keys in a new Secret. Slow in debug builds: call it where blocking is allowed.
pub fn generate(owner: &Owner, wanted: &Wanted) -> Result<Secret, Error> {
    let data: BTreeMap<String, ByteString> =
        wanted.made().iter().map(|algorithm| new_key(*algorithm, owner)).collect::<Result<_, _>>()?;
    let mut labels = owner.pod_labels();
    labels.insert(NAMESPACE_LABEL.into(), owner.namespace().into());
    labels.insert(NAME_LABEL.into(), owner.name.name.clone());
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&owner.name.name)),
            namespace: Some(owner.namespace().to_owned()),
            labels: Some(labels),
            owner_references: wanted.owned.then(|| vec![owner.reference()]),
            annotations: Some(BTreeMap::from([(
                "containerssh.io/note".to_owned(),
                "Host keys are made once, and kept when the gateway is deleted unless its spec says otherwise. For new ones, whoever may edit AuditPolicies deletes this Secret; or name a Secret of your own in spec.ssh.hostKeysSecretRef."
                    .to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(data),
        ..Secret::default()
    })
}

/// Reads a Secret's keys; the error is a sentence for the gateway's status, and holds nothing of the keys.
pub fn read(secret: &Secret) -> Result<Stored, String> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let (mut files, mut fingerprints, mut algorithms) = (Vec::new(), Vec::new(), Vec::new());
    for (file, ByteString(bytes)) in secret.data.iter().flatten() {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        // Public keys and certificates often stand beside the private ones.
        if !text.contains("PRIVATE KEY") {
            continue;
        }
        let broken = |why: &str| format!("Secret {name}: key {file:?} {why}");
        let key = decode_secret_key(text, None).map_err(|_| {
            if text.contains("ENCRYPTED") {
                broken("is encrypted; store it without a passphrase")
            } else {
                broken("is no private key that can be read; use OpenSSH, PKCS#8 or PKCS#1 PEM without a passphrase")
            }
        })?;
        if matches!(key.key_data(), KeypairData::Encrypted(_)) {
            return Err(broken("is encrypted; store it without a passphrase"));
        }
        files.push(file.clone());
        algorithms.push(key.algorithm());
        fingerprints.push(key.fingerprint(HashAlg::Sha256).to_string());
    }
    if files.is_empty() {
        return Err(format!(
            "Secret {name} holds no private key; put one into any data key, for example ssh_host_ed25519_key"
        ));
    }
    let meta = &secret.metadata;
    let of = |key| label(meta, key).map(str::to_owned);
    Ok(Stored {
        keys: HostKeys { secret: name, files, fingerprints },
        algorithms,
        made_for: of(NAMESPACE_LABEL).zip(of(NAME_LABEL)),
        owners: meta.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect(),
        resource_version: meta.resource_version.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Name;

    fn owner() -> Owner {
        Owner { name: Name::within("team-a", "dev"), uid: "uid".into() }
    }

    fn with(entries: &[(&str, &str)]) -> Secret {
        Secret {
            metadata: ObjectMeta { name: Some("keys".into()), ..ObjectMeta::default() },
            data: Some(
                entries.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect(),
            ),
            ..Secret::default()
        }
    }

    #[test]
    fn generated_keys_can_be_read_back_and_are_not_owned() {
        let usual = Wanted::default();
        let secret = generate(&owner(), &usual).unwrap();
        assert_eq!(secret.metadata.name.as_deref(), Some("dev-host-keys"));
        assert!(secret.metadata.owner_references.is_none());
        assert!(!secret.metadata.labels.as_ref().unwrap().contains_key(crate::children::UID_LABEL));
        let keys = read(&secret).unwrap().choose(&usual);
        assert_eq!(keys.files, ["ssh_host_ecdsa_key", "ssh_host_ed25519_key"]);
        assert!(keys.fingerprints.iter().all(|print| print.starts_with("SHA256:")));
        let others = read(&generate(&owner(), &usual).unwrap()).unwrap();
        assert_ne!(others.keys.digest(), keys.digest());
        assert_eq!(others.amend(&usual, &owner()).unwrap(), None);
    }

    /// A Secret after a merge patch, as the API server would leave it.
    fn patched(secret: &Secret, patch: &Value) -> Secret {
        let mut patched = secret.clone();
        let data: BTreeMap<String, ByteString> = serde_json::from_value(patch["data"].clone()).unwrap();
        patched.data.get_or_insert_default().extend(data);
        if let Some(owners) = patch["metadata"].get("ownerReferences") {
            patched.metadata.owner_references = serde_json::from_value(owners.clone()).unwrap();
        }
        patched
    }

    #[test]
    fn keys_are_added_and_hidden_and_never_replaced() {
        use HostKeyAlgorithm::{ECDSAP384, Ed25519};
        let secret = generate(&owner(), &Wanted::default()).unwrap();
        let stored = read(&secret).unwrap();
        let wanted = Wanted { algorithms: vec![ECDSAP384, Ed25519], owned: false };
        let patch = stored.amend(&wanted, &owner()).unwrap().unwrap();
        assert_eq!(
            patch["data"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["ssh_host_ecdsa_p384_key"]
        );
        let after = read(&patched(&secret, &patch)).unwrap();
        assert_eq!(after.amend(&wanted, &owner()).unwrap(), None, "once is enough");
        let shown = after.choose(&wanted);
        assert_eq!(shown.files, ["ssh_host_ecdsa_p384_key", "ssh_host_ed25519_key"]);
        assert!(stored.keys.fingerprints.contains(&shown.fingerprints[1]), "the key that was there");
        assert_eq!(
            after.choose(&Wanted::default()).files.len(),
            3,
            "what is there is shown unless the gateway chooses"
        );
    }

    #[test]
    fn a_secret_goes_with_its_gateway_while_the_gateway_says_so() {
        let (keep, delete) = (Wanted::default(), Wanted { owned: true, ..Wanted::default() });
        let secret = generate(&owner(), &keep).unwrap();
        let patch = read(&secret).unwrap().amend(&delete, &owner()).unwrap().unwrap();
        let owned = patched(&secret, &patch);
        assert_eq!(owned.metadata.owner_references.as_ref().unwrap()[0].uid, "uid");
        let stored = read(&owned).unwrap();
        assert_eq!(stored.amend(&delete, &owner()).unwrap(), None);
        let patch = stored.amend(&keep, &owner()).unwrap().unwrap();
        assert!(read(&patched(&owned, &patch)).unwrap().owners.is_empty());
        assert_eq!(generate(&owner(), &delete).unwrap().metadata.owner_references.unwrap().len(), 1);
    }

    #[test]
    fn a_secret_that_somebody_else_made_is_not_changed() {
        let mut secret = generate(&owner(), &Wanted::default()).unwrap();
        secret.metadata.labels = None;
        let all = Wanted { algorithms: vec![HostKeyAlgorithm::ECDSAP521], owned: true };
        assert_eq!(read(&secret).unwrap().amend(&all, &owner()).unwrap(), None);
    }

    #[test]
    fn public_keys_beside_the_private_one_are_skipped() {
        let made = generate(&owner(), &Wanted::default()).unwrap().data.unwrap();
        let private = String::from_utf8(made["ssh_host_ed25519_key"].0.clone()).unwrap();
        let stored = read(&with(&[("k", &private), ("k.pub", "ssh-ed25519 AAAA x")])).unwrap();
        assert_eq!(stored.keys.files, ["k"]);
    }

    #[test]
    fn a_secret_without_a_usable_key_says_what_to_do_and_shows_nothing_of_it() {
        assert!(read(&with(&[("a", "hello")])).unwrap_err().contains("holds no private key"));
        let rubbish = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n";
        let error = read(&with(&[("a", rubbish)])).unwrap_err();
        assert!(error.contains("Secret keys: key \"a\" is no private key"), "{error}");
        assert!(!error.contains("c2VjcmV0"));
    }
}
