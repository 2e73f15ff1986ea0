//! What the records of one channel do to the user's terminal: text appears, or the window changes.

use crate::message::IoStream;
use crate::payload::Payload;
use crate::text::Joiner;

/// The size of a terminal that nobody asked for, as terminals have had it since the VT100.
const USUAL_SIZE: (u32, u32) = (80, 24);
/// Columns and rows: more than an 8K display has in letters of 4 by 8 pixels. A window is as large as a client claims; what shows
/// it allocates that much.
const MAX_SIZE: (u32, u32) = (1_000, 500);

/// What one record changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The program printed this, to stdout or stderr.
    Output(String),
    /// The user typed this.
    Input(String),
    /// The window, or what the client asks for as a window, has this many columns and rows now.
    Size(u32, u32),
}

/// One channel as the user's terminal shows it.
///
/// Text is joined where records cut a character in two, each stream for itself; and where the program has no terminal,
/// its line feeds get the carriage return that the user's own terminal adds.
#[derive(Clone, Debug)]
pub struct View {
    size: (u32, u32),
    term: String,
    terminal: Terminal,
    /// stdin, stdout, stderr.
    joiners: [Joiner; 3],
}

/// Who turns line feeds into new lines.
#[derive(Clone, Copy, Debug)]
enum Terminal {
    /// The program's own terminal.
    Requested {
        /// The request, which may be refused.
        request_id: u64,
    },
    /// Only the user's.
    None {
        /// The last character was a carriage return.
        after_return: bool,
    },
}

impl Default for View {
    fn default() -> Self {
        Self {
            size: USUAL_SIZE,
            term: String::new(),
            terminal: Terminal::None { after_return: false },
            joiners: Default::default(),
        }
    }
}

impl View {
    /// What a record of the channel changes, if anything.
    pub fn record(&mut self, payload: &Payload) -> Option<Change> {
        match payload {
            Payload::ChannelRequestPty { request_id, term, columns, rows, .. } => {
                self.term.clone_from(term);
                self.terminal = Terminal::Requested { request_id: *request_id };
                Some(self.resize(*columns, *rows))
            }
            Payload::RequestFailed { request_id: failed, .. } => {
                if matches!(self.terminal, Terminal::Requested { request_id } if request_id == *failed) {
                    self.terminal = Terminal::None { after_return: false };
                }
                None
            }
            Payload::ChannelRequestWindow { columns, rows, .. } => Some(self.resize(*columns, *rows)),
            Payload::Io { stream, data } => {
                let text = self.joiner(*stream).push(data);
                self.text(*stream, text)
            }
            _ => None,
        }
    }

    /// What is left at the end: characters that were never finished.
    pub fn finish(&mut self) -> Vec<Change> {
        let streams = [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr];
        let rest = streams.map(|stream| {
            let rest = self.joiner(stream).finish();
            self.text(stream, rest)
        });
        rest.into_iter().flatten().collect()
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The client's TERM; empty if unknown.
    #[must_use]
    pub fn term(&self) -> &str {
        &self.term
    }

    /// The program has a terminal: the client asked for one, and was not refused.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        matches!(self.terminal, Terminal::Requested { .. })
    }

    fn resize(&mut self, columns: u32, rows: u32) -> Change {
        self.size = window_size(columns, rows);
        Change::Size(self.size.0, self.size.1)
    }

    fn text(&mut self, stream: IoStream, text: String) -> Option<Change> {
        if text.is_empty() {
            return None;
        }
        Some(match (stream, &mut self.terminal) {
            (IoStream::Stdin, _) => Change::Input(text),
            (_, Terminal::Requested { .. }) => Change::Output(text),
            (_, Terminal::None { after_return }) => Change::Output(with_returns(&text, after_return)),
        })
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

/// The columns and rows of a window that a client claims to have, as far as they can be shown. A client without a window
/// sends zeros (RFC 4254 section 6.2): it is taken to have the usual 80 by 24.
#[must_use]
pub fn window_size(columns: u32, rows: u32) -> (u32, u32) {
    let within = |claimed, usual, most| if claimed == 0 { usual } else { u32::min(claimed, most) };
    (within(columns, USUAL_SIZE.0, MAX_SIZE.0), within(rows, USUAL_SIZE.1, MAX_SIZE.1))
}

fn with_returns(text: &str, after_return: &mut bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' && !*after_return {
            shown.push('\r');
        }
        *after_return = character == '\r';
        shown.push(character);
    }
    shown
}
