//! One server that is asked until it answers or time is up. What the answer means is the caller's.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::Webhook as Settings;
use reqwest::{Client, Url};

use super::client::{self, Failure};
use super::retry::{self, Backoff};
use crate::{AuthConfigError, code};

/// A server.
pub(super) struct Hook {
    client: Client,
    /// As configured, without the path of the question.
    base: Url,
    timeout: Duration,
    total: Duration,
    backoff: Backoff,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = client::without_credentials(&self.base);
        f.debug_struct("Hook").field("url", &url.as_str()).finish_non_exhaustive()
    }
}

/// A question without a usable answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    pub(super) tries: u32,
}

pub(super) fn parse_url(text: &str, option: &str) -> Result<Url, AuthConfigError> {
    text.parse::<Url>().map_err(|error| AuthConfigError::Invalid {
        option: format!("{option}.url"),
        message: error.to_string(),
    })
}

impl Hook {
    pub(super) fn new(settings: &Settings, option: &str) -> Result<Self, AuthConfigError> {
        Ok(Self {
            client: client::build(settings, option)?,
            base: parse_url(&settings.url, option)?,
            timeout: settings.timeout,
            total: settings.auth_timeout,
            backoff: Backoff::default(),
        })
    }

    pub(super) fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Asks until there is an answer that `parse` understands, the failure is one that stays, or time is up.
    pub(super) async fn ask<T>(
        &self,
        connection_id: &str,
        url: &Url,
        body: Bytes,
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, NoAnswer> {
        let deadline = tokio::time::Instant::now() + self.total;
        let shown = client::without_credentials(url);
        let mut waits = self.backoff.waits();
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            tracing::debug!(code = code::HTTP_CLIENT_REQUEST, connectionId = connection_id, url = %shown, tries, "Asking the webhook");
            let asking = client::post(&self.client, url, body.clone(), self.timeout);
            let failure = match tokio::time::timeout_at(deadline, asking).await {
                Ok(Ok(text)) => match parse(&text) {
                    Ok(answer) => {
                        tracing::debug!(code = code::HTTP_CLIENT_RESPONSE, connectionId = connection_id, url = %shown, "The webhook answered");
                        return Ok(answer);
                    }
                    Err(message) => Failure::Answer(message),
                },
                Ok(Err(failure)) => failure,
                Err(_) => Failure::timeout(self.total),
            };
            let wait = waits.next().unwrap_or(retry::MAX_WAIT);
            if !failure.may_pass() || tokio::time::Instant::now() + wait >= deadline {
                return Err(NoAnswer { failure, tries });
            }
            tracing::warn!(
                code = failure.code(), connectionId = connection_id, url = %shown, tries, error = %failure,
                "The webhook gave no answer, asking again"
            );
            tokio::time::sleep(wait).await;
        }
    }
}
