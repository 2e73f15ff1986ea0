//! Text from strangers, made safe to stand in a log line.
//!
//! A user name may hold newlines (a forged line), escape sequences (which a terminal obeys) or bidirectional overrides
//! (text that reads otherwise than it is). All of them are replaced by their escaped form: nothing is lost, nothing
//! is obeyed.

use std::fmt::{self, Write};

/// Longest message, in bytes. Longer ones are cut and marked.
pub const MAX_MESSAGE: usize = 4096;
/// Longest label value, in bytes: the longest command or path worth reading in a log.
pub const MAX_VALUE: usize = 4096;
/// Most labels on one line, spans included. Ours have a dozen.
pub const MAX_LABELS: usize = 64;

/// Marks a text that was cut.
const CUT: &str = "…";

/// Whether a character must not reach a terminal or a line-based reader as it is.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Line and paragraph separator: a line break to some readers.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates that reorder what follows (Unicode Annex 9).
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible characters that make two different names look the same.
            | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Deprecated tag characters, invisible as well.
            | '\u{e0000}'..='\u{e007f}')
}

/// The text with unsafe characters escaped and at most `limit` bytes long (plus the mark of a cut).
///
/// ```
/// use containerssh_log::clean::text;
/// assert_eq!(text("root\nroot", 100), "root\\nroot");
/// assert_eq!(text("\u{1b}[31m", 100), "\\u{1b}[31m");
/// assert_eq!(text("aaaa", 3), "aaa…");
/// ```
#[must_use]
pub fn text(input: &str, limit: usize) -> String {
    let mut writer = Cleaner::new(limit);
    // The cleaner fails only to stop early at its limit, which it marks itself.
    let _ = writer.write_str(input);
    writer.finish()
}

/// The displayed form of a value, cleaned and bounded while it is produced: a huge value is never rendered in full.
#[must_use]
pub fn debug(value: &dyn fmt::Debug, limit: usize) -> String {
    let mut writer = Cleaner::new(limit);
    let _ = write!(writer, "{value:?}");
    writer.finish()
}

struct Cleaner {
    text: String,
    limit: usize,
    cut: bool,
}

impl Cleaner {
    fn new(limit: usize) -> Self {
        Self { text: String::new(), limit, cut: false }
    }

    fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str(CUT);
        }
        self.text
    }
}

impl fmt::Write for Cleaner {
    fn write_str(&mut self, input: &str) -> fmt::Result {
        let mut escaped = String::new();
        for character in input.chars() {
            escaped.clear();
            if is_unsafe(character) {
                match character {
                    '\n' | '\r' | '\t' => escaped.extend(character.escape_default()),
                    other => escaped.extend(other.escape_unicode()),
                }
            } else {
                escaped.push(character);
            }
            if self.text.len() + escaped.len() > self.limit {
                self.cut = true;
                return Err(fmt::Error);
            }
            self.text.push_str(&escaped);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for code in 0..=0x10_ffff_u32 {
            let Some(character) = char::from_u32(code) else { continue };
            let cleaned = text(&character.to_string(), 100);
            assert!(!cleaned.chars().any(is_unsafe), "{code:x}");
            if !is_unsafe(character) {
                assert_eq!(cleaned, character.to_string());
            }
        }
        assert_eq!(text("a\r\n\t\u{202e}b\u{7f}\u{9b}", 100), "a\\r\\n\\t\\u{202e}b\\u{7f}\\u{9b}");
    }

    #[test]
    fn letters_of_any_script_stay() {
        assert_eq!(text("Zoë Ωμέγα 日本語 🦀", 100), "Zoë Ωμέγα 日本語 🦀");
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_escape() {
        assert_eq!(text("ab€", 4), "ab…");
        assert_eq!(text("a\u{1b}", 5), "a…");
        assert_eq!(text("abc", 3), "abc");
    }

    #[test]
    fn a_huge_value_is_not_rendered_in_full() {
        struct Endless;
        impl fmt::Debug for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("endless ")?;
                }
            }
        }
        assert_eq!(debug(&Endless, 10), "endless en…");
    }
}
