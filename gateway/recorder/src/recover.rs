//! Records that an earlier run left behind.
//!
//! A file that a crash cut short is cut to its last complete member, gets the disconnect record and the end that are
//! missing, and is then like any other. What lies behind the cut was never acknowledged, unless something else than a
//! crash damaged the file: then it is kept in `corrupt/`, as is a file that is no record at all.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{HEADER_LEN, HeaderError, Version, header, recover};

use crate::code;
use crate::spool::dir::{Leftover, SpoolDir, Stage};
use crate::spool::sidecar::Sidecar;
use crate::spool::{RecordId, Spool};

/// What became of a file that was cut short.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is complete now, and so many bytes were cut off.
    Completed { bytes: u64, cut: u64 },
    /// The same, but what was cut off holds sound members; it lies there.
    Split { bytes: u64, tail: PathBuf },
    /// It is no record; it lies there.
    SetAside(PathBuf),
    /// It is gone: its session finished meanwhile.
    Gone,
}

/// Completes and hands over everything found at start, oldest first. Runs beside the sessions.
pub(crate) async fn run(spool: Arc<Spool>, leftovers: Vec<Leftover>) {
    if leftovers.is_empty() {
        return;
    }
    tracing::info!(
        code = code::AUDIT_SPOOL_RECOVERING,
        module = "audit",
        records = leftovers.len(),
        "Records of an earlier run are in the spool"
    );
    for leftover in leftovers {
        let keep = match leftover.stage {
            Stage::Ready => true,
            Stage::Open => complete_off_runtime(&spool, &leftover).await,
        };
        if keep {
            spool.budget.ready(&leftover.id, leftover.modified);
            spool.uploads.add(leftover.id, None);
        }
        if spool.shutdown.is_cancelled() {
            return;
        }
    }
}

/// Whether the record is complete now.
async fn complete_off_runtime(spool: &Arc<Spool>, leftover: &Leftover) -> bool {
    let id = leftover.id.clone();
    let job = {
        let (spool, leftover) = (spool.clone(), leftover.clone());
        tokio::task::spawn_blocking(move || complete(&spool.dir, &leftover))
    };
    match job.await.map_err(io::Error::other).flatten() {
        Ok(Outcome::Completed { bytes, cut }) => {
            spool.budget.resize(&id, bytes);
            tracing::info!(
                code = code::AUDIT_SPOOL_RECOVERED,
                module = "audit",
                connectionId = %id,
                "The record was completed; {cut} bytes that were never acknowledged were cut off"
            );
            true
        }
        Ok(Outcome::Split { bytes, tail }) => {
            spool.budget.resize(&id, bytes);
            tracing::error!(
                code = code::AUDIT_SPOOL_DAMAGED,
                module = "audit",
                connectionId = %id,
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

/// Completes one record and renames it. Blocks.
pub(crate) fn complete(dir: &SpoolDir, leftover: &Leftover) -> io::Result<Outcome> {
    let id = &leftover.id;
    let path = dir.record(id, Stage::Open);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Gone),
        other => other?,
    };
    let mut scan = match recover::scan(&file) {
        Ok(scan) => scan,
        Err(HeaderError::Io(error)) => return Err(error),
        Err(_not_ours) => return dir.set_aside(id, Stage::Open).map(Outcome::SetAside),
    };
    let tail = if scan.sound_after_damage { Some(dir.set_aside_tail(id, scan.complete_len)?) } else { None };
    let cut = scan.total_len - scan.complete_len;
    file.set_len(scan.complete_len)?;
    let mut end = scan.complete_len;
    if scan.version.is_none() {
        file.write_all_at(&header(Version::V1), 0)?;
        end = HEADER_LEN as u64;
    }
    // The name tells the connection where no record does.
    scan.connection_id.get_or_insert_with(|| id.as_str().into());
    let closing = scan.closing_content(nanoseconds(leftover.modified));
    if !closing.is_empty() {
        let mut last = Vec::new();
        member::compress(&closing, &mut last, &mut Scratch::new());
        file.write_all_at(&last, end)?;
        end += last.len() as u64;
        mark_interrupted(dir, id)?;
    }
    file.sync_all()?;
    dir.finish(id)?;
    dir.handle().sync_all()?;
    Ok(match tail {
        Some(tail) => Outcome::Split { bytes: end, tail },
        None => Outcome::Completed { bytes: end, cut },
    })
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

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
