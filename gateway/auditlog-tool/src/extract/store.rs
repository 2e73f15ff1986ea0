//! The files that are being put together.
//!
//! Bytes go to their places as they pass, into a file with a name of its own; it gets its place among the results when
//! the transfer ends, and is known as whole or not. So nothing is held in memory, and what is not finished never looks as
//! if it were.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;

use containerssh_auditlog::sftp::Direction;
use sha2::{Digest as _, Sha256};

use super::budget::Budget;
use super::names::Root;
use super::transfer::{TransferId, word};

/// Files kept open at once; a process may have 1024, and the log, the output and others need some.
const MAX_OPEN: usize = 256;
/// Bytes read at a time for a digest.
const BUFFER: usize = 64 << 10;

type Key = (TransferId, Direction);

#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: OsString,
    file: Option<File>,
    /// The end of what was written.
    end: u64,
    /// Not all of it was kept.
    pub(super) cut: bool,
    used: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: Root,
    budget: Budget,
    parts: HashMap<Key, Part>,
    open: usize,
    clock: u64,
}

impl Store {
    pub(super) fn new(root: Root, budget: Budget) -> Self {
        Self { root, budget, parts: HashMap::new(), open: 0, clock: 0 }
    }

    /// Puts bytes where they belong. Those beyond the budget are left out, and the file is known to be cut.
    pub(super) fn write(
        &mut self,
        id: TransferId,
        way: Direction,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let part = self.part(id, way)?;
        let end = offset.saturating_add(bytes.len() as u64);
        let Some(part) = self.parts.get_mut(&part) else { return Ok(()) };
        if part.cut || !self.budget.take(end.saturating_sub(part.end)) {
            part.cut = true;
            return Ok(());
        }
        part.end = part.end.max(end);
        let file = match &part.file {
            Some(file) => file,
            None => {
                let file = self.root.reopen(&part.name)?;
                self.open += 1;
                part.file.insert(file)
            }
        };
        file.write_all_at(bytes, offset)
    }

    fn part(&mut self, id: TransferId, way: Direction) -> io::Result<Key> {
        let key = (id, way);
        self.clock += 1;
        if !self.parts.contains_key(&key) {
            let name = format!(".extract-{}-{id}-{}.partial", std::process::id(), word(way));
            let cut = !self.budget.file(1);
            let file = if cut { None } else { Some(self.root.create(name.as_ref())?) };
            self.open += usize::from(file.is_some());
            self.parts.insert(key, Part { name: name.into(), file, end: 0, cut, used: self.clock });
        }
        if let Some(part) = self.parts.get_mut(&key) {
            part.used = self.clock;
        }
        if self.open > MAX_OPEN
            && let Some(part) =
                self.parts.values_mut().filter(|part| part.file.is_some()).min_by_key(|part| part.used)
        {
            part.file = None;
            self.open -= 1;
        }
        Ok(key)
    }

    /// Takes a finished file out; one of which nothing came is empty. `None`: there was no room for it at all.
    pub(super) fn finish(
        &mut self,
        id: TransferId,
        way: Direction,
        directories: usize,
    ) -> io::Result<Option<Part>> {
        let key = self.part(id, way)?;
        let Some(part) = self.parts.remove(&key) else { return Ok(None) };
        let existed = part.file.is_some() || part.end > 0 || !part.cut;
        self.open -= usize::from(part.file.is_some());
        if existed && directories > 0 && !self.budget.file(directories) {
            self.root.remove(&part.name)?;
            return Ok(None);
        }
        Ok(existed.then_some(part))
    }

    /// Drops what came of a transfer.
    pub(super) fn discard(&mut self, id: TransferId) -> io::Result<()> {
        for way in [Direction::Read, Direction::Written] {
            if let Some(part) = self.parts.remove(&(id, way)) {
                self.open -= usize::from(part.file.is_some());
                if part.file.is_some() || part.end > 0 || !part.cut {
                    self.root.remove(&part.name)?;
                }
            }
        }
        Ok(())
    }

    /// The digest and the length of a file as it was put together.
    pub(super) fn digest(&self, part: &Part) -> io::Result<([u8; 32], u64)> {
        let mut file = self.root.reopen(&part.name)?;
        file.rewind()?;
        let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0; BUFFER], 0);
        loop {
            let read = file.read(&mut buffer)?;
            let Some(bytes @ [_, ..]) = buffer.get(..read) else {
                return Ok((hash.finalize().into(), length));
            };
            hash.update(bytes);
            length += read as u64;
        }
    }
}
