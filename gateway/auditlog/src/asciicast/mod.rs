//! One terminal session as an asciicast file, for any player: [version 2] or [version 3].
//!
//! A log holds a whole connection; a cast is one channel of it: [`Survey`] tells which there are, [`Cast`] writes one, record
//! by record, so that it serves a tool that reads logs as well as a recorder that is fed while the session lasts:
//!
//! ```
//! # use containerssh_auditlog::{asciicast::Cast, IoStream, Payload};
//! let (mut cast, mut file) = (Cast::new(0, false), Vec::new());
//! cast.record(1_600_000_000_000_000_000, &Payload::ChannelRequestShell { request_id: 0 }, &mut file);
//! let data = "hello".into();
//! cast.record(1_600_000_001_500_000_000, &Payload::Io { stream: IoStream::Stdout, data }, &mut file);
//! cast.finish(&mut file);
//! assert_eq!(file, br#"{"version":2,"width":80,"height":24,"timestamp":1600000000,"env":{}}
//! [1.5,"o","hello"]
//! "#);
//! ```
//!
//! Times count from the start of the program. What the program prints is joined where records cut a character in two,
//! stdout and stderr each for itself, and window changes are events, so that a replay looks as the user saw it. For the
//! same reason line feeds of a program without a terminal get the carriage return that the user's own terminal adds.
//!
//! [version 2]: https://docs.asciinema.org/manual/asciicast/v2/
//! [version 3]: https://docs.asciinema.org/manual/asciicast/v3/

mod line;
mod survey;
mod view;

use crate::message::Message;
use crate::payload::Payload;

use line::{Clock, Header};
pub use survey::{Channel, Survey};
pub use view::{Change, View, window_size};

/// Versions of the asciicast format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Times since the start. Every player reads it.
    #[default]
    V2,
    /// Times since the event before, and the exit status. Players of 2025 and later.
    V3,
}

/// Writes the cast of one channel.
#[derive(Clone, Debug)]
pub struct Cast {
    version: Version,
    channel: u64,
    with_input: bool,
    view: View,
    /// When the program started, in nanoseconds since 1970; the header has been written.
    start: Option<u64>,
    last: u64,
    clock: Clock,
    exit_status: Option<u32>,
}

impl Cast {
    /// The cast of this channel, version 2; `with_input` adds what the user typed ("i" events), which may include passwords
    /// that the terminal did not show.
    #[must_use]
    pub fn new(channel: u64, with_input: bool) -> Self {
        Self {
            version: Version::default(),
            channel,
            with_input,
            view: View::default(),
            start: None,
            last: 0,
            clock: Clock::default(),
            exit_status: None,
        }
    }

    /// The same cast in another version. To be chosen before the first record.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Appends the lines that one record of the log gives, if any. Records of other channels give none.
    pub fn push(&mut self, message: &Message, out: &mut Vec<u8>) {
        if message.channel_id == Some(self.channel) {
            self.record(message.timestamp, &message.payload, out);
        }
    }

    /// Appends the lines that one record of this channel gives, if any. The time is in nanoseconds since 1970.
    pub fn record(&mut self, timestamp: u64, payload: &Payload, out: &mut Vec<u8>) {
        match payload {
            Payload::ChannelRequestExec { program, .. } => self.begin(timestamp, Some(program), out),
            Payload::ChannelRequestShell { .. }
            | Payload::ChannelRequestSubsystem { .. }
            | Payload::Io { .. } => self.begin(timestamp, None, out),
            Payload::Exit { exit_status } => self.exited(timestamp, Some(*exit_status)),
            Payload::ExitSignal { signal, .. } => self.exited(timestamp, status_of_signal(signal)),
            _ => {}
        }
        if let Some(change) = self.view.record(payload) {
            self.change(timestamp, &change, out);
        }
    }

    /// Appends what is left at the end of the session: a cast is never without its header.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(self.last, None, out);
        for change in self.view.finish() {
            self.change(self.last, &change, out);
        }
        // At the very end, since output may come after the status (RFC 4254 section 6.10 orders only the channel's close).
        if let (Version::V3, Some(status)) = (self.version, self.exit_status.take()) {
            self.event(self.last, "x", &status.to_string(), out);
        }
    }

    fn begin(&mut self, timestamp: u64, command: Option<&str>, out: &mut Vec<u8>) {
        if self.start.is_some() {
            return;
        }
        self.start = Some(timestamp);
        self.last = timestamp;
        let (size, term) = (self.view.size(), self.view.term());
        let header = Header { size, timestamp: timestamp / 1_000_000_000, command, term };
        header.write(self.version, out);
    }

    fn change(&mut self, timestamp: u64, change: &Change, out: &mut Vec<u8>) {
        match change {
            Change::Output(text) => self.event(timestamp, "o", text, out),
            Change::Input(text) if self.with_input => self.event(timestamp, "i", text, out),
            // The header tells the size at the start.
            Change::Size(columns, rows) if self.start.is_some() => {
                self.event(timestamp, "r", &format!("{columns}x{rows}"), out);
            }
            Change::Input(_) | Change::Size(..) => {}
        }
    }

    fn event(&mut self, timestamp: u64, kind: &str, text: &str, out: &mut Vec<u8>) {
        self.last = self.last.max(timestamp);
        let since_start = timestamp.saturating_sub(self.start.unwrap_or(timestamp));
        self.clock.event(self.version, since_start, kind, text, out);
    }

    fn exited(&mut self, timestamp: u64, status: Option<u32>) {
        self.last = self.last.max(timestamp);
        self.exit_status = status;
    }
}

/// As shells report the signals of RFC 4254 section 6.10; `None` for others, whose number is not known.
fn status_of_signal(signal: &str) -> Option<u32> {
    let number = match signal {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => return None,
    };
    Some(128 + number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::IoStream;
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

    fn window(columns: u32, rows: u32) -> Payload {
        Payload::ChannelRequestWindow { request_id: 2, columns, rows, width: 0, height: 0 }
    }

    fn io(stream: IoStream, data: &'static [u8]) -> Payload {
        Payload::Io { stream, data: Bytes::from_static(data) }
    }

    fn exec(program: &str) -> Payload {
        Payload::ChannelRequestExec { request_id: 1, program: program.into() }
    }

    fn written(mut cast: Cast, messages: &[Message]) -> String {
        let mut out = Vec::new();
        messages.iter().for_each(|message| cast.push(message, &mut out));
        cast.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn cast(with_input: bool, messages: &[Message]) -> String {
        written(Cast::new(1, with_input), messages)
    }

    fn cast_v3(messages: &[Message]) -> String {
        written(Cast::new(1, false).with_version(Version::V3), messages)
    }

    fn a_shell() -> Vec<Message> {
        vec![
            message(0, 1, pty(100, 30)),
            message(10, 1, Payload::ChannelRequestShell { request_id: 1 }),
            message(20, 2, io(IoStream::Stdout, b"another channel")),
            message(260, 1, io(IoStream::Stdout, b"caf\xc3")),
            message(510, 1, io(IoStream::Stdin, b"x")),
            message(760, 1, io(IoStream::Stdout, b"\xa9\r\n\x1b[0m\xf0\x9f")),
            message(1010, 1, window(120, 40)),
            message(1000, 1, io(IoStream::Stderr, b"oops")),
        ]
    }

    #[test]
    fn a_shell_becomes_a_cast_of_its_channel_alone() {
        let expected = r#"{"version":2,"width":100,"height":30,"timestamp":1600000000,"env":{"TERM":"xterm"}}
[0.25,"o","caf"]
[0.75,"o","é\r\n\u001b[0m"]
[1.0,"r","120x40"]
[1.0,"o","oops"]
[1.0,"o","�"]
"#;
        assert_eq!(cast(false, &a_shell()), expected);
        let with_input = cast(true, &a_shell());
        assert_eq!(with_input.lines().nth(2).unwrap(), r#"[0.5,"i","x"]"#);
    }

    #[test]
    fn version_3_counts_from_event_to_event_and_ends_with_the_status() {
        let mut session = a_shell();
        session.push(message(2010, 1, Payload::Exit { exit_status: 3 }));
        session.push(message(2260, 1, io(IoStream::Stdout, b"\x98\x80 late")));
        let expected = r#"{"version":3,"term":{"cols":100,"rows":30,"type":"xterm"},"timestamp":1600000000}
[0.25,"o","caf"]
[0.5,"o","é\r\n\u001b[0m"]
[0.25,"r","120x40"]
[0.0,"o","oops"]
[1.25,"o","😀 late"]
[0.0,"x","3"]
"#;
        assert_eq!(cast_v3(&session), expected);
        assert!(!cast(false, &session).contains("\"x\""), "version 2 knows no such event");
    }

    #[test]
    fn intervals_of_version_3_do_not_drift() {
        let thirds = (1..=30_u64).map(|n| Message {
            timestamp: START + n * 1_000_000_000 / 3,
            ..message(0, 1, io(IoStream::Stdout, b"."))
        });
        let session: Vec<Message> =
            std::iter::once(message(0, 1, Payload::ChannelRequestShell { request_id: 1 }))
                .chain(thirds)
                .collect();
        let cast = cast_v3(&session);
        let total: f64 = cast
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap().0)
            .sum();
        assert!((total - 10.0).abs() < 1e-9, "{total}");
    }

    #[test]
    fn a_program_ended_by_a_signal_has_the_status_that_shells_report() {
        let signal = |signal: &str| Payload::ExitSignal {
            signal: signal.into(),
            core_dumped: false,
            error_message: String::new(),
            language_tag: String::new(),
        };
        let last = |payload| {
            let cast = cast_v3(&[message(0, 1, exec("x")), message(5, 1, payload)]);
            cast.lines().last().unwrap().to_owned()
        };
        assert_eq!(last(signal("KILL")), r#"[0.005,"x","137"]"#);
        assert!(last(signal("local@example.com")).starts_with(r#"{"version":3"#));
    }

    #[test]
    fn a_command_is_named_in_the_header_and_a_missing_size_is_the_usual_one() {
        let messages = [message(0, 1, pty(0, 0)), message(0, 1, exec("top -b"))];
        let header: serde_json::Value = serde_json::from_str(&cast(false, &messages)).unwrap();
        assert_eq!(header["command"], "top -b");
        assert_eq!((&header["width"], &header["height"]), (&80.into(), &24.into()));
        let header: serde_json::Value = serde_json::from_str(&cast_v3(&messages)).unwrap();
        assert_eq!(header["command"], "top -b");
        assert_eq!(header["term"]["cols"], 80);
    }

    #[test]
    fn windows_that_no_display_can_show_are_cut() {
        let session =
            [message(0, 1, pty(u32::MAX, 7)), message(0, 1, exec("x")), message(1, 1, window(7, 70_000))];
        let cast = cast(false, &session);
        assert!(cast.starts_with(r#"{"version":2,"width":1000,"height":7,"#), "{cast}");
        assert!(cast.ends_with("[0.001,\"r\",\"7x500\"]\n"), "{cast}");
    }

    #[test]
    fn without_a_terminal_lines_begin_at_the_left_as_the_user_saw_them() {
        let output = [
            message(0, 1, io(IoStream::Stdout, b"a\nb\r")),
            message(0, 1, io(IoStream::Stdout, b"\nc")),
            message(0, 1, io(IoStream::Stderr, b"\n\n")),
        ];
        let text = |before: &[Message]| -> String {
            let session = [before, &[message(0, 1, exec("x"))], &output].concat();
            let cast = cast(false, &session);
            cast.lines()
                .skip(1)
                .map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap().2)
                .collect()
        };
        assert_eq!(text(&[]), "a\r\nb\r\nc\r\n\r\n");
        assert_eq!(text(&[message(0, 1, pty(80, 24))]), "a\nb\r\nc\n\n");
        let refused = Payload::RequestFailed { request_id: 0, reason: "no terminals here".into() };
        assert_eq!(text(&[message(0, 1, pty(80, 24)), message(0, 1, refused)]), "a\r\nb\r\nc\r\n\r\n");
    }
}
