//! What a record looks like in each format, also when a crash cut it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use common::s3::{Fault, SHORT, Server};
use common::{
    Fixture, ID, PATIENCE, connect, content, decode, noise, records, session, settings, spool, start,
    to_files, to_s3,
};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{Audit, AuditFormat, FormatVersion};
use sha2::{Digest, Sha256};

fn in_version_2(root: &Path) -> Audit {
    Audit { format_version: FormatVersion::V2, ..to_files(root) }
}

/// A record of several segments, and its file's length after each.
async fn recorded(audit: impl FnOnce(&Path) -> Audit) -> (Vec<u8>, Vec<(u64, usize)>) {
    let (fixture, audit) = Fixture::new(audit, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let open = spool(fixture.root()).join(format!("{ID}.open"));
    let mut acknowledged = vec![(0, 0)];
    tap.record(None, connect()).await.unwrap();
    for count in 1..=4u8 {
        tap.io(0, IoStream::Stdout, Bytes::from(vec![count; 40])).await.unwrap();
        tap.flush().await.unwrap();
        acknowledged.push((std::fs::metadata(&open).unwrap().len(), usize::from(count)));
    }
    tap.close().await;
    let directory = fixture.drained().await;
    (std::fs::read(records(directory.path()).join(ID)).unwrap(), acknowledged)
}

#[tokio::test]
async fn version_2_is_a_sequence_of_records_without_an_array() {
    let (file, _) = recorded(in_version_2).await;
    assert_eq!(file[..40], *b"ContainerSSH-Auditlog\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(&file[40..]).read_to_end(&mut content).unwrap();
    // A map of five, as ContainerSSH's own files begin; and no byte that would close an array.
    assert_eq!(content[..14], *b"\xa5\x6cconnectionId");
    let mut rest = content.as_slice();
    let mut records = 0;
    while !rest.is_empty() {
        let value: ciborium::Value = ciborium::from_reader(&mut rest).unwrap();
        assert_eq!(value.as_map().unwrap().len(), 5);
        records += 1;
    }
    assert_eq!(records, 6);
}

#[tokio::test]
async fn version_2_cut_at_any_length_keeps_every_acknowledged_record() {
    let (whole, acknowledged) = recorded(in_version_2).await;
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(spool(root.path()).join(format!("cut-{length}.open")), &whole[..length]).unwrap();
    }
    let (recorder, ..) = start(settings(root.path(), &in_version_2(root.path()))).unwrap();
    assert_eq!(recorder.drain(PATIENCE).await.records, 0);
    for length in 0..=whole.len() {
        let messages = decode(&records(root.path()).join(format!("cut-{length}")));
        let kept = acknowledged.iter().rev().find(|(at, _)| *at <= length as u64).unwrap().1;
        assert_eq!(content(&messages, 0, IoStream::Stdout).len(), kept * 40, "cut at {length}");
        let ends = messages.iter().filter(|message| message.payload == Payload::Disconnect).count();
        assert_eq!((ends, &messages.last().unwrap().payload), (1, &Payload::Disconnect), "cut at {length}");
    }
}

#[tokio::test]
async fn both_versions_say_the_same() {
    let data = noise(700_000, 5);
    let mut all = Vec::new();
    for audit in [to_files, in_version_2] {
        let (fixture, audit) = Fixture::new(audit, |_| {});
        let tap = fixture.recorder.open(session(ID), audit);
        tap.record(None, connect()).await.unwrap();
        tap.io(3, IoStream::Stdin, data.clone()).await.unwrap();
        tap.close().await;
        let directory = fixture.drained().await;
        let messages = decode(&records(directory.path()).join(ID));
        assert!(content(&messages, 3, IoStream::Stdin) == data);
        all.push(messages.into_iter().map(|message| message.payload.type_code()).collect::<Vec<_>>());
    }
    assert_eq!(all[0], all[1]);
}

/// A connection with a shell in a terminal, a command, and a channel on which nothing ran.
async fn terminal_session(tap: containerssh_recorder::Tap) {
    let pty = Payload::ChannelRequestPty {
        request_id: 0,
        term: "xterm".to_owned(),
        columns: 100,
        rows: 30,
        width: 0,
        height: 0,
        mode_list: None,
    };
    tap.record(None, connect()).await.unwrap();
    tap.authenticated("alice", "");
    tap.record(Some(0), pty).await.unwrap();
    tap.record(Some(0), Payload::ChannelRequestShell { request_id: 1 }).await.unwrap();
    tap.io(0, IoStream::Stdin, Bytes::from_static(b"ls\r")).await.unwrap();
    // A character that two reads cut in two.
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"caf\xc3")).await.unwrap();
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"\xa9\r\n")).await.unwrap();
    let window = Payload::ChannelRequestWindow { request_id: 2, columns: 120, rows: 40, width: 0, height: 0 };
    tap.record(Some(0), window).await.unwrap();
    tap.record(Some(7), Payload::ChannelRequestExec { request_id: 0, program: "cat big".to_owned() })
        .await
        .unwrap();
    tap.io(7, IoStream::Stdout, Bytes::from(vec![b'z'; 300_000])).await.unwrap();
    tap.record(Some(9), Payload::Close).await.unwrap();
    tap.close().await;
}

/// Events of a cast: kind and text.
fn events(cast: &str) -> Vec<(String, String)> {
    let mut lines = cast.lines();
    let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(header["version"], 2);
    let event = |line: &str| {
        let (_, kind, text): (f64, String, String) = serde_json::from_str(line).unwrap();
        (kind, text)
    };
    lines.map(event).collect()
}

fn check_casts(terminal: &str, command: &str, with_input: bool) {
    let mut expected: Vec<(String, String)> = [("o", "caf"), ("o", "é\r\n"), ("r", "120x40")]
        .map(|(kind, text)| (kind.into(), text.into()))
        .to_vec();
    if with_input {
        expected.insert(0, ("i".to_owned(), "ls\r".to_owned()));
    }
    assert_eq!(events(terminal), expected);
    let output: String = events(command).into_iter().map(|(_, text)| text).collect();
    assert_eq!(output, "z".repeat(300_000));
    assert!(command.contains("\"command\":\"cat big\""));
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn asciinema_is_one_cast_per_session_channel_as_files() {
    for with_input in [true, false] {
        let (fixture, audit) = Fixture::new(
            |root| {
                let mut audit = Audit { format: AuditFormat::Asciinema, ..to_files(root) };
                audit.intercept.stdin = with_input;
                audit
            },
            |_| {},
        );
        terminal_session(fixture.recorder.open(session(ID), audit)).await;
        let directory = fixture.drained().await;
        let stored = records(directory.path());
        assert_eq!(names(&stored), [format!("{ID}-0.cast"), format!("{ID}-7.cast")]);
        let read =
            |channel: u64| std::fs::read_to_string(stored.join(format!("{ID}-{channel}.cast"))).unwrap();
        check_casts(&read(0), &read(7), with_input);
    }
}

#[tokio::test]
async fn asciinema_is_one_cast_per_session_channel_as_objects_also_in_parts() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = Audit { format: AuditFormat::Asciinema, ..to_s3(root, &server.url) };
            audit.s3.prefix = "{username}/".parse().unwrap();
            audit
        },
        |_| {},
    );
    terminal_session(fixture.recorder.open(session(ID), audit.clone())).await;
    // Binary output doubles and more as JSON: this one goes up in parts, made again as each is sent.
    let tap = fixture.recorder.open(session("large"), audit);
    tap.io(3, IoStream::Stdout, noise(6 << 20, 2)).await.unwrap();
    tap.close().await;
    fixture.drained().await;
    let text = |key: &str| String::from_utf8(server.object(key).data).unwrap();
    check_casts(&text(&format!("alice/{ID}-0.cast")), &text(&format!("alice/{ID}-7.cast")), true);
    let object = server.object(&format!("alice/{ID}-7.cast"));
    assert_eq!(object.asked["content-type"], "application/x-asciicast");
    assert_eq!(object.metadata["channel"], "7");
    assert_eq!(object.metadata["sha256"], hex::encode(Sha256::digest(&object.data)));
    let large = server.object("(unauthenticated)/large-3.cast");
    assert_eq!(large.metadata["sha256"], hex::encode(Sha256::digest(&large.data)));
    assert!(large.data.len() > 6 << 20 && server.count("UploadPart") >= 2);
    assert_eq!(server.bucket().objects.len(), 3);
}

#[tokio::test]
async fn casts_that_were_stored_before_a_failure_are_not_stored_again() {
    let server = Server::start().await;
    server.fail_once("PutObject", Fault::LostAnswer);
    let (fixture, audit) = Fixture::new(
        |root| Audit { format: AuditFormat::Asciinema, ..to_s3(root, &server.url) },
        |settings| settings.timeouts.request = SHORT,
    );
    terminal_session(fixture.recorder.open(session(ID), audit)).await;
    fixture.drained().await;
    // The first of the two, again and refused, the second.
    assert_eq!(server.count("PutObject"), 3);
    assert_eq!(server.bucket().objects.len(), 2);
}

#[tokio::test]
async fn a_record_that_a_crash_cut_short_becomes_casts_of_what_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let asciinema = |root: &Path| Audit { format: AuditFormat::Asciinema, ..to_files(root) };
    let (whole, _) = recorded(to_files).await;
    std::fs::create_dir(spool(root.path())).unwrap();
    std::fs::write(spool(root.path()).join(format!("{ID}.open")), &whole[..whole.len() - 10]).unwrap();
    let (recorder, ..) = start(settings(root.path(), &asciinema(root.path()))).unwrap();
    assert_eq!(recorder.drain(PATIENCE).await.records, 0);
    let cast = std::fs::read_to_string(records(root.path()).join(format!("{ID}-0.cast"))).unwrap();
    let output: String = events(&cast).into_iter().map(|(_, text)| text).collect();
    assert_eq!(output.len(), 4 * 40);
}

#[tokio::test]
async fn files_have_the_prefix_that_is_asked_for_and_never_leave_the_directory() {
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_files(root);
            audit.file.prefix = "{year}/{month}/{username}".parse().unwrap();
            audit
        },
        |_| {},
    );
    let tap = fixture.recorder.open(session(ID), audit);
    tap.authenticated("../../etc", "");
    tap.close().await;
    let directory = fixture.drained().await;
    decode(&records(directory.path()).join("2026/05/..%2F..%2Fetc").join(ID));
}
