//! One HTTP request and what can go wrong with it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containerssh_config::{PemOrFile, Webhook as Settings};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use zeroize::Zeroizing;

use super::{cache, tls};
use crate::{AuthConfigError, code};

/// Largest answer. Files travel in it as base64; a megabyte is a few certificates and keys, many times over.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// Redirects followed, where they are allowed: as many as Go follows.
const MAX_REDIRECTS: usize = 10;

/// Idle connections kept per server, for the bursts in which people log in.
const MAX_IDLE: usize = 32;

/// Idle connections are closed after this time: sooner than common servers and load balancers do (60 s and up),
/// which would otherwise close them while a request is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

const AGENT: &str = concat!("containerssh-gateway/", env!("CARGO_PKG_VERSION"));

/// Makes the client that all requests of one webhook share.
pub(crate) fn build(settings: &Settings, option: &str) -> Result<Client, AuthConfigError> {
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(ACCEPT, json.clone()), (CONTENT_TYPE, json)]);
    let load = |pem: &PemOrFile, name: &str| {
        pem.load().map_err(|source| AuthConfigError::Pem { option: format!("{option}.{name}"), source })
    };
    let mut builder = Client::builder()
        .user_agent(AGENT)
        .default_headers(headers)
        .referer(false)
        // Like ContainerSSH: passwords go where the configuration says, whatever the environment says.
        .no_proxy()
        .redirect(if settings.allow_redirects { follow() } else { redirect::Policy::none() })
        .pool_max_idle_per_host(MAX_IDLE)
        .pool_idle_timeout(IDLE_TIMEOUT);
    let authorities = settings.cacert.as_ref().map(|pem| load(pem, "cacert")).transpose()?;
    let identity = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => Some((load(cert, "cert")?, Zeroizing::new(load(key, "key")?))),
        _ => None,
    };
    let tls = tls::config(settings, authorities.as_deref(), identity)
        .map_err(|error| invalid(option, error.key, &error.message))?;
    builder = builder.tls_backend_preconfigured(tls);
    // What is left to fail is nothing of the configuration's.
    builder.build().map_err(|error| invalid(option, "cacert", &chain(&error)))
}

fn invalid(option: &str, name: &str, message: &str) -> AuthConfigError {
    AuthConfigError::Invalid { option: format!("{option}.{name}"), message: message.to_owned() }
}

/// Follows redirects, but never from TLS to none: the request holds a password.
fn follow() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let from_tls = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if from_tls && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to http is refused")
        } else {
            attempt.follow()
        }
    })
}

/// A URL as it may be logged.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut shown = url.clone();
    // These fail for URLs that cannot have credentials, which is as good.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown
}

/// Why there is no answer. Never holds what was sent or received.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, no answer in time, or a broken one.
    Transport(String),
    /// Something that following redirects ran into.
    Redirect(String),
    /// A status other than 200.
    Status(StatusCode),
    /// An answer that is none.
    Answer(String),
    /// Not asked: it has given no answers, and is left alone for so long yet.
    Open(Duration),
}

impl Failure {
    pub(super) fn timeout(limit: Duration) -> Failure {
        Failure::Transport(format!("no answer within {}", containerssh_config::duration::format(limit)))
    }

    /// Whether the same request may be answered a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Failure::Transport(_) => true,
            Failure::Status(status) => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Failure::Redirect(_) | Failure::Answer(_) | Failure::Open(_) => false,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Failure::Transport(_) => code::HTTP_CLIENT_CONNECTION_FAILED,
            Failure::Redirect(_) => code::HTTP_CLIENT_REDIRECTS_DISABLED,
            Failure::Status(status) if status.is_redirection() => code::HTTP_CLIENT_REDIRECTS_DISABLED,
            Failure::Status(_) => code::AUTH_INVALID_STATUS,
            Failure::Answer(_) => code::HTTP_CLIENT_DECODE_FAILED,
            Failure::Open(_) => code::AUTH_CIRCUIT_OPEN,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transport(message) | Failure::Redirect(message) => f.write_str(message),
            Failure::Status(status) if status.is_redirection() => {
                write!(f, "the server redirects (status {}), which allowRedirects forbids", status.as_u16())
            }
            Failure::Status(status) => write!(f, "status {} instead of 200", status.as_u16()),
            Failure::Answer(message) => write!(f, "the answer {message}"),
            Failure::Open(left) => {
                let left = containerssh_config::duration::format(Duration::from_secs(left.as_secs() + 1));
                write!(f, "not asked, since it has given no answers; it is tried again within {left}")
            }
        }
    }
}

/// What came back with status 200.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) text: Bytes,
    /// How long it may be given again.
    pub(super) fresh: Duration,
}

/// Makes one request and returns its answer. `limit` holds from connect to the last byte.
pub(super) async fn post(
    client: &Client,
    url: &Url,
    body: Bytes,
    limit: Duration,
) -> Result<Received, Failure> {
    let failed = |error: reqwest::Error| {
        if error.is_timeout() {
            Failure::timeout(limit)
        } else if error.is_redirect() {
            Failure::Redirect(chain(&error))
        } else {
            Failure::Transport(chain(&error))
        }
    };
    let mut response = client.post(url.clone()).timeout(limit).body(body).send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let fresh = cache::freshness(response.headers());
    let too_large = || Failure::Answer(format!("is larger than {MAX_ANSWER} bytes"));
    if response.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(too_large());
    }
    let mut text = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if text.len() + chunk.len() > MAX_ANSWER {
            return Err(too_large());
        }
        text.extend_from_slice(&chunk);
    }
    Ok(Received { text: text.freeze(), fresh })
}

/// An error with its causes, without the URL, which may hold credentials.
fn chain(error: &reqwest::Error) -> String {
    // The outermost message is "error sending request for url (...)".
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { containerssh_log::clean::text(&text, 500) }
}
