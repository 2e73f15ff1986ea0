//! A log as people read it: when, on which channel, what.
//!
//! ```text
//! 2026-11-21T09:45:38.468981Z        connection  26f1f7… from 127.0.0.1
//! 2026-11-21T09:45:38.644979Z  #2    request     terminal xterm, 80x24
//! 2026-11-21T09:45:38.647312Z  #2    out         Last login: Sat Nov 21\r\n
//! ```
//! Everything that came from outside is shown so that it cannot act on the reader's terminal. Passwords are not printed:
//! a transcript is looked at over shoulders; the JSON has them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use containerssh_auditlog::sftp::{Channels, FileEvent};
use containerssh_auditlog::text::{Joiner, visible};
use containerssh_auditlog::{DecodeError, IoStream, Message, Payload};

use crate::time;

use super::View;

/// Streams whose unfinished characters are kept; more open channels than any client has.
const MAX_STREAMS: usize = 4096;

/// Prints a line per record, or per line of output.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    streams: BTreeMap<(Option<u64>, IoStream), Joiner>,
    /// Channels that move files: their streams are shown as what they mean.
    files: Channels,
    last: u64,
}

impl View for Transcript {
    fn message(&mut self, message: &Message, out: &mut Vec<u8>) {
        self.last = message.timestamp;
        let moves_files = message.channel_id.is_some_and(|channel| self.files.follows(channel));
        self.files.push(
            message.channel_id,
            message.timestamp,
            &message.payload,
            &mut |channel, event: FileEvent| file(channel, &event, out),
        );
        if moves_files
            && matches!(message.payload, Payload::Io { stream: IoStream::Stdin | IoStream::Stdout, .. })
        {
            return;
        }
        let mut line = |kind: &str, text: &str| put(message.timestamp, message.channel_id, kind, text, out);
        match &message.payload {
            Payload::Io { stream, data } => {
                if self.streams.len() >= MAX_STREAMS {
                    self.flush(|_| true, out);
                }
                let text = self.streams.entry((message.channel_id, *stream)).or_default().push(data);
                io(message.timestamp, message.channel_id, *stream, &text, out);
            }
            Payload::Close => {
                self.flush(|channel| channel == message.channel_id, out);
                put(message.timestamp, message.channel_id, "channel", "closed", out);
            }
            Payload::Connect { remote_addr, country } => {
                let country =
                    if country.is_empty() { String::new() } else { format!(" ({})", visible(country)) };
                line(
                    "connection",
                    &format!("{} from {}{country}", visible(&message.connection_id), visible(remote_addr)),
                );
            }
            other => {
                let (kind, text) = describe(other);
                line(kind, &text);
            }
        }
    }

    fn damage(&mut self, error: &DecodeError, out: &mut Vec<u8>) {
        damage(self.last, error, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.flush(|_| true, out);
        self.files.finish(self.last, &mut |channel, event: FileEvent| file(channel, &event, out));
    }
}

impl Transcript {
    /// Shows the unfinished characters of streams that will not finish them.
    fn flush(&mut self, ends: impl Fn(Option<u64>) -> bool, out: &mut Vec<u8>) {
        let last = self.last;
        self.streams.retain(|(channel, stream), joiner| {
            let ends = ends(*channel);
            if ends {
                io(last, *channel, *stream, &joiner.finish(), out);
            }
            !ends
        });
    }
}

/// What happened to a file.
pub(super) fn file(channel: u64, event: &FileEvent, out: &mut Vec<u8>) {
    put(event.timestamp, Some(channel), "file", &crate::files::describe(event), out);
}

/// What is wrong with the log behind this time.
pub(super) fn damage(last: u64, error: &DecodeError, out: &mut Vec<u8>) {
    put(last, None, "DAMAGED", &error.to_string(), out);
}

/// One line per line of the data, however it was cut.
fn io(timestamp: u64, channel: Option<u64>, stream: IoStream, text: &str, out: &mut Vec<u8>) {
    let kind = match stream {
        IoStream::Stdin => "in",
        IoStream::Stdout => "out",
        IoStream::Stderr => "err",
    };
    for line in text.split_inclusive('\n') {
        put(timestamp, channel, kind, &visible(line), out);
    }
}

fn put(timestamp: u64, channel: Option<u64>, kind: &str, text: &str, out: &mut Vec<u8>) {
    let channel = channel.map(|channel| format!("#{channel}")).unwrap_or_default();
    let line = format!("{}  {channel:<4}  {kind:<10}  {text}\n", time::text(timestamp));
    out.extend_from_slice(line.as_bytes());
}

/// What kind of thing a record tells, and what; safe to show on any terminal.
pub(crate) fn describe(payload: &Payload) -> (&'static str, String) {
    use Payload as P;
    match payload {
        P::Disconnect => ("connection", "ended".to_owned()),
        P::HandshakeFailed { reason } => ("connection", format!("handshake failed: {}", visible(reason))),
        P::HandshakeSuccessful { username } => ("connection", format!("ready for {}", visible(username))),
        P::NewChannelSuccessful { channel_type } => ("channel", format!("opened, {}", visible(channel_type))),
        P::WriteClose => ("channel", "end of output".to_owned()),
        P::Exit { exit_status } => ("exit", format!("status {exit_status}")),
        P::ExitSignal { signal, core_dumped, error_message, .. } => {
            let core = if *core_dumped { ", core dumped" } else { "" };
            ("exit", format!("signal {}{core}: {}", visible(signal), visible(error_message)))
        }
        P::ChannelRequestSetEnv { name, value, .. } => {
            ("request", format!("environment {}={}", visible(name), visible(value)))
        }
        P::ChannelRequestExec { program, .. } => ("request", format!("run: {}", visible(program))),
        P::ChannelRequestShell { .. } => ("request", "run a shell".to_owned()),
        P::ChannelRequestSubsystem { subsystem, .. } => {
            ("request", format!("subsystem {}", visible(subsystem)))
        }
        P::ChannelRequestPty { term, columns, rows, .. } => {
            ("request", format!("terminal {}, {columns}x{rows}", visible(term)))
        }
        P::ChannelRequestWindow { columns, rows, .. } => ("request", format!("window {columns}x{rows}")),
        P::ChannelRequestSignal { signal, .. } => ("request", format!("signal {}", visible(signal))),
        P::RequestFailed { request_id, reason } => {
            ("refused", format!("request {request_id}: {}", visible(reason)))
        }
        other => (kind(other.type_code()), sentence(other)),
    }
}

const fn kind(type_code: u32) -> &'static str {
    match type_code {
        100..=197 => "login",
        200..=299 => "request",
        300..=399 => "channel",
        400..=495 => "request",
        _ => "other",
    }
}

/// Name of the type and its fields, except secrets.
fn sentence(payload: &Payload) -> String {
    let mut sentence = match payload {
        Payload::Unknown { type_code, .. } => format!("unknown type {type_code}"),
        known => known.type_name().to_owned(),
    };
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(payload) else { return sentence };
    for (at, (name, value)) in fields.iter().enumerate() {
        let value = match (name.as_str(), value) {
            ("password" | "answers", serde_json::Value::Null) => "not recorded".to_owned(),
            ("password" | "answers", _) => "recorded (see --format json)".to_owned(),
            (_, serde_json::Value::String(text)) => visible(text),
            (_, other) => visible(&other.to_string()),
        };
        let separator = if at == 0 { ": " } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(sentence, "{separator}{} {value}", visible(name));
    }
    sentence
}
