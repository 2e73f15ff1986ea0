//! What one configuration means for a connection: parsed, checked, and shared.
//!
//! A connection takes the newest snapshot when it is accepted and keeps it to its end, so that a changed configuration
//! never changes a session midway. Snapshots are immutable; [`Current`] is swapped as a whole.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use containerssh_auth::Authenticator;
use containerssh_auth::webhook::Teardown;
use containerssh_backend::Backend;
use containerssh_config::{Audit, AuthenticationMethod, Config, Penalties};
use containerssh_recorder::{Recorder, SessionStart, Tap};
use ipnet::IpNet;
use russh::keys::PrivateKey;
use russh::{MethodKind, MethodSet, Preferred, SshId, server};

use crate::geoip::Countries;
use crate::serve::{Ciphers, Limits};
use crate::ssh::{AlgorithmError, Security, fastest, preferred, suits};
use crate::tailor::Tailor;

/// The window each channel is given, in bytes: enough for 200 MB/s over 10 ms. russh grants it anew on arrival, so it
/// bounds what is under way and not what is held; the latter is the read gate's.
const WINDOW: u32 = 2 * 1024 * 1024;
/// Largest packet we ask for: OpenSSH's own, and what its sftp client assumes.
const MAX_PACKET: u32 = 32 * 1024;
/// Messages between russh and a channel's task, which always takes them at once: only a hand-over.
const CHANNEL_BUFFER: usize = 32;
/// Messages from all channels of a connection to russh: about what one write to the socket takes.
const EVENT_BUFFER: usize = 16;
/// A rejection takes this long, whatever the reason, so that time tells nothing about user names; and guessing is slow.
const REJECTION_TIME: Duration = Duration::from_secs(1);
/// Rejections before the connection ends, with the "none" that every client begins with; [`crate::ssh`] counts real ones.
const MAX_REJECTIONS: usize = 7;

/// What serves connections under one configuration.
#[derive(Debug, Clone)]
pub struct Services {
    /// Where records go; `None` only if nothing is to be recorded.
    pub recorder: Option<Recorder>,
    /// Decides who may log in.
    pub authenticator: Arc<dyn Authenticator>,
    /// Runs their programs.
    pub backend: Arc<dyn Backend>,
    /// Asks for settings of each connection's own; `None` if nobody has any.
    pub tailor: Option<Arc<Tailor>>,
    /// Is told of connections' ends; `None` if nobody is.
    pub teardown: Option<Teardown>,
    /// Knows from which countries clients come.
    pub countries: Countries,
}

/// Why a configuration cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The SSH library lacks a configured algorithm.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
    /// A pattern that the configuration's check let through.
    #[error("security.command.allowPatterns: {0}")]
    Pattern(#[from] regex::Error),
    /// Sessions would go unrecorded.
    #[error("audit is enabled, but there is no recorder")]
    NoRecorder,
}

/// The newest snapshot.
pub type Current = ArcSwap<Snapshot>;

/// One configuration in force.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) services: Services,
    /// For any client.
    ssh: Arc<server::Config>,
    /// For clients that propose the fastest ciphers.
    fast: Option<Arc<server::Config>>,
    pub(crate) identification: String,
    pub(crate) banner: Option<String>,
    /// Lists of methods, one of which has to be gone through.
    pub(crate) steps: Vec<Vec<AuthenticationMethod>>,
    /// What interactive shells show first.
    pub(crate) motd: Option<String>,
    /// Load balancers that say whose connections they pass on.
    pub(crate) proxies: Vec<IpNet>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) limits: Limits,
    pub(crate) security: Arc<Security>,
    pub(crate) penalties: Penalties,
    pub(crate) login_grace: Option<Duration>,
    /// A client that is silent for so long, keepalives unanswered, is gone.
    pub(crate) silence: Option<Duration>,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    /// Hash of the audit policy that the configuration was made from; empty for none.
    pub policy_hash: String,
    /// Sha256 of the configuration file, 64 hexadecimal digits.
    pub config_hash: String,
}

impl Snapshot {
    /// What `config` means, with `host_keys` and `services` made from it.
    ///
    /// # Errors
    /// When the configuration cannot be served.
    pub fn new(
        config: &Config,
        config_hash: String,
        host_keys: &[PrivateKey],
        services: Services,
    ) -> Result<Self, SnapshotError> {
        if config.audit.is_recording() && services.recorder.is_none() {
            return Err(SnapshotError::NoRecorder);
        }
        let preferred = preferred(&config.ssh)?;
        let steps = steps(config, services.authenticator.as_ref());
        let first: Vec<_> = steps.iter().filter_map(|list| list.first().copied()).collect();
        let methods = method_set(&first);
        let fast =
            fastest(&preferred).map(|fast| Arc::new(server_config(config, fast, methods.clone(), host_keys)));
        let limits = &config.ssh.limits;
        let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        let interval = config.ssh.client_alive_interval;
        Ok(Self {
            ssh: Arc::new(server_config(config, preferred, methods, host_keys)),
            fast,
            identification: config.ssh.server_version.clone(),
            banner: (!config.ssh.banner.is_empty()).then(|| config.ssh.banner.clone()),
            steps,
            motd: (!config.ssh.motd.is_empty()).then(|| config.ssh.motd.clone()),
            proxies: config.ssh.proxy_protocol.trusted_cidrs.clone(),
            audit: Arc::new(config.audit.clone()),
            limits: Limits {
                connections: count(limits.connections),
                unauthenticated: count(limits.unauthenticated),
                per_source: count(limits.per_source),
                per_user: count(limits.per_user),
                sessions_per_connection: count(limits.sessions_per_connection),
            },
            penalties: config.ssh.penalties.clone(),
            security: Arc::new(Security::of(config)?),
            login_grace: set(config.ssh.login_grace_time),
            silence: set(interval.saturating_mul(config.ssh.client_alive_count_max.saturating_add(1))),
            max_duration: set(config.session.max_duration),
            idle_timeout: set(config.session.idle_timeout),
            drain_timeout: config.drain.timeout,
            policy_hash: config.audit.policy.hash.clone(),
            config_hash,
            services,
        })
    }

    /// Starts a connection's record.
    pub(crate) fn record(&self, start: SessionStart) -> Tap {
        match &self.services.recorder {
            Some(recorder) => recorder.open(start, Arc::clone(&self.audit)),
            None => Tap::disabled(),
        }
    }

    /// russh's settings for a client that proposes these ciphers, as far as that is known.
    pub(crate) fn ssh_for(&self, proposed: Option<&Ciphers>) -> Arc<server::Config> {
        match (&self.fast, proposed) {
            (Some(fast), Some(proposed)) if suits(&fast.preferred, proposed) => Arc::clone(fast),
            _ => Arc::clone(&self.ssh),
        }
    }
}

/// Zero means "none" in the configuration.
fn set(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

/// The lists that are configured, or else each method for itself. Only what is configured is offered: advertising more makes
/// clients ask users for what cannot help them.
fn steps(config: &Config, authenticator: &dyn Authenticator) -> Vec<Vec<AuthenticationMethod>> {
    let lists = &config.auth.authentication_methods;
    if !lists.is_empty() {
        return lists.iter().map(|list| list.methods().to_vec()).collect();
    }
    let configured = authenticator.methods();
    let offered = |method: &AuthenticationMethod| match method {
        AuthenticationMethod::PublicKey => configured.public_key,
        AuthenticationMethod::Password => configured.password,
        AuthenticationMethod::KeyboardInteractive => configured.keyboard_interactive,
    };
    AuthenticationMethod::ALL.iter().copied().filter(offered).map(|method| vec![method]).collect()
}

/// Methods as russh has them.
pub(crate) fn method_set(methods: &[AuthenticationMethod]) -> MethodSet {
    let mut set = MethodSet::empty();
    for method in methods {
        set.push(match method {
            AuthenticationMethod::PublicKey => MethodKind::PublicKey,
            AuthenticationMethod::Password => MethodKind::Password,
            AuthenticationMethod::KeyboardInteractive => MethodKind::KeyboardInteractive,
        });
    }
    set
}

fn server_config(
    config: &Config,
    preferred: Preferred,
    methods: MethodSet,
    host_keys: &[PrivateKey],
) -> server::Config {
    server::Config {
        server_id: SshId::Standard(config.ssh.server_version.clone().into()),
        methods,
        auth_rejection_time: REJECTION_TIME,
        // The "none" attempt asks what there is; it is no guess.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: MAX_REJECTIONS,
        keys: host_keys.to_vec(),
        preferred,
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        channel_buffer_size: CHANNEL_BUFFER,
        event_buffer_size: EVENT_BUFFER,
        // Idleness is ours to judge: russh counts keepalives as activity.
        inactivity_timeout: None,
        keepalive_interval: set(config.ssh.client_alive_interval),
        // russh would count while we hold reading back; the connection's supervisor knows better.
        keepalive_max: 0,
        nodelay: true,
        ..server::Config::default()
    }
}
