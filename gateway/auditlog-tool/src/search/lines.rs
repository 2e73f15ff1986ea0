//! What was shown or typed without a terminal: text in lines, however long.
//!
//! A program without a terminal writes plain text or data, and nothing stands between it and the user's screen but that
//! screen. Nothing is rendered; sequences that colour or otherwise split words are taken out, and a carriage return ends a line as
//! a line feed does.

use super::Search;
use super::batch::Batch;
use super::seen::sequence;

/// Bytes that are searched at a time: enough that the cost per search vanishes, little enough to stay in the cache.
const BATCH: usize = 64 << 10;
/// A line is searched in pieces from this length on: data has no lines.
const MAX_LINE: usize = 64 << 10;
/// Of a piece that has been searched, this much is searched again with the next: matches up to this length are found across pieces.
const OVERLAP: usize = 4 << 10;
/// The longest sequence that is taken out. Longer is what looks like one in data.
const MAX_SEQUENCE: usize = 1 << 10;

/// A stream of text.
#[derive(Debug, Default)]
pub(super) struct Lines {
    batch: Batch,
    /// The start of a sequence whose end has not come yet.
    held: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, data: &[u8], time: u64, search: &mut Search<'_>) {
        // Pieces, so that no record makes the batch longer than it should be.
        for data in data.chunks(BATCH) {
            if self.held.is_empty() {
                self.take(data, false);
            } else {
                let mut joined = std::mem::take(&mut self.held);
                joined.extend_from_slice(data);
                self.take(&joined, false);
            }
            self.batch.stamp(time);
            if self.batch.text().len() >= BATCH {
                self.batch.search(search);
                let unfinished = self.batch.unfinished().len();
                self.batch.forget(self.batch.text().len() - unfinished);
                if unfinished >= MAX_LINE {
                    self.batch.search_unfinished(search);
                    self.batch.forget(unfinished - OVERLAP);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, search: &mut Search<'_>) {
        let held = std::mem::take(&mut self.held);
        self.take(&held, true);
        self.batch.search_unfinished(search);
    }

    fn take(&mut self, data: &[u8], last: bool) {
        let mut rest = data;
        while let Some(at) = memchr::memchr2(b'\x1b', b'\r', rest) {
            let (plain, special) = rest.split_at(at);
            self.batch.push(plain);
            match special.split_first() {
                Some((b'\r', after)) => {
                    // Before a line feed it adds nothing; alone it goes back to the start of a line that was seen.
                    if after.first() != Some(&b'\n') {
                        self.batch.push(b"\n");
                    }
                    rest = after;
                }
                _ => match sequence::length(special, MAX_SEQUENCE) {
                    sequence::Length::Of(length) => rest = special.get(length..).unwrap_or_default(),
                    sequence::Length::Unfinished if !last => {
                        self.held = special.to_vec();
                        return;
                    }
                    sequence::Length::Unfinished | sequence::Length::NotOne => {
                        rest = special.get(1..).unwrap_or_default();
                    }
                },
            }
        }
        self.batch.push(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::pattern::Pattern;
    use std::ops::Range;

    fn found(pattern: &str, pieces: &[&[u8]]) -> Vec<(u64, String)> {
        let pattern = Pattern::new(pattern, false, false).unwrap();
        let mut found = Vec::new();
        let mut sink = |time: u64, line: &[u8], matched: Range<usize>| {
            let _ = line;
            found.push((time, String::from_utf8_lossy(&line[matched]).into_owned()));
        };
        let mut lines = Lines::default();
        for (time, piece) in pieces.iter().enumerate() {
            lines.push(piece, time as u64, &mut Search { pattern: &pattern, sink: &mut sink });
        }
        lines.finish(&mut Search { pattern: &pattern, sink: &mut sink });
        found
    }

    #[test]
    fn colours_do_not_split_words_wherever_they_are_cut() {
        let text = b"a \x1b[1;31mse\x1b[0m\x1b]0;title\x07cret\x1b[K\r\n";
        for cut in 0..text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(found("a secret$", &[a, b]).len(), 1, "cut at {cut}");
        }
        assert_eq!(found("b", &[b"b\x1b"]), [(0, "b".into())]);
    }

    #[test]
    fn what_only_looks_like_a_sequence_hides_nothing() {
        let data = [b"\x1b]".to_vec(), vec![b'x'; 2 * MAX_SEQUENCE], b"secret".to_vec()].concat();
        assert_eq!(found("secret", &[&data]).len(), 1);
        assert_eq!(found("secret", &[b"\x1b]secret\nno end"]).len(), 1);
        assert_eq!(found("secret", &[b"\x1b]secret"]).len(), 1);
    }

    #[test]
    fn progress_written_over_itself_is_seen_line_by_line() {
        assert_eq!(found("^5.%$", &[b"10%\r50%\r", b"\n55%\r\n"]), [(0, "50%".into()), (1, "55%".into())]);
    }

    #[test]
    fn a_match_across_the_pieces_of_an_endless_line_is_found_once() {
        for before in [MAX_LINE - 3, MAX_LINE, 3 * MAX_LINE - 1] {
            let data = [vec![0xff; before], b"secret".to_vec(), vec![b'x'; MAX_LINE]].concat();
            for size in [1000, 32 << 10, data.len()] {
                let pieces: Vec<&[u8]> = data.chunks(size).collect();
                assert_eq!(found("secret", &pieces).len(), 1, "{before} {size}");
            }
        }
    }
}
