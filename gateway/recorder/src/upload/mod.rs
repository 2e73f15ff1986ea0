//! Delivery of finished records: at most so many at a time, each tried for ever.
//!
//! One task holds the queue, ordered by when each record is due. A failed record comes back after a pause that doubles up
//! to a cap. When several attempts in a row fail at the store, it is asked with one record at a time until one
//! succeeds: an outage must not cost a request per waiting record and minute. After the first success everything that
//! waits is due at once.
//!
//! A record leaves the spool only when its destination has confirmed it. Nothing here is ever in the way of a session,
//! except through the spool's limit.

mod backoff;
mod casts;
mod checksum;
mod content;
mod directory;
mod displaced;
mod keys;
mod multipart;
mod s3;
mod stale;
mod store;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use containerssh_config::{Audit, AuditFormat};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

pub use backoff::Backoff;

use crate::code;
use crate::error::{Reason, UploadError};
use crate::metrics::Metrics;
use crate::reconstruct;
use crate::settings::{GatewayIdentity, Timeouts};
use crate::spool::dir::Stage;
use crate::spool::sidecar::Sidecar;
use crate::spool::{RecordId, Spool};
use target::{Piece, Target};

/// Failures in a row at the store after which it is asked with one record at a time.
const TROUBLE: u32 = 3;

/// How long uploads in parts may take to be given up when the gateway stops.
const STOP: Duration = Duration::from_secs(5);

/// Hands records to the uploader.
#[derive(Debug, Clone)]
pub(crate) struct Uploads(mpsc::UnboundedSender<Command>);

#[derive(Debug)]
enum Command {
    Add(Item),
    Hurry,
}

/// A record that waits. Kept small: an outage can leave a million.
#[derive(Debug)]
struct Item {
    id: RecordId,
    /// Its session's settings, for the credentials; `None` for leftovers.
    audit: Option<Arc<Audit>>,
    failures: u32,
}

impl Uploads {
    /// The handle, and what the uploader takes records from. Not bounded itself: the spool's limit bounds it.
    pub(crate) fn channel() -> (Self, Incoming) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Incoming(receiver))
    }

    /// A finished record.
    pub(crate) fn add(&self, id: RecordId, audit: Option<Arc<Audit>>) {
        let _stopped = self.0.send(Command::Add(Item { id, audit, failures: 0 }));
    }

    /// Whatever waits for its next attempt need not wait any longer.
    pub(crate) fn hurry(&self) {
        let _stopped = self.0.send(Command::Hurry);
    }
}

/// The uploader's end of [`Uploads`].
#[derive(Debug)]
pub(crate) struct Incoming(mpsc::UnboundedReceiver<Command>);

/// What every delivery needs.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) spool: Arc<Spool>,
    pub(crate) metrics: Metrics,
    pub(crate) identity: GatewayIdentity,
    /// The present configuration.
    pub(crate) audit: RwLock<Arc<Audit>>,
    pub(crate) backoff: Backoff,
    stores: store::Stores,
}

impl Context {
    pub(crate) fn new(
        spool: Arc<Spool>,
        metrics: Metrics,
        identity: GatewayIdentity,
        audit: Arc<Audit>,
        backoff: Backoff,
        timeouts: Timeouts,
    ) -> Self {
        let stores = store::Stores::new(timeouts);
        Self { spool, metrics, identity, audit: RwLock::new(audit), backoff, stores }
    }

    fn present(&self) -> Arc<Audit> {
        self.audit.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The queue and what runs.
#[derive(Debug)]
struct Uploader {
    context: Arc<Context>,
    /// By when each is due; the number keeps those of one moment apart and in order.
    waiting: BTreeMap<(Instant, u64), Item>,
    added: u64,
    running: JoinSet<(Item, Result<(), UploadError>)>,
    parallel: usize,
    failed_in_a_row: u32,
}

/// Gives up uploads in parts that nobody will finish, from time to time, until the spool is shut down.
pub(crate) async fn tidy(context: Arc<Context>) {
    stale::run(context).await;
}

/// Delivers until the spool is shut down.
pub(crate) async fn run(context: Arc<Context>, mut incoming: Incoming, parallel: usize) {
    let shutdown = context.spool.shutdown.clone();
    let mut uploader = Uploader {
        context,
        waiting: BTreeMap::new(),
        added: 0,
        running: JoinSet::new(),
        parallel: parallel.max(1),
        failed_in_a_row: 0,
    };
    loop {
        let next = uploader.start_due();
        tokio::select! {
            () = shutdown.cancelled() => break,
            command = incoming.0.recv() => match command {
                Some(Command::Add(item)) => uploader.add(item, Instant::now()),
                Some(Command::Hurry) => uploader.hurry(),
                None => break,
            },
            Some(finished) = uploader.running.join_next() => match finished {
                Ok((item, outcome)) => uploader.finished(item, outcome),
                // A panic; the record is still in the spool and found at the next start.
                Err(died) => tracing::error!(
                    code = code::AUDIT_UPLOAD_FAILED,
                    module = "audit",
                    "A delivery was aborted: {died}"
                ),
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
    // Those that run see the shutdown themselves and give their uploads up.
    let _abandoned = timeout(STOP, async { while uploader.running.join_next().await.is_some() {} }).await;
}

impl Uploader {
    fn add(&mut self, item: Item, due: Instant) {
        self.added += 1;
        self.waiting.insert((due, self.added), item);
    }

    fn hurry(&mut self) {
        let now = Instant::now();
        for ((due, number), item) in std::mem::take(&mut self.waiting) {
            self.waiting.insert((due.min(now), number), item);
        }
    }

    /// Starts what is due, as far as there is room. Returns when the next one is due, if there will be room.
    fn start_due(&mut self) -> Option<Instant> {
        let room = if self.failed_in_a_row >= TROUBLE { 1 } else { self.parallel };
        while self.running.len() < room {
            let first = self.waiting.first_entry()?;
            let (due, _) = *first.key();
            if due > Instant::now() {
                return Some(due);
            }
            let item = first.remove();
            let context = self.context.clone();
            self.running.spawn(async move {
                let outcome = deliver(&context, &item).await;
                (item, outcome)
            });
        }
        None
    }

    fn finished(&mut self, mut item: Item, outcome: Result<(), UploadError>) {
        let Err(error) = outcome else {
            if std::mem::take(&mut self.failed_in_a_row) >= TROUBLE {
                self.hurry();
            }
            return;
        };
        let reason = error.reason();
        self.context.metrics.upload_failed(reason);
        item.failures = item.failures.saturating_add(1);
        // What is wrong with one record says nothing of the store.
        if reason != Reason::Local {
            self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        }
        // Each doubling, not each minute: the metric counts them all.
        if item.failures.is_power_of_two() {
            tracing::warn!(
                code = code::AUDIT_UPLOAD_FAILED,
                module = "audit",
                connectionId = %item.id,
                attempt = item.failures,
                reason = reason.as_str(),
                "The record stays in the spool and is tried again: {error}"
            );
        }
        let pause = self.context.backoff.pause(item.failures, rand::random());
        self.add(item, Instant::now() + pause);
    }
}

/// One attempt: everything from the file to its removal.
async fn deliver(context: &Arc<Context>, item: &Item) -> Result<(), UploadError> {
    let sidecar = sidecar(context, &item.id).await?;
    let target = Target::open(context, item, &sidecar).await?;
    let path = context.spool.dir.record(&item.id, Stage::Ready);
    let bytes = match sidecar.format {
        AuditFormat::Binary | AuditFormat::None => {
            let stored = target.store(context, Piece::record(&item.id, path)).await?;
            let manifest = context.spool.dir.manifest(&item.id);
            // Records of an earlier version have none.
            if tokio::fs::try_exists(&manifest).await.map_err(UploadError::Read)? {
                target.store(context, Piece::manifest(&stored.name, manifest)).await?;
            }
            stored.bytes
        }
        AuditFormat::Asciinema => store_casts(context, &target, &item.id, path).await?,
    };
    let waited = context.spool.budget.waited(&item.id, SystemTime::now());
    context.metrics.uploaded(bytes, waited);
    forget(context, &item.id).await;
    Ok(())
}

/// Stores the casts of a record's session channels, one after the other. A connection on which no program ran has none.
async fn store_casts(
    context: &Arc<Context>,
    target: &Target<'_>,
    id: &RecordId,
    record: PathBuf,
) -> Result<u64, UploadError> {
    let (mut bytes, mut after) = (0, None);
    loop {
        let record = record.clone();
        let group = blocking(move || casts::group(&record, after).map_err(UploadError::Read)).await?;
        for (channel, content) in group.casts {
            bytes += target.store(context, Piece::cast(id, channel, content)).await?.bytes;
        }
        after = group.next;
        if after.is_none() {
            return Ok(bytes);
        }
    }
}

/// Removes a delivered record. If that fails it stays until the next start, which delivers it again and finds it there.
async fn forget(context: &Arc<Context>, id: &RecordId) {
    let (spool, forgotten) = (context.spool.clone(), id.clone());
    let removed = tokio::task::spawn_blocking(move || spool.dir.forget(&forgotten)).await;
    if let Err(error) = removed.map_err(io::Error::other).flatten() {
        tracing::error!(
            code = code::AUDIT_S3_REMOVE_FAILED,
            module = "audit",
            connectionId = %id,
            "The delivered record could not be removed from the spool: {error}"
        );
    }
    context.spool.budget.remove(id);
}

/// The record's sidecar, or one made from the record and the present configuration.
async fn sidecar(context: &Arc<Context>, id: &RecordId) -> Result<Sidecar, UploadError> {
    let (context, id) = (context.clone(), id.clone());
    blocking(move || {
        let path = context.spool.dir.sidecar(&id);
        let error = match Sidecar::read(&path) {
            Ok(sidecar) => return Ok(sidecar),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                error
            }
            Err(error) => return Err(UploadError::Read(error)),
        };
        let record = context.spool.dir.record(&id, Stage::Ready);
        let made = reconstruct::sidecar(&record, &id, &context.identity, &context.present())?;
        tracing::warn!(
            code = code::AUDIT_SPOOL_SIDECAR_DAMAGED,
            module = "audit",
            connectionId = %id,
            "The record goes where the present configuration says, for its own destination is lost: {error}"
        );
        made.replace(&path).map_err(UploadError::Read)?;
        Ok(made)
    })
    .await
}

/// Runs what blocks on the disk off the runtime.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(died) => Err(UploadError::Read(io::Error::other(died))),
    }
}
