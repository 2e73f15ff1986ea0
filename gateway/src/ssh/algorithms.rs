//! Which algorithms a client may choose from: modern ones only.
//!
//! What is missing on purpose: everything with SHA-1 (`ssh-rsa` signatures, `hmac-sha1`, `diffie-hellman-group14-sha1`), CBC
//! ciphers, and compression (plain `zlib` inflates before authentication). No configuration brings them back.
//!
//! The order of our lists decides nothing: the *client's* first match wins (RFC 4253 section 7.1). OpenSSH's client
//! prefers ChaCha20-Poly1305, which costs both ends two to four times as much as AES-GCM where the CPU has AES
//! instructions. A client that proposes AES-GCM is therefore offered [`fastest`] alone. Its proposal is looked at first, so
//! that one that is set to something else gets what it wants.

use std::borrow::Cow;

use containerssh_config::Ssh;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

use crate::serve::Ciphers;

/// Host keys and client keys alike (the list is also sent as `server-sig-algs`, RFC 8308 section 3.1).
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// The SSH library lacks an algorithm that the configuration knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ssh.{key}: {name} is not available in this build: remove it")]
pub struct AlgorithmError {
    key: &'static str,
    name: String,
}

/// The lists for russh. That only modern names and at least one of each kind are configured is the configuration's rule.
///
/// # Errors
/// When the library lacks one of them.
pub(crate) fn preferred(ssh: &Ssh) -> Result<Preferred, AlgorithmError> {
    let kex_names = ssh.kex.iter().map(|name| name.as_str());
    let mut kex = names("kex", kex_names, |name| kex::Name::try_from(name).ok())?;
    // Not algorithms but announcements: extension info (RFC 8308) and strict key exchange, the cure for Terrapin.
    kex.push(kex::EXTENSION_SUPPORT_AS_SERVER);
    kex.push(kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER);
    let ciphers = ssh.ciphers.iter().map(|name| name.as_str());
    let macs = ssh.macs.iter().map(|name| name.as_str());
    Ok(Preferred {
        kex: Cow::Owned(kex),
        key: Cow::Borrowed(KEYS),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Owned(names("ciphers", ciphers, |name| cipher::Name::try_from(name).ok())?),
        mac: Cow::Owned(names("macs", macs, |name| mac::Name::try_from(name).ok())?),
        compression: Cow::Borrowed(&[compression::NONE]),
    })
}

/// Whether a client sends its proposal without waiting for ours, as RFC 4253 section 7.1 allows and OpenSSH does: by its
/// identification string.
pub(crate) fn proposes_first(client: &str) -> bool {
    client.starts_with("SSH-2.0-OpenSSH_")
}

/// The cheapest of the allowed ciphers alone, if they are allowed at all: see the module's text.
pub(crate) fn fastest(allowed: &Preferred) -> Option<Preferred> {
    let gcm: Vec<cipher::Name> = allowed
        .cipher
        .iter()
        .copied()
        .filter(|name| [cipher::AES_128_GCM, cipher::AES_256_GCM].contains(name))
        .collect();
    (!gcm.is_empty()).then(|| Preferred { cipher: Cow::Owned(gcm), ..allowed.clone() })
}

/// Whether a client that proposes these ciphers can do with `offer`.
pub(crate) fn suits(offer: &Preferred, proposed: &Ciphers) -> bool {
    offer.cipher.iter().any(|name| proposed.contains(name.as_ref()))
}

fn names<'a, N>(
    key: &'static str,
    configured: impl Iterator<Item = &'a str>,
    parse: impl Fn(&str) -> Option<N>,
) -> Result<Vec<N>, AlgorithmError> {
    configured.map(|name| parse(name).ok_or_else(|| AlgorithmError { key, name: name.to_owned() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerssh_config::{Cipher, Kex, Mac};

    fn everything() -> Preferred {
        let ssh = Ssh {
            kex: Kex::ALL.to_vec(),
            ciphers: Cipher::ALL.to_vec(),
            macs: Mac::ALL.to_vec(),
            ..Ssh::default()
        };
        preferred(&ssh).unwrap()
    }

    #[test]
    fn every_name_that_may_be_configured_exists_in_the_library() {
        let preferred = everything();
        assert_eq!(preferred.cipher.len(), Cipher::ALL.len());
        assert_eq!(preferred.kex.len(), Kex::ALL.len() + 2);
        assert!(preferred.kex.contains(&kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER));
    }

    #[test]
    fn neither_sha1_nor_cbc_nor_compression_is_offered() {
        let preferred = everything();
        assert!(!preferred.key.contains(&Algorithm::Rsa { hash: None }));
        assert_eq!(preferred.compression.as_ref(), [compression::NONE]);
        let names = preferred.kex.iter().map(AsRef::as_ref).chain(preferred.mac.iter().map(AsRef::as_ref));
        assert!(
            names
                .chain(preferred.cipher.iter().map(AsRef::as_ref))
                .all(|name: &str| { !name.contains("sha1") && !name.contains("cbc") && name != "none" })
        );
    }

    #[test]
    fn the_fastest_ciphers_are_those_with_hardware_behind_them() {
        let fast = fastest(&everything()).unwrap();
        assert!(fast.cipher.iter().all(|name| name.as_ref().contains("gcm")));
        let chacha = preferred(&Ssh { ciphers: vec![Cipher::ChaCha20Poly1305], ..Ssh::default() }).unwrap();
        assert!(fastest(&chacha).is_none());
    }
}
