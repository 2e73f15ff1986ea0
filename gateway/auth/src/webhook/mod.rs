//! Authentication by webhook, on the wire as ContainerSSH does it.
//!
//! A `POST` to the configured URL plus `/password` or `/pubkey`; status 200 and `{"success": true}` accept, `{"success":
//! false}` rejects, and everything else is [`Verdict::Unavailable`].
//!
//! # Where this differs from ContainerSSH, and why
//! - One HTTP client per webhook keeps its connections: a login costs a round trip, not a TLS handshake.
//! - Failures that may pass (no connection, no answer in time, statuses 408, 425, 429 and 5xx) are retried within
//!   `authTimeout`, after a wait that doubles and varies ([`retry`]), not every 10 s. Others (404, a redirect, HTML) will be the
//!   same next time: they deny at once, so that whoever set the webhook up sees the reason rather than a minute's silence.
//! - Unknown fields of the answer are ignored, so that servers can grow; the types of known ones are not negotiable.

mod answer;
mod client;
mod request;
pub mod retry;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::Webhook as Settings;
use reqwest::{Client, Url};

use crate::{Attempt, AuthConfigError, Verdict, code};
use client::Failure;
use retry::Backoff;

pub use answer::{MAX_ENTRIES, MAX_FILES, MAX_NAME, MAX_VALUE};
pub use client::MAX_ANSWER;

/// A webhook of authentication.
pub struct Webhook {
    client: Client,
    /// With `/password` appended.
    password_url: Url,
    /// With `/pubkey` appended.
    public_key_url: Url,
    timeout: Duration,
    auth_timeout: Duration,
    backoff: Backoff,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = client::without_credentials(&self.password_url);
        f.debug_struct("Webhook").field("url", &url.as_str()).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Makes the client. `option` is the key of `settings` in the configuration, for errors.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is no use.
    pub fn new(settings: &Settings, option: &str) -> Result<Webhook, AuthConfigError> {
        let parse = |text: &str| {
            text.parse::<Url>().map_err(|error| AuthConfigError::Invalid {
                option: format!("{option}.url"),
                message: error.to_string(),
            })
        };
        // On its own first: "https://" and a path would make the path a host.
        parse(&settings.url)?;
        // ContainerSSH appends without a look at slashes, and servers are written for that.
        let url = |path: &str| parse(&format!("{}{path}", settings.url));
        Ok(Webhook {
            client: client::build(settings, option)?,
            password_url: url("/password")?,
            public_key_url: url("/pubkey")?,
            timeout: settings.timeout,
            auth_timeout: settings.auth_timeout,
            backoff: Backoff::default(),
        })
    }

    /// Waits otherwise between attempts.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Webhook {
        Webhook { backoff, ..self }
    }

    /// Asks about a password.
    pub async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict {
        self.ask(attempt, &self.password_url, request::password(attempt, password)).await
    }

    /// Asks about a public key in authorized_keys form.
    pub async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict {
        self.ask(attempt, &self.public_key_url, request::public_key(attempt, authorized_key)).await
    }

    /// Asks until there is an answer, the failure is one that stays, or time is up.
    async fn ask(&self, attempt: &Attempt, url: &Url, body: Bytes) -> Verdict {
        let deadline = tokio::time::Instant::now() + self.auth_timeout;
        let id = attempt.connection_id.as_str();
        let shown = client::without_credentials(url);
        let mut waits = self.backoff.waits();
        let mut tries: u32 = 0;
        let failure = loop {
            tries = tries.saturating_add(1);
            tracing::debug!(code = code::HTTP_CLIENT_REQUEST, connectionId = id, url = %shown, tries, "Asking the webhook");
            let result = tokio::time::timeout_at(
                deadline,
                client::post(&self.client, url, body.clone(), self.timeout),
            )
            .await;
            let failure = match result {
                Ok(Ok(answer)) => {
                    tracing::debug!(code = code::HTTP_CLIENT_RESPONSE, connectionId = id, url = %shown, "The webhook answered");
                    return answer.into_verdict();
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::timeout(self.auth_timeout),
            };
            let wait = waits.next().unwrap_or(retry::MAX_WAIT);
            if !failure.may_pass() || tokio::time::Instant::now() + wait >= deadline {
                break failure;
            }
            tracing::warn!(
                code = failure.code(), connectionId = id, url = %shown, tries, error = %failure,
                "The webhook gave no answer, asking again"
            );
            tokio::time::sleep(wait).await;
        };
        tracing::error!(
            code = code::AUTH_BACKEND_ERROR, connectionId = id, url = %shown, tries, reason = failure.code(),
            error = %failure, "The webhook gave no usable answer, the attempt is denied"
        );
        Verdict::Unavailable(format!("authentication webhook: {failure}"))
    }
}
