//! The teardown webhook: told, once a connection has ended, that what belonged to it is no longer needed.
//!
//! ContainerSSH has none; the request is in the style of its others, to `/teardown` below the configured URL. Status 200 says
//! that it was heard, and the body of the answer does not matter.
//!
//! - **Nobody waits.** A connection's end hands the request over and goes on. What waits is bounded in bytes; beyond that, ends
//!   are dropped, logged and counted.
//! - **At least once**, within `authTimeout` after the end: failures that may pass are tried again, so a server may hear of the same
//!   end twice and knows it by `connectionId`.
//! - It is told of every connection whose user has proven who they are, whether or not they were let in then: another webhook may
//!   have made something for them already. What is sensitive is not told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerssh_backend::MetadataValue;
use containerssh_config::Webhook as Settings;
use reqwest::Url;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::client;
use super::hook::{Hook, NoAnswer, Question, parse_url};
use super::request::{self, Body};
use super::retry::Backoff;
use crate::metrics::{Metrics, Purpose};
use crate::{Attempt, AuthConfigError, Identity, code};

/// Bytes of requests that may wait, over all connections and configurations: some hundred thousand ends, or two that carry as
/// much metadata as a webhook may bring.
const WAITING_BYTES: u32 = 64 * 1024 * 1024;
/// Requests on their way at once: enough for an orderly server, too few to add to the trouble of one that is not.
const AT_ONCE: usize = 8;

/// Whose connection ended.
#[derive(Debug, Clone)]
pub struct Subject {
    attempt: Attempt,
    authenticated_username: String,
    metadata: BTreeMap<String, MetadataValue>,
}

impl Subject {
    /// Somebody who has proven who they are, without what is sensitive.
    #[must_use]
    pub fn of(attempt: &Attempt, identity: &Identity) -> Self {
        let open = identity.metadata.iter().filter(|(_, value)| !value.sensitive);
        Self {
            attempt: attempt.clone(),
            authenticated_username: identity.authenticated_username.clone(),
            metadata: open.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Whether the user was let in.
    pub logged_in: bool,
    /// When the client connected.
    pub started: SystemTime,
    /// When the connection ended.
    pub ended: SystemTime,
    /// Why, in words.
    pub reason: String,
    /// Session channels opened.
    pub sessions: u64,
    /// Bytes that came from the client.
    pub bytes_in: u64,
    /// Bytes that went to the client.
    pub bytes_out: u64,
}

/// What is sent. The order of the fields is that of the wire.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TeardownRequest")]
pub(super) struct Wire<'a> {
    /// The client's address and port.
    remote_address: String,
    /// 32 lowercase hexadecimal digits. The same end may be told twice: this tells it.
    connection_id: &'a str,
    /// What authentication and configuration said of the user, without what is sensitive. Left out if there is nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, request::Entry<'a>>,
    /// The client's identification string (RFC 4253 section 4.2).
    client_version: &'a str,
    /// The name that the client typed.
    username: &'a str,
    /// The name that authentication settled on. Left out if it named none.
    #[serde(skip_serializing_if = "str::is_empty")]
    authenticated_username: &'a str,
    /// Whether the user was let in.
    logged_in: bool,
    /// When the client connected (RFC 3339, UTC).
    started: String,
    /// When the connection ended (RFC 3339, UTC).
    ended: String,
    /// Why it ended, in words.
    reason: &'a str,
    /// Session channels that were opened.
    sessions: u64,
    /// Bytes that came from the client.
    bytes_in: u64,
    /// Bytes that went to the client.
    bytes_out: u64,
}

fn body(subject: &Subject, ended: &Ended) -> Body {
    let Subject { attempt, authenticated_username, metadata } = subject;
    let text = |at| jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default();
    let sent = request::encode(&Wire {
        remote_address: request::remote_address(attempt),
        connection_id: &attempt.connection_id,
        metadata: metadata.iter().map(|(name, value)| (name.as_str(), request::Entry::of(value))).collect(),
        client_version: &attempt.client_version,
        username: &attempt.username,
        authenticated_username,
        logged_in: ended.logged_in,
        started: text(ended.started),
        ended: text(ended.ended),
        reason: &ended.reason,
        sessions: ended.sessions,
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
    });
    Body { repeatable: sent.clone(), sent }
}

/// What is on its way to teardown webhooks. One per process, over all configurations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries {
    tasks: TaskTracker,
    /// A permit per byte.
    room: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self::with_room(WAITING_BYTES)
    }
}

impl Deliveries {
    /// With room for so many bytes of requests.
    #[must_use]
    pub fn with_room(bytes: u32) -> Self {
        Self {
            tasks: TaskTracker::new(),
            room: Arc::new(Semaphore::new(bytes as usize)),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Waits until everything is delivered or lost, at most for `limit`. Returns how many ends are not.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.tasks.len()
    }
}

/// A teardown webhook.
#[derive(Clone)]
pub struct Teardown {
    hook: Arc<Hook>,
    url: Url,
    deliveries: Deliveries,
}

impl fmt::Debug for Teardown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold credentials, and the hook shows it without.
        f.debug_struct("Teardown").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl Teardown {
    /// Makes the client.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is no use.
    pub fn new(
        settings: &Settings,
        deliveries: &Deliveries,
        metrics: &Metrics,
    ) -> Result<Self, AuthConfigError> {
        const OPTION: &str = "auth.teardown.webhook";
        Ok(Self {
            hook: Arc::new(Hook::new(settings, OPTION)?.persistent().with_metrics(metrics)),
            url: parse_url(&format!("{}/teardown", settings.url), OPTION)?,
            deliveries: deliveries.clone(),
        })
    }

    /// Waits otherwise between attempts. Before the first end is told.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        match Arc::try_unwrap(self.hook) {
            Ok(hook) => Self { hook: Arc::new(hook.with_backoff(backoff)), ..self },
            Err(hook) => Self { hook, ..self },
        }
    }

    /// Hands an end over; never waits.
    pub fn tell(&self, subject: &Subject, ended: &Ended) {
        let id = subject.attempt.connection_id.clone();
        let body = body(subject, ended);
        let size = u32::try_from(body.sent.len()).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.deliveries.room).try_acquire_many_owned(size) else {
            self.hook.metrics.teardown_lost();
            tracing::error!(
                code = code::AUTH_TEARDOWN_DROPPED,
                connectionId = id,
                "The teardown webhook is not told of this connection's end: too many wait already"
            );
            return;
        };
        let (deadline, waits) = (Instant::now() + self.hook.total(), self.hook.metrics.teardown_waits());
        let told = self.clone();
        self.deliveries.tasks.spawn(async move {
            let _held = (room, waits);
            told.deliver(&id, body, deadline).await;
        });
    }

    async fn deliver(&self, id: &str, body: Body, deadline: Instant) {
        let question = Question {
            purpose: Purpose::teardown,
            connection_id: id,
            url: &self.url,
            body,
            parse: |_| Ok(()),
            may_keep: |()| false,
        };
        let told = tokio::time::timeout_at(deadline, self.deliveries.slots.acquire()).await;
        // The semaphore is never closed.
        let failed = match told {
            Ok(_slot) => match self.hook.ask_until(&question, deadline).await {
                Ok(()) => return,
                Err(NoAnswer { failure, .. }) => failure.to_string(),
            },
            Err(_) => "its turn did not come in time".to_owned(),
        };
        self.hook.metrics.teardown_lost();
        tracing::error!(
            code = code::AUTH_TEARDOWN_FAILED, connectionId = id, url = %client::without_credentials(&self.url),
            error = failed, "The teardown webhook was not told of this connection's end"
        );
    }
}
