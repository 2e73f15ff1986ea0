//! A private directory, made when it is first needed: many guests never forward anything, and their root may be
//! read-only.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// Where it may be, best first. Every container has a `/dev/shm`, also where everything else is read-only.
const PLACES: [&str; 4] = ["/tmp", "/dev/shm", "/var/tmp", "/run"];

/// The directory, once there is one. Removed with all that is in it when dropped.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    directory: Mutex<Option<TempDir>>,
    next: AtomicU64,
}

impl Scratch {
    /// A path in the directory that was never given out before.
    pub(crate) fn path(&self, kind: &str) -> io::Result<PathBuf> {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have tidied up in /tmp.
        let here = match directory.take().filter(|directory| directory.path().is_dir()) {
            Some(here) => directory.insert(here),
            None => directory.insert(create(PLACES.map(Path::new))?),
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(here.path().join(format!("{kind}.{number}")))
    }
}

fn create<'a>(places: impl IntoIterator<Item = &'a Path>) -> io::Result<TempDir> {
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        let private = std::fs::Permissions::from_mode(0o700);
        match tempfile::Builder::new().prefix("containerssh-").permissions(private).tempdir_in(place) {
            Ok(directory) => return Ok(directory),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_private_made_once_and_removed() {
        let scratch = Scratch::default();
        let (one, other) = (scratch.path("a").unwrap(), scratch.path("a").unwrap());
        assert_ne!(one, other);
        let directory = one.parent().unwrap();
        assert_eq!(Some(directory), other.parent());
        assert_eq!(std::fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(&one, "x").unwrap();
        let directory = directory.to_owned();
        drop(scratch);
        assert!(!directory.exists());
    }

    #[test]
    fn the_first_place_that_can_be_written_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("missing");
        let directory = create([missing.as_path(), place.path()]).unwrap();
        assert_eq!(directory.path().parent(), Some(place.path()));
        assert!(create([missing.as_path()]).is_err());
    }
}
