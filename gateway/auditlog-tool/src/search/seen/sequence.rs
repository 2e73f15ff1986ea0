//! How far an escape sequence goes, as far as one has to know to leave it out (ECMA-48 sections 5.3 to 5.6).

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::search) enum Length {
    /// A sequence of so many bytes.
    Of(usize),
    /// The start of a sequence, and nothing else.
    Unfinished,
    /// None that is sound and not longer than allowed.
    NotOne,
}

/// The sequence at the start of `bytes`, which begin with an escape character.
pub(in crate::search) fn length(bytes: &[u8], longest: usize) -> Length {
    let within = bytes.get(..longest).unwrap_or(bytes);
    let ended = |end: Option<usize>| match end {
        Some(end) => Length::Of(end),
        None if bytes.len() >= longest => Length::NotOne,
        None => Length::Unfinished,
    };
    match within.get(1) {
        None => Length::Unfinished,
        // CSI: parameters, intermediates, one final byte.
        Some(b'[') => {
            let body = within.get(2..).unwrap_or_default();
            match body.iter().position(|byte| !matches!(byte, 0x20..=0x3f)) {
                Some(at) if matches!(body.get(at), Some(0x40..=0x7e)) => Length::Of(at + 3),
                Some(_) => Length::NotOne,
                None => ended(None),
            }
        }
        // OSC, DCS, SOS, PM, APC: text up to BEL or ST.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let body = within.get(2..).unwrap_or_default();
            match body.iter().position(|byte| matches!(byte, 0x00..=0x06 | 0x07 | 0x0a..=0x1f)) {
                None => ended(None),
                Some(at) => match body.get(at..).unwrap_or_default() {
                    [0x07, ..] => Length::Of(at + 3),
                    [0x1b, b'\\', ..] => Length::Of(at + 4),
                    [0x1b] => ended(None),
                    _ => Length::NotOne,
                },
            }
        }
        // Intermediates and a final byte: character sets, keypad, save and restore.
        Some(0x20..=0x2f) => {
            let body = within.get(1..).unwrap_or_default();
            match body.iter().position(|byte| !matches!(byte, 0x20..=0x2f)) {
                Some(at) if matches!(body.get(at), Some(0x30..=0x7e)) => Length::Of(at + 2),
                Some(_) => Length::NotOne,
                None => ended(None),
            }
        }
        Some(0x30..=0x7e) => Length::Of(2),
        Some(_) => Length::NotOne,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_sequence_ends_where_it_ends() {
        for (bytes, expected) in [
            (&b"\x1b[0;31mred"[..], Length::Of(7)),
            (b"\x1b[m", Length::Of(3)),
            (b"\x1b[?2004h", Length::Of(8)),
            (b"\x1b[0;3", Length::Unfinished),
            (b"\x1b[\n", Length::NotOne),
            (b"\x1b]0;t\x07x", Length::Of(6)),
            (b"\x1b]0;t\x1b\\x", Length::Of(7)),
            (b"\x1b]0;t\x1b", Length::Unfinished),
            (b"\x1b]0;t\nx", Length::NotOne),
            (b"\x1b]0123456789012345678901234567890123456789", Length::NotOne),
            (b"\x1b(B", Length::Of(3)),
            (b"\x1b(", Length::Unfinished),
            (b"\x1b=", Length::Of(2)),
            (b"\x1b", Length::Unfinished),
            (b"\x1b\x80", Length::NotOne),
        ] {
            assert_eq!(length(bytes, 40), expected, "{bytes:?}");
        }
    }
}
