//! Which file a handle stands for.
//!
//! A handle means what it means when the server gets to the request, so closing one takes effect when it is asked for: a
//! client that sends the next request ahead may mean the next file by the same handle. The file itself stays until the
//! answer, for the answers that come before.

use std::collections::{BTreeMap, HashMap};

use super::event::{OpenFlags, RemotePath};
use super::transfer::{Entry, Kind, Transfer};

/// Files open at once: as many as a process may have by default on Linux, and so as sftp-server gives out.
pub(super) const MAX_OPEN: usize = 1024;
/// Bytes of their names and handles.
const MAX_BYTES: usize = 1 << 20;

/// Open files by number, which is their age, and by handle.
#[derive(Debug, Default)]
pub(super) struct Handles {
    entries: BTreeMap<u64, Entry>,
    by_handle: HashMap<Box<[u8]>, u64>,
    next: u64,
    bytes: usize,
}

impl Handles {
    pub(super) fn number(&self, handle: &[u8]) -> Option<u64> {
        self.by_handle.get(handle).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    pub(super) fn file(&mut self, number: u64) -> Option<&mut Transfer> {
        match &mut self.entries.get_mut(&number)?.kind {
            Kind::File(transfer) => Some(transfer),
            Kind::Directory { .. } => None,
        }
    }

    pub(super) fn path(&self, handle: &[u8]) -> Option<RemotePath> {
        self.get(self.number(handle)?)?.path.clone()
    }

    /// Adds an open file or directory. [`Handles::surplus`] tells which one has to go for it.
    pub(super) fn insert(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += entry.weight();
        self.by_handle.insert(entry.handle.clone(), number);
        self.entries.insert(number, entry);
        number
    }

    /// The oldest file that has been used by a handle since a time without being opened by it.
    pub(super) fn unnamed(&self, handle: &[u8], since: u64) -> Option<u64> {
        let fits = |entry: &Entry| {
            (entry.path.is_none() || entry.path_inferred) && entry.since >= since && *entry.handle == *handle
        };
        self.entries.iter().find(|(_, entry)| fits(entry)).map(|(number, _)| *number)
    }

    /// Gives a file its name, which came later than its first use.
    pub(super) fn name(&mut self, number: u64, path: RemotePath, flags: OpenFlags) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        self.bytes -= entry.weight().min(self.bytes);
        entry.path = Some(path);
        entry.path_inferred = false;
        self.bytes += entry.weight();
        if let Kind::File(transfer) = &mut entry.kind {
            transfer.opened(flags);
        }
    }

    /// The handle stands for nothing any more; the file stays until [`Handles::remove`].
    pub(super) fn release(&mut self, handle: &[u8]) -> Option<u64> {
        self.by_handle.remove(handle)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.bytes -= entry.weight().min(self.bytes);
        // The handle may stand for a later file by now.
        if self.by_handle.get(&entry.handle) == Some(&number) {
            self.by_handle.remove(&entry.handle);
        }
        Some(entry)
    }

    /// The oldest file, if there are more than are followed.
    pub(super) fn surplus(&mut self) -> Option<(u64, Entry)> {
        if self.entries.len() > MAX_OPEN || self.bytes > MAX_BYTES { self.pop() } else { None }
    }

    /// The oldest file.
    pub(super) fn pop(&mut self) -> Option<(u64, Entry)> {
        let (&number, _) = self.entries.first_key_value()?;
        Some((number, self.remove(number)?))
    }
}
