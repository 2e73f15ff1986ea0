//! What OpenSSH's own sftp and sftp-server say to each other, and what is understood of it.
//!
//! `tests/data/sftp-session.log` is such a conversation in an audit log, `sftp-session.jsonl` the events that it gives.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;
#[path = "common/conversation.rs"]
mod conversation;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use common::noise;
use containerssh_auditlog::sftp::{
    Channels, FileEvent, Operation, Options, Outcome, SftpDecoder, Transferred, hex,
};
use conversation::{Conversation, sftp};
use sha2::{Digest as _, Sha256};

fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()).into())
}

fn events(conversation: &Conversation) -> Vec<FileEvent> {
    let (mut decoder, mut events) = (SftpDecoder::new(Options::default()), Vec::new());
    let mut note = |event| events.push(event);
    for (number, (stream, bytes)) in conversation.pieces.iter().enumerate() {
        decoder.push(*stream, bytes, number as u64 * 1000, &mut note);
    }
    decoder.finish(conversation.pieces.len() as u64 * 1000, &mut note);
    events
}

/// What was read and written through the files opened under a name, in order.
fn moved(events: &[FileEvent], name: &str) -> Vec<(Option<Transferred>, Option<Transferred>)> {
    let closed = events.iter().filter_map(|event| match &event.operation {
        Operation::Close { path: Some(path), read, written, .. }
            if path.as_bytes().ends_with(name.as_bytes()) =>
        {
            assert_eq!(event.outcome, Some(Outcome::Ok), "{event:?}");
            Some((read.clone(), written.clone()))
        }
        _ => None,
    });
    closed.collect()
}

fn digest(moved: &Option<Transferred>) -> String {
    let moved = moved.as_ref().unwrap();
    assert!(moved.complete, "{moved:?}");
    hex(&moved.sha256.unwrap())
}

#[test]
fn ten_megabytes_each_way_have_the_digests_of_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("local");
    fs::write(&local, noise(10 << 20)).unwrap();
    let conversation = sftp(directory.path(), "put local remote\nget remote back\n");
    let events = events(&conversation);
    let [(None, up), (down, None)] = &moved(&events, "/remote")[..] else { panic!("{events:#?}") };
    assert_eq!(digest(up), sha256(&local));
    assert_eq!(digest(down), sha256(&directory.path().join("back")));
    assert_eq!(up.as_ref().unwrap().bytes, 10 << 20);
}

#[test]
fn parts_of_a_file_are_said_to_be_parts() {
    let directory = tempfile::tempdir().unwrap();
    let whole = noise(300_000);
    fs::write(directory.path().join("remote"), &whole).unwrap();
    fs::write(directory.path().join("part"), &whole[..100_000]).unwrap();
    fs::write(directory.path().join("start"), &whole[..100_000]).unwrap();
    fs::write(directory.path().join("local"), &whole).unwrap();
    let conversation = sftp(directory.path(), "reget remote part\nreput local start\n");
    let events = events(&conversation);
    let [(Some(read), None)] = &moved(&events, "/remote")[..] else { panic!("{events:#?}") };
    assert_eq!(
        (read.bytes, read.complete, read.ranges.as_slice()),
        (200_000, false, &[(100_000, 300_000)][..])
    );
    let [(None, Some(written))] = &moved(&events, "/start")[..] else { panic!("{events:#?}") };
    assert_eq!((written.bytes, written.complete), (200_000, false));
    assert!(read.sha256.is_err() && written.sha256.is_err());
    assert_eq!(fs::read(directory.path().join("start")).unwrap(), whole);
}

#[test]
fn an_empty_file_has_the_digest_of_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("empty"), "").unwrap();
    let events = events(&sftp(directory.path(), "put empty there\nget there back\n"));
    let nothing = sha256(&directory.path().join("empty"));
    let [(None, up), (down, None)] = &moved(&events, "/there")[..] else { panic!("{events:#?}") };
    assert_eq!((digest(up), digest(down)), (nothing.clone(), nothing));
}

/// One of each, small enough to be kept.
const SESSION: &str = "\
put source.txt notes.txt
get notes.txt copy.txt
-get missing.txt
mkdir box
rename notes.txt box/notes.txt
chmod 600 box/notes.txt
symlink notes.txt box/link
ln box/notes.txt box/second
cp box/notes.txt box/third
ls -l box
df
rm box/second
-rmdir box
rm box/link
rm box/third
rm box/notes.txt
rmdir box
";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// `UPDATE_VECTORS=1` records the session anew. It needs /tmp, for names of the right length.
#[test]
fn a_recorded_session_gives_these_events() {
    let (log, golden) = (data("sftp-session.log"), data("sftp-session.jsonl"));
    let update = std::env::var_os("UPDATE_VECTORS").is_some();
    if update {
        let directory = tempfile::Builder::new().prefix("guest").tempdir().unwrap();
        let text: String = (0..3000).fold(String::new(), |mut text, line| {
            writeln!(text, "line {line} of the notes").unwrap();
            text
        });
        fs::write(directory.path().join("source.txt"), &text).unwrap();
        let conversation = sftp(directory.path(), SESSION);
        fs::write(&log, conversation.renamed(directory.path(), "/home/alice/docs").log()).unwrap();
    }
    let mut channels = Channels::new(Options::default());
    let mut lines = String::new();
    let mut note = |channel, event: FileEvent| {
        assert_eq!(channel, 2);
        writeln!(lines, "{}", serde_json::to_string(&event).unwrap()).unwrap();
    };
    for message in common::messages(&fs::read(&log).unwrap()) {
        channels.push(message.channel_id, message.timestamp, &message.payload, &mut note);
    }
    if update {
        fs::write(&golden, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(&golden).unwrap());
}

#[test]
fn names_that_are_no_text_are_kept_exactly() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("local"), "content").unwrap();
    // sftp reads the octal escape in its own quoting as four characters: the byte itself has to be in the batch.
    let mut batch = b"put local caf".to_vec();
    batch.extend_from_slice(b"\xe9\n");
    let conversation = conversation::sftp_bytes(directory.path(), &batch);
    let events = events(&conversation);
    let opened = events.iter().find_map(|event| match &event.operation {
        Operation::Open { path, .. } => {
            Some((path.as_bytes().to_vec(), serde_json::to_value(event).unwrap()))
        }
        _ => None,
    });
    let (path, json) = opened.unwrap();
    assert!(path.ends_with(b"/caf\xe9"));
    assert!(json["path"].as_str().unwrap().ends_with("/caf\u{fffd}"));
    use base64::Engine as _;
    let exact =
        base64::engine::general_purpose::STANDARD.decode(json["pathBase64"].as_str().unwrap()).unwrap();
    assert_eq!(exact, path);
}
