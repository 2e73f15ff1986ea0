//! What the client sends: requests, and the content of writes.

use super::{Passing, Session};
use crate::message::IoStream;
use crate::sftp::event::{Operation, Outcome};
use crate::sftp::observer::{Chunk, Direction, Observer};
use crate::sftp::pending::{Action, Request};
use crate::sftp::request::{self, Parsed};
use crate::sftp::transfer::{Entry, Kind, Transfer};
use crate::sftp::wire::{Short, Wire, kind};

impl Session {
    pub(in crate::sftp) fn request(&mut self, kind: u8, body: &[u8], at: u64, to: &mut impl Observer) {
        match request::parse(kind, body) {
            Ok((id, parsed)) => self.requested(id, parsed, to),
            Err(Short) => {
                // It may be answered all the same.
                if let Ok(id) = Wire(body).u32() {
                    self.send(id, Action::Ignored, to);
                }
                self.malformed(IoStream::Stdin, kind, at, to);
            }
        }
    }

    fn requested(&mut self, id: u32, parsed: Parsed<'_>, to: &mut impl Observer) {
        let action = match parsed {
            Parsed::Init { version } => {
                self.client_version = Some(version);
                if !self.options.replies_recorded {
                    self.greet(None, Vec::new(), to);
                }
                return;
            }
            Parsed::Read { handle, offset, length } => {
                let entry = self.entry(handle, || Kind::File(Transfer::default()), to);
                if let Some(file) = self.handles.file(entry) {
                    file.not_read();
                }
                Action::Read { entry, offset, length }
            }
            Parsed::Readdir { handle } => {
                let entry = self.entry(handle, || Kind::Directory { entries: 0, complete: false }, to);
                Action::Readdir { entry }
            }
            Parsed::Close { handle } => match self.handles.release(handle) {
                Some(entry) => Action::Close { entry },
                None => Action::Ignored,
            },
            Parsed::Path(operation) => {
                if let Operation::Open { path, flags, .. } = &operation {
                    self.last_open = Some((path.clone(), *flags));
                }
                Action::act(operation)
            }
            Parsed::Handle { handle, mut operation } => {
                if let Operation::Stat { path, .. }
                | Operation::Setstat { path, .. }
                | Operation::Extended { path, .. } = &mut operation
                {
                    *path = self.handles.path(handle);
                }
                Action::Act { operation: Box::new(operation), entry: self.handles.number(handle) }
            }
            Parsed::Copy { from, to: into, offset, length } => Action::Act {
                operation: Box::new(Operation::Copy {
                    path: self.handles.path(from),
                    target: self.handles.path(into),
                    offset,
                    length,
                }),
                entry: self.handles.number(into),
            },
        };
        self.send(id, action, to);
    }

    /// The open file that a handle stands for. One whose opening was not seen gets its place at its first use.
    fn entry(&mut self, handle: &[u8], kind: impl FnOnce() -> Kind, to: &mut impl Observer) -> u64 {
        if let Some(number) = self.handles.number(handle) {
            return number;
        }
        let mut entry =
            Entry { handle: handle.into(), path: None, path_inferred: false, since: self.now, kind: kind() };
        let silent = !self.server_speaks;
        if silent && let Some((path, flags)) = self.last_open.take() {
            (entry.path, entry.path_inferred) = (Some(path), true);
            if let Kind::File(transfer) = &mut entry.kind {
                transfer.opened(flags);
            }
        }
        let number = self.handles.insert(entry);
        self.drop_surplus_files(to);
        number
    }

    pub(super) fn drop_surplus_files(&mut self, to: &mut impl Observer) {
        while let Some((number, entry)) = self.handles.surplus() {
            self.close(number, entry, Outcome::NotFollowed, to);
        }
    }

    fn send(&mut self, id: u32, action: Action, to: &mut impl Observer) {
        let request = Request { id, sent: self.now, action };
        if !self.options.replies_recorded {
            return self.unanswered(request, Outcome::NotRecorded, to);
        }
        self.pending.push(request);
        while let Some(request) = self.pending.surplus() {
            self.unanswered(request, Outcome::Unanswered, to);
        }
    }

    /// A write begins: what stands before its content, and the content's length.
    pub(in crate::sftp) fn write_start(&mut self, head: &[u8], length: u32, at: u64, to: &mut impl Observer) {
        let mut wire = Wire(head);
        let (Ok(id), Ok(handle), Ok(offset)) = (wire.u32(), wire.string(), wire.u64()) else {
            return self.malformed(IoStream::Stdin, kind::WRITE, at, to);
        };
        let entry = self.entry(handle, || Kind::File(Transfer::default()), to);
        if let Some(file) = self.handles.file(entry) {
            file.sent();
        }
        self.writing = Some(Passing { entry, offset, start: offset, asked: length, length });
        self.send(id, Action::Write { entry, offset, length }, to);
    }

    pub(in crate::sftp) fn write(&mut self, bytes: &[u8], to: &mut impl Observer) {
        let Some(passing) = &mut self.writing else { return };
        if let Some(file) = self.handles.file(passing.entry) {
            file.write(passing.offset, bytes, &mut self.window);
            to.data(Chunk {
                transfer: passing.entry,
                direction: Direction::Written,
                offset: passing.offset,
                bytes,
            });
        }
        passing.offset = passing.offset.saturating_add(bytes.len() as u64);
    }

    pub(in crate::sftp) fn write_end(&mut self) {
        self.writing = None;
    }
}
