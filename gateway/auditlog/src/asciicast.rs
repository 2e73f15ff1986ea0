//! One terminal session as an asciicast v2 file (<https://docs.asciinema.org/manual/asciicast/v2/>), for any player.
//!
//! A log holds a whole connection; a cast is one channel of it: [`Survey`] tells which there are, [`Cast`] writes one.
//! Times count from the start of the program. What the program prints is joined where records cut a character
//! in two, and window changes are events, so that a replay looks as the user saw it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::message::{IoStream, Message};
use crate::payload::Payload;
use crate::text::Joiner;

/// Channels that a survey tells apart; no client opens as many, and a forged log must not fill the memory.
const MAX_CHANNELS: usize = 10_000;
/// The longest command that is kept for a channel, in characters: enough to recognise it.
const MAX_COMMAND: usize = 80;
/// The size of a terminal that nobody asked for, as terminals have had it since the VT100.
const USUAL_SIZE: (u32, u32) = (80, 24);

/// What one channel is, as far as needed to choose among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// It has a terminal: `pty-req` was sent.
    pub terminal: bool,
    /// It carried input or output of a program.
    pub program: bool,
    /// What was run: the command (its start), `shell`, or the subsystem's name.
    pub started: Option<String>,
}

/// The session channels of a log.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    channels: BTreeMap<u64, Channel>,
}

impl Survey {
    /// Takes in one record.
    pub fn push(&mut self, message: &Message) {
        let Some(id) = message.channel_id else { return };
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&id) {
            return;
        }
        let started = match &message.payload {
            Payload::ChannelRequestPty { .. } => {
                self.channels.entry(id).or_default().terminal = true;
                return;
            }
            Payload::Io { .. } => {
                self.channels.entry(id).or_default().program = true;
                return;
            }
            Payload::ChannelRequestExec { program, .. } => program.chars().take(MAX_COMMAND).collect(),
            Payload::ChannelRequestShell { .. } => "shell".to_owned(),
            Payload::ChannelRequestSubsystem { subsystem, .. } => {
                subsystem.chars().take(MAX_COMMAND).collect()
            }
            _ => return,
        };
        self.channels.entry(id).or_default().started = Some(started);
    }

    /// What was found, by channel id.
    #[must_use]
    pub fn channels(&self) -> &BTreeMap<u64, Channel> {
        &self.channels
    }
}

#[derive(Serialize)]
struct Header<'a> {
    version: u8,
    width: u32,
    height: u32,
    /// Seconds since 1970.
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    env: Env<'a>,
}

#[derive(Serialize)]
struct Env<'a> {
    #[serde(rename = "TERM", skip_serializing_if = "str::is_empty")]
    term: &'a str,
}

/// Writes the cast of one channel.
#[derive(Clone, Debug)]
pub struct Cast {
    channel: u64,
    with_input: bool,
    size: (u32, u32),
    term: String,
    /// When the program started, in nanoseconds since 1970; the header has been written.
    start: Option<u64>,
    last: u64,
    /// stdin, stdout, stderr.
    joiners: [Joiner; 3],
}

impl Cast {
    /// The cast of this channel; `with_input` adds what the user typed ("i" events), which may include passwords that
    /// the terminal did not show.
    #[must_use]
    pub fn new(channel: u64, with_input: bool) -> Self {
        Self {
            channel,
            with_input,
            size: USUAL_SIZE,
            term: String::new(),
            start: None,
            last: 0,
            joiners: Default::default(),
        }
    }

    /// Appends the lines that one record of the log gives, if any.
    pub fn push(&mut self, message: &Message, out: &mut Vec<u8>) {
        if message.channel_id != Some(self.channel) {
            return;
        }
        match &message.payload {
            Payload::ChannelRequestPty { term, columns, rows, .. } => {
                self.term.clone_from(term);
                self.size = visible_size(*columns, *rows);
            }
            Payload::ChannelRequestWindow { columns, rows, .. } => {
                self.size = visible_size(*columns, *rows);
                if self.start.is_some() {
                    let size = format!("{}x{}", self.size.0, self.size.1);
                    self.event(message.timestamp, "r", &size, out);
                }
            }
            Payload::ChannelRequestExec { program, .. } => self.begin(message.timestamp, Some(program), out),
            Payload::ChannelRequestShell { .. } | Payload::ChannelRequestSubsystem { .. } => {
                self.begin(message.timestamp, None, out);
            }
            Payload::Io { stream, data } => {
                self.begin(message.timestamp, None, out);
                self.io(message.timestamp, *stream, data, out);
            }
            _ => {}
        }
    }

    /// Appends what is left at the end of the log: a cast is never without its header.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(self.last, None, out);
        for stream in [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr] {
            let rest = self.joiner(stream).finish();
            self.text(self.last, stream, &rest, out);
        }
    }

    fn begin(&mut self, timestamp: u64, command: Option<&str>, out: &mut Vec<u8>) {
        if self.start.is_some() {
            return;
        }
        self.start = Some(timestamp);
        self.last = timestamp;
        let header = Header {
            version: 2,
            width: self.size.0,
            height: self.size.1,
            timestamp: timestamp / 1_000_000_000,
            command,
            env: Env { term: &self.term },
        };
        line(&header, out);
    }

    fn io(&mut self, timestamp: u64, stream: IoStream, data: &[u8], out: &mut Vec<u8>) {
        let text = self.joiner(stream).push(data);
        self.text(timestamp, stream, &text, out);
    }

    fn text(&mut self, timestamp: u64, stream: IoStream, text: &str, out: &mut Vec<u8>) {
        match stream {
            IoStream::Stdin if !self.with_input => {}
            _ if text.is_empty() => {}
            IoStream::Stdin => self.event(timestamp, "i", text, out),
            IoStream::Stdout | IoStream::Stderr => self.event(timestamp, "o", text, out),
        }
    }

    fn event(&mut self, timestamp: u64, kind: &str, text: &str, out: &mut Vec<u8>) {
        // Players want times that never go back; clocks and two directions at once may.
        self.last = self.last.max(timestamp);
        let since = self.last.saturating_sub(self.start.unwrap_or(self.last));
        // Microseconds: more than any player resolves, and exact as a JSON number.
        let seconds = (since / 1_000) as f64 / 1e6;
        line(&(seconds, kind, text), out);
    }

    fn joiner(&mut self, stream: IoStream) -> &mut Joiner {
        let [stdin, stdout, stderr] = &mut self.joiners;
        match stream {
            IoStream::Stdin => stdin,
            IoStream::Stdout => stdout,
            IoStream::Stderr => stderr,
        }
    }
}

/// A client without a window sends zeros (RFC 4254 section 6.2); players need a size.
fn visible_size(columns: u32, rows: u32) -> (u32, u32) {
    let or = |size, usual| if size == 0 { usual } else { size };
    (or(columns, USUAL_SIZE.0), or(rows, USUAL_SIZE.1))
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    // Numbers, strings and maps with text keys, into a Vec: nothing here can fail.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const START: u64 = 1_600_000_000_500_000_000;

    fn message(after_ms: u64, channel_id: u64, payload: Payload) -> Message {
        let timestamp = START + after_ms * 1_000_000;
        Message { connection_id: "c".into(), timestamp, payload, channel_id: Some(channel_id) }
    }

    fn pty(columns: u32, rows: u32) -> Payload {
        let (request_id, term, mode_list) = (0, "xterm".to_owned(), None);
        Payload::ChannelRequestPty { request_id, term, columns, rows, width: 0, height: 0, mode_list }
    }

    fn io(stream: IoStream, data: &'static [u8]) -> Payload {
        Payload::Io { stream, data: Bytes::from_static(data) }
    }

    fn cast(with_input: bool, messages: &[Message]) -> String {
        let (mut cast, mut out) = (Cast::new(1, with_input), Vec::new());
        messages.iter().for_each(|message| cast.push(message, &mut out));
        cast.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_shell_becomes_a_cast_of_its_channel_alone() {
        let session = [
            message(0, 1, pty(100, 30)),
            message(10, 1, Payload::ChannelRequestShell { request_id: 1 }),
            message(20, 2, io(IoStream::Stdout, b"another channel")),
            message(260, 1, io(IoStream::Stdout, b"caf\xc3")),
            message(510, 1, io(IoStream::Stdin, b"x")),
            message(760, 1, io(IoStream::Stdout, b"\xa9\r\n\x1b[0m\xf0\x9f")),
            message(
                1010,
                1,
                Payload::ChannelRequestWindow { request_id: 2, columns: 120, rows: 40, width: 0, height: 0 },
            ),
            message(1000, 1, io(IoStream::Stderr, b"oops")),
        ];
        let expected = r#"{"version":2,"width":100,"height":30,"timestamp":1600000000,"env":{"TERM":"xterm"}}
[0.25,"o","caf"]
[0.75,"o","é\r\n\u001b[0m"]
[1.0,"r","120x40"]
[1.0,"o","oops"]
[1.0,"o","�"]
"#;
        assert_eq!(cast(false, &session), expected);
        let with_input = cast(true, &session);
        assert_eq!(with_input.lines().nth(2).unwrap(), r#"[0.5,"i","x"]"#);
    }

    #[test]
    fn a_command_is_named_in_the_header_and_a_missing_size_is_the_usual_one() {
        let exec = Payload::ChannelRequestExec { request_id: 1, program: "top -b".into() };
        let cast = cast(false, &[message(0, 1, pty(0, 0)), message(0, 1, exec)]);
        let header: serde_json::Value = serde_json::from_str(&cast).unwrap();
        assert_eq!(header["command"], "top -b");
        assert_eq!((&header["width"], &header["height"]), (&80.into(), &24.into()));
    }

    #[test]
    fn a_survey_tells_terminals_from_other_channels() {
        let mut survey = Survey::default();
        for message in [
            message(0, 7, pty(80, 24)),
            message(1, 7, Payload::ChannelRequestShell { request_id: 1 }),
            message(2, 3, Payload::ChannelRequestSubsystem { request_id: 0, subsystem: "sftp".into() }),
            message(3, 3, io(IoStream::Stdout, b"x")),
            message(4, 5, Payload::Close),
        ] {
            survey.push(&message);
        }
        let shell = Channel { terminal: true, program: false, started: Some("shell".into()) };
        let sftp = Channel { terminal: false, program: true, started: Some("sftp".into()) };
        assert_eq!(survey.channels(), &BTreeMap::from([(3, sftp), (7, shell)]));
    }
}
