//! What a crash leaves behind, at any moment: every acknowledged byte, in a log that reads to its end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::{
    Fixture, ID, PATIENCE, connect, content, copies, decode, noise, records, session, settings, spool, start,
    to_files,
};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_recorder::RecorderError;

/// Starts a recorder on a spool as a crash left it, and waits until it has delivered everything it can.
async fn restart(root: &Path) -> containerssh_recorder::SpoolStatus {
    let (recorder, ..) = start(settings(root, &to_files(root))).unwrap();
    recorder.drain(PATIENCE).await
}

#[tokio::test]
async fn a_record_cut_at_any_length_keeps_every_acknowledged_record_and_reads_to_its_end() {
    // A record of several segments, with its length after each.
    let (fixture, audit) = Fixture::new(to_files, |_| {});
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
    let whole = std::fs::read(records(directory.path()).join(ID)).unwrap();

    // Every length at once, as leftovers of one spool.
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(spool(root.path()).join(format!("cut-{length}.open")), &whole[..length]).unwrap();
    }
    let left = restart(root.path()).await;
    assert_eq!(left.records, 0);
    for length in 0..=whole.len() {
        let messages = decode(&records(root.path()).join(format!("cut-{length}")));
        let kept = acknowledged.iter().rev().find(|(at, _)| *at <= length as u64).unwrap().1;
        let bytes = content(&messages, 0, IoStream::Stdout);
        assert_eq!(bytes.len(), kept * 40, "cut at {length}");
        assert_eq!(messages.last().unwrap().payload, Payload::Disconnect, "cut at {length}");
        let disconnects = messages.iter().filter(|message| message.payload == Payload::Disconnect).count();
        assert_eq!(disconnects, 1, "cut at {length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_loses_nothing_it_had_acknowledged() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let data = noise(24 << 20, 11);
    let safe = Arc::new(AtomicUsize::new(0));
    let pump = tokio::spawn({
        let (data, tap, safe) = (data.clone(), tap.clone(), safe.clone());
        async move {
            let mut sent = 0;
            for (number, piece) in data.chunks(30_000).enumerate() {
                tap.io(0, IoStream::Stdout, data.slice_ref(piece)).await.unwrap();
                sent += piece.len();
                if number % 50 == 0 {
                    tap.flush().await.unwrap();
                    safe.store(sent, Ordering::SeqCst);
                }
            }
        }
    });
    // What is on the disk is looked at while it is written: the copy is what a killed process leaves.
    let copies = copies::under_way(&pump, &safe, 40, |to| copy_spool(fixture.root(), to)).await;
    pump.await.unwrap();
    tap.close().await;
    fixture.drained().await;
    assert!(copies.iter().any(|(before, _)| *before > 0), "no copy was taken under way");
    for (acknowledged, copy) in copies {
        restart(copy.path()).await;
        let record = records(copy.path()).join(ID);
        if !record.exists() {
            assert_eq!(acknowledged, 0);
            continue;
        }
        let bytes = content(&decode(&record), 0, IoStream::Stdout);
        assert!(bytes.len() >= acknowledged, "{} of {acknowledged} acknowledged bytes", bytes.len());
        assert!(data.starts_with(&bytes), "what is kept is what was sent");
    }
}

/// Copies a spool, and lets its records go to the copy's own directory.
fn copy_spool(from: &Path, to: &Path) {
    // The record before its sidecar, as they come into being.
    let mut files = copies::files(from);
    files.sort();
    files.reverse();
    copies::copy(files, from, to);
}

#[tokio::test]
async fn a_finished_record_is_delivered_after_a_restart_as_it_was() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    tap.close().await;
    let directory = fixture.drained().await;
    let finished = std::fs::read(records(directory.path()).join(ID)).unwrap();

    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    std::fs::write(spool(root.path()).join(format!("{ID}.ready")), &finished).unwrap();
    // Killed between its last write and the rename: complete under the other name.
    std::fs::write(spool(root.path()).join("other.open"), &finished).unwrap();
    restart(root.path()).await;
    assert_eq!(std::fs::read(records(root.path()).join(ID)).unwrap(), finished);
    assert_eq!(std::fs::read(records(root.path()).join("other")).unwrap(), finished);
}

#[tokio::test]
async fn what_is_no_record_is_set_aside_and_keeps_nobody_waiting() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    let rubbish = noise(5000, 3);
    std::fs::write(spool(root.path()).join("rubbish.open"), &rubbish).unwrap();
    std::fs::write(spool(root.path()).join("rubbish.json"), "{}").unwrap();
    std::fs::write(spool(root.path()).join("empty.open"), "").unwrap();
    let left = restart(root.path()).await;
    assert_eq!(left.records, 0);
    assert_eq!(std::fs::read(spool(root.path()).join("corrupt/rubbish")).unwrap(), rubbish);
    assert!(spool(root.path()).join("corrupt/rubbish.json").exists());
    assert_eq!(decode(&records(root.path()).join("empty")).len(), 1);
}

#[tokio::test]
async fn damage_in_the_middle_costs_the_damaged_part_only_and_the_rest_is_kept_aside() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let open = spool(fixture.root()).join(format!("{ID}.open"));
    let mut ends = Vec::new();
    for number in 0..3 {
        tap.io(0, IoStream::Stdout, noise(2000, number)).await.unwrap();
        tap.flush().await.unwrap();
        ends.push(usize::try_from(std::fs::metadata(&open).unwrap().len()).unwrap());
    }
    let mut damaged = std::fs::read(&open).unwrap();
    tap.close().await;
    fixture.drained().await;
    damaged[ends[0] + 500] ^= 0xff;

    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    std::fs::write(spool(root.path()).join(format!("{ID}.open")), &damaged).unwrap();
    restart(root.path()).await;
    let messages = decode(&records(root.path()).join(ID));
    assert_eq!(content(&messages, 0, IoStream::Stdout), noise(2000, 0));
    let tail = std::fs::read(spool(root.path()).join(format!("corrupt/{ID}.tail"))).unwrap();
    assert_eq!(tail, damaged[ends[0]..]);
}

#[tokio::test]
async fn a_torn_sidecar_sends_the_record_where_the_present_configuration_says() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    tap.flush().await.unwrap();
    let root = tempfile::tempdir().unwrap();
    copy_spool(fixture.root(), root.path());
    let sidecar = spool(root.path()).join(format!("{ID}.json"));
    let text = std::fs::read(&sidecar).unwrap();
    std::fs::write(&sidecar, &text[..text.len() / 2]).unwrap();
    let left = restart(root.path()).await;
    assert_eq!(left.records, 0);
    assert_eq!(decode(&records(root.path()).join(ID)).len(), 2);
}

#[tokio::test]
async fn a_live_spool_is_not_taken_over() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let error = start(settings(fixture.root(), &audit)).unwrap_err();
    assert!(matches!(error, RecorderError::Shared { .. }), "{error}");
}
