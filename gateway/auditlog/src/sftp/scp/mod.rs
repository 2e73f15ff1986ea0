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
mod line;
mod sender;
mod taker;

use std::collections::VecDeque;

use super::Options;
use super::event::{FileEvent, NoDigest, Operation, Outcome, Protocol, RemotePath};
use super::observer::Observer;
use crate::message::IoStream;

pub use command::ScpCommand;
use line::Line;
use sender::State;
use taker::{Expected, incomplete};

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
}
