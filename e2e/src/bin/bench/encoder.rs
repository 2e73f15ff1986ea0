//! The audit encoder alone, on data that no compressor shortens: records into gzip members, against `gzip -6` over the same records.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Encoder, IoStream, Version, encode, header};
use containerssh_e2e::bytes::random_bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{Figure, median};

/// Enough to be far from any start-up cost, little enough for the slow peer.
const BYTES: usize = 64_000_000;
/// A full SSH packet's data.
const PIECE: usize = 32 << 10;
/// The recorder's segment.
const SEGMENT: usize = 256 << 10;
const ROUNDS: usize = 5;

/// MB/s of session data, on one core.
pub(crate) fn measure() -> Result<Figure> {
    let session = random_bytes(BYTES);
    let records = records(&session);
    let mut scratch = Scratch::new();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let file = log(&session, &mut scratch);
        ours.push(BYTES as f64 / 1e6 / start.elapsed().as_secs_f64());
        drop(file);

        let start = Instant::now();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
        gzip.write_all(&records)?;
        drop(gzip.finish()?);
        peer.push(BYTES as f64 / 1e6 / start.elapsed().as_secs_f64());
    }
    Ok(Figure { name: "encoder", ours: median(ours), peer: median(peer), unit: "MB/s" })
}

/// The session as a finished log.
fn log(session: &[u8], scratch: &mut Scratch) -> Vec<u8> {
    let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
    let mut file = header(Version::V1).to_vec();
    let mut segment = Vec::with_capacity(2 * SEGMENT);
    encode::open(&mut segment);
    for piece in session.chunks(PIECE) {
        encoder.io(&mut segment, 0, Some(0), IoStream::Stdout, piece);
        if segment.len() >= SEGMENT {
            member::compress(&segment, &mut file, scratch);
            segment.clear();
        }
    }
    encode::close(&mut segment);
    member::compress(&segment, &mut file, scratch);
    file
}

/// The session as records, not compressed.
fn records(session: &[u8]) -> Vec<u8> {
    let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
    let mut content = Vec::with_capacity(session.len() + session.len() / 64);
    for piece in session.chunks(PIECE) {
        encoder.io(&mut content, 0, Some(0), IoStream::Stdout, piece);
    }
    content
}
