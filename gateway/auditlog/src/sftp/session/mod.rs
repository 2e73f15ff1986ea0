//! Requests, their answers, and what both together say about files.

mod client;
mod server;

use super::Options;
use super::digest::Window;
use super::event::{FileEvent, NoDigest, OpenFlags, Operation, Outcome, Protocol, RemotePath, Transferred};
use super::handles::Handles;
use super::observer::Observer;
use super::pending::{Action, Pending, Request};
use super::transfer::{Entry, Kind};
use crate::message::IoStream;

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

    fn greet(&mut self, server: Option<u32>, extensions: Vec<String>, to: &mut impl Observer) {
        self.greeted = true;
        self.remark(Operation::Version { client: self.client_version, server, extensions }, to);
    }

    /// An operation is over: an event, unless it only looked.
    fn done(&mut self, operation: Operation, sent: u64, outcome: Outcome, to: &mut impl Observer) {
        let looked = matches!(operation, Operation::Stat { .. } | Operation::Realpath { .. });
        if !looked || self.options.lookups {
            self.emit(sent, operation, Some(outcome), to);
        }
    }

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
