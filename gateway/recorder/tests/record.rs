//! What is recorded: every byte, in order, and nothing that was not asked for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Fixture, ID, connect, content, decode, noise, records, session, to_files};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{AuditFormat, AuditStorage, FormatVersion};
use proptest::prelude::*;

#[tokio::test]
async fn a_session_becomes_one_file_that_starts_and_ends_as_it_should() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    tap.authenticated("alice", "");
    tap.record(Some(0), Payload::ChannelRequestShell { request_id: 0 }).await.unwrap();
    tap.io(0, IoStream::Stdin, Bytes::from_static(b"exit\n")).await.unwrap();
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    let types: Vec<u32> = messages.iter().map(|message| message.payload.type_code()).collect();
    assert_eq!(types, [0, 405, 500, 1]);
    assert!(messages.iter().all(|message| &*message.connection_id == ID));
    assert!(messages.is_sorted_by_key(|message| message.timestamp));
}

#[tokio::test]
async fn only_intercepted_streams_are_recorded_and_each_switch_counts_alone() {
    for wanted in [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr] {
        let (fixture, audit) = Fixture::new(to_files, |_| {});
        let mut audit = (*audit).clone();
        audit.intercept.stdin = wanted == IoStream::Stdin;
        audit.intercept.stdout = wanted == IoStream::Stdout;
        audit.intercept.stderr = wanted == IoStream::Stderr;
        let tap = fixture.recorder.open(session(ID), Arc::new(audit));
        for stream in [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr] {
            tap.io(0, stream, Bytes::from_static(stream.name().as_bytes())).await.unwrap();
        }
        tap.close().await;
        let directory = fixture.drained().await;
        let messages = decode(&records(directory.path()).join(ID));
        for stream in [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr] {
            let expected = if stream == wanted { stream.name().as_bytes() } else { b"" };
            assert_eq!(content(&messages, 0, stream), expected);
        }
    }
}

#[tokio::test]
async fn passwords_are_left_out_unless_intercepted_whatever_the_caller_passes() {
    for intercepted in [false, true] {
        let (fixture, audit) = Fixture::new(to_files, |_| {});
        let mut audit = (*audit).clone();
        audit.intercept.passwords = intercepted;
        let tap = fixture.recorder.open(session(ID), Arc::new(audit));
        assert_eq!(tap.intercepts_passwords(), intercepted);
        let password = Some(Bytes::from_static(b"hunter2"));
        let offered = Payload::AuthPassword { username: "alice".to_owned(), password };
        tap.record(None, offered.clone()).await.unwrap();
        tap.close().await;
        let directory = fixture.drained().await;
        let messages = decode(&records(directory.path()).join(ID));
        let recorded = &messages[0].payload;
        let blank = Payload::AuthPassword { username: "alice".to_owned(), password: None };
        assert_eq!(recorded, if intercepted { &offered } else { &blank });
    }
}

#[tokio::test]
async fn without_storage_or_format_nothing_is_recorded_and_nothing_fails() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    for change in [
        (|audit| audit.enable = false) as fn(&mut containerssh_config::Audit),
        |audit| audit.format = AuditFormat::None,
        |audit| audit.storage = AuditStorage::None,
    ] {
        let mut audit = (*audit).clone();
        change(&mut audit);
        let tap = fixture.recorder.open(session(ID), Arc::new(audit));
        assert!(!tap.is_enabled() && !tap.intercepts_passwords());
        tap.record(None, connect()).await.unwrap();
        tap.io(0, IoStream::Stdin, Bytes::from_static(b"x")).await.unwrap();
        tap.close().await;
    }
    let directory = fixture.drained().await;
    assert!(!records(directory.path()).exists());
}

#[tokio::test]
async fn a_connection_whose_task_died_has_a_complete_record() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    drop(tap);
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    assert_eq!(messages.last().unwrap().payload, Payload::Disconnect);
}

#[tokio::test]
async fn ids_that_are_no_file_names_and_second_records_of_one_id_are_refused() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let bad = fixture.recorder.open(session("../../etc/passwd"), audit.clone());
    bad.record(None, connect()).await.unwrap_err();
    bad.close().await;
    let first = fixture.recorder.open(session(ID), audit.clone());
    first.record(None, connect()).await.unwrap();
    let second = fixture.recorder.open(session(ID), audit);
    second.record(None, connect()).await.unwrap_err();
    second.failed().await;
    first.close().await;
    fixture.drained().await;
}

#[tokio::test]
async fn sixteen_megabytes_each_way_are_recorded_byte_for_byte() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let data = noise(16 << 20, 7);
    let pump = |stream: IoStream, tap: containerssh_recorder::Tap| {
        let data = data.clone();
        tokio::spawn(async move {
            let mut rest = data;
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(32 * 1024));
                tap.io(0, stream, piece).await.unwrap();
            }
        })
    };
    let (up, down) = (pump(IoStream::Stdin, tap.clone()), pump(IoStream::Stdout, tap.clone()));
    up.await.unwrap();
    down.await.unwrap();
    tap.close().await;
    let directory = fixture.drained().await;
    let messages = decode(&records(directory.path()).join(ID));
    assert!(content(&messages, 0, IoStream::Stdin) == data);
    assert!(content(&messages, 0, IoStream::Stdout) == data);
}

/// One thing a pump does.
#[derive(Debug, Clone)]
struct Write {
    channel: u64,
    length: usize,
    /// Let other tasks run first.
    pause: bool,
}

fn write() -> impl Strategy<Value = Write> {
    // Key presses, packets, what fills a segment of 256 KiB but for a few bytes or by a few too many, and more than one.
    let length = prop_oneof![
        4 => 0usize..100,
        2 => 0usize..40_000,
        1 => (256usize << 10) - 400..(256 << 10) + 100,
        1 => 250_000usize..600_000,
    ];
    (0u64..3, length, any::<bool>()).prop_map(|(channel, length, pause)| Write { channel, length, pause })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_interleaving_of_writes_of_any_size_is_recorded_byte_for_byte(
        pumps in proptest::collection::vec(proptest::collection::vec(write(), 1..25), 1..7),
        version in prop_oneof![Just(FormatVersion::V1), Just(FormatVersion::V2)],
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (fixture, audit) = Fixture::new(to_files, |_| {});
            let audit = Arc::new(containerssh_config::Audit { format_version: version, ..(*audit).clone() });
            let tap = fixture.recorder.open(session(ID), audit);
            let mut tasks = Vec::new();
            for (number, pump) in pumps.into_iter().enumerate() {
                let tap = tap.clone();
                tasks.push(tokio::spawn(async move {
                    // As in the gateway: one pump per stream, three streams to a channel. What it wrote last must come last.
                    let stream = [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr][number % 3];
                    let mut written: Vec<(u64, IoStream, Bytes)> = Vec::new();
                    for (at, write) in pump.into_iter().enumerate() {
                        if write.pause {
                            tokio::task::yield_now().await;
                        }
                        let channel = (number / 3) as u64 * 10 + write.channel;
                        // Every other piece is text, so that there are segments of both kinds.
                        let mark = seed ^ (at as u64) << 8 ^ (number as u64) << 4 ^ channel;
                        let data = match at % 2 {
                            0 => noise(write.length, mark),
                            _ => Bytes::from(format!("{mark:x} \r\n").repeat(write.length / 8 + 1)),
                        };
                        tap.io(channel, stream, data.clone()).await.unwrap();
                        written.push((channel, stream, data));
                    }
                    written
                }));
            }
            let mut expected = std::collections::BTreeMap::new();
            for task in tasks {
                for (channel, stream, data) in task.await.unwrap() {
                    expected.entry((channel, stream)).or_insert_with(Vec::new).extend_from_slice(&data);
                }
            }
            tap.close().await;
            let directory = fixture.drained().await;
            let messages = decode(&records(directory.path()).join(ID));
            for ((channel, stream), data) in &expected {
                assert!(content(&messages, *channel, *stream) == *data, "channel {channel} {stream:?} differs");
            }
            let recorded: usize = messages.iter().map(|message| match &message.payload {
                Payload::Io { data, .. } => data.len(),
                _ => 0,
            }).sum();
            assert_eq!(recorded, expected.values().map(Vec::len).sum::<usize>(), "nothing is recorded twice");
            assert!(messages.is_sorted_by_key(|message| message.timestamp));
        });
    }
}
