//! Records that an earlier run left behind.
//!
//! A file that a crash cut short is cut to its last complete member, gets the disconnect record and the end that are
//! missing, and is then like any other. What lies behind the cut was never acknowledged, unless something else than a
//! crash damaged the file: then it is kept in `corrupt/`, as is a file that is no record at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use containerssh_auditlog::chain::{Chain, End, Followed, Kind};
use containerssh_auditlog::manifest::{ClosedBy, SigningKey};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{HEADER_LEN, HeaderError, Version, header, recover};
use containerssh_config::{Audit, AuditFormat};
use containerssh_siem::Events;

use crate::code;
use crate::integrity::{self, Finished};
use crate::reconstruct;
use crate::recover_encrypted;
use crate::settings::GatewayIdentity;
use crate::spool::dir::{Leftover, SpoolDir, Stage};
use crate::spool::sidecar::Sidecar;
use crate::spool::{RecordId, Spool};
use crate::told;

/// What became of a file that was cut short.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is complete now, and so many bytes were cut off.
    Completed { bytes: u64, cut: u64, finished: Option<Finished> },
    /// The same, but what was cut off holds sound members; it lies there.
    Split { bytes: u64, tail: PathBuf, finished: Option<Finished> },
    /// It is no record; it lies there.
    SetAside(PathBuf),
    /// It is gone: its session finished meanwhile.
    Gone,
}

/// What recovery needs of the present configuration, for records that have lost their own.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) identity: GatewayIdentity,
    pub(crate) audit: Arc<Audit>,
    pub(crate) events: Events,
}

/// Completes and hands over everything found at start, oldest first. Runs beside the sessions.
pub(crate) async fn run(spool: Arc<Spool>, present: Present, leftovers: Vec<Leftover>) {
    if leftovers.is_empty() {
        return;
    }
    let context = Arc::new(Context { key: key(&present.audit).await, spool: spool.clone(), present });
    tracing::info!(
        code = code::AUDIT_SPOOL_RECOVERING,
        module = "audit",
        records = leftovers.len(),
        "Records of an earlier run are in the spool"
    );
    for leftover in leftovers {
        let keep = match leftover.stage {
            Stage::Ready => true,
            Stage::Open => complete_off_runtime(&context, &leftover).await,
        };
        if keep {
            tell(&context, &leftover.id).await;
            spool.budget.ready(&leftover.id, leftover.modified);
            spool.uploads.add(leftover.id, None);
        }
        if spool.shutdown.is_cancelled() {
            return;
        }
    }
}

/// Says where the record is: some of its session's events may never have been sent.
async fn tell(context: &Arc<Context>, id: &RecordId) {
    let (shared, id) = (context.clone(), id.clone());
    let known = tokio::task::spawn_blocking(move || told::recovered(&shared.spool.dir, &id)).await;
    if let Ok(known) = known {
        context.present.events.recovered(known);
    }
}

#[derive(Debug)]
struct Context {
    spool: Arc<Spool>,
    present: Present,
    key: Option<SigningKey>,
}

/// The present key. Records of sessions that are over must not wait for somebody to mend it.
async fn key(audit: &Arc<Audit>) -> Option<SigningKey> {
    let audit = audit.clone();
    let read = tokio::task::spawn_blocking(move || integrity::signing_key(&audit.signing));
    match read.await.map_err(io::Error::other).flatten() {
        Ok(key) => key,
        Err(error) => {
            tracing::error!(
                code = code::AUDIT_RECORD_UNSIGNED,
                module = "audit",
                "Records of an earlier run get manifests without a signature: {error}"
            );
            None
        }
    }
}

/// Whether the record is complete now.
async fn complete_off_runtime(context: &Arc<Context>, leftover: &Leftover) -> bool {
    let id = leftover.id.clone();
    let spool = &context.spool;
    let job = {
        let (context, leftover) = (context.clone(), leftover.clone());
        tokio::task::spawn_blocking(move || complete(&context, &leftover))
    };
    match job.await.map_err(io::Error::other).flatten() {
        Ok(Outcome::Completed { bytes, cut, finished }) => {
            spool.budget.resize(&id, bytes);
            tracing::info!(
                code = code::AUDIT_SPOOL_RECOVERED,
                module = "audit",
                connectionId = %id,
                bytes,
                sha256 = digest(finished.as_ref()),
                "The record was completed; {cut} bytes that were never acknowledged were cut off"
            );
            true
        }
        Ok(Outcome::Split { bytes, tail, finished }) => {
            spool.budget.resize(&id, bytes);
            tracing::error!(
                code = code::AUDIT_SPOOL_DAMAGED,
                module = "audit",
                connectionId = %id,
                bytes,
                sha256 = digest(finished.as_ref()),
                "The record is damaged in its middle: it is uploaded up to there, and the rest is kept as {}",
                tail.display()
            );
            true
        }
        Ok(Outcome::SetAside(target)) => {
            spool.budget.remove(&id);
            tracing::error!(
                code = code::AUDIT_SPOOL_DAMAGED,
                module = "audit",
                connectionId = %id,
                "The file is no audit record and is kept as {}",
                target.display()
            );
            false
        }
        Ok(Outcome::Gone) => false,
        Err(error) => {
            tracing::error!(
                code = code::AUDIT_SPOOL_FAILED,
                module = "audit",
                connectionId = %id,
                "The record could not be completed and stays in the spool: {error}"
            );
            false
        }
    }
}

/// The digest for the log; empty where there is none.
fn digest(finished: Option<&Finished>) -> String {
    finished.map(|finished| finished.sha256.to_string()).unwrap_or_default()
}

/// Completes one record and renames it. Blocks.
fn complete(context: &Context, leftover: &Leftover) -> io::Result<Outcome> {
    let dir = &context.spool.dir;
    let id = &leftover.id;
    let path = dir.record(id, Stage::Open);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Gone),
        other => other?,
    };
    if recover_encrypted::is_encrypted(dir, id)? {
        return complete_encrypted(context, leftover);
    }
    let mut scan = match recover::scan(&file) {
        Ok(scan) => scan,
        Err(HeaderError::Io(error)) => return Err(error),
        Err(_not_ours) => return dir.set_aside(id, Stage::Open).map(Outcome::SetAside),
    };
    let tail = if scan.sound_after_damage { Some(dir.set_aside_tail(id, scan.complete_len)?) } else { None };
    let cut = scan.total_len - scan.complete_len;
    file.set_len(scan.complete_len)?;
    let mut end = scan.complete_len;
    let version = scan.version.unwrap_or(Version::V1);
    if scan.version.is_none() {
        file.write_all_at(&header(version), 0)?;
        end = HEADER_LEN as u64;
    }
    // The name tells the connection where no record does.
    scan.connection_id.get_or_insert_with(|| id.as_str().into());
    let content = scan.closing_content(nanoseconds(leftover.modified));
    let chain = match follow(&file, version, end)? {
        Some(followed) => Some(seal(&file, &content, end, cut, followed)?),
        // Members of an earlier version have no chain, and a chain cannot begin in the middle.
        None => {
            let mut last = Vec::new();
            if !content.is_empty() {
                member::compress(&content, &mut last, &mut Scratch::new());
            }
            file.write_all_at(&last, end)?;
            None
        }
    };
    if !content.is_empty() {
        mark_interrupted(dir, id)?;
    }
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    let by = if content.is_empty() { ClosedBy::Session } else { ClosedBy::Recovery };
    let finished = finish(context, id, chain.as_ref(), by)?;
    dir.finish(id)?;
    dir.handle().sync_all()?;
    Ok(match tail {
        Some(tail) => Outcome::Split { bytes, tail, finished },
        None => Outcome::Completed { bytes, cut, finished },
    })
}

/// The same for a record that cannot be read.
fn complete_encrypted(context: &Context, leftover: &Leftover) -> io::Result<Outcome> {
    let (dir, id, present) = (&context.spool.dir, &leftover.id, &context.present);
    let sidecar = match Sidecar::read(&dir.sidecar(id)) {
        Ok(sidecar) => sidecar,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            // Where it belongs decides the upload, which tries again until that is known.
            match reconstruct::sidecar(&dir.record(id, Stage::Open), id, &present.identity, &present.audit) {
                Ok(sidecar) => sidecar,
                Err(_unknown) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let joined = recover_encrypted::join(dir, leftover, sidecar)?;
    let by = if joined.ended { ClosedBy::Session } else { ClosedBy::Recovery };
    let finished = finish(context, id, None, by)?;
    let bytes = std::fs::metadata(dir.record(id, Stage::Open))?.len();
    dir.finish(id)?;
    dir.handle().sync_all()?;
    Ok(Outcome::Completed { bytes, cut: joined.cut, finished })
}

/// The chain of a file that is sound up to byte `end`.
fn follow(file: &File, version: Version, end: u64) -> io::Result<Option<Followed>> {
    let mut behind_header = file;
    behind_header.seek(SeekFrom::Start(HEADER_LEN as u64))?;
    Chain::follow(behind_header, &header(version), end)
}

/// Writes what is missing at the end: the closing content as a member, and the seal. `cut` bytes were dropped at `end`.
fn seal(file: &File, content: &[u8], end: u64, cut: u64, followed: Followed) -> io::Result<Chain> {
    let Followed { mut chain, session, seal } = followed;
    if seal.is_some() {
        return Ok(chain);
    }
    let mut last = Vec::new();
    if !content.is_empty() {
        member::compress_with_extra(
            content,
            &chain.next_link(Kind::Recovery),
            &mut last,
            &mut Scratch::new(),
        );
        chain.push(&last, end + last.len() as u64);
    }
    let length = end + last.len() as u64;
    // Recovery may have been interrupted before: `session` is where the session's own writing ends.
    let seal = chain.seal(Kind::RecoverySeal, End { length, session, dropped: cut });
    chain.push(&seal, length + seal.len() as u64);
    last.extend_from_slice(&seal);
    file.write_all_at(&last, end)?;
    Ok(chain)
}

/// Writes the manifest. `None` if the record will be none where it goes, or nobody knows where that is.
fn finish(
    context: &Context,
    id: &RecordId,
    chain: Option<&Chain>,
    by: ClosedBy,
) -> io::Result<Option<Finished>> {
    let (dir, present) = (&context.spool.dir, &context.present);
    let sidecar = match Sidecar::read(&dir.sidecar(id)) {
        Ok(sidecar) => sidecar,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            let record = dir.record(id, Stage::Open);
            match reconstruct::sidecar(&record, id, &present.identity, &present.audit) {
                Ok(sidecar) => sidecar,
                Err(_unknown) => return Ok(None),
            }
        }
        Err(error) => return Err(error),
    };
    if sidecar.format != AuditFormat::Binary {
        return Ok(None);
    }
    integrity::finish(dir, id, Stage::Open, &sidecar, chain, by, context.key.as_ref()).map(Some)
}

/// Notes beside the record that its end was not written by the session. A damaged sidecar is left for the upload to
/// deal with.
fn mark_interrupted(dir: &SpoolDir, id: &RecordId) -> io::Result<()> {
    let path = dir.sidecar(id);
    match Sidecar::read(&path) {
        Ok(sidecar) => Sidecar { interrupted: true, ..sidecar }.replace(&path),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
