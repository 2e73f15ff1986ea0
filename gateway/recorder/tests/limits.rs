//! When there is no room, or no disk: what sessions see, and what their records say afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::s3::{Fault, Server};
use common::{
    Fixture, ID, connect, content, decode, eventually, gaps, noise, records, session, short_session, spool,
    to_files, to_s3,
};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{OnFailure, OnFull};
use containerssh_recorder::{Tap, TapError};

const LIMIT: u64 = 1 << 20;

/// Sends pieces until the tap refuses. Returns what was accepted.
async fn fill(tap: &Tap) -> (Vec<u8>, TapError) {
    let mut accepted = Vec::new();
    for number in 0..10_000 {
        let piece = noise(32 * 1024, number);
        match tap.io(0, IoStream::Stdout, piece.clone()).await {
            Ok(()) => accepted.extend_from_slice(&piece),
            Err(error) => return (accepted, error),
        }
        // As a pump would wait for its next packet.
        if number % 8 == 0 {
            let _durable_or_failed = tap.flush().await;
        }
    }
    panic!("the spool never filled up");
}

#[tokio::test]
async fn block_waits_until_an_upload_frees_space() {
    let server = Server::start().await;
    server.fail("PutObject", Some(Fault::Status(503, "SlowDown")));
    let (fixture, audit) =
        Fixture::new(|root| to_s3(root, &server.url), |settings| settings.size_limit = LIMIT);
    let first = fixture.recorder.open(session("first"), audit.clone());
    short_session(first, &noise(LIMIT as usize, 1)).await;
    assert!(fixture.recorder.status().bytes > LIMIT);

    let tap = fixture.recorder.open(session(ID), audit);
    let waiting = tokio::spawn({
        let tap = tap.clone();
        async move { tap.io(0, IoStream::Stdout, Bytes::from_static(b"patience")).await }
    });
    // Attempts go on meanwhile, and none of them lets the session on.
    server.asked("PutObject", 5).await;
    assert!(!waiting.is_finished());
    server.fail("PutObject", None);
    waiting.await.unwrap().unwrap();
    tap.close().await;
    fixture.drained().await;
    assert_eq!(server.records().len(), 2);
}

#[tokio::test]
async fn block_does_not_wait_for_space_that_only_open_sessions_hold() {
    let (fixture, audit) = Fixture::new(to_files, |settings| settings.size_limit = LIMIT);
    let tap = fixture.recorder.open(session(ID), audit);
    let (accepted, error) = fill(&tap).await;
    assert_eq!(error, TapError::Full);
    assert_eq!(tap.failed().await, TapError::Full);
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    assert!(content(&messages, 0, IoStream::Stdout) == accepted, "what was accepted is recorded");
}

#[tokio::test]
async fn deny_ends_sessions_at_once_although_an_upload_would_free_space() {
    let server = Server::start().await;
    server.fail("PutObject", Some(Fault::Status(503, "SlowDown")));
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &server.url);
            audit.spool.on_full = OnFull::Deny;
            audit
        },
        |settings| settings.size_limit = LIMIT,
    );
    short_session(fixture.recorder.open(session("first"), audit.clone()), &noise(LIMIT as usize, 1)).await;
    let tap = fixture.recorder.open(session(ID), audit);
    assert_eq!(tap.record(None, connect()).await, Err(TapError::Full));
    tap.close().await;
    assert_eq!(fixture.metric("containerssh_audit_record_failures_total"), 1.0);
    server.fail("PutObject", None);
    fixture.drained().await;
    assert_eq!(server.records().len(), 2, "the refused session has a record too");
}

#[tokio::test]
async fn drop_goes_on_without_and_the_record_tells_of_the_gap() {
    let server = Server::start().await;
    server.fail("PutObject", Some(Fault::Status(503, "SlowDown")));
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &server.url);
            audit.spool.on_full = OnFull::Drop;
            audit
        },
        |settings| settings.size_limit = LIMIT,
    );
    let tap = fixture.recorder.open(session(ID), audit.clone());
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"before ")).await.unwrap();
    short_session(fixture.recorder.open(session("first"), audit), &noise(LIMIT as usize, 1)).await;
    for _ in 0..3 {
        tap.io(0, IoStream::Stdout, Bytes::from_static(b"lost")).await.unwrap();
    }
    assert_eq!(fixture.metric("containerssh_audit_dropped_records_total"), 3.0);
    assert_eq!(fixture.metric("containerssh_audit_dropped_bytes_total"), 12.0);
    server.fail("PutObject", None);
    eventually("there is room again", || fixture.recorder.status().bytes < LIMIT / 2).await;
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"after")).await.unwrap();
    tap.close().await;
    let directory = fixture.drained().await;
    let record = directory.path().join("copy");
    std::fs::write(&record, server.object(ID).data).unwrap();
    let messages = decode(&record);
    assert_eq!(content(&messages, 0, IoStream::Stdout), b"before after");
    assert_eq!(
        gaps(&messages),
        ["audit gap: 3 records with 12 bytes of input and output were not recorded: the spool was full"]
    );
    // In its place: between what was recorded before and after it.
    let order: Vec<u32> = messages.iter().map(|message| message.payload.type_code()).collect();
    assert_eq!(order, [500, 501, 500, 1]);
}

#[tokio::test]
async fn events_are_still_recorded_when_there_is_no_room_for_content() {
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_files(root);
            audit.spool.on_full = OnFull::Drop;
            audit
        },
        |settings| settings.size_limit = LIMIT,
    );
    let tap = fixture.recorder.open(session(ID), audit);
    let mut number = 0;
    while fixture.metric("containerssh_audit_dropped_records_total") == 0.0 {
        tap.io(0, IoStream::Stdout, noise(32 * 1024, number)).await.unwrap();
        tap.flush().await.unwrap();
        number += 1;
    }
    let dropped = fixture.metric("containerssh_audit_dropped_records_total");
    let exec = Payload::ChannelRequestExec { request_id: 1, program: "rm -rf /".to_owned() };
    tap.record(Some(0), exec.clone()).await.unwrap();
    assert_eq!(fixture.metric("containerssh_audit_dropped_records_total"), dropped);
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    assert!(messages.iter().any(|message| message.payload == exec));
}

/// Puts a file where the spool's directory was, so that nothing can be made there (which even root cannot get round).
fn obstruct(fixture: &Fixture) {
    std::fs::remove_dir_all(spool(fixture.root())).unwrap();
    std::fs::write(spool(fixture.root()), "in the way").unwrap();
}

#[tokio::test(start_paused = true)]
async fn deny_refuses_the_first_record_where_the_spool_cannot_be_used() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    obstruct(&fixture);
    let tap = fixture.recorder.open(session(ID), audit);
    let error = tap.record(None, connect()).await.unwrap_err();
    assert!(matches!(error, TapError::Write(_)), "{error}");
    assert_eq!(tap.failed().await, error);
    tap.close().await;
}

#[tokio::test(start_paused = true)]
async fn deny_ends_the_session_when_its_record_is_removed_under_it_and_keeps_the_rest() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    tap.flush().await.unwrap();
    std::fs::remove_dir_all(spool(fixture.root())).unwrap();
    tap.io(0, IoStream::Stdin, Bytes::from_static(b"accepted")).await.unwrap();
    let error = tap.failed().await;
    assert!(matches!(&error, TapError::Write(reason) if reason.contains("removed")), "{error}");
    assert_eq!(tap.io(0, IoStream::Stdin, Bytes::from_static(b"more")).await, Err(error));
    // What was accepted and could not be written is in the record that is made in its place.
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    assert_eq!(content(&messages, 0, IoStream::Stdin), b"accepted");
    assert!(gaps(&messages)[0].contains("the record so far was removed"));
}

#[tokio::test(start_paused = true)]
async fn allow_goes_on_through_an_outage_and_the_record_tells_of_the_gap() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let mut audit = (*audit).clone();
    audit.on_failure = OnFailure::Allow;
    let tap = fixture.recorder.open(session(ID), Arc::new(audit));
    tap.record(None, connect()).await.unwrap();
    tap.flush().await.unwrap();
    obstruct(&fixture);
    let mut lost = 0u64;
    while fixture.metric("containerssh_audit_dropped_records_total") < 5.0 {
        tap.io(0, IoStream::Stdout, Bytes::from_static(b"lost")).await.unwrap();
        lost += 1;
        // On the paused clock this is when segments become due.
        tokio::time::advance(Duration::from_millis(150)).await;
    }
    tap.flush().await.unwrap_err();
    std::fs::remove_file(spool(fixture.root())).unwrap();
    // The next attempt is due a second after the last.
    tokio::time::advance(Duration::from_secs(2)).await;
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"back")).await.unwrap();
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    let recorded = content(&messages, 0, IoStream::Stdout);
    assert!(recorded.ends_with(b"back"));
    let told: u64 = gaps(&messages)
        .iter()
        .filter(|gap| !gap.contains("removed from the spool"))
        .map(|gap| gap.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum();
    let kept = (recorded.len() as u64 - 4) / 4;
    assert_eq!(told + kept, lost, "each record is there or told to be missing: {:?}", gaps(&messages));
}
