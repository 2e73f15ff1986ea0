//! What hostile files make a reader hold: no more than for a harmless one of the largest records there may be.
//!
//! Measured as the kernel sees it, so that nothing is left out: the peak of this process' resident memory. The tests run one after
//! another for that.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use std::io::{Cursor, Write};
use std::sync::{Mutex, PoisonError};

use common::{file, io, message};
use containerssh_auditlog::{
    DecodeError, Decoder, HEADER_LEN, MAX_RECORD, Message, Version, header, recover,
};
use flate2::Compression;
use flate2::write::GzEncoder;

/// A record being put together, as a tree and as it grows, buffers, a decompressor.
const MOST: usize = 4 * MAX_RECORD;

static ALONE: Mutex<()> = Mutex::new(());

fn encoded(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

/// A member whose content is `start`, then `times` times `filling`, then `end`. Never in memory whole.
fn member(start: &[u8], filling: &[u8], times: usize, end: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
    gzip.write_all(start).unwrap();
    for _ in 0..times {
        gzip.write_all(filling).unwrap();
    }
    gzip.write_all(end).unwrap();
    gzip.finish().unwrap()
}

/// Resets the peak, and gives what is resident now.
fn reset_peak() -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    resident("VmRSS:")
}

fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Runs it, and fails if it held more than it may.
#[track_caller]
fn bounded<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = reset_peak();
    let result = work();
    let held = resident("VmHWM:").saturating_sub(before);
    assert!(held < MOST, "{what}: {held} bytes were held");
    result
}

/// The times of the first record that could be read and of the last.
fn read(file: &[u8]) -> Option<(u64, u64)> {
    let mut times: Option<(u64, u64)> = None;
    for item in Decoder::new(file).unwrap() {
        match item {
            Ok(message) => {
                let first = times.map_or(message.timestamp, |(first, _)| first);
                times = Some((first, message.timestamp));
            }
            Err(DecodeError::Io(error)) => panic!("{error}"),
            Err(_) => {}
        }
    }
    times
}

#[test]
fn hostile_files_cost_bounded_memory_and_only_what_they_replaced() {
    const MIB: usize = 1 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, last) = (message(0, io(b"before")), message(9, io(b"after")));
    let (start, end) = (encoded(std::slice::from_ref(&first)), encoded(std::slice::from_ref(&last)));
    let (zeros, text) = (vec![0; MIB], vec![b'a'; MIB]);
    let claims = |claim: &[u8]| [&[0xa5, 0x6c][..], b"connectionId", claim].concat();
    let large = encoded(&[message(5, io(&vec![0x5a; MAX_RECORD - 300]))]);
    let many = claims(&[&[0x9f][..], &[0x80; 60_000], &[0xff, 0x00]].concat());
    let bombs = [
        ("very many zeros", member(&start, &zeros, 96, &end)),
        ("as much as a string claims", {
            member(&[&start[..], &claims(&[0x5a, 0x06, 0, 0, 0])].concat(), &text, 96, &end)
        }),
        ("a string without an end", {
            member(&[&start[..], &claims(&[0x5f])].concat(), &[0x41, b'x'].repeat(MIB), 64, &end)
        }),
        ("lists in lists", member(&start, &vec![0x9f; MIB], 64, &end)),
        ("tags of tags", member(&[&start[..], &claims(&[])].concat(), &vec![0xc0; MIB], 64, &end)),
        ("records as long as they may be", member(&start, &large, 20, &end)),
        ("records of as many items as they may have", member(&start, &many, 200, &end)),
        // Looking for a record's start among what almost is one.
        ("half-begun records", member(&start, &b"\xa5\x6cconnectionI".repeat(MIB / 13), 64, &end)),
    ];
    for (name, bomb) in &bombs {
        for version in [Version::V1, Version::V2] {
            let file = [&header(version)[..], bomb].concat();
            let found = bounded(name, || read(&file));
            assert_eq!(found, Some((first.timestamp, last.timestamp)), "{name}");
            bounded(name, || recover::scan(Cursor::new(&file))).unwrap();
        }
    }
}

#[test]
fn hostile_members_cost_bounded_memory_and_time_in_proportion_to_the_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, last) = (message(0, io(b"before")), message(9, io(b"after")));
    let whole = |piece: &[u8], times: usize| {
        let one = file(Version::V2, &encoded(std::slice::from_ref(&first)));
        let two = file(Version::V2, &encoded(std::slice::from_ref(&last)));
        [&one[..], &piece.repeat(times), &two[HEADER_LEN..]].concat()
    };
    let empty = common::gzip(b"");
    let name = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff][..], &vec![b'n'; 4 << 20]].concat();
    let extra = [&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff][..], &vec![0; 0xffff]].concat();
    for (name, file) in [
        ("members without content", whole(&empty, 100_000)),
        // What looks like a member, once for every few bytes: each is tried.
        ("begun members", whole(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], 100_000)),
        ("a name without an end", whole(&name, 1)),
        ("extra fields", whole(&extra, 50)),
    ] {
        let start = std::time::Instant::now();
        let found = bounded(name, || read(&file));
        assert_eq!(found, Some((first.timestamp, last.timestamp)), "{name}");
        bounded(name, || recover::scan(Cursor::new(&file))).unwrap();
        assert!(start.elapsed().as_secs() < 60, "{name}: {:?}", start.elapsed());
    }
}
