//! The audit encoder alone: records into gzip members, against `gzip -6` over the same records as one stream.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Encoder, IoStream, Payload, Version, encode, header};
use containerssh_e2e::bytes::random_bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::RngExt;

use crate::{Figure, median, terminal};

/// Enough to be far from any start-up cost, little enough for the slow peer.
const BYTES: usize = 64_000_000;
/// A full SSH packet's data.
const PIECE: usize = 32 << 10;
/// The recorder's segment.
const SEGMENT: usize = 256 << 10;
const ROUNDS: usize = 5;
const CONNECTION: &str = "0123456789abcdef0123456789abcdef";
/// When it was, nanoseconds since 1970.
const BEGUN: u64 = 1_795_252_585_569_015_274;

/// Data that no compressor shortens, in full packets. MB/s of session data, on one core.
pub(crate) fn random() -> Result<Figure> {
    let data = random_bytes(BYTES);
    let [speed, _] = measure(["encoder", "encoder-size"], &data.chunks(PIECE).collect::<Vec<_>>())?;
    Ok(speed)
}

/// What terminals show, in the pieces in which they show it. MB/s of session data, on one core; and bytes.
pub(crate) fn text() -> Result<[Figure; 2]> {
    let text = terminal::text()?;
    measure(["encoder-text", "encoder-text-size"], &pieces(&text))
}

fn measure(names: [&'static str; 2], session: &[&[u8]]) -> Result<[Figure; 2]> {
    let megabytes = session.iter().map(|piece| piece.len()).sum::<usize>() as f64 / 1e6;
    let records = records(session);
    let mut scratch = Scratch::new();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let (mut our_size, mut peer_size) = (0, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        our_size = log(&[], session, &mut scratch).len();
        ours.push(megabytes / start.elapsed().as_secs_f64());

        let start = Instant::now();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&records)?;
        peer_size = gzip.finish()?.len();
        peer.push(megabytes / start.elapsed().as_secs_f64());
    }
    let [speed, size] = names;
    Ok([
        Figure { name: speed, ours: median(ours), peer: median(peer), unit: "MB/s" },
        Figure { name: size, ours: our_size as f64, peer: peer_size as f64, unit: "bytes" },
    ])
}

/// Terminal text as a gateway gets it: reads of up to a page of 4 KiB, a quarter of them what a key press brings about.
pub(crate) fn pieces(text: &[u8]) -> Vec<&[u8]> {
    let mut random = rand::rng();
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let most = if random.random_ratio(1, 4) { 1..=80 } else { 256..=4096 };
        let (piece, after) = rest.split_at(random.random_range(most).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The session as a finished log, after these records.
pub(crate) fn log(start: &[Payload], session: &[&[u8]], scratch: &mut Scratch) -> Vec<u8> {
    let mut file = header(Version::V1).to_vec();
    let mut segment = Vec::with_capacity(2 * SEGMENT);
    encode::open(&mut segment);
    let encoder = Encoder::new(CONNECTION);
    for payload in start {
        encoder.record(&mut segment, BEGUN, Some(0), payload);
    }
    each_record(session, &mut segment, |segment| {
        if segment.len() >= SEGMENT {
            member::compress(segment, &mut file, scratch);
            segment.clear();
        }
    });
    encode::close(&mut segment);
    member::compress(&segment, &mut file, scratch);
    file
}

/// The session as records, not compressed.
pub(crate) fn records(session: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    each_record(session, &mut content, |_| {});
    content
}

fn each_record(session: &[&[u8]], out: &mut Vec<u8>, mut after: impl FnMut(&mut Vec<u8>)) {
    let encoder = Encoder::new(CONNECTION);
    let mut timestamp = BEGUN;
    for piece in session {
        timestamp += 137_911;
        encoder.io(out, timestamp, Some(0), IoStream::Stdout, piece);
        after(out);
    }
}
