//! Writing segments: each one complete gzip member, as small as is worth the time it takes.
//!
//! What sessions carry is either text, which shrinks to a tenth, or data that is already compressed or encrypted, on
//! which deflate spends 20 ns a byte for nothing. A file transfer must not cost more than the transfer itself, so
//! [`compress`] measures: it looks at samples of the segment, compresses them at the fastest level if they do not look random
//! already, and stores the segment as it is unless that shrinks them. Stored blocks are valid deflate (RFC 1951 section 3.2.4): every gzip reader reads both.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The level for data that shrinks. Measured with zlib-rs on records of terminal text (`examples/encoder-bench.rs`; speed
/// against one core's `gzip -6`, size against its size): level 1 3.0 times as fast, 46 % larger; level 2 1.9, 11 %; level 3
/// 1.6, 5 %; level 4 1.4, 3 %. Level 2 is the fastest that stays within 15 %.
const LEVEL: u32 = 2;
/// The level for measuring a sample: the fastest.
const PROBE_LEVEL: u32 = 1;
/// Samples per segment, evenly spread, so that one compressible corner does not decide for the whole.
const SAMPLES: usize = 4;
/// Bytes per sample: enough for matches to show, little enough (6 % of a 256 KiB segment) to be cheap.
const SAMPLE: usize = 4 << 10;
/// A sample must shrink by at least one part in this many, or compression is not worth it.
const WORTH: usize = 16;
/// Sum of the squared frequencies of byte values below which a sample counts as random. Random bytes give n + n(n-1)/256 =
/// 69,600 on average for a sample of n = 4,096, with a standard deviation of 370; text gives 250,000 and more.
const RANDOM_SQUARES: u64 = 72_000;
/// The longest stored block (RFC 1951: 16-bit length).
const STORED_BLOCK: usize = 0xffff;
/// gzip, deflate, no flags, no time, no extra flags, unknown system: as the reference writes it.
const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// What a compressed segment may need beyond its own length before the buffer has to grow again.
const SLACK: usize = 64;

/// Compressors kept between segments. About 0.6 MB: one per writing thread, not one per connection.
pub struct Scratch {
    probe: Compress,
    main: Compress,
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
    /// Allocates the compressors.
    #[must_use]
    pub fn new() -> Self {
        Self {
            probe: Compress::new(Compression::new(PROBE_LEVEL), false),
            main: Compress::new(Compression::new(LEVEL), false),
            probed: Vec::with_capacity(SAMPLE + SLACK),
        }
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
    if !shrinks(content, scratch) || !deflate(&mut scratch.main, content, out) {
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

/// Whether samples of `content` shrink enough.
fn shrinks(content: &[u8], scratch: &mut Scratch) -> bool {
    if samples(content).all(looks_random) {
        return false;
    }
    let (mut before, mut after) = (0, 0);
    for sample in samples(content) {
        scratch.probed.clear();
        before += sample.len();
        if !deflate(&mut scratch.probe, sample, &mut scratch.probed) {
            return false;
        }
        after += scratch.probed.len();
    }
    after + before / WORTH < before
}

/// Pieces of `content`, evenly spread.
fn samples(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let samples = if content.len() <= SAMPLES * SAMPLE { 1 } else { SAMPLES };
    content.chunks(content.len().div_ceil(samples).max(1)).map(|part| {
        // The middle of the part: its start may be the one record head among a long run of data.
        let start = part.len().saturating_sub(SAMPLE) / 2;
        let (sample, _) = part.split_at(part.len().min(start + SAMPLE));
        sample.split_at(start).1
    })
}

/// Whether all byte values are about equally frequent, as in encrypted and compressed data: ten times cheaper to see than
/// by compressing, and what large transfers consist of. (Data that repeats itself and yet looks so is stored in full.)
fn looks_random(sample: &[u8]) -> bool {
    if sample.len() < SAMPLE {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let squares: u64 = counts.iter().map(|count| u64::from(*count).pow(2)).sum();
    squares < RANDOM_SQUARES
}

/// Appends `content` as a deflate stream. `false`: the compressor failed, which only a fault in it can cause; `out` then
/// holds rubbish.
fn deflate(compressor: &mut Compress, content: &[u8], out: &mut Vec<u8>) -> bool {
    compressor.reset();
    // For a compressible segment half is plenty; otherwise the buffer grows below.
    out.reserve(content.len() / 2 + SLACK);
    loop {
        let done = usize::try_from(compressor.total_in()).unwrap_or(usize::MAX);
        let Some((_, rest)) = content.split_at_checked(done) else { return false };
        match compressor.compress_vec(rest, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return true,
            Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {
                out.reserve(content.len() / 4 + SLACK);
            }
            // Room left and yet not done.
            Ok(Status::Ok | Status::BufError) if out.capacity() - out.len() < SLACK => out.reserve(SLACK),
            Ok(Status::Ok | Status::BufError) | Err(_) => return false,
        }
    }
}

/// Appends `content` as stored deflate blocks.
fn store(content: &[u8], out: &mut Vec<u8>) {
    const FINAL: u8 = 1;
    out.reserve(content.len() + 5 * (content.len() / STORED_BLOCK + 1) + 8);
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
        assert!(samples(&noise(1_000_000)).all(looks_random));
        let base64: Vec<u8> = noise(SAMPLE).iter().map(|byte| b'A' + byte % 64).collect();
        assert!(!looks_random(&base64));
        assert!(!looks_random(&[0; SAMPLE]));
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
