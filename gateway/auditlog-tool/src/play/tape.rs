//! One channel's output in the order of its times, on disk: what a player winds forth and back.
//!
//! A log cannot be read from its middle, since compression has no middle. So the one channel that is played is copied, as
//! text that is joined and ready to be shown, to an unnamed temporary file that vanishes with the process (small ones stay
//! in memory). An event on the tape is `time: u64, kind: u8, length: u32`, little endian, then the text or the size.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use containerssh_auditlog::asciicast::{Change, View, window_size};
use containerssh_auditlog::{Message, Payload};
use tempfile::SpooledTempFile;

/// Tapes up to this size never touch a disk, in bytes.
const IN_MEMORY: usize = 32 << 20;
/// The longest text of one event, in bytes: winding can be interrupted between two events.
const MAX_TEXT: usize = 32 << 10;

/// Something that changed on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// In nanoseconds since the tape's start; never less than the event's before.
    pub(crate) time: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Output(String),
    /// Columns and rows.
    Size(u32, u32),
}

/// Copies one channel to a tape.
#[derive(Debug)]
pub(crate) struct TapeWriter {
    channel: u64,
    file: BufWriter<SpooledTempFile>,
    length: u64,
    /// Nanoseconds since 1970.
    start: Option<u64>,
    last: u64,
    first_size: Option<(u32, u32)>,
    view: View,
}

impl TapeWriter {
    pub(crate) fn new(channel: u64) -> Self {
        Self {
            channel,
            file: BufWriter::new(SpooledTempFile::new(IN_MEMORY)),
            length: 0,
            start: None,
            last: 0,
            first_size: None,
            view: View::default(),
        }
    }

    /// Takes in one record; those of other channels leave no trace.
    ///
    /// # Errors
    /// If the temporary file cannot be written.
    pub(crate) fn push(&mut self, message: &Message) -> io::Result<()> {
        if message.channel_id != Some(self.channel) {
            return Ok(());
        }
        match &message.payload {
            Payload::ChannelRequestExec { .. }
            | Payload::ChannelRequestShell { .. }
            | Payload::ChannelRequestSubsystem { .. } => _ = self.time(message.timestamp),
            // Whether it shows or not: until then the session lasted.
            Payload::Io { .. } | Payload::Exit { .. } | Payload::ExitSignal { .. } | Payload::Close
                if self.start.is_some() =>
            {
                _ = self.time(message.timestamp);
            }
            _ => {}
        }
        self.view.record(&message.payload).map_or(Ok(()), |change| self.change(message.timestamp, &change))
    }

    /// The tape, wound to its start.
    ///
    /// # Errors
    /// If the temporary file cannot be written or read.
    pub(crate) fn finish(mut self) -> io::Result<Tape> {
        for change in self.view.finish() {
            self.change(self.last, &change)?;
        }
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let start = self.start.unwrap_or(self.last);
        let mut tape = Tape {
            file: BufReader::new(file),
            offset: 0,
            length: self.length,
            start,
            duration: self.last.saturating_sub(start),
            first_size: self.first_size.unwrap_or(window_size(0, 0)),
        };
        tape.wind(0)?;
        Ok(tape)
    }

    fn change(&mut self, timestamp: u64, change: &Change) -> io::Result<()> {
        match change {
            Change::Output(text) => {
                let mut rest = &**text;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_TEXT));
                    self.event(timestamp, Kind::Output, piece.as_bytes())?;
                    rest = after;
                }
                Ok(())
            }
            // What was asked for before anything was shown is no change.
            Change::Size(columns, rows) if self.length == 0 => {
                self.first_size = Some((*columns, *rows));
                Ok(())
            }
            Change::Size(columns, rows) => {
                let [a, b, c, d] = columns.to_le_bytes();
                let [e, f, g, h] = rows.to_le_bytes();
                self.event(timestamp, Kind::Size, &[a, b, c, d, e, f, g, h])
            }
            // What the user typed is not on the screen.
            Change::Input(_) => Ok(()),
        }
    }

    fn event(&mut self, timestamp: u64, kind: Kind, data: &[u8]) -> io::Result<()> {
        let time = self.time(timestamp);
        // At most MAX_TEXT.
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.file.write_all(&time.to_le_bytes())?;
        self.file.write_all(&[kind as u8])?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(data)?;
        self.length += HEAD + u64::from(length);
        Ok(())
    }

    /// Nanoseconds since the start. Clocks may jump back; a replay cannot.
    fn time(&mut self, timestamp: u64) -> u64 {
        let start = *self.start.get_or_insert(timestamp);
        self.last = self.last.max(timestamp);
        self.last.saturating_sub(start)
    }
}

/// Bytes of an event before its data.
const HEAD: u64 = 13;

#[derive(Clone, Copy)]
enum Kind {
    Output = 0,
    Size = 1,
}

/// Events, read from any place that was reached by reading.
#[derive(Debug)]
pub(crate) struct Tape {
    file: BufReader<SpooledTempFile>,
    offset: u64,
    length: u64,
    /// When the program started, in nanoseconds since 1970.
    pub(crate) start: u64,
    /// From then to the channel's last record, in nanoseconds.
    pub(crate) duration: u64,
    /// Columns and rows when the program started.
    pub(crate) first_size: (u32, u32),
}

impl Tape {
    /// Where the next event is read, in bytes: a place to come back to.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to a place that [`offset`](Self::offset) gave.
    pub(crate) fn wind(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        self.file.seek(SeekFrom::Start(offset)).map(drop)
    }

    /// The next event; `None` at the end.
    pub(crate) fn read(&mut self) -> io::Result<Option<Event>> {
        if self.offset >= self.length {
            return Ok(None);
        }
        let time = u64::from_le_bytes(self.array()?);
        let [kind] = self.array()?;
        let length = u32::from_le_bytes(self.array()?);
        self.offset += HEAD + u64::from(length);
        let what = if kind == Kind::Size as u8 {
            What::Size(u32::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?))
        } else {
            let mut text = vec![0; length as usize];
            self.file.read_exact(&mut text)?;
            What::Output(String::from_utf8(text).map_err(io::Error::other)?)
        };
        Ok(Some(Event { time, what }))
    }

    /// When the next event happens; `None` at the end.
    pub(crate) fn peek_time(&mut self) -> io::Result<Option<u64>> {
        if self.offset >= self.length {
            return Ok(None);
        }
        if let Some(time) = self.file.fill_buf()?.first_chunk::<8>() {
            return Ok(Some(u64::from_le_bytes(*time)));
        }
        // Cut by the end of the buffer.
        let offset = self.offset;
        let time = u64::from_le_bytes(self.array()?);
        self.wind(offset)?;
        Ok(Some(time))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bytes::Bytes;
    use containerssh_auditlog::IoStream;

    pub(crate) const START: u64 = 1_600_000_000_000_000_000;

    pub(crate) fn message(after_ms: u64, payload: Payload) -> Message {
        let timestamp = START + after_ms * 1_000_000;
        Message { connection_id: "c".into(), timestamp, payload, channel_id: Some(1) }
    }

    pub(crate) fn shell() -> Payload {
        Payload::ChannelRequestShell { request_id: 1 }
    }

    pub(crate) fn pty(columns: u32, rows: u32) -> Payload {
        let (request_id, term, mode_list) = (0, "xterm".to_owned(), None);
        Payload::ChannelRequestPty { request_id, term, columns, rows, width: 0, height: 0, mode_list }
    }

    pub(crate) fn window(columns: u32, rows: u32) -> Payload {
        Payload::ChannelRequestWindow { request_id: 2, columns, rows, width: 0, height: 0 }
    }

    pub(crate) fn out(data: &[u8]) -> Payload {
        Payload::Io { stream: IoStream::Stdout, data: Bytes::copy_from_slice(data) }
    }

    pub(crate) fn tape(messages: &[Message]) -> Tape {
        let mut writer = TapeWriter::new(1);
        messages.iter().for_each(|message| writer.push(message).unwrap());
        writer.finish().unwrap()
    }

    fn events(tape: &mut Tape) -> Vec<Event> {
        std::iter::from_fn(|| {
            let time = tape.peek_time().unwrap();
            let event = tape.read().unwrap();
            assert_eq!(event.as_ref().map(|event| event.time), time);
            event
        })
        .collect()
    }

    fn output(milliseconds: u64, text: &str) -> Event {
        Event { time: milliseconds * 1_000_000, what: What::Output(text.to_owned()) }
    }

    #[test]
    fn what_is_recorded_is_played_with_its_times() {
        let mut tape = tape(&[
            message(0, pty(90, 20)),
            message(0, shell()),
            message(100, out(b"caf\xc3")),
            message(200, out(b"\xa9")),
            message(300, window(100, 30)),
            message(250, out(b"late")),
            message(900, Payload::Exit { exit_status: 0 }),
        ]);
        assert_eq!((tape.start, tape.duration, tape.first_size), (START, 900_000_000, (90, 20)));
        let resize = Event { time: 300_000_000, what: What::Size(100, 30) };
        let expected = [output(100, "caf"), output(200, "\u{e9}"), resize, output(300, "late")];
        assert_eq!(events(&mut tape), expected);
        tape.wind(0).unwrap();
        assert_eq!(events(&mut tape), expected);
    }

    #[test]
    fn long_output_is_cut_between_characters_and_comes_back_whole() {
        let text = "\u{20ac}".repeat(MAX_TEXT);
        let mut tape = tape(&[message(0, pty(80, 24)), message(0, out(text.as_bytes()))]);
        let events = events(&mut tape);
        assert!(events.len() > 1);
        let whole: String = events
            .iter()
            .map(|event| match &event.what {
                What::Output(text) if text.len() <= MAX_TEXT => &**text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(whole == text);
    }

    #[test]
    fn a_channel_without_output_is_an_empty_tape() {
        let mut tape = tape(&[]);
        assert_eq!((tape.duration, tape.first_size), (0, (80, 24)));
        assert_eq!(events(&mut tape), []);
    }
}
