//! Events POSTed to an HTTP server.
//!
//! What Vector's `http_server` source, and other receivers of JSON, take: an array, or an object per line. Status 2xx is
//! the receiver's word that it has the batch.

use std::error::Error as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::{EventCompression, EventEncoding, EventWebhook, PemOrFile, duration};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Response, StatusCode, Url, redirect, tls};
use zeroize::Zeroizing;

use crate::encode::{self, Style};
use crate::error::{EventsError, Failure, Reason};
use crate::event::Source;
use crate::queue::Item;

/// How much of an answer is read, so that its connection can be used again. Its contents do not matter.
const MAX_ANSWER: usize = 64 * 1024;

/// A token longer than this is no token. Servers refuse headers of 8 KiB.
const MAX_TOKEN: u64 = 8 * 1024;

/// Idle connections are closed after this time: sooner than common servers and load balancers do (60 s and up), which
/// would otherwise close them while a batch is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The fastest but one: events compress tenfold at any level, and the processor belongs to the sessions.
const LEVEL: u32 = 2;

const AGENT: &str = concat!("containerssh-gateway/", env!("CARGO_PKG_VERSION"));

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Webhook {
    settings: EventWebhook,
    /// Its key in the configuration, for errors.
    option: String,
    url: Url,
    /// Made again after a failure: certificates may have been rotated.
    client: Option<Client>,
}

impl Webhook {
    /// Makes the client for the first time, so that a mistake shows at once.
    pub(crate) fn new(settings: &EventWebhook, option: &str) -> Result<Self, EventsError> {
        let url = settings
            .url
            .parse::<Url>()
            .map_err(|error| EventsError::invalid(format!("{option}.url"), error.to_string()))?;
        let client = Some(client(settings, option)?);
        Ok(Self { settings: settings.clone(), option: option.to_owned(), url, client })
    }

    /// Most bytes of events in a request.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.settings.batch.bytes.bytes()).unwrap_or(usize::MAX)
    }

    /// The body of a request.
    pub(crate) async fn body(&self, texts: &[Vec<u8>]) -> Bytes {
        let mut body = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum::<usize>() + 1);
        match self.settings.encoding {
            EventEncoding::Json => {
                body.push(b'[');
                for (number, text) in texts.iter().enumerate() {
                    if number > 0 {
                        body.push(b',');
                    }
                    body.extend_from_slice(text);
                }
                body.push(b']');
            }
            EventEncoding::Ndjson => {
                for text in texts {
                    body.extend_from_slice(text);
                    body.push(b'\n');
                }
            }
        }
        match self.settings.compression {
            EventCompression::None => body.into(),
            // Milliseconds for a large batch, which others would wait for.
            EventCompression::Gzip => {
                tokio::task::spawn_blocking(move || gzip(&body)).await.unwrap_or_default().into()
            }
        }
    }

    /// Makes one request.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<(), Failure> {
        let result = self.post(body).await;
        if let Err(Failure::Passing { reason, .. }) = &result
            && matches!(reason, Reason::Connection | Reason::Denied)
        {
            self.client = None;
        }
        result
    }

    async fn post(&mut self, body: Bytes) -> Result<(), Failure> {
        let limit = self.settings.timeout;
        let client = self.client()?;
        let headers = self.headers()?;
        let request = client.post(self.url.clone()).headers(headers).timeout(limit).body(body);
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                let limit = duration::format(limit);
                Failure::passing(Reason::Timeout, format!("no answer within {limit}"))
            } else {
                Failure::passing(Reason::Connection, chain(&error))
            }
        };
        let response = request.send().await.map_err(failed)?;
        let verdict = judge(response.status(), response.headers());
        // Whatever becomes of it: the verdict is known.
        drain(response).await;
        verdict
    }

    fn client(&mut self) -> Result<Client, Failure> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = client(&self.settings, &self.option)
            .map_err(|error| Failure::passing(Reason::Credentials, error.to_string()))?;
        self.client = Some(client.clone());
        Ok(client)
    }

    fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let content_type = match self.settings.encoding {
            EventEncoding::Json => "application/json",
            EventEncoding::Ndjson => "application/x-ndjson",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.settings.compression == EventCompression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let token = match (&self.settings.bearer_token, &self.settings.bearer_token_file) {
            (Some(token), _) => Some(Zeroizing::new(token.expose().to_owned())),
            (None, Some(file)) => Some(token(file)?),
            (None, None) => None,
        };
        if let Some(token) = token {
            let value = Zeroizing::new(format!("Bearer {}", token.trim()));
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                Failure::passing(Reason::Credentials, "the token holds characters that no header may")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// An event as it stands in a body.
pub(crate) fn text(source: &Source, item: &Item, style: Style) -> Vec<u8> {
    let mut text = Vec::with_capacity(encode::size(&item.event));
    encode::encode(&mut text, source, &item.event, item.sequence, style);
    text
}

/// A token as its file has it now. A few bytes of a mounted Secret: not worth another thread.
fn token(file: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |why: String| Failure::passing(Reason::Credentials, format!("cannot use {file}: {why}"));
    let mut token = Zeroizing::new(String::new());
    std::fs::File::open(file)
        .and_then(|file| {
            std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_TOKEN + 1), &mut token)
        })
        .map_err(|error| failed(error.to_string()))?;
    match token.trim().len() as u64 {
        0 => Err(failed("it is empty".into())),
        length if length > MAX_TOKEN => Err(failed("it is too long for a token".into())),
        _ => Ok(token),
    }
}

/// What a status means.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let message = format!("status {}", status.as_u16());
    let reason = match status.as_u16() {
        200..=299 => return Ok(()),
        400 | 413 | 422 => return Err(Failure::Refused(message)),
        401 | 403 => Reason::Denied,
        408 | 425 | 429 => Reason::Throttled,
        503 if headers.contains_key(RETRY_AFTER) => Reason::Throttled,
        500..=599 => Reason::Server,
        _ => Reason::Unexpected,
    };
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    Err(Failure::Passing { reason, message, after })
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(LEVEL));
    // A buffer in memory does not fail.
    let _infallible = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

fn client(settings: &EventWebhook, option: &str) -> Result<Client, EventsError> {
    let load = |pem: &PemOrFile, name: &str| {
        pem.load().map_err(|source| EventsError::Pem { option: format!("{option}.{name}"), source })
    };
    let invalid = |name: &str, message: &str| EventsError::invalid(format!("{option}.{name}"), message);
    let mut builder = Client::builder()
        .user_agent(AGENT)
        .referer(false)
        // Events go where the configuration says, whatever the environment says.
        .no_proxy()
        // A redirect would send them, and the token, to whom nobody configured.
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_version_min(tls::Version::TLS_1_2);
    if let Some(pem) = &settings.cacert {
        let certificates = Certificate::from_pem_bundle(load(pem, "cacert")?.as_bytes())
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| invalid("cacert", "holds no certificate that can be read"))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let (Some(cert), Some(key)) = (&settings.cert, &settings.key) {
        let pem = Zeroizing::new(format!("{}\n{}", load(cert, "cert")?, load(key, "key")?));
        let identity = Identity::from_pem(pem.as_bytes()).map_err(|_| {
            invalid("key", "cert and key do not hold a certificate and its key that can be read")
        })?;
        builder = builder.identity(identity);
    }
    // What is left to fail are the certificates: their contents are read only now.
    builder.build().map_err(|error| invalid("cacert", &chain(&error)))
}

/// An error with its causes, without the URL, which may hold a token.
fn chain(error: &reqwest::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_taken_refused_or_later() {
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        for status in [200, 201, 202, 204] {
            assert!(judged(status).is_ok());
        }
        for status in [400, 413, 422] {
            assert!(matches!(judged(status), Err(Failure::Refused(_))), "{status}");
        }
        for (status, expected) in [
            (301, Reason::Unexpected),
            (401, Reason::Denied),
            (403, Reason::Denied),
            (404, Reason::Unexpected),
            (408, Reason::Throttled),
            (429, Reason::Throttled),
            (500, Reason::Server),
            (503, Reason::Server),
        ] {
            let Err(Failure::Passing { reason, after: None, .. }) = judged(status) else {
                panic!("{status}")
            };
            assert_eq!(reason, expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + Duration::from_secs(100);
        let text = jiff::fmt::rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        let wait = retry_after(&text.replace("+0000", "GMT")).unwrap();
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(retry_after("soon"), None);
    }
}
