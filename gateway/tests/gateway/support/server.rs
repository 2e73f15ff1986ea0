//! A gateway on a port of this machine.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use containerssh_auditlog::{Decoder, IoStream, Message, Payload};
use containerssh_auth::Authenticator;
use containerssh_auth::webhook::{Deliveries, Teardown};
use containerssh_config::{AuditFormat, AuditStorage, AuthMethod, Config, Intercept};
use containerssh_gateway::{Countries, Deps, Services, Snapshot, Tailor, admin, hostkeys, serve};
use containerssh_recorder::{GatewayIdentity, Recorder, SpoolSettings};
use prometheus_client::registry::Registry;
use russh::keys::PrivateKey;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::backend::Local;
use super::{LocalBackend, PATIENCE, TestAuth, within};

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) auth: Arc<TestAuth>,
    pub(crate) backend: Arc<LocalBackend>,
    pub(crate) metrics: Arc<admin::Metrics>,
    pub(crate) snapshots: Arc<containerssh_gateway::Current>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) directory: tempfile::TempDir,
    host_keys: Vec<PrivateKey>,
    recorder: Recorder,
    registry: Registry,
    deliveries: Deliveries,
    served: JoinHandle<()>,
}

fn tailor(config: &Config, backend: &Arc<LocalBackend>) -> Option<Arc<Tailor>> {
    let metrics = containerssh_auth::Metrics::default();
    Tailor::new(config, Arc::new(Local(backend.clone())), Arc::new(Local(backend.clone())), &metrics).unwrap()
}

fn teardown(config: &Config, deliveries: &Deliveries) -> Option<Teardown> {
    let (teardown, metrics) = (&config.auth.teardown, containerssh_auth::Metrics::default());
    (teardown.method == AuthMethod::Webhook)
        .then(|| Teardown::new(&teardown.webhook, deliveries, &metrics).unwrap())
}

/// One connection's record.
pub(crate) type Record = Vec<Message>;

impl Gateway {
    /// With the configuration of the tests (records into files, everything but passwords), changed by `adjust`.
    pub(crate) async fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(adjust, |_, auth| auth).await
    }

    /// The same with the authenticator that the configuration asks for.
    pub(crate) async fn real(adjust: impl FnOnce(&mut Config)) -> Self {
        let metrics = containerssh_auth::Metrics::default();
        let made = |config: &Config, _| containerssh_auth::authenticator(&config.auth, &metrics).unwrap();
        Self::start_with(adjust, made).await
    }

    async fn start_with(
        adjust: impl FnOnce(&mut Config),
        authenticator: impl FnOnce(&Config, Arc<TestAuth>) -> Arc<dyn Authenticator>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("audit"));
        std::fs::create_dir(&config.audit.file.directory).unwrap();
        adjust(&mut config);
        let mut registry = Registry::default();
        let metrics = admin::Metrics::register(&mut registry);
        let settings = SpoolSettings::from_audit(&Arc::new(config.audit.clone()));
        let recorder =
            Recorder::start(settings, GatewayIdentity::default(), &mut registry, CancellationToken::new())
                .unwrap();
        let deliveries = Deliveries::default();
        let (auth, backend) = (Arc::new(TestAuth::default()), Arc::new(LocalBackend::default()));
        let host_keys = hostkeys::load(&[]).unwrap();
        let snapshot = Snapshot::new(
            &config,
            "hash".into(),
            &host_keys,
            Services {
                recorder: Some(recorder.clone()),
                authenticator: authenticator(&config, auth.clone()),
                backend: Arc::new(Local(backend.clone())),
                tailor: tailor(&config, &backend),
                teardown: teardown(&config, &deliveries),
                countries: Countries::new(&config.geoip).unwrap(),
            },
        );
        let snapshots = Arc::new(ArcSwap::from_pointee(snapshot.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let deps = Deps { snapshots: snapshots.clone(), metrics: metrics.clone() };
        let served = tokio::spawn(serve(listener, deps, shutdown.clone()));
        Self {
            address,
            auth,
            backend,
            metrics,
            snapshots,
            shutdown,
            directory,
            host_keys,
            recorder,
            registry,
            deliveries,
            served,
        }
    }

    /// Its metrics, as they are scraped.
    pub(crate) fn scrape(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// What `config` would mean for this gateway.
    pub(crate) fn snapshot(&self, config: &Config, hash: &str) -> Snapshot {
        let services = Services {
            recorder: Some(self.recorder.clone()),
            authenticator: self.auth.clone(),
            backend: Arc::new(Local(self.backend.clone())),
            tailor: tailor(config, &self.backend),
            teardown: teardown(config, &self.deliveries),
            countries: Countries::new(&config.geoip).unwrap(),
        };
        Snapshot::new(config, hash.into(), &self.host_keys, services).unwrap()
    }

    /// Waits until all connections have ended.
    pub(crate) async fn ended(&mut self) {
        within("the gateway's end", &mut self.served).await.unwrap();
    }

    /// Ends the gateway and reads what it recorded, in the order of connecting.
    pub(crate) async fn stop(mut self) -> Vec<Record> {
        self.shutdown.cancel();
        self.ended().await;
        let audit = self.directory.path().join("audit");
        self.recorder.drain(PATIENCE).await;
        assert_eq!(self.deliveries.drain(PATIENCE).await, 0, "ends of connections that nobody was told");
        let mut records: Vec<Record> = std::fs::read_dir(audit)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.extension().is_none())
            .map(|path| {
                let decoder = Decoder::new(BufReader::new(File::open(path).unwrap())).unwrap();
                decoder.map(Result::unwrap).collect()
            })
            .collect();
        records.sort_by_key(|record| record[0].timestamp);
        records
    }
}

pub(crate) fn config(directory: &Path) -> Config {
    let mut config = Config::default();
    config.audit.enable = true;
    config.audit.format = AuditFormat::Binary;
    config.audit.storage = AuditStorage::File;
    config.audit.file.directory = directory.to_str().unwrap().to_owned();
    config.audit.intercept =
        Intercept { stdin: true, stdout: true, stderr: true, passwords: false, forwarding: false };
    config
}

/// The types of a record's messages, I/O left out.
pub(crate) fn kinds(record: &Record) -> Vec<&'static str> {
    record
        .iter()
        .filter(|message| !matches!(message.payload, Payload::Io { .. }))
        .map(|message| match message.payload.type_code() {
            198 => "handshake_failed",
            199 => "handshake_successful",
            _ => message.payload.type_id(),
        })
        .collect()
}

/// What a record holds of one stream.
pub(crate) fn recorded(record: &Record, wanted: IoStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in record {
        if let Payload::Io { stream, data } = &message.payload
            && *stream == wanted
        {
            bytes.extend_from_slice(data);
        }
    }
    bytes
}
