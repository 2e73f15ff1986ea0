//! Requests, their answers, and what both together say about files.

use super::Options;
use super::digest::Window;
use super::event::{
    FileEvent, NoDigest, OpenFlags, Operation, Outcome, Protocol, RemotePath, Transferred, short_text,
};
use super::handles::Handles;
use super::observer::{Chunk, Direction, Observer};
use super::pending::{Action, Pending, Request};
use super::request::{self, Parsed};
use super::transfer::{Entry, Kind, Transfer};
use super::wire::{Short, Status, Wire, kind};
use crate::message::IoStream;

/// Extensions of the server that are kept. OpenSSH has a dozen.
const MAX_EXTENSIONS: usize = 64;
/// Malformed packets that have an event each; the rest are only counted, for a stream of nothing else.
const MAX_MALFORMED: u64 = 100;

/// The content of a packet that is passing.
#[derive(Clone, Copy, Debug)]
struct Passing {
    entry: u64,
    /// Where the next byte belongs.
    offset: u64,
    start: u64,
    /// What the read asked for, in bytes.
    asked: u32,
    length: u32,
}

/// Answers without requests.
#[derive(Clone, Copy, Debug, Default)]
struct Unpaired {
    replies: u64,
    bytes: u64,
    entries: u64,
    errors: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    options: Options,
    pending: Pending,
    handles: Handles,
    window: Window,
    client_version: Option<u32>,
    /// The version event is out.
    greeted: bool,
    reading: Option<Passing>,
    writing: Option<Passing>,
    unpaired: Unpaired,
    malformed: u64,
    /// The last file the client asked to open, until a handle is used: tells what it is for if the answers are missing.
    last_open: Option<(RemotePath, OpenFlags)>,
    /// The last path whose size was told, which clients ask for before they read.
    last_size: Option<(RemotePath, u64)>,
    /// Whether the server has said anything.
    server_speaks: bool,
    /// The time of the last record, in nanoseconds since 1970.
    now: u64,
    sequence: u64,
}

impl Session {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            pending: Pending::default(),
            handles: Handles::default(),
            window: Window::default(),
            client_version: None,
            greeted: false,
            reading: None,
            writing: None,
            unpaired: Unpaired::default(),
            malformed: 0,
            last_open: None,
            last_size: None,
            server_speaks: false,
            now: 0,
            sequence: 0,
        }
    }

    pub(super) fn at(&mut self, timestamp: u64) {
        self.now = timestamp;
    }

    fn emit(&mut self, since: u64, operation: Operation, outcome: Option<Outcome>, to: &mut impl Observer) {
        let sequence = self.sequence;
        self.sequence += 1;
        to.event(FileEvent {
            timestamp: self.now,
            sequence,
            duration: self.now.saturating_sub(since),
            protocol: Protocol::Sftp,
            operation,
            outcome,
        });
    }

    fn remark(&mut self, operation: Operation, to: &mut impl Observer) {
        self.emit(self.now, operation, None, to);
    }

    pub(super) fn lost(&mut self, stream: IoStream, offset: u64, reason: String, to: &mut impl Observer) {
        self.remark(Operation::Desynchronised { stream, offset, reason }, to);
    }

    pub(super) fn malformed(&mut self, stream: IoStream, kind: u8, offset: u64, to: &mut impl Observer) {
        self.malformed += 1;
        if self.malformed > MAX_MALFORMED {
            return;
        }
        let last = if self.malformed == MAX_MALFORMED { "; further ones are not reported" } else { "" };
        let reason = format!("a packet of type {kind} whose fields go beyond its end{last}");
        self.remark(Operation::Malformed { stream, offset, reason }, to);
    }

    // The client.

    pub(super) fn request(&mut self, kind: u8, body: &[u8], at: u64, to: &mut impl Observer) {
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

    fn drop_surplus_files(&mut self, to: &mut impl Observer) {
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
    pub(super) fn write_start(&mut self, head: &[u8], length: u32, at: u64, to: &mut impl Observer) {
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

    pub(super) fn write(&mut self, bytes: &[u8], to: &mut impl Observer) {
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

    pub(super) fn write_end(&mut self) {
        self.writing = None;
    }

    // The server.

    pub(super) fn server_spoke(&mut self) {
        self.server_speaks = true;
    }

    pub(super) fn reply(&mut self, kind: u8, body: &[u8], at: u64, to: &mut impl Observer) {
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

    fn greet(&mut self, server: Option<u32>, extensions: Vec<String>, to: &mut impl Observer) {
        self.greeted = true;
        self.remark(Operation::Version { client: self.client_version, server, extensions }, to);
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

    /// An operation is over: an event, unless it only looked.
    fn done(&mut self, operation: Operation, sent: u64, outcome: Outcome, to: &mut impl Observer) {
        let looked = matches!(operation, Operation::Stat { .. } | Operation::Realpath { .. });
        if !looked || self.options.lookups {
            self.emit(sent, operation, Some(outcome), to);
        }
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
    pub(super) fn data_start(&mut self, head: &[u8], length: u32, to: &mut impl Observer) {
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

    pub(super) fn data(&mut self, bytes: &[u8], to: &mut impl Observer) {
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

    pub(super) fn data_end(&mut self) {
        if let Some(passing) = self.reading.take()
            && let Some(file) = self.handles.file(passing.entry)
        {
            file.was_read(passing.start, passing.asked, passing.length);
        }
    }

    // Ends.

    fn close(&mut self, number: u64, entry: Entry, outcome: Outcome, to: &mut impl Observer) {
        let Entry { path, path_inferred, since, kind, .. } = entry;
        let operation = match kind {
            Kind::Directory { entries, complete } => Operation::Closedir { path, entries, complete },
            Kind::File(transfer) => {
                let (read, written): (Option<Transferred>, _) = transfer.finish(&mut self.window);
                Operation::Close { path, path_inferred, transfer: number, read, written }
            }
        };
        self.emit(since, operation, Some(outcome), to);
    }

    /// A request whose answer will not come.
    fn unanswered(&mut self, request: Request, outcome: Outcome, to: &mut impl Observer) {
        match request.action {
            Action::Write { entry, offset, length } => {
                if let Some(file) = self.handles.file(entry) {
                    match outcome {
                        Outcome::NotRecorded => file.was_written(offset, length),
                        _ => file.not_written(NoDigest::Unanswered, &mut self.window),
                    }
                }
            }
            Action::Close { entry } => {
                if let Some(closed) = self.handles.remove(entry) {
                    self.close(entry, closed, outcome, to);
                }
            }
            Action::Act { operation, .. } => self.done(*operation, request.sent, outcome, to),
            Action::Read { .. } | Action::Readdir { .. } | Action::Ignored => {}
        }
    }

    /// The session is over.
    pub(super) fn finish(&mut self, to: &mut impl Observer) {
        if !self.greeted && self.client_version.is_some() {
            self.greet(None, Vec::new(), to);
        }
        let outcome = if self.server_speaks { Outcome::Unanswered } else { Outcome::NotRecorded };
        while let Some(request) = self.pending.pop() {
            self.unanswered(request, outcome.clone(), to);
        }
        while let Some((number, entry)) = self.handles.pop() {
            self.close(number, entry, outcome.clone(), to);
        }
        let Unpaired { replies, bytes, entries, errors } = std::mem::take(&mut self.unpaired);
        if replies > 0 {
            self.remark(Operation::Unpaired { replies, bytes, entries, errors }, to);
        }
    }
}

/// What a server answers.
#[derive(Debug)]
enum Reply<'a> {
    Status(Status<'a>),
    Handle(&'a [u8]),
    Name { count: u32, first: Option<&'a [u8]> },
    Attributes(crate::sftp::event::Attributes),
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
