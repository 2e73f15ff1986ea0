//! What the server sends: answers, and the content of reads.

use super::{Passing, Session};
use crate::message::IoStream;
use crate::sftp::event::{Attributes, NoDigest, OpenFlags, Operation, Outcome, RemotePath, short_text};
use crate::sftp::observer::{Chunk, Direction, Observer};
use crate::sftp::pending::{Action, Request};
use crate::sftp::transfer::{Entry, Kind, Transfer};
use crate::sftp::wire::{Short, Status, Wire, kind};

/// Extensions of the server that are kept. OpenSSH has a dozen.
const MAX_EXTENSIONS: usize = 64;

/// What a server answers.
#[derive(Debug)]
enum Reply<'a> {
    Status(Status<'a>),
    Handle(&'a [u8]),
    Name { count: u32, first: Option<&'a [u8]> },
    Attributes(Attributes),
    Extended,
    Unknown,
}

impl Reply<'_> {
    /// How the request went; `fits` says that the answer is one that the request can have besides a status.
    fn outcome(&self, fits: bool) -> Outcome {
        match self {
            Self::Status(status) => status.outcome(),
            _ if fits => Outcome::Ok,
            _ => Outcome::UnexpectedReply,
        }
    }
}

impl Session {
    pub(in crate::sftp) fn server_spoke(&mut self) {
        self.server_speaks = true;
    }

    pub(in crate::sftp) fn reply(&mut self, kind: u8, body: &[u8], at: u64, to: &mut impl Observer) {
        let mut wire = Wire(body);
        let read =
            if kind == kind::VERSION { self.version(&mut wire, to) } else { self.answer(kind, wire, to) };
        if read.is_err() {
            self.malformed(IoStream::Stdout, kind, at, to);
        }
    }

    fn version(&mut self, wire: &mut Wire<'_>, to: &mut impl Observer) -> Result<(), Short> {
        let version = wire.u32()?;
        let mut extensions = Vec::new();
        while extensions.len() < MAX_EXTENSIONS
            && let (Ok(name), Ok(_)) = (wire.string(), wire.string())
        {
            extensions.push(short_text(name));
        }
        self.greet(Some(version), extensions, to);
        Ok(())
    }

    fn answer(&mut self, kind: u8, mut wire: Wire<'_>, to: &mut impl Observer) -> Result<(), Short> {
        let id = wire.u32()?;
        let reply = match kind {
            kind::STATUS => Reply::Status(Status::read(&mut wire)?),
            kind::HANDLE => Reply::Handle(wire.string()?),
            kind::NAME => Reply::Name { count: wire.u32()?, first: wire.string().ok() },
            kind::ATTRS => Reply::Attributes(wire.attributes()?),
            kind::EXTENDED_REPLY => Reply::Extended,
            _ => Reply::Unknown,
        };
        let Some(request) = self.pending.take(id) else {
            self.unpaired.replies += 1;
            match reply {
                Reply::Name { count, .. } => self.unpaired.entries += u64::from(count),
                Reply::Status(status) if !status.is_ok() && !status.is_eof() => self.unpaired.errors += 1,
                _ => {}
            }
            return Ok(());
        };
        self.answered(request, &reply, to);
        Ok(())
    }

    fn answered(&mut self, request: Request, reply: &Reply<'_>, to: &mut impl Observer) {
        match request.action {
            Action::Read { entry, offset, .. } => {
                if let (Some(file), Reply::Status(status)) = (self.handles.file(entry), reply)
                    && status.is_eof()
                {
                    file.end_at(offset);
                }
            }
            Action::Write { entry, offset, length } => {
                if let Some(file) = self.handles.file(entry) {
                    match reply {
                        Reply::Status(status) if status.is_ok() => file.was_written(offset, length),
                        _ => file.not_written(NoDigest::Failed, &mut self.window),
                    }
                }
            }
            Action::Readdir { entry } => {
                if let Some(Kind::Directory { entries, complete }) =
                    self.handles.get_mut(entry).map(|entry| &mut entry.kind)
                {
                    match reply {
                        Reply::Name { count, .. } => *entries = entries.saturating_add(u64::from(*count)),
                        Reply::Status(status) if status.is_eof() => *complete = true,
                        _ => {}
                    }
                }
            }
            Action::Close { entry } => {
                if let Some(closed) = self.handles.remove(entry) {
                    self.close(entry, closed, reply.outcome(false), to);
                }
            }
            Action::Act { operation, entry } => self.acted(*operation, entry, request.sent, reply, to),
            Action::Ignored => {}
        }
    }

    /// An operation has been answered.
    fn acted(
        &mut self,
        mut operation: Operation,
        entry: Option<u64>,
        sent: u64,
        reply: &Reply<'_>,
        to: &mut impl Observer,
    ) {
        let mut answered_with_more = true;
        match (&mut operation, reply) {
            (Operation::Open { path, flags, transfer, .. }, Reply::Handle(handle)) => {
                let told = self.last_size.take().filter(|(known, _)| known == path).map(|(_, size)| size);
                let kind = || Kind::File(Transfer::new(*flags, told));
                *transfer = Some(self.opened(handle, path, *flags, kind, sent, to));
            }
            (Operation::Opendir { path }, Reply::Handle(handle)) => {
                let kind = || Kind::Directory { entries: 0, complete: false };
                self.opened(handle, path, OpenFlags::default(), kind, sent, to);
            }
            (Operation::Stat { path, attributes, .. }, Reply::Attributes(told)) => {
                *attributes = *told;
                let file = entry.and_then(|entry| self.handles.file(entry));
                match (told.size, file, path) {
                    (Some(size), Some(file), _) => file.told(size),
                    (Some(size), None, Some(path)) => self.last_size = Some((path.clone(), size)),
                    _ => {}
                }
            }
            (
                Operation::Readlink { target, .. } | Operation::Realpath { target, .. },
                Reply::Name { first, .. },
            ) => {
                *target = first.map(RemotePath::new);
            }
            (Operation::Extended { .. }, Reply::Extended | Reply::Name { .. }) => {}
            _ => answered_with_more = false,
        }
        let outcome = reply.outcome(answered_with_more);
        let file = entry.and_then(|entry| self.handles.file(entry));
        match (&operation, file) {
            (Operation::Setstat { attributes, .. }, Some(file)) if outcome == Outcome::Ok => {
                if let Some(size) = attributes.size {
                    file.resized(size, &mut self.window);
                }
            }
            (Operation::Copy { .. }, Some(file)) if outcome == Outcome::Ok => {
                file.copied_into(&mut self.window);
            }
            _ => {}
        }
        self.done(operation, sent, outcome, to);
    }

    /// A file or directory has got its handle.
    fn opened(
        &mut self,
        handle: &[u8],
        path: &RemotePath,
        flags: OpenFlags,
        kind: impl FnOnce() -> Kind,
        sent: u64,
        to: &mut impl Observer,
    ) -> u64 {
        self.last_open = None;
        // The client may have used it, and even closed it, before it was told.
        if let Some(number) = self.handles.unnamed(handle, sent) {
            self.handles.name(number, path.clone(), flags);
            return number;
        }
        if let Some(number) = self.handles.number(handle)
            && let Some(entry) = self.handles.remove(number)
        {
            self.close(number, entry, Outcome::HandleReused, to);
        }
        let entry = Entry {
            handle: handle.into(),
            path: Some(path.clone()),
            path_inferred: false,
            since: self.now,
            kind: kind(),
        };
        let number = self.handles.insert(entry);
        self.drop_surplus_files(to);
        number
    }

    /// An answer to a read begins.
    pub(in crate::sftp) fn data_start(&mut self, head: &[u8], length: u32, to: &mut impl Observer) {
        let Ok(id) = Wire(head).u32() else { return };
        match self.pending.take(id) {
            Some(Request { action: Action::Read { entry, offset, length: asked }, .. }) => {
                self.reading = Some(Passing { entry, offset, start: offset, asked, length });
            }
            None => {
                self.unpaired.replies += 1;
                self.unpaired.bytes = self.unpaired.bytes.saturating_add(u64::from(length));
            }
            Some(request) => self.answered(request, &Reply::Unknown, to),
        }
    }

    pub(in crate::sftp) fn data(&mut self, bytes: &[u8], to: &mut impl Observer) {
        let Some(passing) = &mut self.reading else { return };
        if let Some(file) = self.handles.file(passing.entry) {
            file.read(passing.offset, bytes, &mut self.window);
            to.data(Chunk {
                transfer: passing.entry,
                direction: Direction::Read,
                offset: passing.offset,
                bytes,
            });
        }
        passing.offset = passing.offset.saturating_add(bytes.len() as u64);
    }

    pub(in crate::sftp) fn data_end(&mut self) {
        if let Some(passing) = self.reading.take()
            && let Some(file) = self.handles.file(passing.entry)
        {
            file.was_read(passing.start, passing.asked, passing.length);
        }
    }
}
