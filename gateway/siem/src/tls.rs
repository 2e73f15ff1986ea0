//! TLS for connections that are no HTTP.

use std::sync::Arc;

use containerssh_config::PemOrFile;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

use crate::error::EventsError;

/// A client's side: whom it trusts (the system's authorities if not given) and how it proves itself.
pub(crate) fn client(
    authorities: Option<&PemOrFile>,
    identity: Option<(&PemOrFile, &PemOrFile)>,
    option: &str,
) -> Result<ClientConfig, EventsError> {
    let load = |pem: &PemOrFile, name: &str| {
        pem.load().map_err(|source| EventsError::Pem { option: format!("{option}.{name}"), source })
    };
    let invalid = |name: &str, message: String| EventsError::invalid(format!("{option}.{name}"), message);
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("protocol", error.to_string()))?;
    let builder = match authorities {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&load(pem, "cacert")?) {
                let added =
                    certificate.and_then(|certificate| roots.add(certificate).map_err(|e| e.to_string()));
                added.map_err(|error| invalid("cacert", error))?;
            }
            if roots.is_empty() {
                return Err(invalid("cacert", "holds no certificate".to_owned()));
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(|error| invalid("cacert", error.to_string()))?,
    };
    let Some((cert, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = certificates(&load(cert, "cert")?).collect();
    let pem = Zeroizing::new(load(key, "key")?);
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| invalid("key", "holds no private key that can be read".to_owned()))?;
    builder
        .with_client_auth_cert(chain.map_err(|error| invalid("cert", error))?, key)
        .map_err(|_| invalid("key", "cert and key do not belong together".to_owned()))
}

fn certificates(pem: &str) -> impl Iterator<Item = Result<CertificateDer<'static>, String>> {
    let parsed: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map_err(|_| "holds a certificate that cannot be read".to_owned()))
        .collect();
    parsed.into_iter()
}
