//! One server that is asked until it answers or time is up. What the answer means is the caller's.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::Webhook as Settings;
use reqwest::{Client, Url};
use tokio::time::Instant;

use super::breaker::{Breaker, Change, Passage};
use super::cache::{self, Cache};
use super::client::{self, Failure, Received};
use super::request::Body;
use super::retry::{self, Backoff};
use crate::metrics::{Metrics, Outcome, Purpose};
use crate::{AuthConfigError, code};

/// A server.
pub(super) struct Hook {
    client: Client,
    /// As configured, without the path of the question.
    base: Url,
    timeout: Duration,
    total: Duration,
    backoff: Backoff,
    breaker: Breaker,
    cache: Cache,
    pub(super) metrics: Metrics,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = client::without_credentials(&self.base);
        f.debug_struct("Hook").field("url", &url.as_str()).finish_non_exhaustive()
    }
}

/// What is asked, and how the answer is read.
pub(super) struct Question<'a, T> {
    pub(super) purpose: Purpose,
    pub(super) connection_id: &'a str,
    pub(super) url: &'a Url,
    pub(super) body: Body,
    /// The error completes the sentence "the answer ...".
    pub(super) parse: fn(&[u8]) -> Result<T, String>,
    /// Whether the answer may be given again, if the server says so.
    pub(super) may_keep: fn(&T) -> bool,
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
            breaker: Breaker::new(settings.circuit_breaker),
            cache: Cache::default(),
            metrics: Metrics::default(),
        })
    }

    pub(super) fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    pub(super) fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), ..self }
    }

    /// Without a circuit breaker: for a server that nobody waits for.
    pub(super) fn persistent(self) -> Self {
        Self { breaker: Breaker::never(), ..self }
    }

    /// How long one question may take.
    pub(super) fn total(&self) -> Duration {
        self.total
    }

    /// Asks until there is an answer that can be read, the failure is one that stays, or time is up.
    pub(super) async fn ask<T>(&self, question: &Question<'_, T>) -> Result<T, NoAnswer> {
        self.ask_until(question, Instant::now() + self.total).await
    }

    /// The same with a deadline of the caller's.
    pub(super) async fn ask_until<T>(
        &self,
        question: &Question<'_, T>,
        deadline: Instant,
    ) -> Result<T, NoAnswer> {
        let purpose = question.purpose;
        let key = cache::Key::of(question.url.path(), &question.body.repeatable);
        if let Some(answer) = self.cache.get(&key, Instant::now())
            && let Ok(answer) = (question.parse)(&answer)
        {
            self.metrics.answered_from_cache(purpose);
            return Ok(answer);
        }
        let passage = self.breaker.pass(Instant::now()).map_err(|left| self.open(purpose, left, 0))?;
        let mut waits = self.backoff.waits();
        let mut tries: u32 = 0;
        loop {
            tries = tries.saturating_add(1);
            let failure = match self.try_once(question, deadline, tries).await {
                Ok((answer, received)) => {
                    self.settle(passage, purpose, true);
                    if (question.may_keep)(&answer) {
                        self.cache.put(key, &received.text, received.fresh, Instant::now());
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let wait = waits.next().unwrap_or(retry::MAX_WAIT);
            let gives_up = !failure.may_pass() || passage.is_probe || Instant::now() + wait >= deadline;
            let outcome = if gives_up { Outcome::hard } else { Outcome::soft };
            self.metrics.failed(outcome, purpose, tries > 1, failure.code());
            if gives_up {
                self.settle(passage, purpose, !failure.may_pass());
                return Err(NoAnswer { failure, tries });
            }
            tracing::warn!(
                code = failure.code(), connectionId = question.connection_id,
                url = %client::without_credentials(question.url), tries, error = %failure,
                "The webhook gave no answer, asking again"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.breaker.opened() => return Err(self.open(purpose, Duration::ZERO, tries)),
            }
        }
    }

    async fn try_once<T>(
        &self,
        question: &Question<'_, T>,
        deadline: Instant,
        tries: u32,
    ) -> Result<(T, Received), Failure> {
        let (id, shown) = (question.connection_id, client::without_credentials(question.url));
        tracing::debug!(code = code::HTTP_CLIENT_REQUEST, connectionId = id, url = %shown, tries, "Asking the webhook");
        self.metrics.asked(question.purpose, tries > 1);
        let body: Bytes = question.body.sent.clone();
        let asking = client::post(&self.client, question.url, body, self.timeout);
        let received = match tokio::time::timeout_at(deadline, asking).await {
            Ok(received) => received?,
            Err(_) => return Err(Failure::timeout(self.total)),
        };
        let answer = (question.parse)(&received.text).map_err(Failure::Answer)?;
        tracing::debug!(code = code::HTTP_CLIENT_RESPONSE, connectionId = id, url = %shown, "The webhook answered");
        Ok((answer, received))
    }

    /// A question has ended. `there` says that the server is.
    fn settle(&self, passage: Passage<'_>, purpose: Purpose, there: bool) {
        let change = if there { passage.answered() } else { passage.failed(Instant::now()) };
        let url = client::without_credentials(&self.base);
        match change {
            Some(Change::Opened) => {
                self.metrics.circuit(purpose, true);
                tracing::error!(
                    code = code::AUTH_CIRCUIT_OPEN, webhook = ?purpose, url = %url,
                    "The webhook gives no answers: nobody waits for it any more, whoever needs it is denied at once"
                );
            }
            Some(Change::Closed) => {
                containerssh_log::notice!(
                    code = code::AUTH_CIRCUIT_CLOSED, webhook = ?purpose, url = %url, "The webhook answers again"
                );
            }
            None => {}
        }
        if there {
            self.metrics.circuit(purpose, false);
        }
    }

    fn open(&self, purpose: Purpose, left: Duration, tries: u32) -> NoAnswer {
        self.metrics.denied_by_circuit(purpose);
        NoAnswer { failure: Failure::Open(left), tries }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use containerssh_config::CircuitBreaker;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_another_attempt_is_denied_when_the_circuit_opens() {
        // It takes connections and ends them without a word.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            url: format!("http://{}", listener.local_addr().unwrap()),
            auth_timeout: Duration::from_secs(3600),
            circuit_breaker: CircuitBreaker { failures: 1, open_for: Duration::from_secs(3600) },
            ..Settings::default()
        };
        let slow = Backoff { first: retry::MAX_WAIT };
        let hook = Arc::new(Hook::new(&settings, "auth.password.webhook").unwrap().with_backoff(slow));
        let asking = tokio::spawn({
            let hook = Arc::clone(&hook);
            async move {
                let question = Question {
                    purpose: Purpose::password,
                    connection_id: "id",
                    url: &hook.base,
                    body: Body { sent: Bytes::new(), repeatable: Bytes::new() },
                    parse: |_| Ok(()),
                    may_keep: |()| false,
                };
                hook.ask(&question).await
            }
        });
        drop(listener.accept().await.unwrap());
        assert_eq!(hook.breaker.pass(Instant::now()).unwrap().failed(Instant::now()), Some(Change::Opened));
        let denied = asking.await.unwrap().unwrap_err();
        assert!(matches!(denied.failure, Failure::Open(_)) && denied.tries >= 1, "{denied:?}");
    }
}
