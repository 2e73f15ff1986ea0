//! Keys of a terminal as what they mean to the player.

use super::deck::Jump;

/// Nanoseconds that the arrow keys jump.
const SHORT: i64 = 5_000_000_000;
/// Nanoseconds that the page keys jump.
const LONG: i64 = 60_000_000_000;

/// What the viewer wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wish {
    Pause,
    Quit,
    Suspend,
    Jump(Jump),
    Step,
    StepBack,
    Faster,
    Slower,
    /// Switches the limit of idle time on or off.
    Idle,
    Redraw,
    Help,
}

/// The keys, for people.
pub(crate) const HELP: &str =
    "space pause  \u{2190} \u{2192} 5 s  PgUp PgDn 1 min  0-9 tenths  , . step  + - speed  i idle  q quit";

/// The wishes in what was read from a terminal at once. Unknown keys mean nothing.
pub(crate) fn wishes(mut typed: &[u8]) -> Vec<Wish> {
    let mut wishes = Vec::new();
    while let Some((wish, rest)) = first(typed) {
        wishes.extend(wish);
        typed = rest;
    }
    wishes
}

fn first(typed: &[u8]) -> Option<(Option<Wish>, &[u8])> {
    let (wish, rest) = match typed {
        [] => return None,
        // Both ways that terminals send cursor keys.
        [0x1b, b'[' | b'O', sequence @ ..] => return Some(key_sequence(sequence)),
        [b' ', rest @ ..] => (Wish::Pause, rest),
        // Control-C and Control-D: in raw mode they are keys like others.
        [b'q' | b'Q' | 0x03 | 0x04, rest @ ..] => (Wish::Quit, rest),
        [0x1a, rest @ ..] => (Wish::Suspend, rest),
        [0x0c, rest @ ..] => (Wish::Redraw, rest),
        [digit @ b'0'..=b'9', rest @ ..] => (Wish::Jump(Jump::Tenth(digit - b'0')), rest),
        [b'.', rest @ ..] => (Wish::Step, rest),
        [b',', rest @ ..] => (Wish::StepBack, rest),
        [b'+' | b'=' | b']', rest @ ..] => (Wish::Faster, rest),
        [b'-' | b'[', rest @ ..] => (Wish::Slower, rest),
        [b'i', rest @ ..] => (Wish::Idle, rest),
        [b'?' | b'h', rest @ ..] => (Wish::Help, rest),
        [_, rest @ ..] => return Some((None, rest)),
    };
    Some((Some(wish), rest))
}

/// A key that sends a control sequence: parameters, then one letter or `~` (ECMA-48 section 5.4).
fn key_sequence(sequence: &[u8]) -> (Option<Wish>, &[u8]) {
    let parameters = sequence.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    let Some((parameters, [letter, rest @ ..])) = sequence.split_at_checked(parameters) else {
        return (None, &[]);
    };
    let jump = match (parameters, letter) {
        (_, b'C') => Jump::By(SHORT),
        (_, b'D') => Jump::By(-SHORT),
        (_, b'A') | (b"5", b'~') => Jump::By(LONG),
        (_, b'B') | (b"6", b'~') => Jump::By(-LONG),
        (_, b'H') | (b"1" | b"7", b'~') => Jump::To(0),
        (_, b'F') | (b"4" | b"8", b'~') => Jump::End,
        _ => return (None, rest),
    };
    (Some(Wish::Jump(jump)), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_typed_fast_all_count() {
        assert_eq!(
            wishes(b"\x1b[C \x1bOD5.\x1b[5~q"),
            [
                Wish::Jump(Jump::By(SHORT)),
                Wish::Pause,
                Wish::Jump(Jump::By(-SHORT)),
                Wish::Jump(Jump::Tenth(5)),
                Wish::Step,
                Wish::Jump(Jump::By(LONG)),
                Wish::Quit
            ]
        );
    }

    #[test]
    fn unknown_keys_and_cut_sequences_mean_nothing() {
        assert_eq!(wishes(b"z\x1b[15~\x1b[1;5X\xc3\xa9"), []);
        assert_eq!(wishes(b"\x1b"), []);
        assert_eq!(wishes(b"\x1b["), []);
        assert_eq!(wishes(b"\x1b[12;"), []);
    }
}
