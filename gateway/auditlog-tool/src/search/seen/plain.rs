//! Output that needs no emulator: text that goes on where the cursor is, with nothing right of it or below.
//!
//! Characters, line ends, tabs, and sequences without an effect on where text stands (colours, titles, erasing where
//! there is nothing). [`Plain::take`] stops at anything else.

use unicode_width::UnicodeWidthChar;

use crate::search::Search;
use crate::search::batch::Batch;

use super::sequence::{self, Length};

/// Text that is searched at a time, in bytes; see `lines::BATCH`.
const BATCH: usize = 64 << 10;
/// Text that is kept at most, in bytes. A screenful is usually a few kilobytes; where it is more, the emulator takes over.
const MAX_KEPT: usize = 1 << 20;
/// The longest sequence that is left out here; a title is shorter.
const MAX_SEQUENCE: usize = 1 << 10;
/// Tab stops are where terminals have them from the start.
const TAB: usize = 8;

/// Text that went by since the emulator last knew the screen.
#[derive(Debug)]
pub(super) struct Plain {
    batch: Batch,
    /// So much at the batch's start the emulator knows: the line in which the cursor was. `None` once text has been forgotten; then
    /// the batch starts with a line and has more lines than the screen.
    known_to_emulator: Option<usize>,
    /// The column of the cursor, `columns` if the next character will wrap.
    column: usize,
    columns: usize,
    rows: usize,
}

impl Plain {
    /// Goes on from a line of which the start is on the screen, and `known` bytes have been searched.
    pub(super) fn new(line: &str, known: usize, column: usize, (columns, rows): (usize, usize)) -> Self {
        Self {
            batch: Batch::starting_with(line, known),
            known_to_emulator: Some(line.len()),
            column,
            columns,
            rows,
        }
    }

    /// Takes in text as far as it is plain; returns the rest.
    pub(super) fn take<'t>(&mut self, text: &'t str, time: u64, search: &mut Search<'_>) -> &'t str {
        let mut rest = text;
        while !rest.is_empty() {
            let (run, special) = rest.split_at(printable(rest.as_bytes()));
            self.batch.push(run.as_bytes());
            self.advance(run.len());
            match self.special(special, time, search) {
                Some(length) => rest = special.get(length..).unwrap_or_default(),
                None => {
                    rest = special;
                    break;
                }
            }
        }
        self.batch.stamp(time);
        rest
    }

    /// Takes in what is not a printable ASCII character; returns its length, or `None` if it is not plain.
    fn special(&mut self, text: &str, time: u64, search: &mut Search<'_>) -> Option<usize> {
        let bytes = text.as_bytes();
        Some(match bytes {
            [] => 0,
            [b'\n', ..] if self.column == 0 => self.line_end(1),
            [b'\r', b'\n', ..] => self.line_end(2),
            // As terminals get it where both the program and its terminal add one.
            [b'\r', b'\r', b'\n', ..] => self.line_end(3),
            [b'\r', ..] if self.column == 0 => 1,
            [b'\t', ..] => {
                let stop = (self.column / TAB + 1) * TAB;
                // At the right edge a tab behaves otherwise.
                if stop >= self.columns {
                    return None;
                }
                for _ in self.column..stop {
                    self.batch.push(b" ");
                }
                self.column = stop;
                1
            }
            [0 | 7, ..] => 1,
            // A character over another, as manuals do for bold and underlined ones.
            [8, character @ 0x20..=0x7e, ..] if 0 < self.column && self.column < self.columns => {
                match self.batch.text().last() {
                    Some(last) if last == character => {}
                    // Over a blank it only grows.
                    Some(b' ') => self.batch.replace_last(*character),
                    Some(0x20..=0x7e) => {
                        self.batch.stamp(time);
                        self.batch.search_unfinished(search);
                        self.batch.replace_last(*character);
                    }
                    _ => return None,
                }
                2
            }
            [0x1b, ..] => match sequence::length(bytes, MAX_SEQUENCE) {
                Length::Of(length) if leaves_text_alone(bytes.get(..length)?) => length,
                _ => return None,
            },
            [0x80..=0xff, ..] => {
                let character = text.chars().next()?;
                if character <= '\u{9f}' {
                    return None;
                }
                let length = character.len_utf8();
                self.batch.push(bytes.get(..length)?);
                self.advance_wide(if character.width() == Some(2) { 2 } else { 1 });
                length
            }
            _ => return None,
        })
    }

    fn line_end(&mut self, length: usize) -> usize {
        self.batch.push(b"\n");
        self.column = 0;
        length
    }

    /// Moves the cursor by so many characters of one column.
    fn advance(&mut self, count: usize) {
        let to = self.column + count;
        if to <= self.columns {
            self.column = to;
        } else {
            self.column = (to - 1) % self.columns + 1;
        }
    }

    fn advance_wide(&mut self, width: usize) {
        self.column = if self.column + width > self.columns { width } else { self.column + width };
    }

    /// Searches the lines that have ended.
    pub(super) fn search(&mut self, search: &mut Search<'_>) {
        self.batch.search(search);
    }

    /// Searches and forgets what is not needed to know the screen. `false`: there is too much of it.
    pub(super) fn make_room(&mut self, search: &mut Search<'_>) -> bool {
        let text = self.batch.text();
        if text.len() < BATCH {
            return true;
        }
        self.batch.search(search);
        // One line more than the screen has rows: then all that was on it before is gone.
        let text = self.batch.text();
        let before = memchr::memrchr_iter(b'\n', text).nth(self.rows + 1);
        if let Some(before) = before {
            self.batch.forget(before + 1);
            self.known_to_emulator = None;
        }
        self.batch.text().len() < MAX_KEPT
    }

    /// What the emulator has to show to know the screen again: all that is new, or the last screenful.
    pub(super) fn news(&self) -> String {
        let text = self.batch.text();
        let known = self.known_to_emulator.unwrap_or_default();
        // As when room is made: one line more than there are rows, and all that was on the screen before is gone.
        let last_screen = memchr::memrchr_iter(b'\n', text).nth(self.rows + 1).map(|before| before + 1);
        let (start, fresh_line) = match (last_screen, self.known_to_emulator) {
            (Some(start), _) if start > known => (start, "\r\n"),
            (_, None) => (0, "\r\n"),
            (_, Some(known)) => (known, ""),
        };
        let news = String::from_utf8_lossy(text.get(start..).unwrap_or_default());
        format!("{fresh_line}{}", news.replace('\n', "\r\n"))
    }

    /// How much has gone by since the emulator knew the screen, in bytes; at least so much, if it is more than is kept.
    pub(super) fn length(&self) -> usize {
        self.batch.text().len() - self.known_to_emulator.unwrap_or_default()
    }

    /// The line that has not ended, and how much of it has been searched.
    pub(super) fn unfinished(&self) -> (String, usize) {
        (String::from_utf8_lossy(self.batch.unfinished()).into_owned(), self.batch.known())
    }
}

/// Whether this is the start of something that cannot be judged before more has come, or nothing.
pub(super) fn may_go_on(text: &str) -> bool {
    match text.as_bytes() {
        [] | [8 | b'\r'] | [b'\r', b'\r'] => true,
        bytes @ [0x1b, ..] => sequence::length(bytes, MAX_SEQUENCE) == Length::Unfinished,
        _ => false,
    }
}

/// How many bytes at the start are printable ASCII characters.
pub(super) fn printable(bytes: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let special = |byte: &u8| byte.wrapping_sub(0x20) > 0x7e - 0x20;
    let mut at = 0;
    // Without a branch per byte, so that the compiler can look at a block at once.
    for block in bytes.chunks_exact(BLOCK) {
        if block.iter().fold(false, |any, byte| any | special(byte)) {
            break;
        }
        at += BLOCK;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// How long the sequences are at the start that choose colours, or ASCII for the first character set, in bytes.
pub(super) fn colours(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        let length = match rest {
            [0x1b, b'[', parameters @ ..] => {
                let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'));
                match end.map(|end| (end, parameters.get(end))) {
                    Some((end, Some(b'm'))) if end < MAX_SEQUENCE => end + 3,
                    _ => break,
                }
            }
            [0x1b, b'(', b'B', ..] => 3,
            _ => break,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    bytes.len() - rest.len()
}

/// Whether a sequence changes neither the text on the screen nor where the next character goes, when the cursor is behind the last one.
fn leaves_text_alone(sequence: &[u8]) -> bool {
    match sequence {
        // Colours; what is right of the cursor is erased, where there is nothing.
        [_, b'[', parameters @ .., b'm'] => {
            parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'))
        }
        b"\x1b[K" | b"\x1b[0K" => true,
        // Modes of keys, cursor, paste, focus and mouse.
        [_, b'[', b'?', mode @ .., b'h' | b'l'] => {
            matches!(
                mode,
                b"1" | b"12" | b"25" | b"1000" | b"1002" | b"1003" | b"1004" | b"1006" | b"1034" | b"2004"
            )
        }
        // Titles, links, marks of shells. Other characters in them are left to the emulator's judgement.
        [_, b']', text @ ..] => {
            let text = text.strip_suffix(b"\x07").or(text.strip_suffix(b"\x1b\\")).unwrap_or(text);
            text.iter().all(|byte| matches!(byte, 0x20..=0x7e))
        }
        // ASCII as the character set, which it is; keypad modes.
        b"\x1b(B" | b"\x1b=" | b"\x1b>" => true,
        _ => false,
    }
}
