//! How fast a session becomes a log, and how small: encoding and compression against plain `gzip -6`. And how fast it is read again:
//! every record as a message, against decompression alone.
//!
//! Prints a line per figure: name, ours, peer's, ratio ours/peer, separated by tabs. Both sides alternate in one run, so
//! that the ratio holds on any machine. Speeds are of the session's data on one core; the peer compresses the finished
//! records of the same session as one stream at level 6, what ContainerSSH's library does at its best.
//!
//! `cargo run --release --example encoder-bench -p containerssh-auditlog [-- MEGABYTES [FILE]]`; the text comes from the
//! file, or is sources and listings.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Decoder, Encoder, HEADER_LEN, IoStream, Version, encode, header};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

const ROUNDS: usize = 5;
const SEGMENT: usize = 256 << 10;
const MEGABYTES: usize = 32;

/// Text as a terminal shows it: sources, listings, logs.
const TEXT: &str = concat!(
    include_str!("../src/payload.rs"),
    include_str!("../src/cbor/split.rs"),
    include_str!("../src/decode.rs"),
    include_str!("../../../Cargo.lock"),
    include_str!("../src/member.rs"),
    include_str!("../tests/vectors/v2-pty-shell.jsonl"),
);

/// A pseudo-random sequence (xorshift), the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Pieces as a gateway gets them, of `total` bytes together.
fn session(kind: &str, text: &[u8], total: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut left = total;
    let mut position = text.iter().copied().cycle();
    std::iter::from_fn(move || {
        // A transfer comes in full SSH packets, a terminal in reads of up to a page.
        let length = match kind {
            "random" => 32 << 10,
            _ if noise.next().is_multiple_of(4) => 1 + noise.next() as usize % 80,
            _ => 256 + noise.next() as usize % 3840,
        };
        let length = length.min(left);
        left -= length;
        (length > 0).then(|| match kind {
            "random" => (0..length).map(|_| noise.next() as u8).collect(),
            _ => position.by_ref().take(length).collect(),
        })
    })
    .collect()
}

fn ours(session: &[Vec<u8>], scratch: &mut Scratch) -> Vec<u8> {
    let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
    let mut file = header(Version::V1).to_vec();
    let mut segment = Vec::with_capacity(2 * SEGMENT);
    encode::open(&mut segment);
    let mut timestamp = 1_795_252_585_569_015_274;
    for data in session {
        timestamp += 137_911;
        encoder.io(&mut segment, timestamp, Some(0), IoStream::Stdout, data);
        if segment.len() >= SEGMENT {
            member::compress(&segment, &mut file, scratch);
            segment.clear();
        }
    }
    encode::close(&mut segment);
    member::compress(&segment, &mut file, scratch);
    file
}

fn records(session: &[Vec<u8>]) -> Vec<u8> {
    let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
    let mut content = Vec::new();
    let mut timestamp = 1_795_252_585_569_015_274;
    for data in session {
        timestamp += 137_911;
        encoder.io(&mut content, timestamp, Some(0), IoStream::Stdout, data);
    }
    content
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    // A Vec takes everything.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// How many records could be read.
fn read(file: &[u8]) -> usize {
    Decoder::new(file).map_or(0, |decoder| decoder.filter(Result::is_ok).count())
}

/// How many bytes the content has.
fn gunzip(file: &[u8]) -> usize {
    let (mut chunk, mut total) = (vec![0; 64 << 10], 0);
    let mut gunzip = MultiGzDecoder::new(file.get(HEADER_LEN..).unwrap_or_default());
    while let Ok(length @ 1..) = gunzip.read(&mut chunk) {
        total += length;
    }
    total
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

fn main() -> std::io::Result<()> {
    let megabytes = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(MEGABYTES);
    let text = match std::env::args().nth(2) {
        Some(file) => std::fs::read(file)?,
        None => TEXT.replace('\n', "\r\n").into_bytes(),
    };
    let mut scratch = Scratch::new();
    for kind in ["random", "text"] {
        let session = session(kind, &text, megabytes * 1_000_000);
        let content = records(&session);
        let (mut our_times, mut peer_times) = (Vec::new(), Vec::new());
        let (mut our_reads, mut peer_reads) = (Vec::new(), Vec::new());
        let (mut our_size, mut peer_size) = (0, 0);
        for _ in 0..ROUNDS {
            let (time, file) = timed(|| ours(&session, &mut scratch));
            our_times.push(time);
            our_size = file.len();
            let (time, records) = timed(|| read(&file));
            our_reads.push(time);
            let (time, bytes) = timed(|| gunzip(&file));
            peer_reads.push(time);
            if records != session.len() || bytes < content.len() {
                return Err(std::io::Error::other("not everything was read"));
            }
            let (time, file) = timed(|| gzip(&content));
            peer_times.push(time);
            peer_size = file.len();
        }
        let speed = |times| megabytes as f64 / median(times);
        let (ours, peer) = (speed(our_times), speed(peer_times));
        println!("encoder-{kind}\t{ours:.0} MB/s\t{peer:.0} MB/s\t{:.2}", ours / peer);
        let ratio = our_size as f64 / peer_size as f64;
        let speed = |times| content.len() as f64 / 1e6 / median(times);
        let (ours, peer) = (speed(our_reads), speed(peer_reads));
        println!("decoder-{kind}\t{ours:.0} MB/s\t{peer:.0} MB/s\t{:.2}", ours / peer);
        println!("encoder-{kind}-size\t{our_size} bytes\t{peer_size} bytes\t{ratio:.3}");
    }
    Ok(())
}
