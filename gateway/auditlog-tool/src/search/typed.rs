//! What the user typed at a terminal, in lines.
//!
//! A line is looked at twice: as it reads once the usual editing keys have done their work, and as it came. The first is an aid: nobody but the
//! program knows what a key did there (an arrow up may have fetched any line), so the second is what cannot be
//! fooled.

use containerssh_auditlog::text::Joiner;

use super::Search;

/// The longest line, in bytes. Longer ones are searched in pieces: nobody types them.
const MAX_LINE: usize = 16 << 10;

/// The keys of one terminal.
#[derive(Debug, Default)]
pub(super) struct Typed {
    joiner: Joiner,
    /// As it came.
    raw: String,
    /// As it reads.
    edited: String,
    /// Inside a key's sequence (arrows, function keys, pastes): what of it has come.
    sequence: Option<String>,
    time: u64,
}

impl Typed {
    pub(super) fn push(&mut self, data: &[u8], time: u64, search: &mut Search<'_>) {
        let text = self.joiner.push(data);
        for character in text.chars() {
            self.time = time;
            match character {
                '\r' | '\n' => {
                    self.line(search);
                    continue;
                }
                _ if self.raw.len() >= MAX_LINE => self.line(search),
                _ => {}
            }
            self.raw.push(character);
            self.key(character);
        }
    }

    pub(super) fn finish(&mut self, search: &mut Search<'_>) {
        let rest = self.joiner.finish();
        self.raw.push_str(&rest);
        self.edited.push_str(&rest);
        self.line(search);
    }

    fn key(&mut self, character: char) {
        if let Some(sequence) = &mut self.sequence {
            sequence.push(character);
            // Escape with a character is a key of its own; CSI and SS3 go on to their final byte.
            let ended = match (sequence.as_str(), character) {
                ("[" | "O", _) => false,
                (_, '\u{40}'..='\u{7e}') => true,
                (sequence, _) => !sequence.starts_with(['[', 'O']),
            };
            if ended {
                self.sequence = None;
            }
            return;
        }
        match character {
            '\u{1b}' => self.sequence = Some(String::new()),
            // Backspace, in both of its codes.
            '\u{7f}' | '\u{8}' => {
                self.edited.pop();
            }
            // ^U: the line; ^W: the word. ^C and ^D leave the line.
            '\u{15}' => self.edited.clear(),
            '\u{17}' => {
                let kept = self.edited.trim_end().trim_end_matches(|character| character != ' ').len();
                self.edited.truncate(kept);
            }
            _ if character.is_control() && character != '\t' => {}
            _ => self.edited.push(character),
        }
    }

    fn line(&mut self, search: &mut Search<'_>) {
        self.sequence = None;
        if let Some(matched) = search.pattern.find(self.edited.as_bytes(), 0) {
            search.sink.found(self.time, self.edited.as_bytes(), matched);
        } else if let Some(matched) = search.pattern.find(self.raw.as_bytes(), 0) {
            search.sink.found(self.time, self.raw.as_bytes(), matched);
        }
        self.raw.clear();
        self.edited.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::pattern::Pattern;
    use std::ops::Range;

    fn found(pattern: &str, keys: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern, false, false).unwrap();
        let mut found = Vec::new();
        let mut sink = |_: u64, line: &[u8], _: Range<usize>| {
            found.push(String::from_utf8_lossy(line).into_owned());
        };
        let mut typed = Typed::default();
        for (time, key) in keys.as_bytes().iter().enumerate() {
            typed.push(&[*key], time as u64, &mut Search { pattern: &pattern, sink: &mut sink });
        }
        typed.finish(&mut Search { pattern: &pattern, sink: &mut sink });
        found
    }

    #[test]
    fn corrected_keys_read_as_what_was_meant() {
        assert_eq!(found("rm -rf", "rn\u{7f}m -fr\u{8}\u{8}rf caf\u{e9}\r"), ["rm -rf caf\u{e9}"]);
        assert_eq!(found("ls$", "nonsense\u{15}ls\r"), ["ls"]);
        assert_eq!(found("^ls -l$", "ls foo bar\u{17}\u{17}-l\r"), ["ls -l"]);
        assert_eq!(found("^ls$", "l\u{1b}[A\u{1b}OBs\u{1b}[1;5C\r"), ["ls"]);
    }

    #[test]
    fn what_was_typed_and_taken_back_is_found_as_it_came() {
        assert_eq!(found("secret", "secret\u{15}ls\r"), ["secret\u{15}ls"]);
    }

    #[test]
    fn lines_are_apart_and_the_last_needs_no_end() {
        assert_eq!(found("^b$", "a\rb\rc"), ["b"]);
        assert_eq!(found("^c$", "a\rb\rc"), ["c"]);
        assert_eq!(found("ab", "a\rb"), Vec::<String>::new());
    }
}
