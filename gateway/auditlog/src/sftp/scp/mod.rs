//! The protocol of rcp, which scp spoke before it used SFTP, and which old clients and `scp -O` still speak.
//!
//! One side sends, the other takes. The sender's stream: lines `C<mode> <size> <name>` before a file's bytes and a byte 0
//! behind them, `D<mode> 0 <name>` and `E` around a directory's content, `T<modified> 0 <accessed> 0` before what has these
//! times, and errors (byte 1 or 2 and a line). The taker's stream: a byte 0 at the start and for each of these, or an error
//! instead. No document defines it; this is what OpenSSH's scp.c does.
//!
//! A sender goes on when it has been answered. Whether a file's bytes follow its line depends on the answer, so a file that
//! was refused is known as such before anything else comes.

mod command;

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};

use super::Options;
use super::event::{
    Attributes, FileEvent, NoDigest, OpenFlags, Operation, Outcome, Protocol, RemotePath, Transferred,
    short_text,
};
use super::observer::{Chunk, Direction, Observer};
use crate::message::IoStream;

pub use command::ScpCommand;

/// The longest line, in bytes: a name and numbers. OpenSSH's limit is 2 KiB.
const MAX_LINE: usize = 8 << 10;
/// Directories within each other. Deeper ones have the path of the last that is kept.
const MAX_DEPTH: usize = 256;
/// Answers that are outstanding: two for a file, and a sender waits for each.
const MAX_OUTSTANDING: usize = 64;

/// What an answer of the taker is for.
#[derive(Debug)]
enum Expected {
    /// To the start, to times, to the end of a directory: nothing to report.
    Nothing,
    /// To a file's line.
    File { operation: Operation, since: u64 },
    /// To anything else that has an event.
    Event { operation: Operation, since: u64 },
}

#[derive(Debug)]
enum State {
    /// Before a line or an error, or in it.
    Line,
    /// A file's line is complete; the answer decides whether its bytes come.
    Offered(Incoming),
    Content(Incoming),
    /// All bytes are there; the sender says whether they are right.
    Verdict(Incoming),
    Lost,
}

/// A file that is being sent.
#[derive(Debug)]
struct Incoming {
    transfer: u64,
    path: RemotePath,
    since: u64,
    size: u64,
    at: u64,
    hash: Sha256,
}

impl Incoming {
    fn finish(self, failed: bool, upload: bool) -> Operation {
        let complete = !failed && self.at == self.size;
        let sha256 = match complete {
            true => Ok(self.hash.finalize().into()),
            false => Err(if failed { NoDigest::Failed } else { NoDigest::EndNotSeen }),
        };
        let ranges = if self.at > 0 { vec![(0, self.at)] } else { Vec::new() };
        let moved = Some(Transferred { bytes: self.at, complete, sha256, ranges, ranges_omitted: false });
        let (read, written) = if upload { (None, moved) } else { (moved, None) };
        Operation::Close {
            path: Some(self.path),
            path_inferred: false,
            transfer: self.transfer,
            read,
            written,
        }
    }
}

/// A line that is cut anywhere, up to [`MAX_LINE`].
#[derive(Debug, Default)]
struct Line {
    held: Vec<u8>,
}

/// Reads one run of scp.
#[derive(Debug)]
pub struct ScpDecoder {
    command: ScpCommand,
    /// Whether the answers of the taker are in the record.
    answers_recorded: bool,
    state: State,
    /// The sender's line, the taker's error.
    line: Line,
    complaint: Line,
    taker_lost: bool,
    taker_speaks: bool,
    expected: VecDeque<Expected>,
    /// The last file's line was refused.
    refused: bool,
    directories: Vec<RemotePath>,
    too_deep: usize,
    times: Option<(u32, u32)>,
    transfers: u64,
    /// Bytes of the sender's and the taker's stream.
    taken: [u64; 2],
    line_at: u64,
    now: u64,
    sequence: u64,
}

impl ScpDecoder {
    /// A decoder for a channel in which this command was started.
    #[must_use]
    pub fn new(command: ScpCommand, options: Options) -> Self {
        Self {
            answers_recorded: options.replies_recorded || !command.upload,
            command,
            state: State::Line,
            line: Line::default(),
            complaint: Line::default(),
            taker_lost: false,
            taker_speaks: false,
            expected: VecDeque::from([Expected::Nothing]),
            refused: false,
            directories: Vec::new(),
            too_deep: 0,
            times: None,
            transfers: 0,
            taken: [0; 2],
            line_at: 0,
            now: 0,
            sequence: 0,
        }
    }

    /// Takes the bytes of one record; see [`super::SftpDecoder::push`].
    pub fn push(&mut self, stream: IoStream, data: &[u8], timestamp: u64, observer: &mut impl Observer) {
        self.now = timestamp;
        match (stream, self.command.upload) {
            (IoStream::Stdin, true) | (IoStream::Stdout, false) => self.sender(data, observer),
            (IoStream::Stdin, false) | (IoStream::Stdout, true) => self.taker(data, observer),
            (IoStream::Stderr, _) => {}
        }
    }

    /// The channel is closed, or the record ends: what was under way is reported as such.
    pub fn finish(&mut self, timestamp: u64, observer: &mut impl Observer) {
        self.now = timestamp;
        let outcome = if self.taker_speaks { Outcome::Unanswered } else { Outcome::NotRecorded };
        while let Some(expected) = self.expected.pop_front() {
            self.settle(expected, outcome.clone(), observer);
        }
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Content(file) | State::Verdict(file) => {
                let since = file.since;
                let mut operation = file.finish(false, self.command.upload);
                incomplete(&mut operation, NoDigest::EndNotSeen);
                self.emit(since, operation, Some(Outcome::Unanswered), observer);
            }
            State::Line | State::Offered(_) | State::Lost => {}
        }
    }

    fn emit(&mut self, since: u64, operation: Operation, outcome: Option<Outcome>, to: &mut impl Observer) {
        let sequence = self.sequence;
        self.sequence += 1;
        to.event(FileEvent {
            timestamp: self.now,
            sequence,
            duration: self.now.saturating_sub(since),
            protocol: Protocol::Scp,
            operation,
            outcome,
        });
    }

    fn streams(&self) -> [IoStream; 2] {
        if self.command.upload {
            [IoStream::Stdin, IoStream::Stdout]
        } else {
            [IoStream::Stdout, IoStream::Stdin]
        }
    }

    // The sender.

    fn sender(&mut self, data: &[u8], to: &mut impl Observer) {
        let mut rest = data;
        while !rest.is_empty() {
            match std::mem::replace(&mut self.state, State::Lost) {
                State::Lost => {
                    self.taken[0] += rest.len() as u64;
                    return;
                }
                State::Offered(file) => {
                    let refused = std::mem::take(&mut self.refused);
                    self.state = if refused { State::Line } else { State::Content(file) };
                }
                State::Content(mut file) => {
                    let missing = usize::try_from(file.size - file.at).unwrap_or(usize::MAX);
                    let (bytes, behind) = rest.split_at(missing.min(rest.len()));
                    rest = behind;
                    file.hash.update(bytes);
                    let direction = if self.command.upload { Direction::Written } else { Direction::Read };
                    if !bytes.is_empty() {
                        to.data(Chunk { transfer: file.transfer, direction, offset: file.at, bytes });
                    }
                    file.at += bytes.len() as u64;
                    self.taken[0] += bytes.len() as u64;
                    self.state =
                        if file.at == file.size { State::Verdict(file) } else { State::Content(file) };
                }
                State::Verdict(file) => {
                    if self.line.held.is_empty() {
                        self.line_at = self.taken[0];
                    }
                    match self.line.verdict(&mut rest, &mut self.taken[0]) {
                        None => self.state = State::Verdict(file),
                        Some(verdict) => {
                            self.state = State::Line;
                            let since = file.since;
                            let operation = file.finish(verdict.is_err(), self.command.upload);
                            match verdict {
                                Ok(()) => self.expect(Expected::Event { operation, since }, to),
                                // The sender's own error: it does not wait for an answer, and gets none.
                                Err(outcome) => self.emit(since, operation, Some(outcome), to),
                            }
                        }
                    }
                }
                State::Line => {
                    self.state = State::Line;
                    if self.line.held.is_empty() {
                        self.line_at = self.taken[0];
                    }
                    match self.line.take(&mut rest, &mut self.taken[0]) {
                        Taken::Part => {}
                        Taken::TooLong => return self.lose("a line without an end", to),
                        Taken::Whole(line) => self.line(&line, to),
                    }
                }
            }
        }
    }

    fn lose(&mut self, reason: &str, to: &mut impl Observer) {
        self.state = State::Lost;
        let [stream, _] = self.streams();
        self.emit(
            self.now,
            Operation::Desynchronised { stream, offset: self.line_at, reason: reason.to_owned() },
            None,
            to,
        );
    }

    /// One line of the sender, without its end.
    fn line(&mut self, line: &[u8], to: &mut impl Observer) {
        let understood = match line.split_first() {
            Some((b'C', rest)) => self.file(rest, to),
            Some((b'D', rest)) => self.directory(rest, to),
            Some((b'T', rest)) => self.times(rest, to),
            Some((b'E', [])) => {
                self.leave(to);
                Some(())
            }
            Some((code @ (1 | 2), message)) => {
                self.complained(u32::from(*code), message, to);
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            let start = crate::text::lossy(line.get(..16).unwrap_or(line));
            self.lose(&format!("this is not scp's protocol: {start:?}"), to);
        }
    }

    fn file(&mut self, rest: &[u8], to: &mut impl Observer) -> Option<()> {
        let (mode, size, name) = numbers_and_name(rest)?;
        let (path, name) = self.place(name);
        let attributes =
            Attributes { size: Some(size), mode: Some(mode), times: self.times.take(), owner: None };
        let flags = if self.command.upload {
            OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE
        } else {
            OpenFlags::READ
        };
        let transfer = self.transfers;
        self.transfers += 1;
        let operation = Operation::Open {
            path: path.clone(),
            name,
            flags: OpenFlags(flags),
            attributes,
            transfer: Some(transfer),
        };
        self.refused = false;
        self.state =
            State::Offered(Incoming { transfer, path, since: self.now, size, at: 0, hash: Sha256::new() });
        self.expect(Expected::File { operation, since: self.now }, to);
        Some(())
    }

    fn directory(&mut self, rest: &[u8], to: &mut impl Observer) -> Option<()> {
        let (mode, _, name) = numbers_and_name(rest)?;
        let (path, _) = self.place(name);
        let attributes = Attributes { mode: Some(mode), times: self.times.take(), ..Attributes::default() };
        let operation = if self.command.upload {
            Operation::Mkdir { path: path.clone(), attributes }
        } else {
            Operation::Opendir { path: path.clone() }
        };
        if self.directories.len() < MAX_DEPTH {
            self.directories.push(path);
        } else {
            self.too_deep += 1;
        }
        self.expect(Expected::Event { operation, since: self.now }, to);
        Some(())
    }

    fn leave(&mut self, to: &mut impl Observer) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else {
            self.directories.pop();
        }
        self.expect(Expected::Nothing, to);
    }

    fn times(&mut self, rest: &[u8], to: &mut impl Observer) -> Option<()> {
        let mut words = std::str::from_utf8(rest).ok()?.split(' ');
        let mut seconds = || words.next()?.parse::<u64>().ok();
        let (modified, _, accessed) = (seconds()?, seconds()?, seconds()?);
        // Times behind 2106 do not fit SFTP's attributes either.
        let short = |time| u32::try_from(time).unwrap_or(u32::MAX);
        self.times = Some((short(accessed), short(modified)));
        self.expect(Expected::Nothing, to);
        Some(())
    }

    /// The sender could not read what was asked for.
    fn complained(&mut self, code: u32, message: &[u8], to: &mut impl Observer) {
        let path = self
            .command
            .paths
            .first()
            .map_or_else(|| RemotePath::new(b""), |path| RemotePath::new(path.as_bytes()));
        let flags = if self.command.upload { OpenFlags::WRITE } else { OpenFlags::READ };
        let operation = Operation::Open {
            path: self.directories.last().cloned().unwrap_or(path),
            name: None,
            flags: OpenFlags(flags),
            attributes: Attributes::default(),
            transfer: None,
        };
        let outcome = Outcome::Failed { code, message: short_text(message) };
        self.emit(self.now, operation, Some(outcome), to);
    }

    /// Where a file is that was sent with this name; and the name, if it depends on the other side where.
    fn place(&self, name: &[u8]) -> (RemotePath, Option<RemotePath>) {
        if let Some(directory) = self.directories.last() {
            return (join(directory.as_bytes(), name), None);
        }
        let paths = &self.command.paths;
        if self.command.upload {
            let target = paths.first().map_or("", String::as_str);
            let directory =
                self.command.into_directory || target.ends_with('/') || matches!(target, "." | "..");
            return match directory {
                true => (join(target.as_bytes(), name), None),
                false => (RemotePath::new(target.as_bytes()), Some(RemotePath::new(name))),
            };
        }
        let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let named = paths.iter().find(|path| base(path).as_bytes() == name);
        match (named, paths.as_slice()) {
            (Some(path), _) => (RemotePath::new(path.as_bytes()), None),
            // A pattern: what it matched is in the same directory.
            (None, [only]) => {
                let directory =
                    only.trim_end_matches('/').rsplit_once('/').map_or("", |(directory, _)| directory);
                (join(directory.as_bytes(), name), None)
            }
            _ => (RemotePath::new(name), None),
        }
    }

    // The taker.

    fn taker(&mut self, data: &[u8], to: &mut impl Observer) {
        let mut rest = data;
        self.taker_speaks |= !data.is_empty();
        while !rest.is_empty() && !self.taker_lost {
            match self.complaint.verdict(&mut rest, &mut self.taken[1]) {
                None => {}
                Some(Ok(())) => self.answered(Outcome::Ok, to),
                Some(Err(Outcome::Failed { code: code @ (1 | 2), message })) => {
                    self.answered(Outcome::Failed { code, message }, to);
                }
                Some(Err(_)) => {
                    self.taker_lost = true;
                    let [_, stream] = self.streams();
                    let reason = "this is not scp's protocol".to_owned();
                    self.emit(
                        self.now,
                        Operation::Desynchronised { stream, offset: self.taken[1], reason },
                        None,
                        to,
                    );
                }
            }
        }
    }

    fn answered(&mut self, outcome: Outcome, to: &mut impl Observer) {
        if let Some(expected) = self.expected.pop_front() {
            if matches!(expected, Expected::File { .. }) {
                self.refused = outcome != Outcome::Ok;
            }
            self.settle(expected, outcome, to);
        }
    }

    fn expect(&mut self, expected: Expected, to: &mut impl Observer) {
        if !self.answers_recorded {
            return self.settle(expected, Outcome::NotRecorded, to);
        }
        self.expected.push_back(expected);
        if self.expected.len() > MAX_OUTSTANDING
            && let Some(oldest) = self.expected.pop_front()
        {
            let outcome = if self.taker_speaks { Outcome::Unanswered } else { Outcome::NotRecorded };
            self.settle(oldest, outcome, to);
        }
    }

    fn settle(&mut self, expected: Expected, outcome: Outcome, to: &mut impl Observer) {
        match expected {
            Expected::Nothing => {}
            Expected::File { mut operation, since } => {
                if let (Operation::Open { transfer, .. }, Outcome::Failed { .. }) = (&mut operation, &outcome)
                {
                    *transfer = None;
                }
                self.emit(since, operation, Some(outcome), to);
            }
            Expected::Event { mut operation, since } => {
                match outcome {
                    Outcome::Failed { .. } => incomplete(&mut operation, NoDigest::Failed),
                    Outcome::Unanswered => incomplete(&mut operation, NoDigest::Unanswered),
                    _ => {}
                }
                self.emit(since, operation, Some(outcome), to);
            }
        }
    }
}

/// The bytes passed, but did not become the file.
fn incomplete(operation: &mut Operation, reason: NoDigest) {
    if let Operation::Close { read, written, .. } = operation {
        for moved in [read, written].into_iter().flatten() {
            moved.complete = false;
            if moved.sha256.is_ok() {
                moved.sha256 = Err(reason);
            }
        }
    }
}

/// `<octal mode> <decimal size> <name>`.
fn numbers_and_name(line: &[u8]) -> Option<(u32, u64, &[u8])> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let mode = u32::from_str_radix(text()?, 8).ok()?;
    let size = text()?.parse().ok()?;
    Some((mode, size, parts.next().filter(|name| !name.is_empty())?))
}

fn join(directory: &[u8], name: &[u8]) -> RemotePath {
    let slash: &[u8] = if directory.is_empty() || directory.ends_with(b"/") { b"" } else { b"/" };
    RemotePath::new(&[directory, slash, name].concat())
}

enum Taken {
    Part,
    Whole(Vec<u8>),
    TooLong,
}

impl Line {
    /// Takes up to the end of the line.
    fn take(&mut self, input: &mut &[u8], taken: &mut u64) -> Taken {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (part, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        *input = rest;
        *taken += part.len() as u64;
        if self.held.len() + part.len() > MAX_LINE {
            return Taken::TooLong;
        }
        self.held.extend_from_slice(part);
        if end.is_none() {
            return Taken::Part;
        }
        let mut line = std::mem::take(&mut self.held);
        line.pop();
        Taken::Whole(line)
    }

    /// Takes a byte 0, or an error with its line. `None`: more is needed.
    fn verdict(&mut self, input: &mut &[u8], taken: &mut u64) -> Option<Result<(), Outcome>> {
        if self.held.is_empty()
            && let [0, rest @ ..] = *input
        {
            *input = rest;
            *taken += 1;
            return Some(Ok(()));
        }
        let line = match self.take(input, taken) {
            Taken::Part => return None,
            Taken::Whole(line) => line,
            Taken::TooLong => std::mem::take(&mut self.held),
        };
        let (code, message) = line.split_first().map_or((0, &[][..]), |(code, message)| (*code, message));
        Some(Err(Outcome::Failed { code: u32::from(code), message: short_text(message) }))
    }
}
