//! Storage `file`: a finished record is moved into its directory, named by its connection id as the reference does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::UploadError;
use crate::spool::RecordId;
use crate::spool::dir::create;

/// How many names are tried where the plain one is taken. Ids are random, so a second file of one is an accident.
const MAX_NAMES: usize = 100;

/// Puts the record into the directory, durably and never over another file, and returns where. Blocks. The spool still
/// has it afterwards; doing this again with the same record changes nothing.
pub(crate) fn store(source: &Path, directory: &Path, id: &RecordId) -> Result<PathBuf, UploadError> {
    let at = |source| UploadError::Store { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(at)?;
    for attempt in 0..MAX_NAMES {
        let name = if attempt == 0 { id.to_string() } else { format!("{id}-{attempt}") };
        let target = directory.join(name);
        match place(source, &target) {
            Ok(()) => {
                File::open(directory).and_then(|directory| directory.sync_all()).map_err(at)?;
                return Ok(target);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // An earlier attempt may have come this far.
                if same(source, &target).map_err(at)? {
                    return Ok(target);
                }
            }
            Err(error) => return Err(at(error)),
        }
    }
    Err(at(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of this name")))
}

/// Gives the file a second name. On another file system it is copied first, under a name that readers skip.
fn place(source: &Path, target: &Path) -> io::Result<()> {
    match std::fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links, and none across its borders.
        Err(_) => {
            let temporary = target.with_extension("tmp");
            let mut copy = create(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
            io::copy(&mut File::open(source)?, &mut copy)?;
            copy.sync_all()?;
            if target.try_exists()? {
                std::fs::remove_file(&temporary)?;
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(&temporary, target)
        }
        Ok(()) => Ok(()),
    }
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let length = one.read(&mut left)?;
        let (Some(left), Some(right)) = (left.get(..length), right.get_mut(..length)) else {
            return Ok(false);
        };
        other.read_exact(right)?;
        if left != right {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_stored_once_and_never_over_another() {
        let root = tempfile::tempdir().unwrap();
        let (source, directory) = (root.path().join("a.ready"), root.path().join("new/records"));
        let id = RecordId::parse("a").unwrap();
        std::fs::write(&source, "one").unwrap();
        assert_eq!(store(&source, &directory, &id).unwrap(), directory.join("a"));
        assert_eq!(store(&source, &directory, &id).unwrap(), directory.join("a"), "again after a crash");
        std::fs::remove_file(&source).unwrap();
        std::fs::write(&source, "two").unwrap();
        assert_eq!(store(&source, &directory, &id).unwrap(), directory.join("a-1"));
        assert_eq!(std::fs::read_to_string(directory.join("a")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(directory.join("a-1")).unwrap(), "two");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("a.ready");
        std::fs::write(&source, "one").unwrap();
        let error = store(&source, &source.join("below-a-file"), &RecordId::parse("a").unwrap()).unwrap_err();
        assert!(error.to_string().contains("below-a-file"), "{error}");
    }
}
