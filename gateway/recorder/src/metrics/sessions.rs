//! Metrics by session and by user, as the published documentation names them.
//!
//! Labels that clients choose must not make them grow without bound: a session's own series ends with it, and only so many
//! users have series of their own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// Users with series of their own in one process: about what a Prometheus takes without notice. Others share one.
const MAX_USERS: usize = 1000;
/// The user that those beyond the limit share. No login has this name: it is not a valid one anywhere.
const OTHER_USERS: &str = "(other)";
/// Seconds, from a command to a working day.
const DURATIONS: [f64; 10] =
    [1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 4.0 * 3600.0, 8.0 * 3600.0, 24.0 * 3600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UserLabel {
    username: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    username: String,
    backend: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(non_snake_case, reason = "the label's documented name")]
struct IdLabel {
    sessionId: String,
}

/// Shared by all sessions of a recorder.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    backend: String,
    sessions: Family<SessionLabels, Counter>,
    durations: Family<UserLabel, Histogram>,
    stdout: Family<IdLabel, Counter>,
    users: Arc<Mutex<HashSet<String>>>,
}

impl Sessions {
    pub(super) fn register(registry: &mut Registry, backend: String) -> Self {
        let metrics = Self {
            backend,
            sessions: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            stdout: Family::default(),
            users: Arc::default(),
        };
        registry.register("sessions", "Sessions recorded, by user", metrics.sessions.clone());
        registry.register_with_unit(
            "session_duration",
            "How long recorded sessions lasted, from connect to disconnect",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "stdout_bytes",
            "Bytes that a session showed its user; the series ends with the session",
            metrics.stdout.clone(),
        );
        metrics
    }

    pub(super) fn open(&self, id: &str) -> SessionMetrics {
        let id = IdLabel { sessionId: id.to_owned() };
        SessionMetrics {
            stdout: self.stdout.get_or_create_owned(&id),
            of: self.clone(),
            id,
            begun: Instant::now(),
            user: OnceLock::new(),
        }
    }

    /// The label of a user.
    fn user(&self, name: &str) -> String {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.contains(name) {
            name.to_owned()
        } else if users.len() < MAX_USERS {
            users.insert(name.to_owned());
            name.to_owned()
        } else {
            OTHER_USERS.to_owned()
        }
    }
}

/// One session's. Its series ends when this is dropped.
#[derive(Debug)]
pub(crate) struct SessionMetrics {
    of: Sessions,
    id: IdLabel,
    stdout: Counter,
    begun: Instant,
    user: OnceLock<String>,
}

impl SessionMetrics {
    /// Bytes that programs printed.
    pub(crate) fn stdout(&self, bytes: u64) {
        self.stdout.inc_by(bytes);
    }

    /// Whose session it is. Only who has logged in counts: others may call themselves anything.
    pub(crate) fn authenticated(&self, name: &str) {
        let user = self.user.get_or_init(|| self.of.user(name)).clone();
        self.of
            .sessions
            .get_or_create(&SessionLabels { username: user, backend: self.of.backend.clone() })
            .inc();
    }
}

impl Drop for SessionMetrics {
    fn drop(&mut self) {
        self.of.stdout.remove(&self.id);
        if let Some(user) = self.user.get() {
            let label = UserLabel { username: user.clone() };
            self.of.durations.get_or_create(&label).observe(self.begun.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_sessions_series_ends_with_it_and_its_users_stay() {
        let mut registry = Registry::with_prefix("containerssh_audit");
        let sessions = Sessions::register(&mut registry, "kubernetes".to_owned());
        let session = sessions.open("0a");
        session.stdout(7);
        session.authenticated("alice");
        assert!(scrape(&registry).contains("containerssh_audit_stdout_bytes_total{sessionId=\"0a\"} 7"));
        tokio::time::advance(std::time::Duration::from_secs(20)).await;
        drop(session);
        let text = scrape(&registry);
        assert!(!text.contains("sessionId"), "{text}");
        for line in [
            "containerssh_audit_sessions_total{username=\"alice\",backend=\"kubernetes\"} 1",
            "containerssh_audit_session_duration_seconds_sum{username=\"alice\"} 20.0",
            "containerssh_audit_session_duration_seconds_bucket{le=\"30.0\",username=\"alice\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[tokio::test]
    async fn users_beyond_the_limit_share_a_series_and_strangers_have_none() {
        let mut registry = Registry::default();
        let sessions = Sessions::register(&mut registry, String::new());
        for number in 0..MAX_USERS + 5 {
            sessions.open("0a").authenticated(&format!("user{number}"));
        }
        drop(sessions.open("0b"));
        let text = scrape(&registry);
        assert_eq!(text.lines().filter(|line| line.starts_with("sessions_total{")).count(), MAX_USERS + 1);
        assert!(text.contains("sessions_total{username=\"(other)\",backend=\"\"} 5"));
    }
}
