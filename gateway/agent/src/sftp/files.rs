//! Open files and directories, and what is done to names.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::attributes::Attributes;

/// Open files and directories of one client: half of what a process usually may have open.
pub(super) const MAX_HANDLES: usize = 512;

/// Flags of an open request (draft section 6.3).
const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

/// What a handle stands for.
#[derive(Debug)]
pub(super) enum Open {
    File(OwnedFd),
    Directory(Dir),
}

/// Handles by number. A number is never used twice.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<u32, Open>,
    next: u32,
}

impl Handles {
    /// Checks for room before anything is opened.
    pub(super) fn room(&self) -> io::Result<()> {
        if self.open.len() < MAX_HANDLES { Ok(()) } else { Err(Errno::MFILE.into()) }
    }

    pub(super) fn insert(&mut self, open: Open) -> [u8; 4] {
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        handle.to_be_bytes()
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> io::Result<()> {
        number(handle).and_then(|handle| self.open.remove(&handle)).map(drop).ok_or_else(unknown)
    }

    pub(super) fn file(&self, handle: &[u8]) -> io::Result<BorrowedFd<'_>> {
        match number(handle).and_then(|handle| self.open.get(&handle)) {
            Some(Open::File(file)) => Ok(file.as_fd()),
            _ => Err(unknown()),
        }
    }

    pub(super) fn directory(&mut self, handle: &[u8]) -> io::Result<&mut Dir> {
        match number(handle).and_then(|handle| self.open.get_mut(&handle)) {
            Some(Open::Directory(directory)) => Ok(directory),
            _ => Err(unknown()),
        }
    }

    /// The descriptor behind either kind.
    pub(super) fn any(&self, handle: &[u8]) -> io::Result<BorrowedFd<'_>> {
        match number(handle).and_then(|handle| self.open.get(&handle)) {
            Some(Open::File(file)) => Ok(file.as_fd()),
            Some(Open::Directory(directory)) => Ok(directory.fd()?),
            None => Err(unknown()),
        }
    }
}

fn number(handle: &[u8]) -> Option<u32> {
    handle.try_into().ok().map(u32::from_be_bytes)
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no such handle")
}

pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub(super) fn open(name: &[u8], flags: u32, attributes: &Attributes) -> io::Result<OwnedFd> {
    let has = |flag| flags & flag != 0;
    let mut how = match (has(READ), has(WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    how.set(OFlags::APPEND, has(APPEND));
    how.set(OFlags::CREATE, has(CREATE));
    how.set(OFlags::TRUNC, has(TRUNCATE));
    how.set(OFlags::EXCL, has(EXCLUSIVE));
    Ok(rustix::fs::open(path(name), how | OFlags::CLOEXEC | OFlags::NOCTTY, attributes.mode(0o666))?)
}

pub(super) fn open_directory(name: &[u8]) -> io::Result<Dir> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::new(rustix::fs::open(path(name), how, Mode::empty())?)?)
}

/// `SSH_FXP_RENAME` fails if the new name exists (draft section 6.5); OpenSSH's extension replaces it.
pub(super) fn rename(from: &[u8], to: &[u8], replace: bool) -> io::Result<()> {
    let (from, to) = (path(from), path(to));
    if replace {
        return std::fs::rename(from, to);
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it.
        Err(Errno::INVAL | Errno::NOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(_) => std::fs::rename(from, to),
        },
        result => Ok(result?),
    }
}

/// An absolute path without links. Its last part need not exist: clients ask before they create it.
pub(super) fn real_path(name: &[u8]) -> io::Result<Vec<u8>> {
    let name = path(if name.is_empty() { b"." } else { name });
    let real = match name.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty());
            let last = name.file_name().ok_or(error)?;
            parent.unwrap_or_else(|| Path::new(".")).canonicalize()?.join(last)
        }
        result => result?,
    };
    Ok(real.into_os_string().into_vec())
}
