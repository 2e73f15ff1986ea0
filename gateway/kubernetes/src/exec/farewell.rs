//! The parent's last line: the exit status in our own hand. Pure.
//!
//! The cluster's word is not enough. Its API server translates our protocol into the kubelet's, and when that stream ends
//! before the status has passed through, it reports `Success` (seen once in some hundred quick programs; client-go takes an
//! empty error stream for no error). So the parent of a program writes its exit status to the standard error before it leaves,
//! this takes the line out again, and a success without it is none.

use bytes::{Bytes, BytesMut};

/// Digits of an exit status and the newline.
const MAX_STATUS_AND_NEWLINE: usize = 4;

/// Finds the last line of one program in what it writes to its standard error, however that is cut into pieces.
#[derive(Debug)]
pub(crate) struct Farewell {
    marker: String,
    /// What may be the beginning of the line.
    held: BytesMut,
    status: Option<u32>,
}

impl Farewell {
    /// `marker` is what the line begins with; the status and a newline follow.
    pub(crate) fn new(marker: String) -> Self {
        Self { marker, held: BytesMut::new(), status: None }
    }

    /// The exit status, once it has come.
    pub(crate) fn status(&self) -> Option<u32> {
        self.status
    }

    /// Takes bytes in and gives those that are the program's.
    pub(crate) fn take(&mut self, data: Bytes) -> Bytes {
        if self.status.is_some() {
            // What a child left behind still has to say.
            return data;
        }
        let data = if self.held.is_empty() {
            data
        } else {
            self.held.extend_from_slice(&data);
            self.held.split().freeze()
        };
        match self.find(&data) {
            Some((start, Some((end, status)))) => {
                self.status = Some(status);
                let mut rest = BytesMut::from(data.slice(..start));
                rest.extend_from_slice(&data.slice(end..));
                rest.freeze()
            }
            Some((start, None)) => {
                self.held.extend_from_slice(&data.slice(start..));
                data.slice(..start)
            }
            None => data,
        }
    }

    /// What was held back and turned out to be the program's.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Where the line, or what may be its beginning, starts; its end and the status if it is whole.
    fn find(&self, data: &[u8]) -> Option<(usize, Option<(usize, u32)>)> {
        let marker = self.marker.as_bytes();
        let first = *marker.first()?;
        let mut from = 0;
        while let Some(offset) = data.get(from..)?.iter().position(|byte| *byte == first) {
            let start = from + offset;
            let candidate = data.get(start..)?;
            if let Some(rest) = candidate.strip_prefix(marker) {
                match rest.iter().take(MAX_STATUS_AND_NEWLINE).position(|byte| *byte == b'\n') {
                    Some(newline) => {
                        let digits = std::str::from_utf8(rest.get(..newline)?).ok();
                        if let Some(status) = digits.and_then(|digits| digits.parse().ok()) {
                            return Some((start, Some((start + marker.len() + newline + 1, status))));
                        }
                    }
                    None if rest.len() < MAX_STATUS_AND_NEWLINE => return Some((start, None)),
                    None => {}
                }
            } else if marker.starts_with(candidate) {
                return Some((start, None));
            }
            from = start + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell() -> Farewell {
        Farewell::new("containerssh-exit:abc:".to_owned())
    }

    #[test]
    fn the_line_is_found_however_it_is_cut_and_nothing_else_is_taken() {
        let text = b"con contain warning\ncontainerssh-exit:abc:42\nlate";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut farewell = farewell();
                let mut passed = Vec::new();
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    passed.extend_from_slice(&farewell.take(Bytes::copy_from_slice(piece)));
                }
                passed.extend_from_slice(&farewell.rest());
                assert_eq!(farewell.status(), Some(42), "cut at {first} and {second}");
                assert_eq!(passed, b"con contain warning\nlate");
            }
        }
    }

    #[test]
    fn what_only_looks_like_the_line_is_passed_on() {
        for text in
            ["containerssh-exit:abc:", "containerssh-exit:abd:0\n", "containerssh-exit:abc:x\n", "contai"]
        {
            let mut farewell = farewell();
            let mut passed = farewell.take(Bytes::copy_from_slice(text.as_bytes())).to_vec();
            passed.extend_from_slice(&farewell.rest());
            assert_eq!(farewell.status(), None);
            assert_eq!(passed, text.as_bytes());
        }
    }
}
