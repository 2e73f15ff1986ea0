//! A client from settings.

use std::fmt::Display;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, Region, SharedHttpClient};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use containerssh_config::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// What a region is called where nobody names one, which is possible only beside an endpoint. Stores other than
/// Amazon's expect this one.
const DEFAULT_REGION: &str = "us-east-1";

/// How to reach a store.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Base URL; empty for Amazon's.
    pub endpoint: String,
    /// Empty beside an endpoint, or to have the SDK find it.
    pub region: String,
    /// Bucket in the path rather than in the host name.
    pub path_style: bool,
    /// Certificate authorities to trust instead of the system's, as PEM text.
    pub cacert: Option<String>,
    /// Credentials; `None` for the SDK's chain.
    pub keys: Option<Keys>,
    /// Attempts at a request. 1 leaves trying again to the caller.
    pub attempts: u32,
    /// For connecting, TLS included.
    pub connect_timeout: Duration,
}

/// Static credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub access: Secret,
    /// The key itself.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Settings that no client can be made from.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct SettingsError {
    what: &'static str,
    cause: String,
}

impl SettingsError {
    fn new(what: &'static str, cause: impl Display) -> Self {
        Self { what, cause: cause.to_string() }
    }
}

/// Makes a client. Asks nobody anything: credentials are fetched with the first request.
///
/// # Errors
/// If the certificates are none.
pub async fn client(settings: Settings) -> Result<Client, SettingsError> {
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .force_path_style(settings.path_style)
        .http_client(http_client(&settings.endpoint, settings.cacert.as_deref())?)
        .timeout_config(TimeoutConfig::builder().connect_timeout(settings.connect_timeout).build());
    config = match settings.attempts {
        0 | 1 => config.retry_config(RetryConfig::disabled()),
        more => config.retry_config(RetryConfig::standard().with_max_attempts(more)),
    };
    let region = match (settings.region.is_empty(), settings.endpoint.is_empty()) {
        (false, _) => Some(Region::new(settings.region)),
        (true, false) => Some(Region::new(DEFAULT_REGION)),
        (true, true) => None,
    };
    if !settings.endpoint.is_empty() {
        config = config.endpoint_url(settings.endpoint);
    }
    if let (Some(keys), Some(region)) = (&settings.keys, &region) {
        config.set_region(Some(region.clone()));
        return Ok(Client::from_conf(config.credentials_provider(credentials(keys)).build()));
    }
    let mut chain = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(region) = region {
        chain = chain.region(region);
    }
    let chain = chain.load().await;
    config.set_region(chain.region().cloned());
    config = match &settings.keys {
        Some(keys) => config.credentials_provider(credentials(keys)),
        None => {
            config.set_credentials_provider(chain.credentials_provider());
            config
        }
    };
    Ok(Client::from_conf(config.build()))
}

fn credentials(keys: &Keys) -> Credentials {
    let token = keys.session_token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(keys.access.expose(), keys.secret.expose(), token, None, "settings")
}

/// An HTTP client that trusts what the settings say. The SDK panics on a bad certificate, so they are read here first.
fn http_client(endpoint: &str, cacert: Option<&str>) -> Result<SharedHttpClient, SettingsError> {
    let builder = aws_smithy_http_client::Builder::new();
    if endpoint.starts_with("http://") {
        return Ok(builder.build_http());
    }
    let mut trust = TrustStore::default();
    if let Some(pem) = cacert {
        let mut roots = rustls::RootCertStore::empty();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let certificates = certificates
            .map_err(|error| SettingsError::new("the S3 certificate authorities are not valid PEM", error))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|error| {
                SettingsError::new(
                    "the S3 certificate authorities hold something that is no certificate",
                    error,
                )
            })?;
        }
        if roots.is_empty() {
            return Err(SettingsError::new("the S3 certificate authorities", "there is no certificate"));
        }
        trust = TrustStore::empty().with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| SettingsError::new("TLS", error))?;
    Ok(builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            endpoint: "https://s3.example".to_owned(),
            keys: Some(Keys {
                access: Secret::new("a"),
                secret: Secret::new("hunter2"),
                session_token: None,
            }),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_none_is_an_error_and_no_panic() {
        for (pem, expected) in [
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n", "not valid PEM"),
            ("nothing", "there is no certificate"),
        ] {
            let error = client(Settings { cacert: Some(pem.to_owned()), ..settings() }).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_not_amazons_has_a_region_although_nobody_names_one() {
        let client = client(settings()).await.unwrap();
        assert_eq!(client.config().region().unwrap().as_ref(), DEFAULT_REGION);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }
}
