//! The spool's directory: its lock, its layout, and every rename in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::RecordId;
use crate::error::RecorderError;

/// Held for the life of the process. Closing the file, in whatever way the process ends, releases it.
const LOCK: &str = ".lock";
/// Where records go that cannot be read.
const CORRUPT: &str = "corrupt";

/// What stage a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Being written, or cut short by a crash.
    Open,
    /// Complete.
    Ready,
}

/// A record that was there at start.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    pub(crate) id: RecordId,
    pub(crate) stage: Stage,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

/// A directory that this process alone uses as its spool.
#[derive(Debug)]
pub(crate) struct SpoolDir {
    path: PathBuf,
    /// For syncing the directory, and the whole file system where that is cheaper than file by file.
    handle: Arc<File>,
    /// Locked; never read.
    _lock: File,
}

impl SpoolDir {
    /// Makes the directory if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, RecorderError> {
        let at = |source| RecorderError::Directory { path: path.to_owned(), source };
        make(path).map_err(at)?;
        let lock = create(OpenOptions::new().write(true).create(true).truncate(false), &path.join(LOCK))
            .map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RecorderError::Shared { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let handle = Arc::new(File::open(path).map_err(at)?);
        Ok(Self { path: path.to_owned(), handle, _lock: lock })
    }

    /// The directory itself, to sync it.
    pub(crate) fn handle(&self) -> Arc<File> {
        self.handle.clone()
    }

    pub(crate) fn record(&self, id: &RecordId, stage: Stage) -> PathBuf {
        let extension = match stage {
            Stage::Open => "open",
            Stage::Ready => "ready",
        };
        self.path.join(format!("{id}.{extension}"))
    }

    pub(crate) fn sidecar(&self, id: &RecordId) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }

    /// What the chunks of an encrypted record do not hold yet.
    pub(crate) fn tail(&self, id: &RecordId) -> PathBuf {
        self.path.join(format!("{id}.tail"))
    }

    /// The record's manifest, once it is complete.
    pub(crate) fn manifest(&self, id: &RecordId) -> PathBuf {
        self.path.join(format!("{id}.manifest"))
    }

    /// Makes the directory again where somebody removed it under us.
    pub(crate) fn remake(&self) -> io::Result<()> {
        make(&self.path)
    }

    /// A record is complete: it will be uploaded, by this process or the next.
    pub(crate) fn finish(&self, id: &RecordId) -> io::Result<()> {
        std::fs::rename(self.record(id, Stage::Open), self.record(id, Stage::Ready))?;
        // All of it is in the record. What stays behind in a crash is removed with the record.
        remove_if_there(&self.tail(id))
    }

    /// A record arrived where it belongs. The sidecar goes last: a record without one would have lost its destination.
    pub(crate) fn forget(&self, id: &RecordId) -> io::Result<()> {
        remove_if_there(&self.record(id, Stage::Ready))?;
        remove_if_there(&self.manifest(id))?;
        remove_if_there(&self.tail(id))?;
        remove_if_there(&self.sidecar(id))
    }

    /// Puts a record that cannot be read, and its sidecar, where a person can look at them. Returns where.
    pub(crate) fn set_aside(&self, id: &RecordId, stage: Stage) -> io::Result<PathBuf> {
        let corrupt = self.path.join(CORRUPT);
        make(&corrupt)?;
        let target = corrupt.join(id.as_str());
        std::fs::rename(self.record(id, stage), &target)?;
        match std::fs::rename(self.sidecar(id), corrupt.join(format!("{id}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::open(&corrupt)?.sync_all()?;
        self.handle.sync_all()?;
        Ok(target)
    }

    /// Keeps the end of a record that recovery cuts off although it is longer than a crash explains.
    pub(crate) fn set_aside_tail(&self, id: &RecordId, from: u64) -> io::Result<PathBuf> {
        use std::io::{Seek, SeekFrom};
        let corrupt = self.path.join(CORRUPT);
        make(&corrupt)?;
        let target = corrupt.join(format!("{id}.tail"));
        let mut source = File::open(self.record(id, Stage::Open))?;
        source.seek(SeekFrom::Start(from))?;
        let mut copy = create(OpenOptions::new().write(true).create(true).truncate(true), &target)?;
        io::copy(&mut source, &mut copy)?;
        copy.sync_all()?;
        File::open(&corrupt)?.sync_all()?;
        Ok(target)
    }

    /// Every record that is there. Drops sidecars and manifests that have none: either the record was delivered and the process died
    /// between the two removals, or nothing of it was ever written.
    pub(crate) fn leftovers(&self) -> io::Result<Vec<Leftover>> {
        let mut found = Vec::new();
        let mut sidecars = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((stem, extension)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Some(id) = RecordId::parse(stem) else { continue };
            let stage = match extension {
                "open" => Stage::Open,
                "ready" => Stage::Ready,
                // A temporary sidecar replaces the sidecar only when complete; found here, it never was.
                "json" | "json.tmp" | "manifest" | "manifest.tmp" | "tail.tmp" => {
                    sidecars.push((id, entry.path()));
                    continue;
                }
                _ => continue,
            };
            let metadata = entry.metadata()?;
            let modified = metadata.modified()?;
            found.push(Leftover { id, stage, bytes: metadata.len(), modified });
        }
        let known: std::collections::HashSet<&RecordId> = found.iter().map(|leftover| &leftover.id).collect();
        for (id, path) in &sidecars {
            if !known.contains(id) || path.extension().is_some_and(|extension| extension == "tmp") {
                remove_if_there(path)?;
            }
        }
        found.sort_by_key(|leftover| leftover.modified);
        Ok(found)
    }
}

/// Opens a file that only this user may read: records hold what people typed.
pub(crate) fn create(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).open(path)
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_never_shared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/spool");
        let first = SpoolDir::open(&path).unwrap();
        let error = SpoolDir::open(&path).unwrap_err();
        assert!(matches!(error, RecorderError::Shared { .. }), "{error}");
        drop(first);
        SpoolDir::open(&path).unwrap();
    }

    #[test]
    fn leftovers_are_listed_oldest_first_and_orphaned_sidecars_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let spool = SpoolDir::open(directory.path()).unwrap();
        let write = |name: &str, age: u64| {
            let path = directory.path().join(name);
            std::fs::write(&path, name).unwrap();
            let at = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        write("young.ready", 1);
        write("old.open", 9);
        let others = [
            "old.json",
            "old.json.tmp",
            "old.manifest",
            "gone.manifest",
            "gone.json",
            "README",
            "no.such.thing",
        ];
        for other in others {
            write(other, 5);
        }
        let found: Vec<_> =
            spool.leftovers().unwrap().into_iter().map(|found| (found.id, found.stage)).collect();
        let id = |text| RecordId::parse(text).unwrap();
        assert_eq!(found, [(id("old"), Stage::Open), (id("young"), Stage::Ready)]);
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [".lock", "README", "no.such.thing", "old.json", "old.manifest", "old.open", "young.ready"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let spool = SpoolDir::open(directory.path()).unwrap();
        let id = RecordId::parse("a").unwrap();
        std::fs::write(spool.record(&id, Stage::Open), "rubbish").unwrap();
        let at = spool.set_aside(&id, Stage::Open).unwrap();
        assert_eq!(std::fs::read(at).unwrap(), b"rubbish");
        assert!(spool.leftovers().unwrap().is_empty());
    }
}
