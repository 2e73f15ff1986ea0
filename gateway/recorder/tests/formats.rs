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
use common::{
    Fixture, ID, PATIENCE, connect, content, decode, noise, records, session, settings, spool, start,
    to_files,
};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{Audit, FormatVersion};

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
