//! The sender's stream: lines, and the bytes of files.

use sha2::{Digest as _, Sha256};

use super::ScpDecoder;
use super::line::{Taken, numbers_and_name};
use super::taker::Expected;
use crate::sftp::event::{
    Attributes, NoDigest, OpenFlags, Operation, Outcome, RemotePath, Transferred, short_text,
};
use crate::sftp::observer::{Chunk, Direction, Observer};

/// Directories within each other. Deeper ones have the path of the last that is kept.
const MAX_DEPTH: usize = 256;

/// Where the stream stands.
#[derive(Debug)]
pub(super) enum State {
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
pub(super) struct Incoming {
    transfer: u64,
    path: RemotePath,
    pub(super) since: u64,
    size: u64,
    at: u64,
    hash: Sha256,
}

impl Incoming {
    pub(super) fn finish(self, failed: bool, upload: bool) -> Operation {
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

impl ScpDecoder {
    pub(super) fn sender(&mut self, data: &[u8], to: &mut impl Observer) {
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
}

fn join(directory: &[u8], name: &[u8]) -> RemotePath {
    let slash: &[u8] = if directory.is_empty() || directory.ends_with(b"/") { b"" } else { b"/" };
    RemotePath::new(&[directory, slash, name].concat())
}
