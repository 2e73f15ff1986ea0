//! Text from bytes that a peer chose.
//!
//! Three needs, three tools: [`lossy`] makes any bytes a `String` for a record; [`Joiner`] turns a stream cut at
//! arbitrary places into text without breaking characters at the cuts; [`visible`] shows text on a terminal without letting
//! it act there.

use std::fmt::Write;

/// Any bytes as valid UTF-8: each ill-formed part becomes U+FFFD, so that the alteration can be seen.
///
/// Records hold valid text only: the reference decoder stops at the first ill-formed byte, which would hide
/// everything after it.
#[must_use]
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Joins characters whose bytes arrive in different pieces of a stream.
///
/// Holds back an unfinished character (three bytes at most) until the next piece or [`Joiner::finish`].
#[derive(Clone, Debug, Default)]
pub struct Joiner {
    pending: Vec<u8>,
}

impl Joiner {
    /// The text that is complete with this piece. Ill-formed parts become U+FFFD.
    pub fn push(&mut self, piece: &[u8]) -> String {
        self.pending.extend_from_slice(piece);
        let keep = unfinished(&self.pending);
        let rest = self.pending.split_off(self.pending.len() - keep);
        // Nearly always it is text, which is checked faster than it is mended.
        String::from_utf8(std::mem::replace(&mut self.pending, rest))
            .unwrap_or_else(|error| lossy(error.as_bytes()))
    }

    /// What is left at the end of the stream: nothing, or one U+FFFD for an unfinished character.
    pub fn finish(&mut self) -> String {
        lossy(&std::mem::take(&mut self.pending))
    }
}

/// How many bytes at the end are the start of a character that needs more bytes.
fn unfinished(bytes: &[u8]) -> usize {
    // A character has at most four bytes, and begins with the only one of them that is 0xc0 or more.
    let near = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
    let start = near.iter().rposition(|byte| *byte >= 0xc0).and_then(|at| near.get(at..));
    start.filter(|start| is_start_of_character(start)).map_or(0, <[u8]>::len)
}

fn is_start_of_character(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

/// `text` with everything that could act on a terminal or hide in it made visible: `\n`, `\t`, `\e`, `\x7f`, `\u{202e}`;
/// the backslash itself is doubled, so that the form is unambiguous.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let escape = match character {
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{1b}' => "\\e",
            _ if (character as u32) < 0x80 && character.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\x{:02x}", character as u32);
                continue;
            }
            _ if character.is_control() || is_invisible(character) => {
                let _ = write!(shown, "\\u{{{:x}}}", character as u32);
                continue;
            }
            _ => {
                shown.push(character);
                continue;
            }
        };
        shown.push_str(escape);
    }
    shown
}

/// Characters that change how others are shown (direction, joining, tags) or show as nothing: with them one text can
/// be made to look like another (Unicode Technical Report 36).
#[must_use]
pub fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_anywhere_is_joined() {
        let text = "caf\u{e9} \u{20ac} \u{1f600}!";
        for cut in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            let mut joiner = Joiner::default();
            assert_eq!(joiner.push(a) + &joiner.push(b) + &joiner.finish(), text, "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_of_single_bytes_is_joined() {
        let mut joiner = Joiner::default();
        let text: String = "\u{1f600}\u{e9}".bytes().map(|byte| joiner.push(&[byte])).collect();
        assert_eq!(text + &joiner.finish(), "\u{1f600}\u{e9}");
    }

    #[test]
    fn ill_formed_bytes_are_shown_at_once_and_hold_nothing_back() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(b"a\xffb\x80"), "a\u{fffd}b\u{fffd}");
        assert_eq!(joiner.push(b"\xe2\x82"), "");
        assert_eq!(joiner.push(b"x"), "\u{fffd}x");
        assert_eq!(joiner.push(b"\xf0\x9f"), "");
        assert_eq!(joiner.finish(), "\u{fffd}");
        assert_eq!(joiner.finish(), "");
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_stays() {
        assert_eq!(visible("a\x1b[31m\r\n\t\\\x07\x7f"), "a\\e[31m\\r\\n\\t\\\\\\x07\\x7f");
        assert_eq!(
            visible("\u{9b}\u{202e}\u{200b}\u{e9}\u{20ac}"),
            "\\u{9b}\\u{202e}\\u{200b}\u{e9}\u{20ac}"
        );
    }
}
