//! Host keys: read from the configuration, or made for as long as the process lives.

use containerssh_config::{PemError, PemOrFile};
use containerssh_log::notice;
use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};

use crate::codes;

/// Why there are no host keys.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The text cannot be had.
    #[error("ssh.hostkeys[{index}]: {source}")]
    Pem {
        /// Which of them.
        index: usize,
        /// Why.
        source: PemError,
    },
    /// The text is not a key that can be used.
    #[error(
        "ssh.hostkeys[{index}]: not an unencrypted private key in OpenSSH, PKCS#8 or PKCS#1 form: {reason}"
    )]
    Key {
        /// Which of them.
        index: usize,
        /// Why.
        reason: String,
    },
    /// It is of a kind that modern clients refuse.
    #[error("ssh.hostkeys[{index}]: {algorithm} host keys are not supported: use ed25519, ecdsa or rsa")]
    Kind {
        /// Which of them.
        index: usize,
        /// What it is.
        algorithm: String,
    },
    /// None is configured and none could be generated.
    #[error("cannot generate a host key: {0}")]
    Generate(String),
}

/// The configured keys, or one generated key if none is configured. The configuration file is never touched.
///
/// # Errors
/// When a configured key cannot be used.
pub fn load(configured: &[PemOrFile]) -> Result<Vec<PrivateKey>, HostKeyError> {
    if configured.is_empty() {
        return Ok(vec![generate()?]);
    }
    configured.iter().enumerate().map(|(index, pem)| decode(index, pem)).collect()
}

fn generate() -> Result<PrivateKey, HostKeyError> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)
        .map_err(|error| HostKeyError::Generate(error.to_string()))?;
    tracing::warn!(
        code = codes::core::CORE_NO_HOST_KEYS,
        module = "ssh",
        fingerprint = %key.fingerprint(HashAlg::Sha256),
        "No host key is configured: using one that lives as long as this process"
    );
    Ok(key)
}

fn decode(index: usize, pem: &PemOrFile) -> Result<PrivateKey, HostKeyError> {
    let text = pem.load().map_err(|source| HostKeyError::Pem { index, source })?;
    let key = decode_secret_key(&text, None)
        .map_err(|error| HostKeyError::Key { index, reason: error.to_string() })?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => {
            notice!(
                code = codes::ssh::SSH_AVAILABLE,
                module = "ssh",
                algorithm = %key.algorithm(),
                fingerprint = %key.fingerprint(HashAlg::Sha256),
                "Host key"
            );
            Ok(key)
        }
        other => Err(HostKeyError::Kind { index, algorithm: other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_key_is_used_inline_or_from_a_file() {
        let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
        let pem = key.to_openssh(Default::default()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, pem.as_bytes()).unwrap();
        let keys = load(&[PemOrFile::new(pem.as_str()), PemOrFile::new(file.to_str().unwrap())]).unwrap();
        assert_eq!(keys, [key.clone(), key]);
    }

    #[test]
    fn a_bad_key_is_named_by_its_place_and_not_shown() {
        let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n";
        let error = load(&[PemOrFile::new(pem)]).unwrap_err().to_string();
        assert!(error.starts_with("ssh.hostkeys[0]: not an unencrypted private key"), "{error}");
        assert!(!error.contains("c2VjcmV0"), "{error}");
        assert!(load(&[PemOrFile::new("/nowhere/key")]).unwrap_err().to_string().contains("/nowhere/key"));
    }

    #[test]
    fn without_a_configured_key_each_process_has_its_own() {
        assert_ne!(load(&[]).unwrap(), load(&[]).unwrap());
    }
}
