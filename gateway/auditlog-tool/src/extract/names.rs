//! Where an extracted file goes: below one directory, whatever its name says.
//!
//! Names come from the user whose session is looked into. `..` and absolute paths lead nowhere else because each part of a
//! path is made a plain name; links that stand in the directory already are not followed; and nothing that exists is ever
//! replaced.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// The longest part of a name, in bytes: below what file systems take (255), with room for what is appended.
const MAX_PART: usize = 180;
/// Names that are tried for a file before it is given up.
const MAX_TRIES: u32 = 100;

/// The plain names that a path consists of; at least one.
pub(super) fn parts(path: &[u8]) -> Vec<OsString> {
    let mut parts: Vec<_> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(plain)
        .collect();
    if parts.is_empty() {
        parts.push("unnamed".into());
    }
    parts
}

/// One part, which is no `..`, no longer than a name may be, and without control characters.
fn plain(part: &[u8]) -> OsString {
    if part == b".." {
        return "%2E%2E".into();
    }
    let mut plain = Vec::with_capacity(part.len());
    for byte in part.get(..MAX_PART).unwrap_or(part) {
        if byte.is_ascii_control() {
            let mut escaped = String::new();
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
            plain.extend_from_slice(escaped.as_bytes());
        } else {
            plain.push(*byte);
        }
    }
    plain.truncate(MAX_PART);
    OsString::from_vec(plain)
}

/// The directory below which everything is written.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let directory = openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// A new file directly in the directory.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// A file that was made by [`Root::create`].
    pub(super) fn reopen(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::empty())?.into())
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.directory, name, rustix::fs::AtFlags::empty())?)
    }

    /// Gives a file its place: these parts, with `suffix` behind the last, or something like it that is free. Gives its path.
    pub(super) fn place(&self, from: &OsStr, parts: &[OsString], suffix: &str) -> io::Result<PathBuf> {
        let Some((name, above)) = parts.split_last() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut directory = self.directory.try_clone()?;
        let mut path = self.path.clone();
        for part in above {
            match mkdirat(&directory, part, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&directory, part, flags, Mode::empty()) {
                Ok(inner) => {
                    directory = inner;
                    path.push(part);
                }
                // A file or a link has this name: the rest goes beside it.
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for number in 1..=MAX_TRIES {
            let number = if number == 1 { String::new() } else { format!(".{number}") };
            let mut name = name.clone();
            name.push(number);
            name.push(suffix);
            if reserve(directory.as_fd(), &name)? {
                renameat(&self.directory, from, &directory, &name)?;
                path.push(name);
                return Ok(path);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Takes a name that is free: what is put there next replaces an empty file of ours and nothing else.
fn reserve(directory: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a path is the one that a user named: exactly, or as it is shown where it is no text.
pub(super) fn is_named(path: &[u8], named: &OsStr) -> bool {
    named.as_bytes() == path || *named.as_bytes() == *String::from_utf8_lossy(path).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for (path, expected) in [
            (&b"/etc/passwd"[..], &["etc", "passwd"][..]),
            (b"../../.ssh/authorized_keys", &["%2E%2E", "%2E%2E", ".ssh", "authorized_keys"]),
            (b"a//./b/", &["a", "b"]),
            (b"/", &["unnamed"]),
            (b"", &["unnamed"]),
            (b"a\0b\nc", &["a%00b%0Ac"]),
        ] {
            assert_eq!(parts(path), expected, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn every_part_is_a_name(path in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), any::<u8>()], 0..600)) {
            for part in parts(&path) {
                let part = part.as_bytes();
                prop_assert!(!part.is_empty() && part.len() <= MAX_PART && part != b"." && part != b"..");
                prop_assert!(!part.contains(&b'/') && !part.contains(&0));
            }
        }
    }

    #[test]
    fn links_that_stand_in_the_way_are_not_followed_and_nothing_is_replaced() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("victim"), inside.path().join("passwd")).unwrap();
        let root = Root::open(inside.path()).unwrap();
        root.create(OsStr::new("new")).unwrap();
        let placed = root.place(OsStr::new("new"), &parts(b"/etc/passwd"), "").unwrap();
        assert_eq!(placed, inside.path().join("passwd.2"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
