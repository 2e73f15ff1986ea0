//! TLS 1.3 between two keys that know each other (RFC 8446, RFC 7250).

use std::sync::Arc;

use ::aws_lc_rs::rand::SystemRandom;
use ::aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};

/// Why there is no key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The random number generator or the library failed.
    #[error("a key could not be made: {0}")]
    Make(String),
    /// What the other side sent is no key.
    #[error("not a public key")]
    Parse,
}

/// A public key: the DER of its SubjectPublicKeyInfo (RFC 5280 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// As text: base64.
    #[must_use]
    pub fn to_text(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// From its text.
    ///
    /// # Errors
    /// When it is none. What it is a key of shows in the handshake.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        /// The longest of TLS, RSA with 8192 bits, has about a kilobyte.
        const MAX_KEY: usize = 4096;
        let key = (text.len() <= MAX_KEY).then(|| STANDARD.decode(text).ok()).flatten();
        key.filter(|key| !key.is_empty()).map(Self).ok_or(KeyError::Parse)
    }
}

/// A key of ours, for one guest.
#[derive(Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    public: PublicKey,
}

impl Identity {
    /// A new key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError::Make(error.to_string());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|error| failed(&error))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
        let key = aws_lc_rs::sign::any_ecdsa_type(&der).map_err(|error| failed(&error))?;
        let public = key.public_key().ok_or_else(|| failed(&"no public key"))?.to_vec();
        let certified = CertifiedKey::new(vec![CertificateDer::from(public.clone())], key);
        Ok(Self { key: Arc::new(certified), public: PublicKey(public) })
    }

    /// What the other side has to know.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// For the side that connects.
    pub(crate) fn client(&self, peer: PublicKey) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Only(peer)))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(
                &self.key,
            ))));
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// For the side that listens.
    pub(crate) fn server(&self, peer: PublicKey) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Only(peer)))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key))));
        // Each connection proves its keys anew.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// AES-128 first: within a cluster both ends have instructions for it, and it costs the least.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// Accepts one key and nothing else.
#[derive(Debug)]
struct Only(PublicKey);

impl Only {
    fn check(&self, key: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        if key.as_ref() == self.0.0.as_slice() && chain.is_empty() {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn signature(
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, &algorithms)
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// TLS 1.2 is not offered, so nobody gets here.
fn not_offered() -> Result<HandshakeSignatureValid, Error> {
    Err(CertificateError::ApplicationVerificationFailure.into())
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key, chain).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        not_offered()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(key, chain).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        not_offered()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
