//! Webhooks over TLS: whom the gateway trusts, and how it proves itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{PASSWORD, attempt, reason, settings};
use containerssh_auth::Verdict;
use containerssh_auth::webhook::Webhook;
use containerssh_config::{PemOrFile, TlsVersion, Webhook as Settings};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

struct Leaf {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
    key_der: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }
}

/// A server that answers every request with success, to clients of `clients` only where given.
async fn serve(
    authority: &Authority,
    clients: Option<&Authority>,
    version: &'static SupportedProtocolVersion,
) -> String {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let leaf = authority.leaf(ExtendedKeyUsagePurpose::ServerAuth);
    let acceptor =
        TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![leaf.der], leaf.key_der).unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = Vec::new();
                while !request.ends_with(b"}\n") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{\"success\":true}";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("https://{address}")
}

async fn ask(settings: &Settings) -> Verdict {
    Webhook::new(settings, "auth.password.webhook").unwrap().password(&attempt(), PASSWORD).await
}

/// Handshakes fail at once but count as passing failures, so the time for retries is kept short.
fn trusting(url: &str, authority: &Authority) -> Settings {
    Settings {
        cacert: Some(PemOrFile::new(authority.pem.clone())),
        auth_timeout: Duration::from_millis(500),
        ..settings(url)
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_the_configured_authority_only() {
    let (ours, other) = (Authority::new(), Authority::new());
    let url = serve(&ours, None, &rustls::version::TLS13).await;
    let patient = Settings { auth_timeout: Duration::from_secs(30), ..trusting(&url, &ours) };
    assert!(matches!(ask(&patient).await, Verdict::Accepted(_)));
    let refused = reason(ask(&trusting(&url, &other)).await);
    assert!(refused.contains("certificate"), "{refused}");
    // The system's authorities do not know it either.
    let refused = reason(ask(&Settings { cacert: None, ..trusting(&url, &ours) }).await);
    assert!(refused.contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_client_certificate_is_presented_from_files() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let url = serve(&servers, Some(&clients), &rustls::version::TLS13).await;
    let directory = tempfile::tempdir().unwrap();
    let leaf = clients.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(PemOrFile::new(path.display().to_string()))
    };
    let with = Settings {
        cert: file("cert.pem", &leaf.cert),
        key: file("key.pem", &leaf.key),
        auth_timeout: Duration::from_secs(30),
        ..trusting(&url, &servers)
    };
    assert!(matches!(ask(&with).await, Verdict::Accepted(_)));
    assert!(matches!(ask(&trusting(&url, &servers)).await, Verdict::Unavailable(_)));
}

#[tokio::test]
async fn an_older_tls_version_is_accepted_only_when_allowed() {
    let authority = Authority::new();
    let url = serve(&authority, None, &rustls::version::TLS12).await;
    assert!(matches!(ask(&trusting(&url, &authority)).await, Verdict::Unavailable(_)));
    let older = Settings {
        tls_version: TlsVersion::V1_2,
        auth_timeout: Duration::from_secs(30),
        ..trusting(&url, &authority)
    };
    assert!(matches!(ask(&older).await, Verdict::Accepted(_)));
}

#[test]
fn certificates_that_are_no_use_are_configuration_errors_without_secrets() {
    let authority = Authority::new();
    let leaf = authority.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let pem = |text: &str| Some(PemOrFile::new(text));
    let broken = "-----BEGIN PRIVATE KEY-----\nbGVha2Vk\n-----END PRIVATE KEY-----\n";
    let base = settings("https://127.0.0.1:1");
    for (settings, expected) in [
        (
            Settings { cacert: pem("/nonexistent/ca.pem"), ..base.clone() },
            "webhook.cacert (cannot read /nonexistent/ca.pem",
        ),
        (
            Settings { cacert: pem("-----BEGIN X-----\nbGVha2Vk\n"), ..base.clone() },
            "webhook.cacert (holds no certificate",
        ),
        (Settings { cert: pem(&leaf.cert), key: pem(broken), ..base.clone() }, "webhook."),
        (
            Settings { cert: pem(&leaf.key), key: pem(&leaf.key), ..base.clone() },
            "webhook.key (cert and key do not hold",
        ),
        (Settings { url: "https://".into(), ..base.clone() }, "webhook.url ("),
    ] {
        let error = Webhook::new(&settings, "auth.password.webhook").unwrap_err().to_string();
        assert!(error.starts_with("invalid configuration option: auth.password."), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("bGVha2Vk") && !error.contains("leaked"), "{error}");
    }
}
