//! Keys that sign manifests, and those that check them: Ed25519 (RFC 8032), in PEM as OpenSSL writes them.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use crate::chain::Hash;

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410 section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key cannot be used. Never says anything of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PEM, or another kind of PEM.
    #[error(
        "there is no \"{0}\" in PEM in it; `openssl genpkey -algorithm ed25519` makes a private key, `openssl pkey -pubout` its public one"
    )]
    NotPem(&'static str),
    /// A key of another kind.
    #[error("it is not an Ed25519 key")]
    NotEd25519,
    /// The library would not.
    #[error("the key cannot sign")]
    Refused,
}

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

impl SigningKey {
    /// Reads PKCS#8 in PEM.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_: pem::Error| KeyError::NotPem("PRIVATE KEY"))?;
        Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(Self).map_err(|_| KeyError::NotEd25519)
    }

    /// Makes a new one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Refused)
    }

    /// The public key to it.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn public(&self) -> Result<VerifyingKey, KeyError> {
        let key = self.0.public_key().as_ref().try_into().map_err(|_| KeyError::Refused)?;
        Ok(VerifyingKey(key))
    }

    /// What the public key is known by.
    pub(super) fn id(&self) -> Hash {
        id(self.0.public_key().as_ref())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.try_sign(message).map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::Refused)
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Reads a `SubjectPublicKeyInfo` in PEM.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map_err(|_: pem::Error| KeyError::NotPem("PUBLIC KEY"))?;
        let key = der.strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(KeyError::NotEd25519)
    }

    /// SHA-256 of the key's `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn id(&self) -> Hash {
        id(&self.0)
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

fn id(key: &[u8]) -> Hash {
    Hash::of(&[&SPKI, key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ed25519_key_is_refused_with_a_way_out() {
        let error = SigningKey::from_pem("secret").unwrap_err().to_string();
        assert!(error.contains("openssl genpkey") && !error.contains("secret"), "{error}");
        let p256 = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7P0lrhAxyRiWnGUUaXtBhmD3phcv\n-----END PUBLIC KEY-----\n";
        assert_eq!(VerifyingKey::from_pem(p256), Err(KeyError::NotEd25519));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().unwrap().id()));
    }
}
