//! The gateway's own metrics. Names are ContainerSSH's where the thing is the same; no label takes a value that a client
//! chooses, so that nobody can make them grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::geoip::Country;
use crate::ssh::ForwardKind;

/// Where clients come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Origin {
    country: Country,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
pub(crate) enum AuthType {
    password,
    pubkey,
    keyboard_interactive,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthLabels {
    authtype: AuthType,
    country: Country,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: &'static str,
}

const BACKEND: BackendLabel = BackendLabel { backend: "kubernetes" };

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ForwardLabel {
    r#type: &'static str,
}

/// A forwarded stream counts as open while this lives.
#[derive(Debug)]
pub(crate) struct CurrentForward(Gauge<i64, AtomicI64>);

impl Drop for CurrentForward {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is counted. One per process.
#[derive(Debug)]
pub struct Metrics {
    connections: Family<Origin, Counter>,
    current_connections: Family<Origin, Gauge>,
    handshakes: Family<Origin, Counter>,
    failed_handshakes: Family<Origin, Counter>,
    refused: Family<Reason, Counter>,
    auth_success: Family<AuthLabels, Counter>,
    auth_failures: Family<AuthLabels, Counter>,
    auth_seconds: Family<AuthLabels, Histogram>,
    backend_requests: Family<BackendLabel, Counter>,
    backend_errors: Family<BackendLabel, Counter>,
    backend_start_seconds: Histogram,
    sessions: Gauge<i64, AtomicI64>,
    sessions_total: Counter,
    first_byte_seconds: Histogram,
    forwards: Family<ForwardLabel, Counter>,
    forwards_failed: Family<ForwardLabel, Counter>,
    current_forwards: Gauge<i64, AtomicI64>,
    forwarded_bytes: Family<Direction, Counter>,
    bytes: Family<Direction, Counter>,
    policy: Family<PolicyLabels, Gauge>,
    /// Connections, whatever their country.
    open: AtomicI64,
    draining: AtomicBool,
}

/// Waits in seconds, from a cached image to a slow pull.
const START_BUCKETS: [f64; 10] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0];
/// Waits in seconds, from a program in a pod that is there to the first one in a pod whose image is pulled.
const FIRST_BYTE_BUCKETS: [f64; 12] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0];
/// Waits in seconds, from a file to a webhook that is retried.
const AUTH_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

impl Metrics {
    /// Registers them all.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            connections: Family::default(),
            current_connections: Family::default(),
            handshakes: Family::default(),
            failed_handshakes: Family::default(),
            refused: Family::default(),
            auth_success: Family::default(),
            auth_failures: Family::default(),
            auth_seconds: Family::new_with_constructor(|| Histogram::new(AUTH_BUCKETS)),
            backend_requests: Family::default(),
            backend_errors: Family::default(),
            backend_start_seconds: Histogram::new(START_BUCKETS),
            sessions: Gauge::default(),
            sessions_total: Counter::default(),
            first_byte_seconds: Histogram::new(FIRST_BYTE_BUCKETS),
            forwards: Family::default(),
            forwards_failed: Family::default(),
            current_forwards: Gauge::default(),
            forwarded_bytes: Family::default(),
            bytes: Family::default(),
            policy: Family::default(),
            open: AtomicI64::new(0),
            draining: AtomicBool::new(false),
        };
        metrics.register_all(registry);
        // From the first scrape on there is a number to compare with.
        let _ = metrics.current_connections.get_or_create(&Origin { country: Country::UNKNOWN });
        Arc::new(metrics)
    }

    fn register_all(&self, registry: &mut Registry) {
        let ssh = registry.sub_registry_with_prefix("containerssh_ssh");
        ssh.register("connections", "TCP connections accepted", self.connections.clone());
        ssh.register("current_connections", "Connections open now", self.current_connections.clone());
        ssh.register(
            "successful_handshakes",
            "Connections on which a user logged in",
            self.handshakes.clone(),
        );
        ssh.register(
            "failed_handshakes",
            "Connections that ended without a login",
            self.failed_handshakes.clone(),
        );
        ssh.register("refused_connections", "Connections turned away by a limit", self.refused.clone());
        ssh.register("current_sessions", "Session channels open now", self.sessions.clone());
        ssh.register("sessions", "Session channels opened", self.sessions_total.clone());
        ssh.register_with_unit(
            "first_byte",
            "Time from the request for a program to the first byte of its output, the guest's start included",
            Unit::Seconds,
            self.first_byte_seconds.clone(),
        );
        ssh.register(
            "forwards",
            "Forwarded streams opened, by the type of their channel",
            self.forwards.clone(),
        );
        ssh.register("failed_forwards", "Forwarded streams refused or failed", self.forwards_failed.clone());
        ssh.register("current_forwards", "Forwarded streams open now", self.current_forwards.clone());
        ssh.register_with_unit(
            "forwarded",
            "Bytes moved in forwarded streams",
            Unit::Bytes,
            self.forwarded_bytes.clone(),
        );
        ssh.register_with_unit(
            "network",
            "Bytes moved over client connections that have ended",
            Unit::Bytes,
            self.bytes.clone(),
        );
        let auth = registry.sub_registry_with_prefix("containerssh_auth");
        auth.register("success", "Credentials accepted", self.auth_success.clone());
        auth.register("failures", "Credentials rejected", self.auth_failures.clone());
        auth.register_with_unit(
            "duration",
            "Time to decide about a credential",
            Unit::Seconds,
            self.auth_seconds.clone(),
        );
        let backend = registry.sub_registry_with_prefix("containerssh_backend");
        backend.register("requests", "Guests asked for", self.backend_requests.clone());
        backend.register("errors", "Guests that could not be started", self.backend_errors.clone());
        backend.register_with_unit(
            "start",
            "Time from the login to a guest that is ready",
            Unit::Seconds,
            self.backend_start_seconds.clone(),
        );
        registry.register(
            "containerssh_audit_policy_info",
            "The audit policy in force for new connections, by its hash",
            self.policy.clone(),
        );
    }

    pub(crate) fn connected(&self, country: Country) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections.get_or_create(&Origin { country }).inc();
        self.current_connections.get_or_create(&Origin { country }).inc();
    }

    pub(crate) fn disconnected(&self, country: Country, logged_in: bool, (read, written): (u64, u64)) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.current_connections.get_or_create(&Origin { country }).dec();
        if !logged_in {
            self.failed_handshakes.get_or_create(&Origin { country }).inc();
        }
        self.bytes.get_or_create(&Direction { direction: "in" }).inc_by(read);
        self.bytes.get_or_create(&Direction { direction: "out" }).inc_by(written);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn logged_in(&self, country: Country) {
        self.handshakes.get_or_create(&Origin { country }).inc();
    }

    pub(crate) fn auth(&self, country: Country, authtype: AuthType, accepted: bool, took: Duration) {
        let labels = AuthLabels { authtype, country };
        let counter = if accepted { &self.auth_success } else { &self.auth_failures };
        counter.get_or_create(&labels).inc();
        self.auth_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn guest_requested(&self) {
        self.backend_requests.get_or_create(&BACKEND).inc();
    }

    pub(crate) fn guest_failed(&self) {
        self.backend_errors.get_or_create(&BACKEND).inc();
    }

    pub(crate) fn guest_ready(&self, took: Duration) {
        self.backend_start_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn session_opened(&self) {
        self.sessions.inc();
        self.sessions_total.inc();
    }

    /// A program's first output has gone to the client.
    pub(crate) fn first_byte(&self, took: Duration) {
        self.first_byte_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn session_closed(&self) {
        self.sessions.dec();
    }

    /// Counts a forwarded stream until the guard is dropped.
    pub(crate) fn forward_opened(&self, kind: ForwardKind) -> CurrentForward {
        self.forwards.get_or_create(&ForwardLabel { r#type: kind.channel_type() }).inc();
        self.current_forwards.inc();
        CurrentForward(self.current_forwards.clone())
    }

    pub(crate) fn forward_failed(&self, kind: ForwardKind) {
        self.forwards_failed.get_or_create(&ForwardLabel { r#type: kind.channel_type() }).inc();
    }

    /// `direction` is `in` for what comes from clients, `out` for what goes to them.
    pub(crate) fn forwarded(&self, direction: &'static str, bytes: usize) {
        self.forwarded_bytes.get_or_create(&Direction { direction }).inc_by(bytes as u64);
    }

    /// The policy that new connections follow; the one before is no longer shown.
    pub fn set_policy(&self, hash: &str) {
        self.policy.clear();
        if !hash.is_empty() {
            self.policy.get_or_create(&PolicyLabels { hash: hash.to_owned() }).set(1);
        }
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the gateway is told to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> i64 {
        self.sessions.get()
    }
}
