//! Host keys: how clients recognise the gateway, and therefore the one thing that must never change by itself.
//!
//! Made once, in `<gateway>-host-keys`, and kept for ever: that Secret has no owner reference and no UID label, so
//! neither garbage collection nor pruning reaches it, and a gateway that is deleted and made again keeps its
//! identity. Whoever wants new keys has the Secret deleted. A team may also bring a Secret of its own.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::ObjectMeta;
use russh::keys::{
    Algorithm, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key,
    ssh_key::{LineEnding, private::KeypairData},
};
use sha2::{Digest, Sha256};

use crate::{
    children::{NAME_LABEL, NAMESPACE_LABEL, Owner},
    error::Error,
};

/// Where the pods see them.
pub const DIRECTORY: &str = "/etc/containerssh/host-keys";
/// Which keys are made: Ed25519 for everybody, ECDSA for clients that know no Ed25519 (FIPS). RSA is left out: every
/// client that lacks both is older than the gateway's key exchanges, and a 3072-bit key costs seconds to make.
const MADE: [(&str, Algorithm); 2] = [
    ("ssh_host_ed25519_key", Algorithm::Ed25519),
    ("ssh_host_ecdsa_key", Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
];

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

/// New keys in a new Secret. Slow in debug builds: call it where blocking is allowed.
pub fn generate(owner: &Owner) -> Result<Secret, Error> {
    let mut data = BTreeMap::new();
    for (file, algorithm) in MADE {
        let mut key = PrivateKey::random(&mut rand::rng(), algorithm)
            .map_err(|error| Error::HostKey(error.to_string()))?;
        key.set_comment(format!("{}/{}", owner.namespace(), owner.name.name));
        let text = key.to_openssh(LineEnding::LF).map_err(|error| Error::HostKey(error.to_string()))?;
        data.insert(file.to_owned(), ByteString(text.as_bytes().to_vec()));
    }
    let mut labels = owner.pod_labels();
    labels.insert(NAMESPACE_LABEL.into(), owner.namespace().into());
    labels.insert(NAME_LABEL.into(), owner.name.name.clone());
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(&owner.name.name)),
            namespace: Some(owner.namespace().to_owned()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(
                "containerssh.io/note".to_owned(),
                "Host keys are made once and kept when the gateway is deleted. For new ones, whoever may edit AuditPolicies deletes this Secret; or name a Secret of your own in spec.ssh.hostKeysSecretRef."
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
pub fn read(secret: &Secret) -> Result<HostKeys, String> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let (mut files, mut fingerprints) = (Vec::new(), Vec::new());
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
        fingerprints.push(key.fingerprint(HashAlg::Sha256).to_string());
    }
    if files.is_empty() {
        return Err(format!(
            "Secret {name} holds no private key; put one into any data key, for example ssh_host_ed25519_key"
        ));
    }
    Ok(HostKeys { secret: name, files, fingerprints })
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
        let secret = generate(&owner()).unwrap();
        assert_eq!(secret.metadata.name.as_deref(), Some("dev-host-keys"));
        assert!(secret.metadata.owner_references.is_none());
        assert!(!secret.metadata.labels.as_ref().unwrap().contains_key(crate::children::UID_LABEL));
        let keys = read(&secret).unwrap();
        assert_eq!(keys.files, ["ssh_host_ecdsa_key", "ssh_host_ed25519_key"]);
        assert!(keys.fingerprints.iter().all(|print| print.starts_with("SHA256:")));
        assert_ne!(read(&generate(&owner()).unwrap()).unwrap().digest(), keys.digest());
    }

    #[test]
    fn public_keys_beside_the_private_one_are_skipped() {
        let made = generate(&owner()).unwrap().data.unwrap();
        let private = String::from_utf8(made["ssh_host_ed25519_key"].0.clone()).unwrap();
        let keys = read(&with(&[("k", &private), ("k.pub", "ssh-ed25519 AAAA x")])).unwrap();
        assert_eq!(keys.files, ["k"]);
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
