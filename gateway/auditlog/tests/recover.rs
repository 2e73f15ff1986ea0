//! Files that a dead gateway left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use std::io::Cursor;

use common::{content, io, message, messages, segmented};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::recover::{Scan, scan};
use containerssh_auditlog::{HEADER_LEN, HeaderError, Message, Payload, Version};

fn session() -> Vec<Message> {
    vec![
        message(0, Payload::Connect { remote_addr: "::1".into(), country: "XX".into() }),
        message(1, io(b"one")),
        message(2, io(b"two")),
        message(3, io(&[0x1f; 5000])),
        message(4, Payload::Disconnect),
    ]
}

fn scanned(file: &[u8]) -> Scan {
    scan(Cursor::new(file)).unwrap()
}

/// What the recorder does with a leftover.
fn mended(file: &[u8], timestamp: u64) -> Vec<u8> {
    let scan = scanned(file);
    let mut file = file[..usize::try_from(scan.complete_len).unwrap()].to_vec();
    if file.is_empty() {
        file.extend(containerssh_auditlog::header(Version::V1));
    }
    let closing = scan.closing_content(timestamp);
    if !closing.is_empty() {
        member::compress(&closing, &mut file, &mut Scratch::new());
    }
    file
}

#[test]
fn a_file_cut_off_anywhere_is_mended_up_to_its_last_whole_segment() {
    let session = session();
    let pieces = segmented(&[&session[..2], &session[2..3], &session[3..]]);
    let whole = pieces.concat();
    for length in 0..whole.len() {
        let file = &whole[..length];
        let scan = scanned(file);
        let mut end = 0;
        let mut kept = 0;
        for (piece, records) in pieces.iter().zip([0, 2, 3, 5]) {
            if end + piece.len() > length {
                break;
            }
            end += piece.len();
            kept = records;
        }
        assert_eq!((scan.complete_len, scan.messages), (end as u64, kept as u64), "cut at {length}");
        assert!(!scan.closed && !scan.is_complete() && !scan.sound_after_damage, "cut at {length}");
        assert_eq!(scan.total_len, length as u64);
        assert_eq!(scan.opened, kept > 0);
        assert_eq!(scan.last_timestamp, session[..kept].last().map(|message| message.timestamp));

        let read = messages(&mended(file, 7));
        assert_eq!(read[..kept], session[..kept], "cut at {length}");
        if kept > 0 {
            // The end is noted, not before the last record although the clock says so.
            assert_eq!(read.len(), kept + 1);
            assert_eq!(read[kept].payload, Payload::Disconnect);
            assert_eq!(read[kept].timestamp, session[kept - 1].timestamp);
        }
        assert!(scanned(&mended(file, 7)).is_complete());
    }
}

#[test]
fn a_finished_file_needs_nothing() {
    let session = session();
    let whole = segmented(&[&session[..3], &session[3..]]).concat();
    let scan = scanned(&whole);
    assert!(scan.is_complete() && scan.opened && scan.disconnected);
    assert_eq!(scan.connection_id.as_deref(), Some(common::ID));
    assert_eq!((scan.first_timestamp, scan.messages), (Some(common::TIME), 5));
    assert!(scan.closing_content(u64::MAX).is_empty());
}

#[test]
fn a_recorded_disconnect_is_not_recorded_again() {
    let session = session();
    let mut pieces = segmented(&[&session, &[]]);
    // Only the closing segment is missing.
    pieces.pop();
    let file = pieces.concat();
    assert!(scanned(&file).disconnected);
    assert_eq!(messages(&mended(&file, u64::MAX)), session);
}

#[test]
fn a_torn_tail_of_any_content_is_cut() {
    let session = session();
    let pieces = segmented(&[&session[..2], &session[2..]]);
    let sound = [&pieces[0][..], &pieces[1]].concat();
    let mut flipped = pieces[2].clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    for tail in [vec![0; 4096], vec![0xff; 10], pieces[2][..20].to_vec(), flipped] {
        let file = [&sound[..], &tail].concat();
        let scan = scanned(&file);
        assert_eq!(scan.complete_len, sound.len() as u64);
        assert!(!scan.sound_after_damage);
    }
}

#[test]
fn damage_in_the_middle_is_told_from_a_torn_tail() {
    let session = session();
    let mut pieces = segmented(&[&session[..2], &session[2..3], &session[3..]]);
    let middle = pieces[2].len() / 2;
    pieces[2][middle] ^= 0xff;
    let scan = scanned(&pieces.concat());
    assert_eq!(scan.complete_len, (pieces[0].len() + pieces[1].len()) as u64);
    assert!(scan.sound_after_damage);
}

fn content_of_a_log() -> Vec<u8> {
    let mut records = Vec::new();
    session().iter().for_each(|message| message.encode(&mut records));
    common::gzip(&records)
}

/// A user may well transfer gzip files: stored as they are, they look like segments inside a torn one.
#[test]
fn what_a_user_sent_is_not_taken_for_a_segment() {
    // Even a copied log, which nothing but its place tells from a segment.
    let inner = content_of_a_log();
    let data = [&inner[..], &common::noise(60_000)].concat();
    let pieces = segmented(&[&session()[..2], &[message(3, io(&data))]]);
    assert!(
        pieces[2].windows(inner.len()).any(|window| window == inner),
        "it must be stored for this test to test"
    );
    let torn = [&pieces[0][..], &pieces[1], &pieces[2][..pieces[2].len() - 9]].concat();
    let scan = scanned(&torn);
    assert!(!scan.sound_after_damage);
    assert_eq!(scan.messages, 2);
}

#[test]
fn a_segment_that_ends_inside_a_record_is_not_kept_without_the_next() {
    let session = session();
    let whole = segmented(&[&session]);
    let plain = content(&whole.concat());
    let (a, b) = plain.split_at(plain.len() / 2);
    let mut file = whole[0].clone();
    member::compress(a, &mut file, &mut Scratch::new());
    assert_eq!(scanned(&file).complete_len, HEADER_LEN as u64);
    member::compress(b, &mut file, &mut Scratch::new());
    assert!(scanned(&file).is_complete());
}

#[test]
fn a_file_that_is_no_log_is_left_alone() {
    assert!(matches!(scan(Cursor::new(b"something else")), Err(HeaderError::NotAnAuditLog)));
}

#[test]
fn the_open_gzip_of_version_2_counts_as_torn_but_is_readable() {
    let file = common::vector("v2-exec");
    let scan = scanned(&file);
    assert_eq!((scan.version, scan.complete_len), (Some(Version::V2), HEADER_LEN as u64));
    assert_eq!(messages(&file).len(), 11);
}
