//! Bytes to send and to compare.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rand::Rng;
use sha2::{Digest, Sha256};

/// Bytes that no compressor shortens, different in each call.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Bytes without a pattern, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// A file of random bytes and its SHA-256 in hexadecimal digits.
pub fn random_file(length: usize) -> Result<(tempfile::NamedTempFile, String)> {
    let bytes = random_bytes(length);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&bytes)?;
    Ok((file, sha256(&bytes)))
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A number that no other test of this run has.
pub fn unique() -> String {
    static START: OnceLock<String> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(|| hex::encode(random_bytes(6)));
    format!("{start}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
