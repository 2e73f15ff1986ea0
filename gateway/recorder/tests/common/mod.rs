//! What the recorder's tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod copies;
pub mod faults;
pub mod proxy;
pub mod s3;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use containerssh_auditlog::{Decoder, IoStream, Message, Payload};
use containerssh_config::{Audit, AuditFormat, AuditStorage, Intercept, Secret};
use containerssh_recorder::{
    Backoff, GatewayIdentity, Recorder, RecorderError, SessionStart, SpoolSettings, Tap, Timeouts,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

pub const ID: &str = "0123456789abcdef0123456789abcdef";

/// Longer than anything takes that works, so that what hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A recorder in a directory of its own.
pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub recorder: Recorder,
    pub registry: Registry,
    pub shutdown: CancellationToken,
}

/// Settings that record everything into files.
pub fn to_files(root: &Path) -> Audit {
    let mut audit =
        Audit { enable: true, format: AuditFormat::Binary, storage: AuditStorage::File, ..Audit::default() };
    audit.file.directory = records(root).to_str().unwrap().to_owned();
    audit.intercept =
        Intercept { stdin: true, stdout: true, stderr: true, passwords: true, forwarding: false };
    audit.policy.hash = "sha256:1234".to_owned();
    audit
}

/// Settings that record everything into a bucket.
pub fn to_s3(root: &Path, endpoint: &str) -> Audit {
    let mut audit = to_files(root);
    audit.storage = AuditStorage::S3;
    audit.s3.local = spool(root).to_str().unwrap().to_owned();
    audit.s3.bucket = "audit".to_owned();
    audit.s3.endpoint = endpoint.to_owned();
    audit.s3.path_style_access = true;
    // One test is about it; the others count requests.
    audit.s3.abort_stale_uploads_after = Duration::ZERO;
    audit.s3.access_key = Some(Secret::new(s3::ACCESS_KEY));
    audit.s3.secret_key = Some(Secret::new("secret"));
    audit
}

pub fn records(root: &Path) -> PathBuf {
    root.join("records")
}

pub fn spool(root: &Path) -> PathBuf {
    root.join("spool")
}

pub fn identity() -> GatewayIdentity {
    GatewayIdentity { namespace: "team-a".to_owned(), gateway: "dev".to_owned(), pod: "dev-0".to_owned() }
}

/// Quick retries, so that tests of failures take no longer than they have to.
pub fn settings(root: &Path, audit: &Audit) -> SpoolSettings {
    SpoolSettings {
        directory: spool(root),
        backoff: Backoff { first: Duration::from_millis(1), max: Duration::from_millis(20) },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            request: Duration::from_secs(20),
            ..Timeouts::default()
        },
        ..SpoolSettings::from_audit(&Arc::new(audit.clone()))
    }
}

pub fn start(settings: SpoolSettings) -> Result<(Recorder, Registry, CancellationToken), RecorderError> {
    let mut registry = Registry::default();
    let shutdown = CancellationToken::new();
    let recorder = Recorder::start(settings, identity(), &mut registry, shutdown.clone())?;
    Ok((recorder, registry, shutdown))
}

impl Fixture {
    pub fn new(
        audit: impl FnOnce(&Path) -> Audit,
        change: impl FnOnce(&mut SpoolSettings),
    ) -> (Self, Arc<Audit>) {
        let directory = tempfile::tempdir().unwrap();
        let audit = Arc::new(audit(directory.path()));
        let mut settings = settings(directory.path(), &audit);
        change(&mut settings);
        let (recorder, registry, shutdown) = start(settings).unwrap();
        (Self { directory, recorder, registry, shutdown }, audit)
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The value of a metric without labels, or with exactly these.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until everything is delivered, and stops.
    pub async fn drained(self) -> tempfile::TempDir {
        let left = self.recorder.drain(PATIENCE).await;
        assert_eq!((left.records, left.bytes), (0, 0), "something stayed in the spool");
        self.directory
    }
}

pub fn session(id: &str) -> SessionStart {
    SessionStart {
        connection_id: id.to_owned(),
        remote_addr: "192.0.2.7:40022".parse().unwrap(),
        country: String::new(),
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_778_328_000),
    }
}

pub fn connect() -> Payload {
    Payload::Connect { remote_addr: "192.0.2.7".to_owned(), country: String::new() }
}

/// Every record of a complete log; panics on any damage.
pub fn decode(path: &Path) -> Vec<Message> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let decoder = Decoder::new(BufReader::new(file)).unwrap();
    decoder.map(|message| message.unwrap_or_else(|error| panic!("{}: {error}", path.display()))).collect()
}

/// What a log holds of one channel's stream.
pub fn content(messages: &[Message], channel: u64, wanted: IoStream) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages.iter().filter(|message| message.channel_id == Some(channel)) {
        if let Payload::Io { stream, data } = &message.payload
            && *stream == wanted
        {
            all.extend_from_slice(data);
        }
    }
    all
}

/// Texts of the gap records.
pub fn gaps(messages: &[Message]) -> Vec<String> {
    let gaps = messages.iter().filter_map(|message| match &message.payload {
        Payload::RequestFailed { request_id: 0, reason } => Some(reason.clone()),
        _ => None,
    });
    gaps.collect()
}

/// Bytes without a pattern, the same in each run.
pub fn noise(length: usize, mut state: u64) -> Bytes {
    state |= 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect::<Vec<u8>>().into()
}

/// Waits for a condition that no event tells of: looks again whenever other tasks had their turn.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

/// Records a whole short session and closes it.
pub async fn short_session(tap: Tap, data: &Bytes) {
    tap.record(None, connect()).await.unwrap();
    tap.io(0, IoStream::Stdout, data.clone()).await.unwrap();
    tap.close().await;
}
