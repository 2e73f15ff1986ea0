//! Authentication by webhook, on the wire as ContainerSSH does it.
//!
//! A `POST` to the configured URL plus `/password`, `/pubkey` or `/authz`; status 200 and `{"success": true}` accept, `{"success":
//! false}` rejects, and everything else is [`Verdict::Unavailable`].
//!
//! # Where this differs from ContainerSSH, and why
//! - One HTTP client per webhook keeps its connections: a login costs a round trip, not a TLS handshake.
//! - Failures that may pass (no connection, no answer in time, statuses 408, 425, 429 and 5xx) are retried within
//!   `authTimeout`, after a wait that doubles and varies ([`retry`]), not every 10 s. Others (404, a redirect, HTML) will be the
//!   same next time: they deny at once, so that whoever set the webhook up sees the reason rather than a minute's silence.
//! - What an earlier answer marked as sensitive is not sent to the authorization webhook, nor, unless
//!   `transmitSensitiveMetadata` says so, to the configuration server: ContainerSSH documents that and sends it all the same.
//! - A server that gives no answers is not waited for for ever: see [`breaker`]. An answer is asked for once as long as the server
//!   says it holds: see [`cache`].
//! - Unknown fields of the answer are ignored, so that servers can grow; the types of known ones are not negotiable.

mod answer;
mod breaker;
mod cache;
mod client;
mod config_server;
mod hook;
mod openapi;
mod request;
pub mod retry;
mod teardown;
mod tls;

use std::fmt;

use containerssh_config::Webhook as Settings;
use reqwest::Url;

use crate::metrics::{Metrics, Purpose};
use crate::{Attempt, AuthConfigError, Identity, Verdict, code};
use answer::Answer;
use hook::{Hook, NoAnswer, Question, parse_url};
use request::Body;
use retry::Backoff;

pub use answer::{MAX_ENTRIES, MAX_FILES, MAX_NAME, MAX_VALUE};
pub use client::MAX_ANSWER;
pub(crate) use client::build as build_client;
pub use config_server::{ConfigServer, Configured};
pub use openapi::openapi;
pub use teardown::{Deliveries, Ended, Subject, Teardown};

/// What the body of a webhook's answer says, to password, pubkey and authz alike.
///
/// # Errors
/// When it cannot be understood. Completes the sentence "the answer ..."; holds no value of the answer's.
pub fn read_answer(body: &[u8]) -> Result<Verdict, String> {
    Answer::parse(body).map(Answer::into_verdict)
}

/// What the body of the configuration server's answer says.
///
/// # Errors
/// As [`read_answer`].
pub fn read_configured(body: &[u8]) -> Result<Configured, String> {
    answer::configured(body)
}

/// A webhook of authentication or authorization.
pub struct Webhook {
    hook: Hook,
    /// With `/password` appended.
    password_url: Url,
    /// With `/pubkey` appended.
    public_key_url: Url,
    /// With `/authz` appended.
    authorization_url: Url,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The others are the same with another path, and may hold credentials.
        f.debug_struct("Webhook").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Makes the client. `option` is the key of `settings` in the configuration, for errors.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is no use.
    pub fn new(settings: &Settings, option: &str) -> Result<Webhook, AuthConfigError> {
        // ContainerSSH appends without a look at slashes, and servers are written for that.
        let url = |path: &str| parse_url(&format!("{}{path}", settings.url), option);
        Ok(Webhook {
            // The URL on its own first: "https://" and a path would make the path a host.
            hook: Hook::new(settings, option)?,
            password_url: url("/password")?,
            public_key_url: url("/pubkey")?,
            authorization_url: url("/authz")?,
        })
    }

    /// Waits otherwise between attempts.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Webhook {
        Webhook { hook: self.hook.with_backoff(backoff), ..self }
    }

    /// Counts here.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Webhook {
        Webhook { hook: self.hook.with_metrics(metrics), ..self }
    }

    /// Asks about a password.
    pub async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict {
        let body = request::password(attempt, password);
        self.ask(Purpose::password, attempt, &self.password_url, body).await
    }

    /// Asks about a public key in authorized_keys form.
    pub async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict {
        let body = request::public_key(attempt, authorized_key);
        self.ask(Purpose::pubkey, attempt, &self.public_key_url, body).await
    }

    /// Asks whether a user who is authenticated may come in. What the answer brings is added to what is known.
    pub async fn authorization(&self, attempt: &Attempt, identity: Identity) -> Verdict {
        let body = request::authorization(attempt, &identity);
        match self.ask(Purpose::authorization, attempt, &self.authorization_url, body).await {
            Verdict::Accepted(more) => Verdict::Accepted(Box::new(identity.with(*more))),
            other => other,
        }
    }

    async fn ask(&self, purpose: Purpose, attempt: &Attempt, url: &Url, body: Body) -> Verdict {
        let id = attempt.connection_id.as_str();
        let (parse, may_keep) = (Answer::parse, Answer::is_accepted);
        let question = Question { purpose, connection_id: id, url, body, parse, may_keep };
        match self.hook.ask(&question).await {
            Ok(answer) => answer.into_verdict(),
            Err(NoAnswer { failure, tries }) => {
                tracing::error!(
                    code = code::AUTH_BACKEND_ERROR, connectionId = id, url = %client::without_credentials(url), tries,
                    reason = failure.code(), error = %failure, "The webhook gave no usable answer, the attempt is denied"
                );
                Verdict::Unavailable(format!("authentication webhook: {failure}"))
            }
        }
    }
}
