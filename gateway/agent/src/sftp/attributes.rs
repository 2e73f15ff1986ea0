//! File attributes (draft-ietf-secsh-filexfer-02 section 5).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, Uid};

use super::files::path;
use super::wire::{Malformed, Reader, Writer};

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;
/// What `chmod` takes; the rest of the mode is the file's kind.
const MODE: u32 = 0o7777;

/// What a request sets. Seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) permissions: Option<u32>,
    pub(super) times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let flags = reader.u32()?;
        let has = |flag| flags & flag != 0;
        let size = has(SIZE).then(|| reader.u64()).transpose()?;
        let owner = has(OWNER).then(|| Ok((reader.u32()?, reader.u32()?))).transpose()?;
        let permissions = has(PERMISSIONS).then(|| reader.u32()).transpose()?;
        let times = has(TIMES).then(|| Ok((reader.u32()?, reader.u32()?))).transpose()?;
        if has(EXTENDED) {
            for _ in 0..reader.u32()? {
                reader.string()?;
                reader.string()?;
            }
        }
        Ok(Self { size, owner, permissions, times })
    }

    /// The mode for a new file or directory.
    pub(super) fn mode(&self, default: u32) -> Mode {
        Mode::from_bits_truncate(self.permissions.unwrap_or(default) & MODE)
    }

    /// Sets them, in sftp-server's order; stops at the first that fails. With `follow` false a link itself is meant.
    pub(super) fn set_at(&self, name: &[u8], follow: bool) -> io::Result<()> {
        let name = path(name);
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        if let Some(size) = self.size {
            if !follow {
                return Err(rustix::io::Errno::OPNOTSUPP.into());
            }
            std::fs::OpenOptions::new().write(true).open(name)?.set_len(size)?;
        }
        if self.permissions.is_some() {
            rustix::fs::chmodat(CWD, name, self.mode(0), flags)?;
        }
        if let Some(times) = self.times {
            rustix::fs::utimensat(CWD, name, &timestamps(times), flags)?;
        }
        if let Some((uid, gid)) = self.owner {
            rustix::fs::chownat(CWD, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?;
        }
        Ok(())
    }

    /// Sets those of an open file.
    pub(super) fn set(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(size) = self.size {
            rustix::fs::ftruncate(fd, size)?;
        }
        if self.permissions.is_some() {
            rustix::fs::fchmod(fd, self.mode(0))?;
        }
        if let Some(times) = self.times {
            rustix::fs::futimens(fd, &timestamps(times))?;
        }
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    }
}

fn timestamps((accessed, modified): (u32, u32)) -> Timestamps {
    let time = |seconds: u32| Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    Timestamps { last_access: time(accessed), last_modification: time(modified) }
}

/// What is told of a file.
pub(super) fn write(writer: &mut Writer<'_>, stat: &Stat) {
    // The protocol's times end in 2106.
    let seconds = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    writer
        .u32(SIZE | OWNER | PERMISSIONS | TIMES)
        .u64(u64::try_from(stat.st_size).unwrap_or(0))
        .u32(stat.st_uid)
        .u32(stat.st_gid)
        .u32(stat.st_mode)
        .u32(seconds(stat.st_atime))
        .u32(seconds(stat.st_mtime));
}

/// Without any: the draft wants "dummy attributes" where a name alone matters.
pub(super) fn write_none(writer: &mut Writer<'_>) {
    writer.u32(0);
}
