//! How fast uploads and downloads over SFTP are understood, in MB/s: `cargo run --release --example sftp-bench`.
//!
//! Packets as OpenSSH sends them (32 KiB of content), cut as the gateway records them (32 KiB with the fields in between).

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::time::Instant;

use containerssh_auditlog::IoStream;
use containerssh_auditlog::sftp::{FileEvent, Operation, Options, SftpDecoder};

/// Content per packet, and per record, in bytes.
const PIECE: usize = 32 << 10;
/// Packets per run.
const PACKETS: usize = 16 << 10;

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    let length = u32::try_from(body.len() + 1).unwrap_or_default().to_be_bytes();
    [&length[..], &[kind], &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes()[..], bytes].concat()
}

/// Megabytes per second of one direction.
fn run(upload: bool) -> f64 {
    let (mut decoder, mut whole) = (SftpDecoder::new(Options::default()), false);
    let mut note = |event: FileEvent| {
        if let Operation::Close { read, written, .. } = event.operation {
            whole = read.or(written).is_some_and(|moved| moved.complete && moved.sha256.is_ok());
        }
    };
    let number = |number: usize| u32::try_from(number).unwrap_or_default().to_be_bytes();
    let version = number(3);
    let (content, mut buffered) = (vec![0xa5; PIECE], Vec::new());
    let flags = if upload { number(2 | 8 | 16) } else { number(1) };
    let status =
        |id: usize, code: usize| packet(101, &[&number(id), &number(code), &string(b""), &string(b"")]);
    let handle = string(b"\0\0\0\0");
    decoder.push(IoStream::Stdin, &packet(1, &[&version]), 0, &mut note);
    decoder.push(IoStream::Stdout, &packet(2, &[&version]), 0, &mut note);
    decoder.push(
        IoStream::Stdin,
        &packet(3, &[&number(1), &string(b"/f"), &flags, &number(0)]),
        0,
        &mut note,
    );
    decoder.push(IoStream::Stdout, &packet(102, &[&number(1), &handle]), 0, &mut note);
    let start = Instant::now();
    for index in 0..PACKETS {
        let offset = (index * PIECE).to_be_bytes();
        let stream = if upload {
            buffered.extend(packet(6, &[&number(index), &handle, &offset, &string(&content)]));
            IoStream::Stdin
        } else {
            let read = packet(5, &[&number(index), &handle, &offset, &number(PIECE)]);
            decoder.push(IoStream::Stdin, &read, 0, &mut note);
            buffered.extend(packet(103, &[&number(index), &string(&content)]));
            IoStream::Stdout
        };
        let whole_pieces = buffered.len() / PIECE * PIECE;
        for piece in buffered.drain(..whole_pieces).collect::<Vec<_>>().chunks(PIECE) {
            decoder.push(stream, piece, 0, &mut note);
        }
        if upload && index >= 64 {
            decoder.push(IoStream::Stdout, &status(index - 64, 0), 0, &mut note);
        }
    }
    decoder.push(if upload { IoStream::Stdin } else { IoStream::Stdout }, &buffered, 0, &mut note);
    for index in PACKETS - 64..PACKETS {
        if upload {
            decoder.push(IoStream::Stdout, &status(index, 0), 0, &mut note);
        }
    }
    if !upload {
        let eof = packet(5, &[&number(1), &handle, &(PACKETS * PIECE).to_be_bytes(), &number(PIECE)]);
        decoder.push(IoStream::Stdin, &eof, 0, &mut note);
        decoder.push(IoStream::Stdout, &status(1, 1), 0, &mut note);
    }
    let time = start.elapsed();
    decoder.push(IoStream::Stdin, &packet(4, &[&number(2), &handle]), 0, &mut note);
    decoder.push(IoStream::Stdout, &status(2, 0), 0, &mut note);
    assert!(whole, "the transfer was not understood");
    (PACKETS * PIECE) as f64 / 1e6 / time.as_secs_f64()
}

fn main() {
    for (name, upload) in [("upload", true), ("download", false)] {
        println!("{name}: {:.0} MB/s", run(upload));
    }
}
