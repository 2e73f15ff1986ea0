//! Puts the gateway together, runs it until it is told to end, and ends it in order.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use containerssh_auth::webhook::{Deliveries, Teardown};
use containerssh_backend::Backend;
use containerssh_config::{AuthMethod, Config};
use containerssh_kubernetes::{Identity, PodIdentity, RunId};
use containerssh_log::notice;
use containerssh_recorder::{GatewayIdentity, Recorder, SpoolSettings};
use containerssh_siem::{Events, Source};
use prometheus_client::registry::Registry;
use russh::keys::PrivateKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Health, Metrics, ProcessCollector, SharedRegistry};
use crate::backends::Backends;
use crate::geoip::Countries;
use crate::reload::{Assemble, Follower, Loaded};
use crate::serve::{Deps, serve};
use crate::snapshot::{Services, Snapshot};
use crate::tailor::{MakeBackend, Tailor};
use crate::{codes, hostkeys, logging};

/// After the last connection: removals of pods that are under way, then uploads. Each within this time; what is left is
/// taken up by the next run. Together with the drain it must fit into the pod's termination grace period.
const LAST_WORK: Duration = Duration::from_secs(30);
/// Files of a connection: its socket, its record, and a program's three pipes or its stream to the cluster.
const FILES_PER_CONNECTION: u64 = 5;
/// The log's last lines.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// Runs the gateway with a checked configuration until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the error says which setting or circumstance to change.
pub fn run(path: &Path, loaded: Loaded) -> anyhow::Result<()> {
    // Only the first choice counts, and every TLS client of the process shares it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let log = {
        // What carries lines to a server is a task.
        let _inside = runtime.enter();
        logging::start(&loaded.config.log).inspect_err(|error| {
            // There is no log to say it in.
            let _ = writeln!(std::io::stderr(), "containerssh-gateway: {error:#}");
        })?
    };
    report_panics();
    let result = runtime.block_on(gateway(path, loaded, log.clone()));
    if let Err(error) = &result {
        containerssh_log::crit!(
            code = codes::core::CORE_START_FAILED,
            module = "core",
            error = format!("{error:#}"),
            "Cannot start"
        );
    }
    log.flush(LOG_FLUSH);
    result
}

/// Connections need files: as many as there may be, and a word where those will not do.
fn raise_open_files(config: &Config) {
    let wanted = u64::from(config.ssh.limits.connections) * FILES_PER_CONNECTION;
    match containerssh_agent::open_files::raise() {
        Some(limit) if limit < wanted => tracing::warn!(
            code = codes::core::CORE_FEW_FILES,
            module = "core",
            limit,
            connections = limit / FILES_PER_CONNECTION,
            "The limit of open files allows fewer connections than ssh.limits.connections"
        ),
        _ => {}
    }
}

/// A panic ends the task it happens in, and with it one connection. It is a line of the log like any other.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        containerssh_log::crit!(
            code = codes::ssh::SSH_PANIC,
            module = "core",
            location = location,
            panic = message,
            "A fault in the gateway"
        );
    }));
}

async fn gateway(path: &Path, loaded: Loaded, log: containerssh_log::Handle) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    let config = &loaded.config;
    loaded.report_warnings();
    raise_open_files(config);
    let mut parts = Parts::start(config, log.clone()).await?;
    let (registry, metrics) = (Arc::clone(&parts.registry), Arc::clone(&parts.metrics));
    let snapshots = Arc::new(ArcSwap::from_pointee(parts.assemble(&loaded).await?));
    let listener = admin::listen("ssh.listen", config.ssh.listen).await?;
    notice!(
        code = codes::ssh::SSH_AVAILABLE,
        module = "ssh",
        listen = %config.ssh.listen,
        "Accepting SSH connections"
    );

    let stopped = CancellationToken::new();
    let health = Health {
        snapshots: Arc::clone(&snapshots),
        metrics: Arc::clone(&metrics),
        webhooks: parts.webhooks.clone(),
    };
    serve_admin(config, health, registry, &stopped).await?;
    let (backend, recorder, events) = (parts.backend.clone(), parts.recorder.clone(), parts.events.clone());
    let teardowns = parts.teardowns.clone();
    let follower = Follower::new(path.to_owned(), &loaded, Arc::clone(&snapshots), parts);
    let following = tokio::spawn(follower.run(hangup, stopped.clone()));
    tokio::spawn(logging::reopen_at(signal(SignalKind::hangup())?, log.clone(), stopped.clone()));
    notice!(
        code = codes::core::CORE_STARTED,
        module = "core",
        configHash = loaded.hash,
        policyHash = config.audit.policy.hash,
        "The gateway runs"
    );

    let shutdown = CancellationToken::new();
    let serving = serve(listener, Deps { snapshots: Arc::clone(&snapshots), metrics }, shutdown.clone());
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    };
    tokio::join!(serving, told);

    // A recorder that a changed configuration brought is the newer one.
    let recorder = snapshots.load().services.recorder.clone().or(recorder);
    finish(&backend, recorder, &events, &teardowns).await;
    stopped.cancel();
    let _ = following.await;
    Ok(())
}

async fn serve_admin(
    config: &Config,
    health: Health,
    registry: SharedRegistry,
    stopped: &CancellationToken,
) -> anyhow::Result<()> {
    if config.health.enable {
        let listener = admin::listen("health.listen", config.health.listen).await?;
        notice!(code = codes::core::HEALTH_AVAILABLE, module = "health", listen = %config.health.listen, "Health");
        tokio::spawn(admin::serve(listener, health.router(), stopped.clone()));
    }
    if let Some(address) = config.auth.keyboard_interactive.redirect() {
        let listener = admin::listen("auth.keyboardInteractive.oauth2.redirect.listen", address).await?;
        notice!(code = codes::core::AUTH_REDIRECT_AVAILABLE, module = "auth", listen = %address, "Codes of logins at the identity provider");
        tokio::spawn(admin::serve(listener, admin::redirect_router(), stopped.clone()));
    }
    if config.metrics.enable {
        let listener = admin::listen("metrics.listen", config.metrics.listen).await?;
        notice!(code = codes::core::METRICS_AVAILABLE, module = "metrics", listen = %config.metrics.listen, "Metrics");
        let router = admin::metrics_router(&config.metrics.path, registry);
        tokio::spawn(admin::serve(listener, router, stopped.clone()));
    }
    Ok(())
}

/// All connections have ended: what they left to do is done here.
async fn finish(backend: &Backends, recorder: Option<Recorder>, events: &Events, teardowns: &Deliveries) {
    let pods = backend.drain(Instant::now() + LAST_WORK).await;
    let deliver = async {
        match recorder {
            Some(recorder) => recorder.drain(LAST_WORK).await.records,
            None => 0,
        }
    };
    // Together: the last events tell of finished records, and neither waits for the other's server.
    let (records, events, teardowns) =
        tokio::join!(deliver, events.drain(LAST_WORK), teardowns.drain(LAST_WORK));
    notice!(
        code = codes::core::CORE_STOPPED,
        module = "core",
        podsLeft = pods,
        recordsLeft = records,
        eventsLeft = events,
        teardownsLeft = teardowns,
        "The gateway has ended"
    );
}

/// What lives as long as the process, whatever the configuration becomes.
struct Parts {
    host_keys: Vec<PrivateKey>,
    backend: Backends,
    recorder: Option<Recorder>,
    events: Events,
    registry: SharedRegistry,
    metrics: Arc<Metrics>,
    webhooks: containerssh_auth::Metrics,
    teardowns: Deliveries,
    log: containerssh_log::Handle,
}

impl Parts {
    async fn start(config: &Config, log: containerssh_log::Handle) -> anyhow::Result<Self> {
        let host_keys = hostkeys::load(&config.ssh.hostkeys)?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        registry.register_collector(Box::new(logging::LostLines(log.clone())));
        let metrics = Metrics::register(&mut registry);
        let webhooks = containerssh_auth::Metrics::register(&mut registry);
        let backend = Backends::start(config, cluster_identity, &mut registry).await?;
        let events = Events::start(source(), &mut registry);
        Ok(Self {
            host_keys,
            backend,
            recorder: None,
            events,
            registry: Arc::new(Mutex::new(registry)),
            metrics,
            webhooks,
            teardowns: Deliveries::default(),
            log,
        })
    }

    /// The recorder, started when it is first needed: a gateway that records nothing needs no directory.
    fn recorder(&mut self, config: &Config) -> anyhow::Result<Option<Recorder>> {
        let audit = Arc::new(config.audit.clone());
        match &self.recorder {
            Some(recorder) => recorder.reconfigure(&audit),
            None if config.audit.is_recording() => {
                let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                let settings = SpoolSettings {
                    backend: config.backend.to_string(),
                    events: self.events.clone(),
                    ..SpoolSettings::from_audit(&audit)
                };
                // It ends by `drain`, after the last connection.
                let recorder =
                    Recorder::start(settings, gateway_identity(), &mut registry, CancellationToken::new())?;
                self.recorder = Some(recorder);
            }
            None => {}
        }
        Ok(self.recorder.clone())
    }
}

/// The backend for connections that have settings of their own.
#[derive(Debug)]
struct Other(Backends);

#[async_trait]
impl MakeBackend for Other {
    async fn backend(&self, config: &Config) -> anyhow::Result<Arc<dyn Backend>> {
        Ok(self.0.reconfigured(config).await?.shared())
    }
}

impl Assemble for Parts {
    async fn assemble(&mut self, loaded: &Loaded) -> anyhow::Result<Snapshot> {
        let config = &loaded.config;
        let authenticator = containerssh_auth::authenticator(&config.auth, &self.webhooks)?;
        let backend = self.backend.reconfigured(config).await?;
        let targets = self.events.prepare(&config.audit)?;
        if self.recorder.is_none() {
            // The recorder begins with telling what an earlier run left.
            self.events.apply(&targets);
        }
        let served: Arc<dyn Backend> = backend.shared();
        let tailor =
            Tailor::new(config, Arc::clone(&served), Arc::new(Other(backend.clone())), &self.webhooks)?;
        let teardown = match config.auth.teardown.method {
            AuthMethod::None => None,
            AuthMethod::Webhook => {
                Some(Teardown::new(&config.auth.teardown.webhook, &self.teardowns, &self.webhooks)?)
            }
        };
        let countries = Countries::new(&config.geoip)?;
        let services = Services {
            recorder: self.recorder(config)?,
            authenticator,
            backend: served,
            tailor,
            teardown,
            countries,
        };
        let snapshot = Snapshot::new(config, loaded.hash.clone(), &self.host_keys, services)?;
        self.backend = backend;
        self.backend.activate();
        self.events.apply(&targets);
        self.log.set_level(config.log.level);
        self.metrics.set_policy(&snapshot.policy_hash);
        Ok(snapshot)
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// From the downward API.
fn gateway_identity() -> GatewayIdentity {
    GatewayIdentity {
        namespace: variable("POD_NAMESPACE"),
        gateway: variable("GATEWAY_NAME"),
        pod: variable("POD_NAME"),
    }
}

/// The same, as events have it.
fn source() -> Source {
    let GatewayIdentity { namespace, gateway, pod } = gateway_identity();
    Source { gateway, namespace, pod }
}

fn cluster_identity() -> Identity {
    let (name, uid) = (variable("POD_NAME"), variable("POD_UID"));
    Identity {
        gateway: variable("GATEWAY_NAME"),
        namespace: variable("POD_NAMESPACE"),
        pod: (!name.is_empty() && !uid.is_empty()).then_some(PodIdentity { name, uid }),
        run: RunId::random(),
    }
}
