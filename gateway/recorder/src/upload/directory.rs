//! Storage `file`: a finished record is put into its directory, named by its connection id as the reference does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::content::Content;
use super::displaced::beside;
use crate::error::UploadError;
use crate::spool::dir::create;

/// How many names are tried where the plain one is taken. Ids are random, so a second file of one is an accident.
const MAX_NAMES: usize = 100;

/// Compared at a time.
const BLOCK: usize = 64 * 1024;

/// Puts a content into the directory under `name`, which may lead into directories below, durably and never over another
/// file, and returns where. Blocks. The spool still has it afterwards; doing this again with the same content changes
/// nothing.
pub(crate) fn store(content: &Content, directory: &Path, name: &Path) -> Result<PathBuf, UploadError> {
    let at = |source| UploadError::Store { path: directory.to_owned(), source };
    let plain = directory.join(name);
    let parent = plain.parent().unwrap_or(directory).to_owned();
    std::fs::create_dir_all(&parent).map_err(at)?;
    for attempt in 0..MAX_NAMES {
        let target = if attempt == 0 { plain.clone() } else { numbered(&plain, attempt) };
        match place(content, &target) {
            Ok(()) => {
                sync(&parent, directory).map_err(at)?;
                return Ok(target);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // An earlier attempt may have come this far.
                if same(content, &target).map_err(at)? {
                    sync(&parent, directory).map_err(at)?;
                    return Ok(target);
                }
            }
            Err(error) => return Err(at(error)),
        }
    }
    Err(at(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of this name")))
}

fn numbered(plain: &Path, number: usize) -> PathBuf {
    // Names are made of ids and of what a prefix says, which is text.
    let name = plain.file_name().unwrap_or_default().to_string_lossy();
    plain.with_file_name(beside(&name, &number.to_string()))
}

/// Makes names durable, those of directories that were made on the way too.
fn sync(from: &Path, up_to: &Path) -> io::Result<()> {
    for directory in from.ancestors().take_while(|directory| directory.starts_with(up_to)) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Gives a file of the spool a second name. What is none, or on another file system, is copied first, under a name that
/// readers skip.
fn place(content: &Content, target: &Path) -> io::Result<()> {
    if let Content::File(source) = content {
        match std::fs::hard_link(source, target) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // Not every file system has links, and none across its borders.
            Err(_) => {}
        }
    }
    if target.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = target.with_file_name(name);
    // One that a crash left is begun anew: only this process writes here under this name.
    let mut copy = create(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
    io::copy(&mut content.open()?, &mut copy)?;
    copy.sync_all()?;
    let named = rename_new(&temporary, target);
    if named.is_err() {
        let _best_effort = std::fs::remove_file(&temporary);
    }
    named
}

/// Renames, but never over another file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Network file systems lack this but have links.
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => other,
    }
}

fn same(content: &Content, target: &Path) -> io::Result<bool> {
    let mut there = File::open(target)?;
    if there.metadata()?.len() != content.size()? {
        return Ok(false);
    }
    let mut ours = content.open()?;
    let (mut left, mut right) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
    loop {
        left.clear();
        right.clear();
        (&mut ours).take(BLOCK as u64).read_to_end(&mut left)?;
        (&mut there).take(BLOCK as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Stores two contents under one name, the first of them twice.
    fn store_twice(one: &Content, two: &Content, directory: &Path) {
        let name = Path::new("2026/05/a");
        assert_eq!(store(one, directory, name).unwrap(), directory.join(name));
        assert_eq!(store(one, directory, name).unwrap(), directory.join(name), "again after a crash");
        assert_eq!(store(two, directory, name).unwrap(), directory.join("2026/05/a-1"));
        assert_eq!(std::fs::read_to_string(directory.join("2026/05/a")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(directory.join("2026/05/a-1")).unwrap(), "two");
        assert_eq!(names(&directory.join("2026/05")), ["a", "a-1"]);
    }

    fn files(root: &Path) -> [Content; 2] {
        ["one", "two"].map(|text| {
            let path = root.join(text);
            std::fs::write(&path, text).unwrap();
            Content::File(path)
        })
    }

    #[test]
    fn a_record_is_stored_once_and_never_over_another() {
        let root = tempfile::tempdir().unwrap();
        let [one, two] = files(root.path());
        store_twice(&one, &two, &root.path().join("new/records"));
    }

    #[test]
    fn what_is_made_in_memory_is_stored_the_same_way() {
        let root = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|text| Content::Memory(text.into()));
        store_twice(&one, &two, root.path());
        let cast = Content::Memory("three".into());
        for (expected, cast) in [("a-0.cast", &one), ("a-0-1.cast", &cast)] {
            assert_eq!(store(cast, root.path(), Path::new("a-0.cast")).unwrap(), root.path().join(expected));
        }
    }

    #[test]
    fn the_directory_may_be_on_another_file_system_than_the_spool() {
        let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        assert_ne!(device(root.path()), device(other.path()), "this test needs two file systems");
        let [one, two] = files(root.path());
        store_twice(&one, &two, other.path());
    }

    #[test]
    fn a_copy_that_a_crash_cut_short_is_never_taken_for_the_record() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".a.tmp"), "on").unwrap();
        let stored = store(&Content::Memory("one".into()), root.path(), Path::new("a")).unwrap();
        assert_eq!(std::fs::read_to_string(stored).unwrap(), "one");
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let root = tempfile::tempdir().unwrap();
        let [one, _] = files(root.path());
        let error = store(&one, &root.path().join("one/below-a-file"), Path::new("a")).unwrap_err();
        assert!(error.to_string().contains("below-a-file"), "{error}");
    }
}
