//! What one log comes to, in numbers. In constant memory, whatever is in it.

use std::collections::BTreeMap;

use containerssh_auditlog::text::lossy;
use containerssh_auditlog::{DecodeError, IoStream, Message, Payload};
use serde::Serialize;

use crate::session::Session;

/// Commands that are listed; all are counted.
const MAX_COMMANDS: usize = 100;
/// Of a command, so much is listed, in bytes.
const MAX_COMMAND: usize = 1_000;
/// Different exit codes that are counted apart. There are 256 where programs behave.
const MAX_EXIT_CODES: usize = 256;
/// How a gateway begins to say what it could not record; see its recorder.
const GAP: &str = "audit gap: ";

/// One log, or several together.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// Records that could be read.
    pub(super) records: u64,
    /// Attempts to log in: passwords and keys offered, rounds of questions answered.
    pub(super) auth_attempts: u64,
    /// Those that were rejected, or that nobody could judge.
    pub(super) auth_failures: u64,
    /// Channels that were opened.
    pub(super) channels: u64,
    /// Channels that were refused.
    pub(super) channels_refused: u64,
    /// Other requests that were refused.
    pub(super) requests_refused: u64,
    pub(super) shells: u64,
    pub(super) commands: u64,
    pub(super) subsystems: u64,
    /// Bytes from the user, and to the user.
    pub(super) stdin: u64,
    pub(super) stdout: u64,
    pub(super) stderr: u64,
    /// How many programs ended with each code.
    pub(super) exit_codes: BTreeMap<u32, u64>,
    /// Programs ended by a signal.
    pub(super) exit_signals: u64,
    /// Places where the gateway could not record everything, as it says itself.
    pub(super) gaps: u64,
    /// Places where the log is damaged.
    pub(super) damaged: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.auth_attempts += other.auth_attempts;
        self.auth_failures += other.auth_failures;
        self.channels += other.channels;
        self.channels_refused += other.channels_refused;
        self.requests_refused += other.requests_refused;
        self.shells += other.shells;
        self.commands += other.commands;
        self.subsystems += other.subsystems;
        self.stdin += other.stdin;
        self.stdout += other.stdout;
        self.stderr += other.stderr;
        self.exit_signals += other.exit_signals;
        self.gaps += other.gaps;
        self.damaged += other.damaged;
        for (code, count) in &other.exit_codes {
            self.exited(*code, *count);
        }
    }

    fn exited(&mut self, code: u32, count: u64) {
        if self.exit_codes.len() < MAX_EXIT_CODES || self.exit_codes.contains_key(&code) {
            *self.exit_codes.entry(code).or_default() += count;
        }
    }

    fn push(&mut self, payload: &Payload) {
        use Payload as P;
        self.records += 1;
        match payload {
            P::AuthPassword { .. } | P::AuthPubKey { .. } | P::AuthKeyboardInteractiveAnswer { .. } => {
                self.auth_attempts += 1;
            }
            P::AuthPasswordFailed { .. }
            | P::AuthPasswordBackendError { .. }
            | P::AuthPubKeyFailed { .. }
            | P::AuthPubKeyBackendError { .. }
            | P::AuthKeyboardInteractiveFailed { .. }
            | P::AuthKeyboardInteractiveBackendError { .. } => self.auth_failures += 1,
            P::NewChannelSuccessful { .. } => self.channels += 1,
            P::NewChannelFailed { .. } => self.channels_refused += 1,
            P::RequestFailed { reason, .. } if reason.starts_with(GAP) => self.gaps += 1,
            P::RequestFailed { .. } => self.requests_refused += 1,
            P::ChannelRequestShell { .. } => self.shells += 1,
            P::ChannelRequestExec { .. } => self.commands += 1,
            P::ChannelRequestSubsystem { .. } => self.subsystems += 1,
            P::Io { stream, data } => {
                let bytes = match stream {
                    IoStream::Stdin => &mut self.stdin,
                    IoStream::Stdout => &mut self.stdout,
                    IoStream::Stderr => &mut self.stderr,
                };
                *bytes += data.len() as u64;
            }
            P::Exit { exit_status } => self.exited(*exit_status, 1),
            P::ExitSignal { .. } => self.exit_signals += 1,
            _ => {}
        }
    }
}

/// One log.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) session: Session,
    pub(super) remote: Option<String>,
    pub(super) country: Option<String>,
    /// Nanoseconds since 1970 of the earliest and the latest record.
    pub(super) times: Option<(u64, u64)>,
    pub(super) commands: Vec<String>,
    pub(super) counts: Counts,
    /// The record of the connection's end is there.
    pub(super) ended: bool,
}

impl Summary {
    pub(super) fn push(&mut self, message: &Message) {
        self.session.push(message);
        self.counts.push(&message.payload);
        let time = message.timestamp;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        match &message.payload {
            Payload::Connect { remote_addr, country } => {
                self.remote = Some(shortened(remote_addr));
                self.country = Some(shortened(country)).filter(|country| !country.is_empty());
            }
            Payload::Disconnect => self.ended = true,
            Payload::ChannelRequestExec { program, .. } if self.commands.len() < MAX_COMMANDS => {
                self.commands.push(shortened(program));
            }
            _ => {}
        }
    }

    pub(super) fn damage(&mut self, _: &DecodeError) {
        self.counts.damaged += 1;
    }

    /// How long the connection lasted, in nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        self.times.map_or(0, |(first, last)| last - first)
    }
}

fn shortened(text: &str) -> String {
    lossy(text.as_bytes().get(..MAX_COMMAND).unwrap_or(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(payloads: impl IntoIterator<Item = Payload>) -> Summary {
        let mut summary = Summary::default();
        for (time, payload) in payloads.into_iter().enumerate() {
            let timestamp = 1_000 + time as u64 * 10;
            summary.push(&Message { connection_id: "c".into(), timestamp, payload, channel_id: Some(1) });
        }
        summary
    }

    #[test]
    fn gaps_are_no_refused_requests() {
        let failed = |reason: &str| Payload::RequestFailed { request_id: 0, reason: reason.into() };
        let gap = "audit gap: 3 records with 9 bytes of input and output were not recorded: disk";
        let counts = summary([failed(gap), failed("no X11 here")]).counts;
        assert_eq!((counts.gaps, counts.requests_refused), (1, 1));
    }

    #[test]
    fn what_is_listed_is_bounded_and_what_is_counted_is_not() {
        let exec = |number: u32| Payload::ChannelRequestExec {
            request_id: 0,
            program: format!("{number} {}", "x".repeat(2_000)),
        };
        let exit = |number: u32| Payload::Exit { exit_status: number };
        let summary = summary((0..1_000).map(exec).chain((0..1_000).map(exit)).chain([exit(0)]));
        assert_eq!((summary.counts.commands, summary.commands.len()), (1_000, MAX_COMMANDS));
        assert_eq!(summary.commands[7].len(), MAX_COMMAND);
        assert_eq!((summary.counts.exit_codes.len(), summary.counts.exit_codes[&0]), (MAX_EXIT_CODES, 2));
        assert_eq!(summary.duration(), 20_000);
    }
}
