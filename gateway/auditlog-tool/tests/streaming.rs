//! Long logs: what reads them needs no more memory for them than for short ones, from a pipe.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

#[path = "../../auditlog/tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use common::{message, noise};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Encoder, IoStream, Message, Payload, Version, header};

const TOOL: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");
/// Content of one segment, in bytes; a log has many.
const SEGMENT: usize = 1 << 20;
/// Segments of a long log, unless `STREAMING_SEGMENTS` says how many: with 2,560 it has two and a half gigabytes, which takes minutes.
const SEGMENTS: usize = 40;

fn segment(messages: &[Message]) -> Vec<u8> {
    let encoder = Encoder::new(common::ID);
    let (mut content, mut out) = (Vec::new(), Vec::new());
    for message in messages {
        encoder.record(&mut content, message.timestamp, message.channel_id, &message.payload);
    }
    member::compress(&content, &mut out, &mut Scratch::new());
    out
}

/// The most memory that the program had resident, in KiB, while a log of so many segments came through a pipe.
fn peak(arguments: &[&str], start: &[u8], middle: &[u8], segments: usize) -> u64 {
    let mut child =
        Command::new(TOOL).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(start).unwrap();
    for _ in 0..segments {
        stdin.write_all(middle).unwrap();
    }
    // It has not seen the end yet, so it is still there to be asked; a pipe holds far less than a segment.
    let mut status = String::new();
    let path = format!("/proc/{}/status", child.id());
    std::fs::File::open(path).unwrap().read_to_string(&mut status).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().code().is_some());
    reader.join().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_log() {
    // Text that hardly shrinks: a pipe must not hold a log.
    let text: Vec<u8> = noise(SEGMENT)
        .chunks(60)
        .flat_map(|line| line.iter().map(|byte| b' ' + byte % 64).chain(*b"\x1b[0m\r\n"))
        .collect();
    let shown = |(number, data): (usize, &[u8])| {
        let payload = Payload::Io { stream: IoStream::Stdout, data: data.to_vec().into() };
        Message { channel_id: Some(0), ..message(number as u64, payload) }
    };
    let messages: Vec<Message> = text.chunks(8 << 10).enumerate().map(shown).collect();
    let middle = segment(&messages);
    let (request_id, term, mode_list) = (7, "xterm".to_owned(), None);
    let pty = Payload::ChannelRequestPty {
        request_id,
        term,
        columns: 80,
        rows: 24,
        width: 0,
        height: 0,
        mode_list,
    };
    let terminal = segment(&[Message { channel_id: Some(0), ..message(0, pty) }]);
    let segments = std::env::var("STREAMING_SEGMENTS").map_or(SEGMENTS, |count| count.parse().unwrap());
    for (arguments, terminal) in [
        (vec!["search", "nowhere in it", "-"], &terminal[..]),
        (vec!["search", "nowhere in it", "-"], &[]),
        (vec!["stats", "-"], &[]),
        (vec!["convert", "--format", "json", "-"], &[]),
        (vec!["convert", "--format", "text", "-"], &[]),
        (vec!["convert", "--format", "asciicast", "-"], &terminal[..]),
    ] {
        let start = [&header(Version::V2)[..], terminal].concat();
        let (short, long) =
            (peak(&arguments, &start, &middle, 4), peak(&arguments, &start, &middle, segments));
        // Not exactly the same: allocators keep what they have.
        assert!(long < short + 4_096, "{arguments:?}: {short} KiB for 4 MiB, {long} KiB for {segments} MiB");
        println!("{arguments:?}: {short} KiB for 4 MiB, {long} KiB for {segments} MiB");
    }
}
