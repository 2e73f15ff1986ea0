//! The audit pipeline: tap, one ordered writer per connection, durable spool, upload.
//!
//! ```text
//! pumps ──► Tap ──► intake (encodes into the open segment) ──► writer ──► <id>.open ──► <id>.ready ──► uploader ──► S3
//!           │ waits for room, takes the timestamp               │ gzip member, pwrite            │ unlinks when confirmed
//!           └ intercept switches                                └ group fsync, every 100 ms      └ tries for ever
//! ```
//!
//! # What holds
//! - **Exact.** Every byte that a tap accepted is in the record, in the order in which it was accepted, once. Bytes are
//!   copied when they are accepted, so nothing that happens to a buffer later changes the record.
//! - **Before delivery.** A tap's `Ok` means that the record has taken the bytes; only then does the caller pass them on.
//! - **Durable.** A record is acknowledged once its segment, its sidecar and their names are synced: 100 ms after it was
//!   accepted, and the time the disk takes. What is acknowledged survives the process and the power. What is not yet is
//!   at most the last 100 ms and, on a slow disk, 8 MiB.
//! - **Bounded.** A connection holds at most 1 MiB in memory, all together 256 MiB, a compressor per processor besides;
//!   an idle connection holds no buffer. On disk, the spool's limit is where new records stop being accepted.
//! - **Not in the way.** S3 affects no session, unless the spool is full. Compressing and writing run on threads of
//!   their own.
//!
//! # What fails, and what then
//! `onFailure: deny`: [`Tap::failed`] resolves, and the SSH layer ends the session. `allow`: records are dropped and
//! counted; once writing works again a record of type 501 (request failed) without a request id says how many are
//! missing and why. `spool.onFull`: `block` waits at the tap while uploads are about to free space, and counts as a
//! failure when only open sessions fill the spool, for they would wait for each other; `deny` is a failure at once; `drop`
//! drops and counts.

mod codes;
mod error;
mod intake;
mod integrity;
mod metrics;
mod object_key;
mod reconstruct;
mod recover;
mod recover_encrypted;
mod segment;
mod session;
mod settings;
mod spool;
mod tap;
mod told;
mod upload;
mod writer;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use containerssh_auditlog::HEADER_LEN;
use containerssh_config::{Audit, Durability, OnFailure};
use containerssh_siem::{Events, Feed};
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use codes::code;
pub use error::{RecorderError, TapError};
pub use settings::{GatewayIdentity, SessionStart, SpoolSettings, Timeouts};
pub use spool::budget::SpoolStatus;
pub use tap::Tap;
pub use upload::Backoff;

use crate::intake::{CAPACITY, Intake};
use crate::metrics::Metrics;
use crate::session::{Session, Stage};
use crate::spool::budget::Budget;
use crate::spool::dir::SpoolDir;
use crate::spool::record_file::Presses;
use crate::spool::sidecar::{Destination, Encrypted, Sidecar};
use crate::spool::sync::SyncGroup;
use crate::spool::{RecordId, Spool};
use crate::upload::{Context, Uploads};
use crate::writer::Writer;

/// The gateway's recorder. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spool: Arc<Spool>,
    context: Arc<Context>,
    metrics: Metrics,
    identity: GatewayIdentity,
    /// Told of everything that is recorded.
    events: Events,
    /// Bytes that all connections together may hold in memory.
    memory: Arc<Semaphore>,
    /// The uploader.
    tasks: TaskTracker,
    /// Whatever may still make a record ready: writers, and recovery.
    writers: TaskTracker,
    /// Stops the uploader with the last clone.
    _guard: DropGuard,
}

impl Recorder {
    /// Takes the spool's directory for this process, starts the uploader, and takes up what an earlier run left behind,
    /// in the background. Only the directory is read before it returns. Must be called within a tokio runtime.
    ///
    /// When `shutdown` is cancelled uploads stop; what waits is delivered by the next run. [`Recorder::drain`] first.
    ///
    /// # Errors
    /// If the directory cannot be used, or another process does.
    #[allow(clippy::needless_pass_by_value, reason = "as every part of the gateway is given its shutdown")]
    pub fn start(
        settings: SpoolSettings,
        identity: GatewayIdentity,
        registry: &mut Registry,
        shutdown: CancellationToken,
    ) -> Result<Self, RecorderError> {
        let dir = SpoolDir::open(&settings.directory)?;
        let leftovers = dir
            .leftovers()
            .map_err(|source| RecorderError::Directory { path: settings.directory.clone(), source })?;
        let budget = Arc::new(Budget::new(settings.size_limit));
        for leftover in &leftovers {
            // One id cannot be there twice, unless a crash hit the rename itself, which is atomic.
            let _known = budget.open(&leftover.id, leftover.bytes);
        }
        let metrics = Metrics::register(registry, budget.clone(), settings.backend);
        let (uploads, incoming) = Uploads::channel();
        let shutdown = shutdown.child_token();
        let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let spool = Arc::new(Spool {
            sync: SyncGroup::start(dir.handle()),
            dir,
            budget,
            threads: Semaphore::new(threads),
            presses: Arc::new(Presses::default()),
            uploads,
            shutdown: shutdown.clone(),
        });
        let context = Arc::new(Context::new(
            spool.clone(),
            metrics.clone(),
            identity.clone(),
            settings.audit.clone(),
            settings.backoff,
            settings.timeouts,
        ));
        let tasks = TaskTracker::new();
        tasks.spawn(upload::run(context.clone(), incoming, settings.parallel_uploads));
        tasks.spawn(upload::tidy(context.clone()));
        // Counts as writing: what it completes has to be delivered before a drain is done.
        let writers = TaskTracker::new();
        let present = recover::Present {
            identity: identity.clone(),
            audit: settings.audit.clone(),
            events: settings.events.clone(),
        };
        writers.spawn(recover::run(spool.clone(), present, leftovers));
        let memory = settings.memory_limit.clamp(CAPACITY, Semaphore::MAX_PERMITS);
        Ok(Self(Arc::new(Inner {
            spool,
            context,
            metrics,
            identity,
            events: settings.events,
            memory: Arc::new(Semaphore::new(memory)),
            tasks,
            writers,
            _guard: shutdown.drop_guard(),
        })))
    }

    /// Starts a connection's record. What goes wrong shows at the tap, by `onFailure`.
    ///
    /// The destination is fixed here; the settings hold for this connection until it ends.
    #[must_use]
    pub fn open(&self, start: SessionStart, settings: Arc<Audit>) -> Tap {
        let destination = Destination::of(&settings).filter(|_| settings.is_recording());
        let Some(destination) = destination else { return Tap::disabled() };
        let inner = &self.0;
        let id = RecordId::parse(&start.connection_id);
        let usable = id.as_ref().is_some_and(|id| inner.spool.budget.open(id, HEADER_LEN as u64));
        let session = Arc::new(Session {
            // Never reaches a file: such a session fails below.
            id: id.unwrap_or_else(RecordId::unusable),
            intake: Intake::new(&start.connection_id, inner.memory.clone())
                .feeding(inner.feed(&start, &settings)),
            stage: watch::Sender::new(Stage::Opening),
            on_failure: settings.on_failure,
            on_full: settings.spool.on_full,
            strict: settings.spool.durability == Durability::Strict,
            budget: inner.spool.budget.clone(),
            metrics: inner.metrics.clone(),
        });
        if !usable {
            return refuse(session, &settings);
        }
        let sidecar = Sidecar {
            connection_id: start.connection_id,
            started: jiff::Timestamp::try_from(start.started).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            remote_addr: Some(start.remote_addr),
            country: start.country.clone(),
            user: None,
            gateway: inner.identity.clone(),
            policy: settings.policy.clone(),
            destination,
            format: settings.format,
            encrypted: settings.encryption.is_on().then(|| Encrypted {
                recipients: settings.encryption.recipients.clone(),
                version: u64::from(settings.format_version.number()),
                chunks: None,
            }),
            interrupted: false,
        };
        let tap = Tap::new(session.clone(), settings.intercept.clone());
        inner.writers.spawn(Writer::new(session, inner.spool.clone(), sidecar, settings).run());
        tap
    }

    /// The configuration changed: its credentials serve from now on, for records that wait too.
    pub fn reconfigure(&self, audit: &Arc<Audit>) {
        *self.0.context.audit.write().unwrap_or_else(PoisonError::into_inner) = audit.clone();
        self.0.spool.uploads.hurry();
    }

    /// What the spool holds.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.0.spool.budget.status(SystemTime::now())
    }

    /// Waits for open records to be completed and finished ones to be delivered, at most so long, and stops. Close all
    /// taps first. Returns what is left, which the next run delivers.
    pub async fn drain(self, limit: Duration) -> SpoolStatus {
        let inner = &self.0;
        inner.writers.close();
        inner.spool.uploads.hurry();
        let _in_time = timeout(limit, async {
            inner.writers.wait().await;
            inner.spool.budget.delivered().await;
        })
        .await;
        inner.spool.shutdown.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        self.status()
    }
}

impl Inner {
    /// Where a connection's events go.
    fn feed(&self, start: &SessionStart, settings: &Audit) -> Feed {
        self.events.session(containerssh_siem::SessionStart {
            id: start.connection_id.clone(),
            remote: start.remote_addr,
            started: start.started,
            policy_hash: settings.policy.hash.clone(),
            stdout_recorded: settings.intercept.stdout,
        })
    }
}

/// A session whose id cannot be a record's, or is one already: an error of the caller, which must not go unnoticed and
/// must not overwrite anything.
fn refuse(session: Arc<Session>, settings: &Audit) -> Tap {
    match session.on_failure {
        OnFailure::Deny => {
            session.fail(&TapError::Write("there is a record of this connection id already".to_owned()));
            Tap::refused(session, settings.intercept.clone())
        }
        OnFailure::Allow => {
            session.metrics.record_failed();
            Tap::disabled()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use containerssh_auditlog::{IoStream, Payload};
    use containerssh_config::{AuditFormat, AuditStorage, Intercept};

    use super::*;

    fn recorder(directory: &std::path::Path, memory_limit: usize) -> (Recorder, Arc<Audit>) {
        let mut audit = Audit { enable: true, format: AuditFormat::Binary, ..Audit::default() };
        audit.storage = AuditStorage::File;
        audit.file.directory = directory.to_str().unwrap().to_owned();
        audit.intercept =
            Intercept { stdin: true, stdout: true, stderr: true, passwords: false, forwarding: false };
        let audit = Arc::new(audit);
        let settings = SpoolSettings { memory_limit, ..SpoolSettings::from_audit(&audit) };
        let shutdown = CancellationToken::new();
        let recorder =
            Recorder::start(settings, GatewayIdentity::default(), &mut Registry::default(), shutdown)
                .unwrap();
        (recorder, audit)
    }

    fn session(id: &str) -> SessionStart {
        SessionStart {
            connection_id: id.to_owned(),
            remote_addr: "192.0.2.1:1".parse().unwrap(),
            country: String::new(),
            started: SystemTime::now(),
        }
    }

    /// A disk that does not answer holds every thread that writes. What sessions can put into memory meanwhile is
    /// bounded, one by one and together, and nothing of it is lost when the disk is back.
    #[tokio::test]
    async fn a_stalled_disk_costs_bounded_memory_and_no_byte() {
        const SESSIONS: usize = 8;
        const MEMORY: usize = 3 * CAPACITY;
        const PIECE: usize = 20_000;
        let directory = tempfile::tempdir().unwrap();
        let (recorder, audit) = recorder(directory.path(), MEMORY);
        let taps: Vec<Tap> =
            (0..SESSIONS).map(|number| recorder.open(session(&number.to_string()), audit.clone())).collect();
        for tap in &taps {
            tap.record(None, Payload::Connect { remote_addr: String::new(), country: String::new() })
                .await
                .unwrap();
            tap.flush().await.unwrap();
        }
        let threads = recorder.0.spool.threads.available_permits();
        let stall = recorder.0.spool.threads.acquire_many(u32::try_from(threads).unwrap()).await.unwrap();
        let accepted: Arc<Vec<_>> =
            Arc::new((0..SESSIONS).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect());
        let pumps: Vec<_> = taps
            .iter()
            .enumerate()
            .map(|(number, tap)| {
                let (tap, accepted) = (tap.clone(), accepted.clone());
                tokio::spawn(async move {
                    for _ in 0..200 {
                        tap.io(0, IoStream::Stdout, Bytes::from(vec![b'x'; PIECE])).await.unwrap();
                        accepted[number].fetch_add(PIECE, std::sync::atomic::Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let total =
            || accepted.iter().map(|one| one.load(std::sync::atomic::Ordering::SeqCst)).sum::<usize>();
        // The pumps run until they wait; then nothing changes any more, however often they get their turn.
        let mut seen = (0, 0);
        while seen.1 < 1000 {
            tokio::task::yield_now().await;
            seen = if total() == seen.0 { (seen.0, seen.1 + 1) } else { (total(), 0) };
        }
        assert!(total() > MEMORY / 2, "{}", total());
        assert!(total() <= MEMORY, "{} bytes are in memory", total());
        assert!(accepted.iter().all(|one| one.load(std::sync::atomic::Ordering::SeqCst) <= CAPACITY));
        assert!(pumps.iter().all(|pump| !pump.is_finished()));
        drop(stall);
        for pump in pumps {
            pump.await.unwrap();
        }
        for tap in taps {
            tap.close().await;
        }
        assert_eq!(recorder.drain(Duration::from_secs(60)).await.records, 0);
        for number in 0..SESSIONS {
            let file = std::fs::File::open(directory.path().join(number.to_string())).unwrap();
            let log = containerssh_auditlog::Decoder::new(std::io::BufReader::new(file)).unwrap();
            let bytes: usize = log
                .map(|message| match message.unwrap().payload {
                    Payload::Io { data, .. } => data.len(),
                    _ => 0,
                })
                .sum();
            assert_eq!(bytes, 200 * PIECE);
        }
    }

    /// Under `strict`, what the disk does not have yet is not accepted; and what is accepted is there at once, without
    /// waiting for the age of a segment or the clock of the rounds.
    #[tokio::test]
    async fn under_strict_durability_nothing_is_accepted_before_the_disk_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let (recorder, audit) = recorder(directory.path(), CAPACITY);
        let mut audit = Audit::clone(&audit);
        audit.spool.durability = Durability::Strict;
        let tap = recorder.open(session("a"), Arc::new(audit));
        tap.record(None, Payload::Close).await.unwrap();
        let threads = u32::try_from(recorder.0.spool.threads.available_permits()).unwrap();
        let stall = recorder.0.spool.threads.acquire_many(threads).await.unwrap();
        let pump = tokio::spawn({
            let tap = tap.clone();
            async move { tap.io(0, IoStream::Stdout, Bytes::from_static(b"typed")).await }
        });
        // The writer gets its turn, again and again, and still nobody may go on.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!pump.is_finished());
        drop(stall);
        pump.await.unwrap().unwrap();
        let open = directory.path().join(".spool/a.open");
        let records = |path: &std::path::Path| {
            let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
            containerssh_auditlog::Decoder::new(file).unwrap().flatten().count()
        };
        assert_eq!(records(&open), 2);
        let start = std::time::Instant::now();
        for _ in 0..20 {
            tap.io(0, IoStream::Stdout, Bytes::from_static(b"typed")).await.unwrap();
        }
        assert_eq!(records(&open), 22);
        // Twenty rounds by the clock would take two seconds.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        tap.close().await;
        assert_eq!(recorder.drain(Duration::from_secs(60)).await.records, 0);
    }

    /// What stays allocated for a connection on which nothing happens: its task and what it shares with the tap. Buffers
    /// are not, which the intake's tests show.
    #[tokio::test]
    async fn an_idle_connection_costs_a_few_kilobytes() {
        let directory = tempfile::tempdir().unwrap();
        let (recorder, audit) = recorder(directory.path(), CAPACITY);
        let session = Arc::new(Session {
            id: RecordId::parse("a").unwrap(),
            intake: Intake::new("a", recorder.0.memory.clone()),
            stage: watch::Sender::new(Stage::Opening),
            on_failure: audit.on_failure,
            on_full: audit.spool.on_full,
            strict: false,
            budget: recorder.0.spool.budget.clone(),
            metrics: recorder.0.metrics.clone(),
        });
        let sidecar = spool::sidecar::tests::full();
        let task = Writer::new(session, recorder.0.spool.clone(), sidecar, audit).run();
        let size = std::mem::size_of_val(&task) + std::mem::size_of::<Session>();
        assert!(size <= 8 * 1024, "{size} bytes");
    }

    #[tokio::test]
    async fn closing_a_session_does_not_wait_for_room_that_the_spool_does_not_have() {
        let directory = tempfile::tempdir().unwrap();
        let (recorder, audit) = recorder(directory.path(), CAPACITY);
        let tap = recorder.open(session("a"), audit);
        tap.record(None, Payload::Close).await.unwrap();
        // As if others had filled it meanwhile.
        recorder.0.spool.budget.resize(&RecordId::parse("a").unwrap(), u64::MAX / 4);
        tap.close().await;
        assert_eq!(recorder.drain(Duration::from_secs(60)).await.records, 0);
        assert!(directory.path().join("a").exists());
    }
}
