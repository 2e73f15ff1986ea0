//! Lines of scp's streams.

use crate::sftp::event::{Outcome, short_text};

/// The longest line, in bytes: a name and numbers. OpenSSH's limit is 2 KiB.
const MAX_LINE: usize = 8 << 10;

/// A line that is cut anywhere, up to [`MAX_LINE`].
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) held: Vec<u8>,
}

/// What came of a line.
pub(super) enum Taken {
    Part,
    Whole(Vec<u8>),
    TooLong,
}

impl Line {
    /// Takes up to the end of the line.
    pub(super) fn take(&mut self, input: &mut &[u8], taken: &mut u64) -> Taken {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (part, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
        *input = rest;
        *taken += part.len() as u64;
        if self.held.len() + part.len() > MAX_LINE {
            return Taken::TooLong;
        }
        self.held.extend_from_slice(part);
        if end.is_none() {
            return Taken::Part;
        }
        let mut line = std::mem::take(&mut self.held);
        line.pop();
        Taken::Whole(line)
    }

    /// Takes a byte 0, or an error with its line. `None`: more is needed.
    pub(super) fn verdict(&mut self, input: &mut &[u8], taken: &mut u64) -> Option<Result<(), Outcome>> {
        if self.held.is_empty()
            && let [0, rest @ ..] = *input
        {
            *input = rest;
            *taken += 1;
            return Some(Ok(()));
        }
        let line = match self.take(input, taken) {
            Taken::Part => return None,
            Taken::Whole(line) => line,
            Taken::TooLong => std::mem::take(&mut self.held),
        };
        let (code, message) = line.split_first().map_or((0, &[][..]), |(code, message)| (*code, message));
        Some(Err(Outcome::Failed { code: u32::from(code), message: short_text(message) }))
    }
}

/// `<octal mode> <decimal size> <name>`.
pub(super) fn numbers_and_name(line: &[u8]) -> Option<(u32, u64, &[u8])> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let mode = u32::from_str_radix(text()?, 8).ok()?;
    let size = text()?.parse().ok()?;
    Some((mode, size, parts.next().filter(|name| !name.is_empty())?))
}
