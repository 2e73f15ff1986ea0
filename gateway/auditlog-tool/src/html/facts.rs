//! What stands beside the screen: logins, programs, refusals, files, ends; and, if wanted, what was typed.

use std::collections::BTreeMap;

use containerssh_auditlog::sftp::{Channels, FileEvent};
use containerssh_auditlog::text::visible;
use containerssh_auditlog::{IoStream, Message, Payload};

use crate::convert::describe;

/// Typed text longer than this is an event of its own, in bytes.
const MAX_TYPED: usize = 256;
/// Channels whose typed text is put together at a time; more than any client has open.
const MAX_CHANNELS: usize = 1_000;

/// Something that happened.
#[derive(Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) channel: Option<u64>,
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    pub(crate) kind: &'static str,
    /// Safe to show on any terminal or page as text.
    pub(crate) text: String,
}

/// Turns records into facts.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    with_input: bool,
    typed: BTreeMap<u64, (u64, Vec<u8>)>,
    files: Channels,
}

impl Facts {
    /// `with_input` also tells what was typed, which may include passwords.
    pub(crate) fn new(with_input: bool) -> Self {
        Self { with_input, ..Self::default() }
    }

    /// What a record tells.
    pub(crate) fn push(&mut self, message: &Message) -> Vec<Fact> {
        let (channel, time, payload) = (message.channel_id, message.timestamp, &message.payload);
        let mut facts = Vec::new();
        self.files
            .push(channel, time, payload, &mut |channel, event: FileEvent| facts.push(file(channel, &event)));
        match payload {
            Payload::Io { stream: IoStream::Stdin, data } if self.with_input => {
                facts.extend(channel.and_then(|id| self.input(id, time, data)));
            }
            Payload::Io { .. } => {}
            payload => {
                if let (Payload::Close, Some(id)) = (payload, channel) {
                    facts.extend(self.typed(id));
                }
                let (kind, text) = match payload {
                    Payload::Connect { remote_addr, country } => {
                        let country = if country.is_empty() {
                            String::new()
                        } else {
                            format!(" ({})", visible(country))
                        };
                        ("connection", format!("from {}{country}", visible(remote_addr)))
                    }
                    Payload::Close => ("channel", "closed".to_owned()),
                    other => describe(other),
                };
                facts.push(Fact { channel, time, kind, text });
            }
        }
        facts
    }

    /// What is not yet told when the log ends, at this time.
    pub(crate) fn finish(&mut self, time: u64) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.files.finish(time, &mut |channel, event: FileEvent| facts.push(file(channel, &event)));
        let ids: Vec<u64> = self.typed.keys().copied().collect();
        facts.extend(ids.into_iter().filter_map(|id| self.typed(id)));
        facts
    }

    /// Puts together what was typed until a line is complete.
    fn input(&mut self, id: u64, time: u64, data: &[u8]) -> Option<Fact> {
        let is_known = self.typed.contains_key(&id);
        if self.files.follows(id) || (!is_known && self.typed.len() >= MAX_CHANNELS) {
            return None;
        }
        let (_, typed) = self.typed.entry(id).or_insert((time, Vec::new()));
        typed.extend_from_slice(data);
        let complete =
            typed.len() >= MAX_TYPED || data.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 3 | 4));
        if complete { self.typed(id) } else { None }
    }

    fn typed(&mut self, id: u64) -> Option<Fact> {
        let (time, typed) = self.typed.remove(&id)?;
        let text = visible(&String::from_utf8_lossy(&typed));
        Some(Fact { channel: Some(id), time, kind: "typed", text })
    }
}

fn file(channel: u64, event: &FileEvent) -> Fact {
    Fact { channel: Some(channel), time: event.timestamp, kind: "file", text: crate::files::describe(event) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(time: u64, payload: Payload) -> Message {
        let channel_id = (payload.type_code() >= 300).then_some(1);
        Message { connection_id: "c".into(), timestamp: time, payload, channel_id }
    }

    fn typed(time: u64, text: &'static str) -> Message {
        message(time, Payload::Io { stream: IoStream::Stdin, data: Bytes::from_static(text.as_bytes()) })
    }

    fn told(with_input: bool, messages: &[Message]) -> Vec<(u64, &'static str, String)> {
        let mut facts = Facts::new(with_input);
        let mut told: Vec<Fact> = messages.iter().flat_map(|message| facts.push(message)).collect();
        told.extend(facts.finish(9));
        told.into_iter().map(|fact| (fact.time, fact.kind, fact.text)).collect()
    }

    #[test]
    fn what_happened_is_told_without_what_was_typed() {
        let told = told(
            false,
            &[
                message(1, Payload::Connect { remote_addr: "192.0.2.1".into(), country: "AT".into() }),
                message(2, Payload::ChannelRequestExec { request_id: 1, program: "rm \u{1b}[2J".into() }),
                typed(3, "secret\r"),
                message(4, Payload::RequestFailed { request_id: 1, reason: "not here".into() }),
            ],
        );
        assert_eq!(
            told,
            [
                (1, "connection", "from 192.0.2.1 (AT)".to_owned()),
                (2, "request", "run: rm \\e[2J".to_owned()),
                (4, "refused", "request 1: not here".to_owned()),
            ]
        );
    }

    #[test]
    fn what_was_typed_is_told_line_by_line_if_wanted() {
        let told = told(
            true,
            &[typed(1, "l"), typed(2, "s\r"), typed(3, "ex"), message(4, Payload::Close), typed(5, "z")],
        );
        assert_eq!(
            told,
            [
                (1, "typed", "ls\\r".to_owned()),
                (3, "typed", "ex".to_owned()),
                (4, "channel", "closed".to_owned()),
                (5, "typed", "z".to_owned()),
            ]
        );
    }

    #[test]
    fn what_happened_to_files_is_told_instead_of_the_protocol() {
        // SSH_FXP_INIT and SSH_FXP_MKDIR of "/new", with their answers (draft-ietf-secsh-filexfer-02).
        let requests = b"\0\0\0\x05\x01\0\0\0\x03\0\0\0\x11\x0e\0\0\0\x01\0\0\0\x04/new\0\0\0\0";
        let answers = b"\0\0\0\x05\x02\0\0\0\x03\0\0\0\x11\x65\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
        let io = |time, stream, data: &'static [u8]| {
            message(time, Payload::Io { stream, data: Bytes::from_static(data) })
        };
        let told = told(
            true,
            &[
                message(1, Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "sftp".into() }),
                io(2, IoStream::Stdin, requests),
                io(3, IoStream::Stdout, answers),
            ],
        );
        assert!(told.iter().any(|(_, kind, text)| *kind == "file" && text.contains("/new")), "{told:?}");
        assert!(!told.iter().any(|(_, kind, _)| *kind == "typed"), "{told:?}");
    }
}
