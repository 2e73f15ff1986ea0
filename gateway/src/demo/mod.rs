//! `containerssh-gateway demo`: no cluster, no root, no configuration. A gateway on the loopback address whose programs run on this
//! machine as whoever started it, with a key and a password made on the spot and records in files.
//!
//! Everything in it is the gateway's own, put together as [`crate::run`] does it; only who may log in, and where things
//! are, is decided here.

mod auth;
mod place;
mod records;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use containerssh_agent::{Accounts, Base, HostSettings, LocalBackend, RunAs};
use containerssh_config::{AuditFormat, AuditStorage, Config, Intercept};
use containerssh_log::LogSettings;
use containerssh_recorder::{GatewayIdentity, Recorder, SpoolSettings};
use prometheus_client::registry::Registry;
use russh::keys::{Algorithm, PrivateKey};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Metrics;
use crate::cli::Demo;
use crate::geoip::Countries;
use crate::serve::{Deps, serve};
use crate::snapshot::{Services, Snapshot};
use auth::OneUser;
use place::Place;
use records::Announcer;

/// Ports tried from the wanted one on.
const PORTS: u16 = 100;
/// Sessions may go on for so long after Ctrl-C: none that is worth waiting for belongs to somebody else.
const DRAIN: Duration = Duration::from_secs(2);
/// For the last records to be finished.
const LAST_RECORDS: Duration = Duration::from_secs(10);

/// Runs the demo until it is told to end.
///
/// # Errors
/// When it cannot start: no port, no place for its files.
pub fn run(demo: &Demo) -> anyhow::Result<()> {
    // What goes wrong is worth a line among those for the user; the rest is not.
    let settings =
        LogSettings { level: containerssh_log::Level::Error, format: containerssh_log::Format::Text };
    let _log = containerssh_log::init(&settings)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(gateway(demo))
}

async fn gateway(demo: &Demo) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let place = Place::make(demo.directory.as_deref())?;
    let listener = listen(demo.port).await?;
    let address = listener.local_addr()?;
    let user = user();
    let (host_key, user_key) = (key()?, key()?);
    place.write_keys(address, &user_key, &host_key)?;
    let authenticator = OneUser::new(user.clone(), &user_key)?;
    let password = authenticator.password();

    let config = config(&place.records());
    let mut registry = Registry::default();
    let settings = SpoolSettings {
        backend: "local".to_owned(),
        ..SpoolSettings::from_audit(&Arc::new(config.audit.clone()))
    };
    let recorder =
        Recorder::start(settings, GatewayIdentity::default(), &mut registry, CancellationToken::new())?;
    let services = Services {
        recorder: Some(recorder.clone()),
        authenticator: Arc::new(authenticator),
        backend: Arc::new(LocalBackend::new(HostSettings::of(Base::Host), RunAs::Gateway)),
        tailor: None,
        teardown: None,
        countries: Countries::default(),
    };
    let snapshot = Snapshot::new(&config, String::new(), &[host_key], services)?;
    let deps = Deps {
        snapshots: Arc::new(ArcSwap::from_pointee(snapshot)),
        metrics: Metrics::register(&mut registry),
    };

    say(&place.welcome(address, &user, &password));
    let shutdown = CancellationToken::new();
    let mut announcer = Announcer::new(place.records());
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = announcer.run() => {}
        }
        shutdown.cancel();
    };
    tokio::join!(serve(listener, deps, shutdown.clone()), told);
    recorder.drain(LAST_RECORDS).await;
    announcer.look();
    say(&format!("\nThe records stay in {}\n", place.records().display()));
    Ok(())
}

fn config(records: &Path) -> Config {
    let mut config = Config::default();
    config.audit.enable = true;
    config.audit.format = AuditFormat::Binary;
    config.audit.storage = AuditStorage::File;
    config.audit.file.directory = records.display().to_string();
    config.audit.intercept =
        Intercept { stdin: true, stdout: true, stderr: true, passwords: false, forwarding: true };
    config.drain.timeout = DRAIN;
    config
}

async fn listen(first: u16) -> anyhow::Result<TcpListener> {
    let last = first.saturating_add(PORTS);
    for port in first..=last {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            result => return result.with_context(|| format!("cannot listen on 127.0.0.1:{port}")),
        }
    }
    anyhow::bail!("ports {first} to {last} are all taken: choose another one with --port")
}

fn key() -> anyhow::Result<PrivateKey> {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).context("cannot make a key")
}

/// Whoever started us.
fn user() -> String {
    let uid = rustix::process::getuid().as_raw();
    Accounts::of_host().by_uid(uid).map_or_else(|| "demo".to_owned(), |account| account.name)
}

/// To the user. That nobody reads it is no reason to end.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
