//! One writer per connection: takes segments in order, makes members of them, puts them in the file.
//!
//! What was accepted is written, whatever happened since: a full spool, a failed session, a shutdown. When a write
//! fails, `onFailure` decides. Under `deny` the session ends, and what was accepted stays in memory (which is bounded)
//! and is tried again when the record is closed. Under `allow` the segment is dropped, and the record tells of the gap
//! as soon as writing works again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerssh_auditlog::Version;
use containerssh_auditlog::manifest::{ClosedBy, SigningKey};
use containerssh_config::{Audit, AuditFormat, FormatVersion, OnFailure};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::code;
use crate::error::TapError;
use crate::intake::{Ending, Work};
use crate::integrity::{self, Finished};
use crate::segment::{Lost, Segment};
use crate::session::{Session, Stage};
use crate::spool::Spool;
use crate::spool::dir::Stage as FileStage;
use crate::spool::record_file::RecordFile;
use crate::spool::sidecar::{Sidecar, User};
use crate::spool::sync::{Dirty, Synced};
use crate::told;

/// Bytes written and not yet durable, at most: what a power cut can cost a session on a slow disk.
const MAX_UNSYNCED: u64 = 8 * 1024 * 1024;

/// After a failed write under `onFailure: allow`, no attempt for this long: a broken disk must not be asked ten times a
/// second by every session.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often the end of a record is tried. With [`FINISH_PAUSE`] this outlasts a full disk that uploads are emptying;
/// what is left then is completed at the next start.
const FINISH_ATTEMPTS: u32 = 10;
/// Between those.
const FINISH_PAUSE: Duration = Duration::from_secs(1);

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Writer {
    session: Arc<Session>,
    spool: Arc<Spool>,
    sidecar: Sidecar,
    /// The session's settings, for the credentials.
    audit: Arc<Audit>,
    /// Signs the manifest.
    key: Option<Arc<SigningKey>>,
    /// `None` before it could be made.
    record: Option<RecordFile>,
    /// Files other than the record's own, and names, that the next sync covers.
    fresh: Dirty,
    /// Bytes written since the last sync was asked for.
    dirty: u64,
    /// A sync that is under way, and the bytes it covers.
    syncing: Option<(oneshot::Receiver<Synced>, u64)>,
    /// Under `deny`: what could not be written, in order. Under `allow` at most one: what was encrypted before that was
    /// known.
    retained: VecDeque<Segment>,
    /// Under `allow`: no attempts before this.
    resume: Option<Instant>,
}

/// A segment that was not written.
#[derive(Debug)]
struct Failed {
    segment: Segment,
    error: io::Error,
}

impl Writer {
    pub(crate) fn new(session: Arc<Session>, spool: Arc<Spool>, sidecar: Sidecar, audit: Arc<Audit>) -> Self {
        Self {
            session,
            spool,
            sidecar,
            audit,
            key: None,
            record: None,
            fresh: Dirty { files: Vec::new(), names: false },
            dirty: 0,
            syncing: None,
            retained: VecDeque::new(),
            resume: None,
        }
    }

    /// Runs until the record is complete.
    pub(crate) async fn run(mut self) {
        match self.make().await {
            Ok(()) => {
                self.session.stage.send_replace(Stage::Recording);
            }
            Err(error) => match self.session.on_failure {
                OnFailure::Deny => self.session.fail(&TapError::Write(error.to_string())),
                OnFailure::Allow => {
                    self.outage(&error);
                    self.session.stage.send_replace(Stage::Recording);
                }
            },
        }
        loop {
            let work = match &mut self.syncing {
                None => self.session.intake.next().await,
                Some((outcome, _)) => tokio::select! {
                    biased;
                    outcome = outcome => {
                        self.synced(flatten(outcome));
                        continue;
                    }
                    work = self.session.intake.next() => work,
                },
            };
            match work {
                Work::Segment(segment) => {
                    self.write(segment).await;
                    self.start_sync().await;
                }
                Work::User(user) => self.authenticated(user).await,
                Work::Flush(waiting) => {
                    let outcome = self.flush().await;
                    for done in waiting {
                        let _gone = done.send(outcome.clone());
                    }
                }
                Work::Close(ending) => return self.finish(ending).await,
            }
        }
    }

    /// Makes the record's file and its sidecar.
    async fn make(&mut self) -> io::Result<()> {
        let (spool, id, sidecar) = (self.spool.clone(), self.session.id.clone(), self.sidecar.clone());
        let version = match self.audit.format_version {
            FormatVersion::V1 => Version::V1,
            FormatVersion::V2 => Version::V2,
        };
        let signing = self.audit.signing.clone();
        let _permit = self.spool.threads.acquire().await;
        let made = tokio::task::spawn_blocking(move || {
            // First of all: without it nothing shall be left behind.
            let key = integrity::signing_key(&signing)?.map(Arc::new);
            // The record first: a sidecar without one is swept at start.
            let recipients = integrity::recipients(&sidecar)?;
            let record = RecordFile::create(&spool.dir, &id, version, recipients)?;
            let beside = sidecar.write_new(&spool.dir.sidecar(&id))?;
            Ok::<_, io::Error>((key, record, beside))
        });
        let (key, record, beside) = made.await.map_err(io::Error::other)??;
        (self.key, self.record) = (key, Some(record));
        self.fresh = Dirty { files: vec![beside], names: true };
        Ok(())
    }

    /// Makes the file again after it, or the whole directory, was removed under us.
    async fn remake(&mut self) -> io::Result<()> {
        let removed = self.record.take().is_some();
        self.spool.dir.remake()?;
        self.make().await?;
        if removed {
            let reason = "the record so far was removed from the spool".into();
            let lost = Lost { records: 1, bytes: 0, reason: Some(reason) };
            self.session.metrics.dropped(&lost);
            let gap = self.session.intake.gap_alone(lost);
            self.press(gap, false).await.map_err(|failed| failed.error)?;
        }
        Ok(())
    }

    /// Writes a segment, or does what `onFailure` says.
    async fn write(&mut self, segment: Segment) {
        if !self.retained.is_empty() && self.session.on_failure == OnFailure::Deny {
            self.retained.push_back(segment);
            return;
        }
        if self.resume.is_some_and(|resume| Instant::now() < resume) {
            return self.drop_segment(&segment, "the audit spool could not be written");
        }
        if let Some(held) = self.retained.pop_front()
            && let Err(Failed { segment: held, error }) = self.append(held, false).await
        {
            self.retained.push_front(held);
            self.outage(&error);
            return self.drop_segment(&segment, &error.to_string());
        }
        match self.append(segment, false).await {
            Ok(()) => {
                if self.resume.take().is_some() {
                    self.session.metrics.gap();
                    tracing::warn!(
                        code = code::AUDIT_RECORD_RESUMED,
                        module = "audit",
                        connectionId = %self.session.id,
                        "The audit record can be written again; it tells of the gap"
                    );
                }
            }
            Err(Failed { segment, error }) => match self.session.on_failure {
                OnFailure::Deny => {
                    self.session.fail(&TapError::Write(error.to_string()));
                    self.retained.push_back(segment);
                }
                // It is encrypted already, and comes first when writing works again.
                OnFailure::Allow if self.record.as_ref().is_some_and(RecordFile::is_behind) => {
                    self.outage(&error);
                    self.retained.push_back(segment);
                }
                OnFailure::Allow => {
                    self.outage(&error);
                    self.drop_segment(&segment, &error.to_string());
                }
            },
        }
    }

    /// Appends a segment, and the seal if it is the last. Where the file is gone, it is made again if the session may go
    /// on meanwhile.
    async fn append(&mut self, segment: Segment, last: bool) -> Result<(), Failed> {
        if self.session.on_failure == OnFailure::Allow
            && self.record.as_ref().is_none_or(RecordFile::is_removed)
            && let Err(error) = self.remake().await
        {
            return Err(Failed { segment, error });
        }
        self.press(segment, last).await
    }

    /// Compresses and writes on a thread of its own: compressing takes milliseconds, and a disk any time.
    async fn press(&mut self, segment: Segment, last: bool) -> Result<(), Failed> {
        let Some(mut record) = self.record.take() else {
            return Err(Failed { segment, error: io::Error::other("the record's file could not be made") });
        };
        // The semaphore is never closed, so there is always a permit to wait for.
        let permit = self.spool.threads.acquire().await;
        let presses = self.spool.presses.clone();
        let segment = Arc::new(segment);
        let shared = segment.clone();
        let job = tokio::task::spawn_blocking(move || {
            let mut press = presses.take();
            let before = record.len();
            let outcome = record.append(&shared, last, &mut press);
            presses.put(press);
            (record, before, outcome)
        });
        let outcome = job.await;
        drop(permit);
        // The job is over, so this is the last reference.
        let segment = Arc::try_unwrap(segment).unwrap_or_default();
        match outcome {
            Ok((record, before, outcome)) => {
                self.dirty += record.len().saturating_sub(before);
                self.session.budget.resize(&self.session.id, record.len());
                self.record = Some(record);
                if let Err(error) = outcome {
                    return Err(Failed { segment, error });
                }
                self.session.intake.recycle(segment);
                Ok(())
            }
            // A panic. The record is given up here and completed at the next start, as after a crash.
            Err(died) => Err(Failed { segment, error: io::Error::other(died) }),
        }
    }

    fn drop_segment(&mut self, segment: &Segment, reason: &str) {
        self.session.lose(segment.lost(&reason.into()));
        self.session.intake.release(segment.weight());
    }

    /// Under `allow`: notes that nothing can be written for now.
    fn outage(&mut self, error: &io::Error) {
        if self.resume.replace(Instant::now() + RETRY_AFTER).is_none() {
            self.session.metrics.record_failed();
            tracing::error!(
                code = code::AUDIT_RECORD_FAILED,
                module = "audit",
                connectionId = %self.session.id,
                "The session goes on, but its audit record cannot be written: {error}"
            );
        }
    }

    /// Asks for what was written to be made durable, unless that is under way. Waits when too much is not durable yet.
    async fn start_sync(&mut self) {
        if self.syncing.is_some() {
            if self.dirty >= MAX_UNSYNCED / 2 {
                self.spool.sync.hurry();
            }
            if self.dirty < MAX_UNSYNCED {
                return;
            }
            let _judged = self.finish_sync().await;
        }
        let Some(record) = &self.record else { return };
        if self.dirty == 0 && self.fresh.files.is_empty() && !self.fresh.names {
            return;
        }
        let mut dirty = std::mem::replace(&mut self.fresh, Dirty { files: Vec::new(), names: false });
        dirty.files.extend(record.handles());
        let covered = std::mem::take(&mut self.dirty);
        self.syncing = Some((self.spool.sync.sync(dirty).await, covered));
    }

    /// Waits for the sync that is under way, if one is.
    async fn finish_sync(&mut self) -> Synced {
        let Some((outcome, _)) = &mut self.syncing else { return Ok(()) };
        if self.session.strict {
            // Somebody waits for these bytes. Whoever comes meanwhile shares the next round.
            self.spool.sync.hurry();
        }
        let outcome = flatten(outcome.await);
        self.synced(outcome.clone());
        outcome
    }

    fn synced(&mut self, outcome: Synced) {
        let Some((_, covered)) = self.syncing.take() else { return };
        let Err(reason) = outcome else { return };
        // The kernel forgets what it could not write back, so these bytes may be missing although a later sync
        // succeeds. How many records they were is not known any more.
        let damage = format!("up to {covered} bytes of this record may be damaged: {reason}");
        self.session.lose(Lost { records: 1, bytes: 0, reason: Some(damage.into()) });
        match self.session.on_failure {
            OnFailure::Deny => self.session.fail(&TapError::Write(reason)),
            OnFailure::Allow => self.outage(&io::Error::other(reason)),
        }
    }

    /// Makes everything that was written durable.
    async fn flush(&mut self) -> Synced {
        if let Stage::Failed(error) = &*self.session.stage.borrow() {
            return Err(error.to_string());
        }
        if self.resume.is_some() {
            return Err("the record cannot be written at present".to_owned());
        }
        self.settle().await
    }

    /// Twice, for what is under way may not cover the last bytes.
    async fn settle(&mut self) -> Synced {
        self.finish_sync().await?;
        self.start_sync().await;
        self.finish_sync().await
    }

    /// Stores who authenticated beside the record. Durable at once: the object's key may depend on it.
    async fn authenticated(&mut self, user: User) {
        self.sidecar.user = Some(user);
        if self.record.is_none() {
            return;
        }
        if let Err(error) = self.replace_sidecar().await {
            match self.session.on_failure {
                OnFailure::Deny => self.session.fail(&TapError::Write(error.to_string())),
                // Written again with the end of the record.
                OnFailure::Allow => self.outage(&error),
            }
        }
    }

    async fn replace_sidecar(&mut self) -> io::Result<()> {
        let (sidecar, path) = (self.sidecar.clone(), self.spool.dir.sidecar(&self.session.id));
        tokio::task::spawn_blocking(move || sidecar.replace(&path)).await.map_err(io::Error::other)??;
        self.fresh.names = true;
        Ok(())
    }

    /// Writes the end, closes the record durably and hands it over.
    async fn finish(mut self, ending: Ending) {
        if !ending.lost.is_empty() && self.resume.is_none() {
            self.session.metrics.gap();
        }
        let last = self.session.intake.end(ending);
        self.retained.push_back(last);
        for attempt in 1..=FINISH_ATTEMPTS {
            let outcome = self.seal().await;
            if let Err(error) = &outcome
                && (attempt == 1 || attempt == FINISH_ATTEMPTS)
            {
                tracing::error!(
                    code = code::AUDIT_RECORD_INCOMPLETE,
                    module = "audit",
                    connectionId = %self.session.id,
                    attempt,
                    "The audit record could not be completed: {error}"
                );
            }
            self.session.stage.send_replace(Stage::Closed);
            if outcome.is_ok() || self.spool.shutdown.is_cancelled() {
                break;
            }
            tokio::select! {
                () = sleep(FINISH_PAUSE) => {}
                () = self.spool.shutdown.cancelled() => {}
            }
        }
        // What never had a file takes no space; what has one is found at the next start.
        if !self.retained.is_empty() && self.record.as_ref().is_none_or(RecordFile::is_removed) {
            self.session.budget.remove(&self.session.id);
        }
        for segment in self.retained.drain(..) {
            self.session.metrics.dropped(&segment.lost(&"the record could not be completed".into()));
            self.session.intake.release(segment.weight());
        }
    }

    /// One attempt at the end.
    async fn seal(&mut self) -> io::Result<()> {
        if self.record.as_ref().is_none_or(RecordFile::is_removed) {
            self.remake().await?;
        }
        while let Some(segment) = self.retained.pop_front() {
            let last = self.retained.is_empty();
            if let Err(Failed { segment, error }) = self.append(segment, last).await {
                self.retained.push_front(segment);
                return Err(error);
            }
        }
        self.replace_sidecar_if_unsaved().await?;
        self.settle().await.map_err(io::Error::other)?;
        if let Some(finished) = self.hand_over().await? {
            tracing::info!(
                code = code::AUDIT_RECORD_FINISHED,
                module = "audit",
                connectionId = %self.session.id,
                bytes = finished.bytes,
                sha256 = %finished.sha256,
                key = %finished.key,
                "The audit record is complete"
            );
            self.session.intake.feed().record_finished(told::finished(&finished));
        }
        // Whether the new name is durable changes nothing: under the old one the file is complete as well.
        self.session.budget.ready(&self.session.id, SystemTime::now());
        self.spool.uploads.add(self.session.id.clone(), Some(self.audit.clone()));
        Ok(())
    }

    /// Writes the manifest of the complete record and gives the record the name under which it is delivered.
    async fn hand_over(&mut self) -> io::Result<Option<Finished>> {
        let Some(record) = self.record.take() else {
            return Err(io::Error::other("the record's file is gone"));
        };
        let (spool, id) = (self.spool.clone(), self.session.id.clone());
        let (sidecar, key) = (self.sidecar.clone(), self.key.clone());
        let job = tokio::task::spawn_blocking(move || {
            let close = || {
                record.trim()?;
                let chain = record.chain();
                let by = ClosedBy::Session;
                let finished = if sidecar.format == AuditFormat::Binary {
                    let key = key.as_deref();
                    Some(integrity::finish(&spool.dir, &id, FileStage::Open, &sidecar, chain, by, key)?)
                } else {
                    // The record itself is not delivered.
                    None
                };
                spool.dir.finish(&id)?;
                Ok(finished)
            };
            let outcome = close();
            (record, outcome)
        });
        let (record, outcome) = job.await.map_err(io::Error::other)?;
        self.record = Some(record);
        outcome
    }

    /// Where storing the user failed before, under `allow`.
    async fn replace_sidecar_if_unsaved(&mut self) -> io::Result<()> {
        if self.resume.is_some() { self.replace_sidecar().await } else { Ok(()) }
    }
}

fn flatten(outcome: Result<Synced, oneshot::error::RecvError>) -> Synced {
    outcome.unwrap_or_else(|_| Err("the sync was aborted".to_owned()))
}
