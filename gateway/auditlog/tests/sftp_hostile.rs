//! What no honest client or server sends, and what is said about it: never nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use common::noise;
use containerssh_auditlog::sftp::{
    Channels, FileDecoder, FileEvent, NoDigest, Operation, Options, Outcome, SftpDecoder, Transferred, hex,
};
use containerssh_auditlog::{IoStream, Payload};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use IoStream::{Stdin, Stdout};

type Pieces = Vec<(IoStream, Vec<u8>)>;

fn packet(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    let length = (body.len() as u32 + 1).to_be_bytes();
    [&length[..], &[kind], &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn u32(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn u64(value: u64) -> [u8; 8] {
    value.to_be_bytes()
}

fn hello() -> Pieces {
    vec![(Stdin, packet(1, &[&u32(3)])), (Stdout, packet(2, &[&u32(3)]))]
}

const WRITE_CREATE_TRUNCATE: u32 = 2 | 8 | 16;

fn open(id: u32, path: &[u8], flags: u32) -> Vec<u8> {
    packet(3, &[&u32(id), &string(path), &u32(flags), &u32(0)])
}

fn close(id: u32, handle: &[u8]) -> Vec<u8> {
    packet(4, &[&u32(id), &string(handle)])
}

fn read(id: u32, handle: &[u8], offset: u64, length: u32) -> Vec<u8> {
    packet(5, &[&u32(id), &string(handle), &u64(offset), &u32(length)])
}

fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    packet(6, &[&u32(id), &string(handle), &u64(offset), &string(data)])
}

fn remove(id: u32, path: &[u8]) -> Vec<u8> {
    packet(13, &[&u32(id), &string(path)])
}

fn status(id: u32, code: u32) -> Vec<u8> {
    packet(101, &[&u32(id), &u32(code), &string(b"said so"), &string(b"en")])
}

fn handle(id: u32, handle: &[u8]) -> Vec<u8> {
    packet(102, &[&u32(id), &string(handle)])
}

fn data(id: u32, data: &[u8]) -> Vec<u8> {
    packet(103, &[&u32(id), &string(data)])
}

fn decode_with(options: Options, pieces: &[(IoStream, Vec<u8>)]) -> Vec<FileEvent> {
    let (mut decoder, mut events) = (SftpDecoder::new(options), Vec::new());
    let mut note = |event: FileEvent| events.push(event);
    for (stream, piece) in pieces {
        decoder.push(*stream, piece, 1, &mut note);
    }
    decoder.finish(2, &mut note);
    events
}

fn decode(pieces: &[(IoStream, Vec<u8>)]) -> Vec<FileEvent> {
    decode_with(Options::default(), pieces)
}

fn after_hello(pieces: Pieces) -> Vec<FileEvent> {
    let events = decode(&[hello(), pieces].concat());
    assert!(matches!(events[0].operation, Operation::Version { client: Some(3), server: Some(3), .. }));
    events[1..].to_vec()
}

fn names(events: &[FileEvent]) -> Vec<&'static str> {
    events.iter().map(|event| event.operation.name()).collect()
}

fn written(event: &FileEvent) -> &Transferred {
    let Operation::Close { written: Some(written), .. } = &event.operation else { panic!("{event:?}") };
    written
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes).into())
}

#[test]
fn everything_sent_ahead_under_one_id_and_one_handle_is_told_apart() {
    // sftp-server works such a client off in order; so each answer belongs to the oldest request.
    let one = b"\0\0\0\0";
    let mut pieces = vec![(Stdin, Vec::new())];
    for path in [b"/a", b"/b"] {
        let parts = [open(7, path, WRITE_CREATE_TRUNCATE), write(7, one, 0, path), close(7, one)];
        pieces[0].1.extend(parts.concat());
    }
    for _ in 0..2 {
        pieces.push((Stdout, [handle(7, one), status(7, 0), status(7, 0)].concat()));
    }
    let events = after_hello(pieces);
    assert_eq!(names(&events), ["open", "close", "open", "close"]);
    for (event, name) in [(&events[1], b"/a"), (&events[3], b"/b")] {
        let Operation::Close { path: Some(path), path_inferred: false, .. } = &event.operation else {
            panic!("{event:?}")
        };
        assert_eq!(path.as_bytes(), name);
        assert_eq!(hex(&written(event).sha256.unwrap()), sha256(name));
    }
}

#[test]
fn writes_in_any_order_within_the_window_have_the_digest_of_the_file() {
    let content = noise(300_000);
    let mut parts: Vec<(usize, &[u8])> = content.chunks(10_000).enumerate().collect();
    parts.sort_by_key(|(at, _)| at ^ 5);
    let mut pieces = vec![(Stdin, open(1, b"/f", WRITE_CREATE_TRUNCATE)), (Stdout, handle(1, b"h"))];
    for (at, part) in &parts {
        pieces.push((Stdin, write(10 + *at as u32, b"h", *at as u64 * 10_000, part)));
    }
    pieces.extend(parts.iter().rev().map(|(at, _)| (Stdout, status(10 + *at as u32, 0))));
    pieces.extend([(Stdin, close(2, b"h")), (Stdout, status(2, 0))]);
    let events = after_hello(pieces);
    assert_eq!((written(&events[1]).complete, written(&events[1]).bytes), (true, 300_000));
    assert_eq!(hex(&written(&events[1]).sha256.unwrap()), sha256(&content));
}

#[test]
fn what_spoils_a_digest_is_named() {
    let start = || vec![(Stdin, open(1, b"/f", WRITE_CREATE_TRUNCATE)), (Stdout, handle(1, b"h"))];
    let end = || vec![(Stdin, close(2, b"h")), (Stdout, status(2, 0))];
    let confirmed =
        |offset, bytes: &[u8]| vec![(Stdin, write(5, b"h", offset, bytes)), (Stdout, status(5, 0))];
    // FSETSTAT of a size of 1; copy-data.
    let shorten = packet(10, &[&u32(6), &string(b"h"), &u32(1), &u64(1)]);
    let copy = packet(
        200,
        &[&u32(6), &string(b"copy-data"), &string(b"x"), &u64(0), &u64(0), &string(b"h"), &u64(0)],
    );
    let cases: [(Pieces, NoDigest); 7] = [
        (vec![(Stdin, write(5, b"h", 0, b"abc")), (Stdout, status(5, 4))], NoDigest::Failed),
        (vec![(Stdin, write(5, b"h", 0, b"abc"))], NoDigest::Unanswered),
        ([confirmed(0, b"abc"), confirmed(1, b"x")].concat(), NoDigest::Rewritten),
        (confirmed(5, b"abc"), NoDigest::NotFromStart),
        ([confirmed(0, b"abc"), confirmed(9, b"x")].concat(), NoDigest::Gaps),
        (
            [confirmed(0, b"abc"), vec![(Stdin, shorten), (Stdout, status(6, 0))]].concat(),
            NoDigest::Truncated,
        ),
        (
            [confirmed(0, b"abc"), vec![(Stdin, copy), (Stdout, status(6, 0))]].concat(),
            NoDigest::CopiedOnServer,
        ),
    ];
    for (middle, reason) in cases {
        let events = after_hello([start(), middle, end()].concat());
        let written = written(events.last().unwrap());
        assert_eq!(written.sha256, Err(reason));
        // Every byte was written, some of them twice: the file passed whole all the same.
        assert_eq!(written.complete, reason == NoDigest::Rewritten, "{reason:?}");
    }
}

#[test]
fn a_download_is_complete_only_when_its_end_was_seen() {
    let transfer = |middle: Pieces| {
        let start = vec![(Stdin, open(1, b"/f", 1)), (Stdout, handle(1, b"h"))];
        let end = vec![(Stdin, close(2, b"h")), (Stdout, status(2, 0))];
        let events = after_hello([start, middle, end].concat());
        let Operation::Close { read: Some(read), .. } = &events.last().unwrap().operation else { panic!() };
        read.clone()
    };
    let first = || vec![(Stdin, read(5, b"h", 0, 4)), (Stdout, data(5, b"abcd"))];
    assert_eq!(transfer(first()).sha256, Err(NoDigest::EndNotSeen));
    // The end by an answer, by a size that was told before, by a short answer and nothing far behind it.
    let eof = vec![(Stdin, read(6, b"h", 4, 4)), (Stdout, status(6, 1))];
    let size = vec![
        (Stdin, packet(8, &[&u32(6), &string(b"h")])),
        (Stdout, packet(105, &[&u32(6), &u32(1), &u64(4)])),
    ];
    for known in [eof, size] {
        assert_eq!(hex(&transfer([first(), known].concat()).sha256.unwrap()), sha256(b"abcd"));
    }
    let short =
        vec![(Stdin, [read(5, b"h", 0, 9), read(6, b"h", 9, 9)].concat()), (Stdout, data(5, b"abcd"))];
    assert!(!transfer(short.clone()).complete);
    assert!(transfer([short, vec![(Stdout, status(6, 1))]].concat()).complete);
}

#[test]
fn lying_lengths_are_named_with_their_place() {
    let events =
        after_hello(vec![(Stdin, [&[0xff; 4][..], &[13], &[0; 100]].concat()), (Stdin, remove(1, b"/x"))]);
    let Operation::Desynchronised { stream: Stdin, offset: 9, reason } = &events[0].operation else {
        panic!("{events:?}")
    };
    assert!(reason.contains("4294967295"), "{reason}");
    assert_eq!(events.len(), 1);
    // A string beyond its packet: only that packet is lost.
    let events = after_hello(vec![
        (Stdin, packet(13, &[&u32(1), &u32(1000), b"/x"])),
        (Stdin, remove(2, b"/y")),
        (Stdout, [status(1, 5), status(2, 0)].concat()),
    ]);
    assert_eq!(names(&events), ["malformed", "remove"]);
    // A stream that ends in a packet.
    let events = after_hello(vec![(Stdin, remove(1, b"/x")[..7].to_vec())]);
    assert_eq!(names(&events), ["desynchronised"]);
}

#[test]
fn a_stream_that_is_no_sftp_is_called_so_once() {
    let events =
        decode(&[(Stdout, b"Welcome!\n".to_vec()), (Stdout, noise(100_000)), (Stdin, packet(1, &[&u32(3)]))]);
    assert_eq!(names(&events), ["desynchronised", "version"]);
    let Operation::Desynchronised { offset: 0, reason, .. } = &events[0].operation else { panic!() };
    assert!(reason.contains("Welco"));
}

#[test]
fn one_direction_alone_is_decoded_as_far_as_it_goes() {
    let client = [
        packet(1, &[&u32(3)]),
        open(1, b"/f", WRITE_CREATE_TRUNCATE),
        write(2, b"h", 0, b"abc"),
        close(3, b"h"),
        remove(4, b"/old"),
    ]
    .concat();
    let told =
        decode_with(Options { replies_recorded: false, ..Options::default() }, &[(Stdin, client.clone())]);
    for events in [&told, &decode(&[(Stdin, client)])] {
        assert_eq!(names(events), ["version", "open", "close", "remove"]);
        assert!(events[1..].iter().all(|event| event.outcome == Some(Outcome::NotRecorded)));
        let Operation::Close { path: Some(path), path_inferred: true, .. } = &events[2].operation else {
            panic!("{events:?}")
        };
        assert_eq!((path.as_bytes(), written(&events[2]).bytes), (&b"/f"[..], 3));
        assert_eq!(hex(&written(&events[2]).sha256.unwrap()), sha256(b"abc"));
    }

    let server =
        [packet(2, &[&u32(3)]), handle(1, b"h"), data(2, b"abc"), status(3, 0), status(4, 3)].concat();
    let events = decode(&[(Stdout, server)]);
    assert_eq!(names(&events), ["version", "unpaired"]);
    assert_eq!(events[1].operation, Operation::Unpaired { replies: 4, bytes: 3, entries: 0, errors: 1 });
}

#[test]
fn requests_without_answers_and_files_never_closed_are_all_reported() {
    let (requests, files) = (20_000_u32, 5_000_u32);
    let mut pieces = hello();
    for id in 0..requests {
        pieces.push((Stdin, remove(id, b"/never/answered")));
    }
    for id in requests..requests + files {
        pieces.push((Stdin, open(id, b"/never/closed", WRITE_CREATE_TRUNCATE)));
        pieces.push((Stdout, handle(id, &u32(id))));
    }
    let events = decode(&pieces);
    let count = |name: &str, outcome: Outcome| {
        let alike =
            |event: &&FileEvent| event.operation.name() == name && event.outcome == Some(outcome.clone());
        events.iter().filter(alike).count()
    };
    assert_eq!(count("remove", Outcome::Unanswered), 20_000);
    assert_eq!(count("open", Outcome::Ok), 5_000);
    let (given_up, at_the_end) = (count("close", Outcome::NotFollowed), count("close", Outcome::Unanswered));
    assert_eq!(given_up + at_the_end, 5_000);
    assert!(at_the_end <= 1024);
}

#[test]
fn a_server_that_gives_one_handle_twice_does_not_mix_files() {
    let events = after_hello(vec![
        (Stdin, open(1, b"/a", WRITE_CREATE_TRUNCATE)),
        (Stdout, handle(1, b"h")),
        (Stdin, write(2, b"h", 0, b"for a")),
        (Stdout, status(2, 0)),
        (Stdin, open(3, b"/b", WRITE_CREATE_TRUNCATE)),
        (Stdout, handle(3, b"h")),
        (Stdin, [write(4, b"h", 0, b"for b"), close(5, b"h")].concat()),
        (Stdout, [status(4, 0), status(5, 0)].concat()),
    ]);
    assert_eq!(names(&events), ["open", "close", "open", "close"]);
    assert_eq!(events[1].outcome, Some(Outcome::HandleReused));
    assert_eq!(hex(&written(&events[1]).sha256.unwrap()), sha256(b"for a"));
    assert_eq!(hex(&written(&events[3]).sha256.unwrap()), sha256(b"for b"));
}

#[test]
fn the_size_of_a_file_that_is_claimed_costs_nothing() {
    // A write to the end of the number range, and one of 4 MiB of which nothing comes.
    let mut huge = packet(6, &[&u32(2), &string(b"h"), &u64(u64::MAX), &u32(4 << 20)]);
    huge[..4].copy_from_slice(&((4 << 20) + 22_u32).to_be_bytes());
    let events = after_hello(vec![
        (Stdin, open(1, b"/f", WRITE_CREATE_TRUNCATE)),
        (Stdout, handle(1, b"h")),
        (Stdin, write(9, b"h", u64::MAX, b"xyz")),
        (Stdout, status(9, 0)),
        (Stdin, huge),
    ]);
    assert_eq!(names(&events), ["open", "desynchronised", "close"]);
    assert!(!written(&events[2]).complete);
}

#[test]
fn names_longer_than_any_file_system_takes_are_cut_and_marked() {
    let long = vec![b'x'; 10_000];
    let events = after_hello(vec![(Stdin, remove(1, &long)), (Stdout, status(1, 4))]);
    let json = serde_json::to_value(&events[0]).unwrap();
    assert_eq!((json["path"].as_str().unwrap().len(), &json["pathTruncated"]), (4096, &true.into()));
}

/// A conversation with a bit of everything, as bytes of the two streams in the order in which they came.
fn conversation() -> Pieces {
    let content = noise(100_000);
    let mut pieces = hello();
    pieces.push((Stdin, [open(1, b"/f", WRITE_CREATE_TRUNCATE), remove(2, b"/gone")].concat()));
    pieces.push((Stdout, [handle(1, b"\0\0\0\0"), status(2, 2)].concat()));
    for (at, part) in content.chunks(30_000).enumerate() {
        pieces.push((Stdin, write(10 + at as u32, b"\0\0\0\0", at as u64 * 30_000, part)));
    }
    pieces.push((Stdout, (10..14).flat_map(|id| status(id, 0)).collect()));
    pieces.push((Stdin, close(3, b"\0\0\0\0")));
    pieces.push((Stdout, status(3, 0)));
    pieces.push((Stdin, open(4, b"/f", 1)));
    pieces.push((Stdout, handle(4, b"\0\0\0\0")));
    pieces.push((Stdin, [read(5, b"\0\0\0\0", 0, 60_000), read(6, b"\0\0\0\0", 60_000, 60_000)].concat()));
    pieces.push((Stdout, [data(5, &content[..60_000]), data(6, &content[60_000..])].concat()));
    pieces.push((Stdin, read(7, b"\0\0\0\0", 100_000, 60_000)));
    pieces.push((Stdout, status(7, 1)));
    pieces.push((Stdin, close(8, b"\0\0\0\0")));
    pieces.push((Stdout, status(8, 0)));
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_bytes_give_the_same_events_however_they_are_cut(
        lengths in prop::collection::vec(prop_oneof![1_usize..20, 1_usize..40_000], 1..60),
    ) {
        let whole = decode(&conversation());
        prop_assert_eq!(whole.len(), 6);
        let mut cut = Vec::new();
        let mut lengths = lengths.iter().cycle();
        for (stream, bytes) in conversation() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
                cut.push((stream, piece.to_vec()));
                rest = behind;
            }
        }
        prop_assert_eq!(decode(&cut), whole);
    }

    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>(), second in any::<prop::sample::Index>()) {
        let mut pieces = conversation();
        for index in [at, second] {
            let piece = index.index(pieces.len());
            let byte = index.index(pieces[piece].1.len().min(64));
            pieces[piece].1[byte] = value;
        }
        decode(&pieces);
    }

    #[test]
    fn random_bytes_never_panic(
        pieces in prop::collection::vec((prop_oneof![Just(Stdin), Just(Stdout)], prop::collection::vec(any::<u8>(), 0..200)), 0..20),
        kinds in prop::collection::vec((any::<bool>(), prop_oneof![0_u8..22, 100_u8..106, 200_u8..202, any::<u8>()], prop::collection::vec(any::<u8>(), 0..60)), 0..40),
        command in prop_oneof![Just("scp -t x"), Just("scp -f x"), Just("sftp-server")],
    ) {
        // Right packets with wrong contents, then nothing right at all.
        let mut all = hello();
        for (client, kind, body) in &kinds {
            all.push((if *client { Stdin } else { Stdout }, packet(*kind, &[body])));
        }
        all.extend(pieces);
        let (mut decoder, mut sequences) = (FileDecoder::for_command(command, Options::default()).unwrap(), Vec::new());
        let mut note = |event: FileEvent| {
            serde_json::to_string(&event).unwrap();
            sequences.push(event.sequence);
        };
        for (stream, piece) in &all {
            decoder.push(*stream, piece, 1, &mut note);
        }
        decoder.finish(2, &mut note);
        prop_assert!(sequences.iter().copied().eq(0..sequences.len() as u64));
    }
}

#[test]
fn thousands_of_channels_are_followed_without_growing() {
    let mut channels = Channels::new(Options::default());
    let mut finished = 0;
    let mut note = |_, event: FileEvent| finished += u32::from(event.operation.name() == "version");
    for channel in 0..10_000 {
        let start = Payload::ChannelRequestSubsystem { request_id: 0, subsystem: "sftp".into() };
        channels.push(Some(channel), 1, &start, &mut note);
        let init = Payload::Io { stream: Stdin, data: packet(1, &[&u32(3)]).into() };
        channels.push(Some(channel), 1, &init, &mut note);
    }
    channels.push(None, 2, &Payload::Disconnect, &mut note);
    assert_eq!(finished, 10_000);
    assert!(!channels.follows(9_999));
}
