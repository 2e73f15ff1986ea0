//! What OpenSSH's scp says to itself in its old protocol, and what is understood of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;
#[path = "common/conversation.rs"]
mod conversation;

use std::fs;
use std::path::Path;

use common::noise;
use containerssh_auditlog::sftp::{FileDecoder, FileEvent, NoDigest, Operation, Options, Outcome, hex};
use containerssh_auditlog::{IoStream, Payload};
use conversation::{Conversation, scp};
use sha2::{Digest as _, Sha256};

fn events(conversation: &Conversation) -> Vec<FileEvent> {
    let mut decoder = FileDecoder::for_request(&conversation.request, Options::default()).unwrap();
    let mut events = Vec::new();
    let mut note = |event| events.push(event);
    for (stream, bytes) in &conversation.pieces {
        decoder.push(*stream, bytes, 1, &mut note);
    }
    decoder.finish(2, &mut note);
    events
}

/// `event path result [digest]` of each.
fn lines(events: &[FileEvent]) -> Vec<String> {
    let line = |event: &FileEvent| {
        let json = serde_json::to_value(event).unwrap();
        let digest = ["read", "written"].iter().find_map(|way| json[way]["sha256"].as_str());
        let fields = [json["event"].as_str(), json["path"].as_str(), json["result"].as_str(), digest];
        fields.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    events.iter().map(line).collect()
}

fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()).into())
}

/// `from` with a file, an empty one and one in a directory.
fn tree(directory: &Path) {
    fs::create_dir_all(directory.join("from/inner")).unwrap();
    fs::write(directory.join("from/large"), noise(3_000_000)).unwrap();
    fs::write(directory.join("from/inner/empty"), "").unwrap();
}

#[test]
fn an_upload_of_a_tree_is_seen_file_by_file() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path());
    fs::create_dir(directory.path().join("to")).unwrap();
    let conversation = scp(directory.path(), &["-r", "-p", "from", "host:to/"]);
    assert_eq!(
        conversation.request,
        Payload::ChannelRequestExec { request_id: 0, program: "scp -r -p -t to/".into() }
    );
    let events = events(&conversation);
    let digest = |name: &str| {
        let there = sha256(&directory.path().join("to").join(name));
        assert_eq!(there, sha256(&directory.path().join(name)));
        there
    };
    let mut seen = lines(&events);
    seen.sort();
    assert_eq!(
        seen,
        [
            format!("close to/from/inner/empty ok {}", digest("from/inner/empty")),
            format!("close to/from/large ok {}", digest("from/large")),
            "mkdir to/from ok".to_owned(),
            "mkdir to/from/inner ok".to_owned(),
            "open to/from/inner/empty ok".to_owned(),
            "open to/from/large ok".to_owned(),
        ]
    );
}

#[test]
fn a_download_is_seen_and_what_is_missing_too() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path());
    let large = directory.path().join("from/large");
    let wanted = format!("host:{}", large.display());
    let conversation = scp(directory.path(), &[&wanted, "back"]);
    let large_name = large.display();
    assert_eq!(
        lines(&events(&conversation)),
        [
            format!("open {large_name} ok"),
            format!("close {large_name} ok {}", sha256(&directory.path().join("back")))
        ]
    );

    let other = tempfile::tempdir().unwrap();
    let events = events(&scp(other.path(), &["host:missing", "back"]));
    let [event] = &events[..] else { panic!("{events:?}") };
    assert!(
        matches!(&event.outcome, Some(Outcome::Failed { message, .. }) if message.contains("No such file"))
    );
}

#[test]
fn an_upload_that_is_refused_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("local"), "content").unwrap();
    let events = events(&scp(directory.path(), &["local", "host:no/such/place"]));
    let [FileEvent { operation: Operation::Open { transfer: None, path, name, .. }, outcome, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((path.as_bytes(), name.as_ref().unwrap().as_bytes()), (&b"no/such/place"[..], &b"local"[..]));
    assert!(matches!(outcome, Some(Outcome::Failed { .. })));
}

#[test]
fn a_file_that_breaks_off_and_garbage_are_told() {
    let run = |sent: &[&[u8]]| {
        let request = Payload::ChannelRequestExec { request_id: 0, program: "scp -t /tmp/x".into() };
        let mut pieces = vec![(IoStream::Stdout, vec![0])];
        pieces.extend(
            sent.iter().flat_map(|sent| [(IoStream::Stdin, sent.to_vec()), (IoStream::Stdout, vec![0])]),
        );
        events(&Conversation { request, pieces })
    };
    let events = run(&[b"C0644 10 x\n", b"12345"]);
    let Operation::Close { written: Some(written), .. } = &events[1].operation else { panic!("{events:?}") };
    assert_eq!((written.bytes, written.complete, written.sha256), (5, false, Err(NoDigest::EndNotSeen)));
    for garbage in [&b"hello\n"[..], b"C0644 x\n", b"C0644 99999999999999999999999 x\n", &[b'C'; 10_000]] {
        let events = run(&[garbage]);
        assert!(matches!(events[0].operation, Operation::Desynchronised { offset: 0, .. }), "{events:?}");
    }
}
