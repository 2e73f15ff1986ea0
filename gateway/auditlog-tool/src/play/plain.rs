//! Replaying without a terminal: the text, in its time, as lines.
//!
//! The reader may be a pipe into a terminal, so what acts on one is left out here too: only printable characters, tabs and line
//! feeds pass. A carriage return alone begins a line, so that nothing is overwritten.

use std::time::Duration;

use containerssh_auditlog::text::is_invisible;

/// Takes escape sequences and control characters out of a stream. Sequences may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    /// The last character was a carriage return.
    after_return: bool,
    /// Something stands on the line.
    line: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// Until a letter.
    Control,
    /// OSC, DCS, APC, PM, SOS: until ST or BEL.
    String,
    StringEscape,
}

impl Filter {
    /// What is left of a piece of the stream.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) {
        for character in text.chars() {
            self.state = self.step(character, out);
        }
    }

    fn step(&mut self, character: char, out: &mut String) -> State {
        match (self.state, character) {
            (_, '\u{18}' | '\u{1a}') => State::Text,
            (State::String, '\u{1b}') => State::StringEscape,
            (_, '\u{1b}') => State::Escape,
            (State::Escape, '[') | (State::Text, '\u{9b}') => State::Control,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_')
            | (State::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::String,
            // Designations have one intermediate character or more before the last.
            (State::Escape, '\u{20}'..='\u{2f}') => State::Escape,
            (State::Escape, _) => State::Text,
            (State::Control, '\u{40}'..='\u{7e}') => State::Text,
            (State::Control, _) => State::Control,
            (State::String, '\u{7}' | '\u{9c}') | (State::StringEscape, '\\') => State::Text,
            (State::String | State::StringEscape, _) => State::String,
            (State::Text, _) => {
                self.text(character, out);
                State::Text
            }
        }
    }

    fn text(&mut self, character: char, out: &mut String) {
        let after_return = std::mem::replace(&mut self.after_return, character == '\r');
        let shown = match character {
            '\n' | '\t' => character,
            _ if character.is_control() => return,
            _ if is_invisible(character) => char::REPLACEMENT_CHARACTER,
            _ => character,
        };
        if after_return && self.line && shown != '\n' {
            out.push('\n');
        }
        self.line = shown != '\n';
        out.push(shown);
    }
}

/// How long to wait from one event to the next.
pub(crate) fn pause(gap: u64, speed: f64, idle_limit: Option<u64>) -> Duration {
    let gap = idle_limit.map_or(gap, |limit| gap.min(limit));
    Duration::from_nanos((gap as f64 / speed) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(pieces: &[&str]) -> String {
        let (mut filter, mut out) = (Filter::default(), String::new());
        pieces.iter().for_each(|piece| filter.push(piece, &mut out));
        out
    }

    #[test]
    fn text_passes_and_sequences_do_not_wherever_they_are_cut() {
        let stream = "a\x1b[31mb\x1b[0m\x1b]0;title\x07c\x1b]52;c;eA==\x1b\\d\x1bP$q\"p\x1b\\e\x1b(Bf\u{9b}6ng\u{9d}0;t\u{9c}h\x1b7i\x07\x05j";
        assert_eq!(filtered(&[stream]), "abcdefghij");
        let single: Vec<String> = stream.chars().map(String::from).collect();
        assert_eq!(filtered(&single.iter().map(String::as_str).collect::<Vec<_>>()), "abcdefghij");
    }

    #[test]
    fn lines_stay_lines_and_nothing_is_overwritten_or_reversed() {
        assert_eq!(filtered(&["a\r\nb\tc\r", "\nd"]), "a\nb\tc\nd");
        assert_eq!(filtered(&["10%\r20%\r\r\nok\u{202e}x"]), "10%\n20%\nok\u{fffd}x");
        assert_eq!(filtered(&["$ ls\r\n\x1b[?2004l\rfile\r\n"]), "$ ls\nfile\n");
    }

    #[test]
    fn a_sequence_that_never_ends_is_ended_by_cancel() {
        assert_eq!(filtered(&["a\x1b]0;never\u{18}b"]), "ab");
    }

    #[test]
    fn pauses_are_shortened_first_then_played_faster() {
        assert_eq!(pause(10_000, 2.0, None), Duration::from_nanos(5_000));
        assert_eq!(pause(10_000, 2.0, Some(1_000)), Duration::from_nanos(500));
    }
}
