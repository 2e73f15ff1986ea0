//! TLS of a webhook's client, as the configuration has it: authorities, client certificate, versions, groups, suites.

use std::sync::Arc;

use containerssh_config::{CipherSuite, Curve, TlsVersion, Webhook as Settings};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

/// A setting that is no use.
#[derive(Debug)]
pub(super) struct Invalid {
    /// Which one.
    pub(super) key: &'static str,
    pub(super) message: String,
}

fn invalid(key: &'static str, message: &(impl ToString + ?Sized)) -> Invalid {
    Invalid { key, message: message.to_string() }
}

/// What the client talks TLS with. `authorities` and `identity` (certificate and key) are PEM text.
pub(super) fn config(
    settings: &Settings,
    authorities: Option<&str>,
    identity: Option<(String, Zeroizing<String>)>,
) -> Result<ClientConfig, Invalid> {
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.tls_version {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider(settings)))
        .with_protocol_versions(versions)
        .map_err(|error| invalid("cipher", &error))?;
    let builder = match authorities {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => builder.with_platform_verifier().map_err(|error| invalid("cacert", &error))?,
    };
    let mut config = match identity {
        Some((certificates, key)) => {
            let unreadable =
                || invalid("key", "cert and key do not hold a certificate and its key that can be read");
            let chain = chain(&certificates).filter(|chain| !chain.is_empty()).ok_or_else(unreadable)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unreadable())?;
            builder.with_client_auth_cert(chain, key).map_err(|_| unreadable())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(pem: &str) -> Result<RootCertStore, Invalid> {
    let unreadable = || invalid("cacert", "holds no certificate that can be read");
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem).ok_or_else(unreadable)? {
        roots.add(certificate).map_err(|_| unreadable())?;
    }
    if roots.is_empty() { Err(unreadable()) } else { Ok(roots) }
}

fn chain(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}

/// The TLS library's choice, narrowed to what is listed, in the order of the list.
fn provider(settings: &Settings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.curves.is_empty() {
        provider.kx_groups = settings.curves.iter().filter_map(|curve| group(*curve)).collect();
    }
    if !settings.cipher.is_empty() {
        provider.cipher_suites = settings.cipher.iter().map(|cipher| suite(*cipher)).collect();
    }
    provider
}

fn group(curve: Curve) -> Option<&'static dyn SupportedKxGroup> {
    match curve {
        Curve::X25519 => Some(aws_lc_rs::kx_group::X25519),
        Curve::Secp256r1 => Some(aws_lc_rs::kx_group::SECP256R1),
        Curve::Secp384r1 => Some(aws_lc_rs::kx_group::SECP384R1),
        // The library has none; the configuration's check sees to it that something else is listed.
        Curve::Secp521r1 => None,
    }
}

fn suite(cipher: CipherSuite) -> SupportedCipherSuite {
    use aws_lc_rs::cipher_suite as suites;
    match cipher {
        CipherSuite::Aes128Gcm => suites::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256Gcm => suites::TLS13_AES_256_GCM_SHA384,
        CipherSuite::ChaCha20 => suites::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128Gcm => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes128Gcm => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256Gcm => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes256Gcm => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaChaCha20 => suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}
