//! A deflate compressor (RFC 1951) for segments of sessions: whole in memory, at most a few MiB, mostly terminal text.
//!
//! Why our own: a session must not wait for its record, so compression has to keep up with what a terminal can show
//! (250 MB/s of one core), and a year of records has to be stored (within 15 % of `gzip -6`). On real terminal output no level
//! of a maintained library does both; `e2e/bench encoder-text` measures it. Against zlib-rs in one run, speed as a multiple of its
//! level 6 and size as one: its level 2 is 2.6 times as fast and 23 % larger, level 3 2.0 and 13 %, libdeflate's level 1 3.3 and 17 %;
//! this one 2.6 and 11 %.
//!
//! How: as zstd's fast levels do it. Two hash tables remember the last place of each 8 and of each 4 bytes ([`search`]); a long
//! match is taken at once, a short one only if the next byte starts no longer one, and inside a match hardly anything is
//! entered into the tables. What is found is collected for a block and written with codes made for that block ([`block`],
//! [`huffman`]).
//!
//! A fault here would garble records. Every match is compared byte by byte before it is used, so the tables cannot make
//! one up; and whatever is written is read back by another implementation in the property tests below and under a fuzzer.

mod bits;
mod block;
mod huffman;
mod search;

use block::Block;
use search::{Found, Tables};

/// A compressor, kept between segments: 128 KiB of tables and the matches of one block.
pub(crate) struct Deflate {
    tables: Tables,
    block: Block,
}

impl Deflate {
    pub(crate) fn new() -> Self {
        Self { tables: Tables::new(), block: Block::new() }
    }

    /// Appends `content` to `out` as one complete deflate stream.
    pub(crate) fn append(&mut self, content: &[u8], out: &mut Vec<u8>) {
        self.tables.clear();
        let mut bits = bits::Carry::default();
        let (mut block_start, mut position) = (0, 0);
        while let Some(Found { start, length, distance, end }) = self.tables.next(content, position) {
            let literals = content.get(position..start).unwrap_or_default();
            self.block.add(literals, length, distance);
            position = end;
            if self.block.is_full() {
                let covered = content.get(block_start..end).unwrap_or_default();
                self.block.write(covered, false, &mut bits, out);
                block_start = end;
            }
        }
        self.block.add_literals(content.get(position..).unwrap_or_default());
        self.block.write(content.get(block_start..).unwrap_or_default(), true, &mut bits, out);
        bits.finish(out);
    }
}

/// What a table says at `index`; every caller's index is within it.
#[inline(always)]
fn at<T: Copy + Default>(table: &[T], index: usize) -> T {
    table.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;
    use proptest::prelude::*;

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Deflate::new().append(content, &mut out);
        out
    }

    fn inflated(stream: &[u8]) -> Vec<u8> {
        let mut back = Vec::new();
        DeflateDecoder::new(stream).read_to_end(&mut back).unwrap();
        back
    }

    #[track_caller]
    fn round_trip(content: &[u8]) -> usize {
        let stream = deflated(content);
        assert!(inflated(&stream) == content, "{} bytes came back otherwise", content.len());
        stream.len()
    }

    /// Bytes without any pattern (xorshift), the same in each run.
    fn noise(seed: u64) -> impl FnMut() -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    #[test]
    fn the_shortest_contents_come_back() {
        for length in 0..300 {
            round_trip(&vec![b'a'; length]);
            round_trip(&(0..length).map(|at| at as u8).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn what_one_key_press_costs_is_a_few_bytes_because_no_code_is_written_for_it() {
        assert!(round_trip(b"x") <= 3);
        assert!(round_trip(b"") <= 2);
    }

    #[test]
    fn a_byte_repeated_is_as_small_as_deflate_can_make_it() {
        // 258 bytes per match, one bit each for length and distance.
        assert!(round_trip(&vec![0; 1 << 20]) < 1 << 11);
    }

    #[test]
    fn what_repeats_just_within_the_window_is_found_and_beyond_it_is_not() {
        let mut next = noise(1);
        let once: Vec<u8> = (0..32_768).map(|_| next() as u8).collect();
        let near = [&once[..], &once[..]].concat();
        // Found a little late: random bytes are passed quickly.
        assert!(round_trip(&near) < 48_000, "{}", round_trip(&near));
        let far = [&once[..], b"x", &once[..]].concat();
        assert!(round_trip(&far) > 64_000);
    }

    /// Frequencies like Fibonacci numbers give the longest codes there are: they have to be shortened to 15 bits.
    #[test]
    fn codes_are_never_longer_than_the_format_allows() {
        let mut content = Vec::new();
        let (mut a, mut b) = (1, 1);
        for symbol in 0..24u8 {
            // Apart, so that no run is a match.
            content.extend(std::iter::repeat_n([symbol, 255 - symbol], a).flatten());
            (a, b) = (b, a + b);
        }
        let mut next = noise(7);
        for at in (1..content.len()).rev() {
            content.swap(at, next() as usize % (at + 1));
        }
        round_trip(&content);
    }

    #[test]
    fn blocks_follow_one_another_at_any_bit() {
        let mut next = noise(3);
        let words: Vec<String> = (0..500).map(|_| format!("{:x} ", next() >> (next() % 50))).collect();
        let text: String = (0..400_000).map(|_| &*words[next() as usize % words.len()]).collect();
        assert!(round_trip(text.as_bytes()) < text.len() / 2);
    }

    #[test]
    fn one_compressor_serves_contents_one_after_another() {
        let mut deflate = Deflate::new();
        let (one, two) = (b"one and one and one".repeat(50), b"two or two or two".repeat(70));
        let fresh = deflated(&one);
        for content in [&one, &two, &one] {
            let mut out = Vec::new();
            deflate.append(content, &mut out);
            assert!(inflated(&out) == **content);
            assert!(content != &one || out == fresh, "it depends on what came before");
        }
    }

    /// Pieces that were there before, at any distance, between others that were not.
    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        let step = (any::<u64>(), 0usize..400, any::<prop::sample::Index>(), 1u8..=255);
        proptest::collection::vec(step, 1..120).prop_map(|steps| {
            let mut content: Vec<u8> = Vec::new();
            for (seed, length, from, alphabet) in steps {
                if seed % 3 == 0 || content.is_empty() {
                    let mut next = noise(seed);
                    content.extend((0..length).map(|_| (next() % u64::from(alphabet)) as u8));
                } else {
                    // Overlapping what it copies from, if it is near the end.
                    let from = from.index(content.len());
                    for at in from..from + length {
                        content.push(content[at]);
                    }
                }
            }
            content
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(any::<u8>(), 0..3_000)) {
            round_trip(&content);
        }

        #[test]
        fn any_repetition_comes_back(content in repetitive(), times in 1usize..4) {
            round_trip(&content.repeat(times));
        }
    }
}
