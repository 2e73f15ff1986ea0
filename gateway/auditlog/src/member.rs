//! Writing segments: each one complete gzip member, as small as is worth the time it takes.
//!
//! What sessions carry is either text, which shrinks to a tenth, or data that is already compressed or encrypted, on
//! which deflate spends 20 ns a byte for nothing. A file transfer must not cost more than the transfer itself, so
//! [`compress`] looks at samples of the segment first. If they look random, or are near it and do not shrink, the segment is
//! stored as it is. Stored blocks are valid deflate (RFC 1951 section 3.2.4): every gzip reader reads both.

use flate2::Crc;

use crate::deflate::Deflate;

/// Samples per segment, evenly spread, so that one compressible corner does not decide for the whole.
const SAMPLES: usize = 4;
/// Bytes per sample: enough for matches to show, little enough (6 % of a 256 KiB segment) to be cheap.
const SAMPLE: usize = 4 << 10;
/// A sample must shrink by at least one part in this many, or compression is not worth it.
const WORTH: usize = 16;
/// Sum of the squared frequencies of byte values below which a sample counts as random. Random bytes give n + n(n-1)/256 =
/// 69,600 on average for a sample of n = 4,096, with a standard deviation of 370; text gives 250,000 and more.
const RANDOM_SQUARES: u64 = 72_000;
/// The same sum, from which on a sample is no doubt worth compressing: half as many values as there are bytes, or fewer.
const TEXT_SQUARES: u64 = 140_000;
/// The longest stored block (RFC 1951: 16-bit length).
const STORED_BLOCK: usize = 0xffff;
/// What comes before each.
const BLOCK_HEAD: usize = 5;
/// gzip, deflate, no flags, no time, no extra flags, unknown system: as the reference writes it.
const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A compressor kept between segments. About 0.25 MB: one per writing thread, not one per connection.
pub struct Scratch {
    deflate: Deflate,
    probed: Vec<u8>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Allocates the compressor.
    #[must_use]
    pub fn new() -> Self {
        Self { deflate: Deflate::new(), probed: Vec::new() }
    }
}

/// Appends `content` to `out` as one complete gzip member.
///
/// The best segments are 64 KiB to 1 MiB long: the decision between compressing and storing is made once per member.
pub fn compress(content: &[u8], out: &mut Vec<u8>, scratch: &mut Scratch) {
    compress_with_extra(content, &[], out, scratch);
}

/// Like [`compress`], with this extra field in the member's header (RFC 1952 section 2.3.1.1), at most 65,535 bytes. An
/// empty one is left out.
pub fn compress_with_extra(content: &[u8], extra: &[u8], out: &mut Vec<u8>, scratch: &mut Scratch) {
    start(extra, out);
    let body = out.len();
    if may_shrink(content, scratch) {
        scratch.deflate.append(content, out);
    }
    let deflated = out.len() - body;
    if deflated == 0 || deflated >= content.len() + BLOCK_HEAD * (content.len() / STORED_BLOCK + 1) {
        out.truncate(body);
        store(content, out);
    }
    end(content, out);
}

/// Appends a member without content: an empty stored block, so that its bytes follow from `extra` alone.
pub(crate) fn empty(extra: &[u8], out: &mut Vec<u8>) {
    start(extra, out);
    store(&[], out);
    end(&[], out);
}

/// Appends a member's header.
fn start(extra: &[u8], out: &mut Vec<u8>) {
    const FLAGS: usize = 3;
    const FEXTRA: u8 = 4;
    let header = out.len();
    out.extend_from_slice(&MEMBER_HEADER);
    if !extra.is_empty() {
        if let Some(flags) = out.get_mut(header + FLAGS) {
            *flags |= FEXTRA;
        }
        out.extend_from_slice(&(extra.len() as u16).to_le_bytes());
        out.extend_from_slice(extra);
    }
}

/// Appends a member's trailer.
fn end(content: &[u8], out: &mut Vec<u8>) {
    let mut crc = Crc::new();
    crc.update(content);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
}

/// Whether samples of `content` make it worth trying.
fn may_shrink(content: &[u8], scratch: &mut Scratch) -> bool {
    if content.len() < SAMPLE {
        return true;
    }
    let count = samples(content).count() as u64;
    let squares = samples(content).map(squares);
    if squares.clone().all(|squares| squares < RANDOM_SQUARES) {
        return false;
    }
    if squares.sum::<u64>() >= count * TEXT_SQUARES {
        return true;
    }
    scratch.probed.clear();
    let mut before = 0;
    for sample in samples(content) {
        scratch.deflate.append(sample, &mut scratch.probed);
        before += sample.len();
    }
    scratch.probed.len() + before / WORTH < before
}

/// Pieces of `content`, evenly spread.
fn samples(content: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let samples = if content.len() <= SAMPLES * SAMPLE { 1 } else { SAMPLES };
    content.chunks(content.len().div_ceil(samples).max(1)).map(|part| {
        // The middle of the part: its start may be the one record head among a long run of data.
        let start = part.len().saturating_sub(SAMPLE) / 2;
        let (sample, _) = part.split_at(part.len().min(start + SAMPLE));
        sample.split_at(start).1
    })
}

/// Sum of the squared frequencies of byte values: how uneven they are. Ten times cheaper than compressing, and enough to see what
/// large transfers consist of, which is encrypted or compressed. (Data that repeats itself and yet looks so is stored in full.)
fn squares(sample: &[u8]) -> u64 {
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    counts.iter().map(|count| u64::from(*count).pow(2)).sum()
}

/// Appends `content` as stored deflate blocks.
fn store(content: &[u8], out: &mut Vec<u8>) {
    const FINAL: u8 = 1;
    out.reserve(content.len() + BLOCK_HEAD * (content.len() / STORED_BLOCK + 1) + 8);
    let (mut block, mut rest) = content.split_at(content.len().min(STORED_BLOCK));
    loop {
        let length = block.len() as u16;
        out.push(if rest.is_empty() { FINAL } else { 0 });
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
        if rest.is_empty() {
            return;
        }
        (block, rest) = rest.split_at(rest.len().min(STORED_BLOCK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    /// Bytes without any pattern (xorshift), the same in each run.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| step()).collect()
    }

    fn round_trip(content: &[u8], scratch: &mut Scratch) -> usize {
        let mut member = b"before".to_vec();
        compress(content, &mut member, scratch);
        let mut back = Vec::new();
        GzDecoder::new(&member[6..]).read_to_end(&mut back).unwrap();
        assert!(back == content, "{} bytes came back as {}", content.len(), back.len());
        member.len() - 6
    }

    #[test]
    fn what_does_not_shrink_is_stored_and_grows_by_a_few_bytes_only() {
        let mut scratch = Scratch::new();
        for length in [0, 1, 100, 65_535, 65_536, 262_144, 1_000_000] {
            let size = round_trip(&noise(length), &mut scratch);
            assert!(size <= length + 18 + 5 * (length / STORED_BLOCK + 1), "{length} became {size}");
        }
    }

    #[test]
    fn noise_looks_random_and_nothing_that_shrinks_does() {
        let looks_random = |content: &[u8]| !may_shrink(content, &mut Scratch::new());
        assert!(looks_random(&noise(1_000_000)));
        assert!(looks_random(&noise(SAMPLE)));
        let base64: Vec<u8> = noise(SAMPLE).iter().map(|byte| b'A' + byte % 64).collect();
        assert!(!looks_random(&base64));
        assert!(!looks_random(&[0; SAMPLE]));
    }

    #[test]
    fn what_is_nearly_random_is_compressed_only_if_that_makes_it_smaller() {
        // A quarter of the bytes in half of the range: uneven, yet no shorter code is worth it.
        let uneven: Vec<u8> =
            noise(1_000_000).chunks(4).flat_map(|four| [four[0] & 0x7f, four[1], four[2], four[3]]).collect();
        let sum: u64 = samples(&uneven).map(squares).sum();
        assert!((RANDOM_SQUARES..TEXT_SQUARES).contains(&(sum / SAMPLES as u64)), "{sum}");
        assert!(!may_shrink(&uneven, &mut Scratch::new()));
        // The same, but every other piece was there before.
        let repeated: Vec<u8> =
            uneven.chunks(64).flat_map(|piece| [piece, piece]).flatten().copied().collect();
        assert!(may_shrink(&repeated, &mut Scratch::new()));
    }

    #[test]
    fn text_is_compressed() {
        let text: String =
            (0..20_000).map(|line| format!("-rw-r--r-- 1 root root {line} Jan  1 file{line}\r\n")).collect();
        let size = round_trip(text.as_bytes(), &mut Scratch::new());
        assert!(size < text.len() / 4, "{} became {size}", text.len());
    }

    #[test]
    fn a_scratch_serves_segments_of_both_kinds_in_any_order() {
        let mut scratch = Scratch::new();
        let text = b"all the same ".repeat(1000);
        let first = round_trip(&text, &mut scratch);
        round_trip(&noise(50_000), &mut scratch);
        assert_eq!(round_trip(&text, &mut scratch), first);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_content_comes_back(content in proptest::collection::vec(any::<u8>(), 0..20_000), repeat in 1usize..5) {
            round_trip(&content.repeat(repeat), &mut Scratch::new());
        }
    }
}
