//! Records prove themselves: whole, cut by a crash, signed, encrypted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::{
    Fixture, ID, PATIENCE, connect, content, copies, noise, records, session, settings, short_session, spool,
    start, to_files,
};
use containerssh_auditlog::encrypted::{Decrypted, Identities};
use containerssh_auditlog::manifest::{self, ClosedBy, Encryption, Manifest, Signed, VerifyingKey};
use containerssh_auditlog::verify::{self, Ending, State, Verdict};
use containerssh_auditlog::{Decoder, IoStream, Message, Payload};
use containerssh_config::{Audit, OnFailure, PemOrFile};

/// Of RFC 8410, section 10.
const SIGNING: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// Of the age format's specification.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

fn signed(root: &Path) -> Audit {
    let mut audit = to_files(root);
    audit.signing.key = Some(PemOrFile::new(SIGNING));
    audit
}

fn encrypted(root: &Path) -> Audit {
    let mut audit = to_files(root);
    audit.encryption.recipients = vec![RECIPIENT.to_owned()];
    audit
}

fn manifest(path: &Path) -> (Manifest, Signed) {
    let file = std::fs::read(path.with_file_name(format!(
        "{}{}",
        path.file_name().unwrap().to_str().unwrap(),
        manifest::SUFFIX
    )));
    manifest::read(&file.unwrap(), &[VerifyingKey::from_pem(PUBLIC).unwrap()]).unwrap()
}

fn decrypted(path: &Path) -> impl std::io::BufRead {
    let mut identities = Identities::default();
    identities.add(IDENTITY.as_bytes()).unwrap();
    let file = BufReader::new(std::fs::File::open(path).unwrap());
    BufReader::new(Decrypted::new(file, &Arc::new(identities)).unwrap())
}

/// Every record of an encrypted log; panics on any damage.
fn decode(path: &Path) -> Vec<Message> {
    Decoder::new(decrypted(path)).unwrap().map(|message| message.unwrap()).collect()
}

async fn restart(root: &Path, audit: &Audit) -> containerssh_recorder::SpoolStatus {
    let (recorder, ..) = start(settings(root, audit)).unwrap();
    recorder.drain(PATIENCE).await
}

#[tokio::test]
async fn a_record_is_stored_with_a_signed_manifest_that_it_agrees_with() {
    let (fixture, audit) = Fixture::new(signed, |_| {});
    short_session(fixture.recorder.open(session(ID), audit), &noise(600_000, 1)).await;
    let directory = fixture.drained().await;
    let path = records(directory.path()).join(ID);
    let (manifest, signed) = manifest(&path);
    assert_eq!((signed, manifest.closed_by), (Signed::Yes, ClosedBy::Session));
    assert_eq!((manifest.connection_id.as_str(), manifest.key.as_str()), (ID, ID));
    assert_eq!((manifest.policy.as_str(), manifest.pod.as_str()), ("sha256:1234", "dev-0"));
    let bytes = std::fs::read(&path).unwrap();
    let report = verify::plain(&bytes[..], Some(&manifest)).unwrap();
    assert_eq!((report.verdict, report.ending), (Verdict::Intact, Ending::Session));
    assert!(manifest.chain.unwrap().members >= 3);
    let mut left: Vec<_> =
        std::fs::read_dir(spool(directory.path())).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name != ".lock");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_session_whose_manifest_could_not_be_signed_does_not_begin() {
    for (on_failure, refused) in [(OnFailure::Deny, true), (OnFailure::Allow, false)] {
        let broken = |root: &Path| {
            let mut audit = to_files(root);
            audit.signing.key_file = Some(root.join("missing.pem").to_str().unwrap().to_owned());
            audit.on_failure = on_failure;
            audit
        };
        let (fixture, audit) = Fixture::new(broken, |_| {});
        let tap = fixture.recorder.open(session(ID), audit);
        let outcome = tap.record(None, connect()).await;
        assert_eq!(outcome.is_err(), refused);
        if let Err(error) = outcome {
            assert!(error.to_string().contains("missing.pem"), "{error}");
        }
        tap.close().await;
    }
}

#[tokio::test]
async fn a_record_cut_anywhere_says_where_and_is_not_taken_for_altered() {
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let open = spool(fixture.root()).join(format!("{ID}.open"));
    let mut ends = vec![40];
    for count in 1..=3u8 {
        tap.io(0, IoStream::Stdout, Bytes::from(vec![count; 40])).await.unwrap();
        tap.flush().await.unwrap();
        ends.push(std::fs::metadata(&open).unwrap().len());
    }
    tap.close().await;
    let directory = fixture.drained().await;
    let whole = std::fs::read(records(directory.path()).join(ID)).unwrap();

    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    for length in (0..=whole.len()).step_by(7).chain([whole.len()]) {
        std::fs::write(spool(root.path()).join(format!("cut-{length}.open")), &whole[..length]).unwrap();
    }
    restart(root.path(), &signed(root.path())).await;
    for length in (0..=whole.len()).step_by(7).chain([whole.len()]) {
        let path = records(root.path()).join(format!("cut-{length}"));
        let (manifest, signed) = manifest(&path);
        let report = verify::plain(&std::fs::read(&path).unwrap()[..], Some(&manifest)).unwrap();
        assert_eq!(signed, Signed::Yes);
        if length == whole.len() {
            assert_eq!((report.verdict, manifest.closed_by), (Verdict::Intact, ClosedBy::Session));
            continue;
        }
        let Ending::Recovery { at: Some(at), dropped } = report.ending else {
            panic!("{length}: {report:?}")
        };
        assert!(matches!(report.verdict, Verdict::Recovered | Verdict::Intact), "{length}: {report:?}");
        assert!(report.pieces.iter().all(|piece| matches!(piece.state, State::Intact | State::Recovered)));
        let acknowledged = ends.iter().rev().find(|end| **end <= length as u64).copied().unwrap_or(40);
        assert!(at >= acknowledged, "{length}: cut at {at}, acknowledged {acknowledged}");
        if length >= 40 {
            assert_eq!(at + dropped, length as u64);
        }
    }
}

#[tokio::test]
async fn an_encrypted_record_is_read_by_its_recipient_alone() {
    let (fixture, audit) = Fixture::new(encrypted, |_| {});
    let data = noise(700_000, 2);
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    tap.io(0, IoStream::Stdin, Bytes::from_static(b"the secret words")).await.unwrap();
    tap.io(0, IoStream::Stdout, data.clone()).await.unwrap();
    tap.flush().await.unwrap();
    for entry in std::fs::read_dir(spool(fixture.root())).unwrap() {
        let stored = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!stored.windows(10).any(|window| window == b"secret wor"));
        assert!(!stored.windows(12).any(|window| window == b"connectionId" && !stored.starts_with(b"{")));
    }
    tap.close().await;
    let directory = fixture.drained().await;
    let path = records(directory.path()).join(ID);
    let messages = decode(&path);
    assert!(content(&messages, 0, IoStream::Stdout) == data);
    let (manifest, _) = manifest(&path);
    assert_eq!((manifest.encryption, manifest.chain.clone()), (Encryption::Age, None));
    let outside = verify::sealed(std::fs::File::open(&path).unwrap(), Some(&manifest)).unwrap();
    let inside = verify::plain(decrypted(&path), None).unwrap();
    assert_eq!((outside.verdict, inside.verdict), (Verdict::Intact, Verdict::Intact));
    assert!(!spool(directory.path()).join(format!("{ID}.tail")).exists());

    // Debian's own age reads it as any other file.
    let key = directory.path().join("key");
    std::fs::write(&key, IDENTITY).unwrap();
    match Command::new("age").args(["--decrypt", "-i"]).arg(&key).arg(&path).output() {
        Ok(age) => {
            assert!(age.status.success(), "{}", String::from_utf8_lossy(&age.stderr));
            let mut ours = Vec::new();
            decrypted(&path).read_to_end(&mut ours).unwrap();
            assert!(age.stdout == ours);
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_record_killed_at_any_moment_keeps_what_was_acknowledged() {
    let (fixture, audit) = Fixture::new(encrypted, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let data = noise(12 << 20, 11);
    let safe = Arc::new(AtomicUsize::new(0));
    let pump = tokio::spawn({
        let (data, tap, safe) = (data.clone(), tap.clone(), safe.clone());
        async move {
            let mut sent = 0;
            // Keystrokes and bulk by turns.
            let lengths = [3, 200, 30_000, 1, 90_000, 64_000];
            for length in lengths.into_iter().cycle() {
                let piece = data.slice(sent..(sent + length).min(data.len()));
                sent += piece.len();
                tap.io(0, IoStream::Stdout, piece).await.unwrap();
                if sent == data.len() {
                    break;
                }
                if sent % 3 == 0 {
                    tap.flush().await.unwrap();
                    safe.store(sent, Ordering::SeqCst);
                }
            }
        }
    });
    // What is on the disk is looked at while it is written: the copy is what a killed process leaves.
    let copies = copies::under_way(&pump, &safe, 30, |to| copy_spool(fixture.root(), to)).await;
    pump.await.unwrap();
    tap.close().await;
    fixture.drained().await;
    assert!(copies.iter().any(|(before, _)| *before > 0), "no copy was taken under way");
    for (acknowledged, copy) in copies {
        restart(copy.path(), &encrypted(copy.path())).await;
        let record = records(copy.path()).join(ID);
        if !record.exists() {
            assert_eq!(acknowledged, 0);
            continue;
        }
        let messages = decode(&record);
        let bytes = content(&messages, 0, IoStream::Stdout);
        assert!(bytes.len() >= acknowledged, "{} of {acknowledged} acknowledged bytes", bytes.len());
        assert!(data.starts_with(&bytes), "what is kept is what was sent");
        assert_eq!(messages.last().unwrap().payload, Payload::Disconnect);
        let (manifest, _) = manifest(&record);
        let outside = verify::sealed(std::fs::File::open(&record).unwrap(), Some(&manifest)).unwrap();
        let inside = verify::plain(decrypted(&record), None).unwrap();
        assert_eq!(outside.verdict, Verdict::Recovered);
        assert_eq!(inside.verdict, Verdict::Recovered, "{inside:?}");
    }
}

/// Copies a spool, and lets its records go to the copy's own directory.
fn copy_spool(from: &Path, to: &Path) {
    let mut files = copies::files(from);
    // The tail first: chunks written meanwhile only hold more.
    files.sort_by_key(|path| {
        ["tail", "open", "json"].iter().position(|end| path.extension().is_some_and(|is| is == *end))
    });
    copies::copy(files, from, to);
}

#[tokio::test]
async fn an_encrypted_record_is_completed_whatever_moment_ended_it_and_its_recovery() {
    let (fixture, audit) = Fixture::new(encrypted, |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    let mut states = Vec::new();
    let keep = |states: &mut Vec<_>| {
        let copy = tempfile::tempdir().unwrap();
        copy_spool(fixture.root(), copy.path());
        states.push(copy);
    };
    tap.record(None, connect()).await.unwrap();
    tap.flush().await.unwrap();
    keep(&mut states);
    for count in 0..3u8 {
        tap.io(0, IoStream::Stdout, noise(50_000, u64::from(count) + 1)).await.unwrap();
        tap.flush().await.unwrap();
        keep(&mut states);
    }
    tap.close().await;
    fixture.drained().await;
    for (number, copy) in states.into_iter().enumerate() {
        // A recovery that was itself interrupted: the tail is partly appended, and the sidecar says so.
        let again = tempfile::tempdir().unwrap();
        copy_spool(copy.path(), again.path());
        let path = spool(again.path()).join(format!("{ID}.open"));
        let chunks = std::fs::read(&path).unwrap();
        let whole = containerssh_auditlog::encrypted::whole_chunks(&chunks[..], chunks.len() as u64).unwrap();
        let mut joined = chunks[..usize::try_from(whole).unwrap()].to_vec();
        joined.extend_from_slice(containerssh_auditlog::encrypted::TAIL_START);
        joined.extend_from_slice(b"P\x10");
        std::fs::write(&path, joined).unwrap();
        let sidecar = spool(again.path()).join(format!("{ID}.json"));
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&sidecar).unwrap()).unwrap();
        value["encrypted"]["chunks"] = whole.into();
        std::fs::write(&sidecar, value.to_string()).unwrap();
        for root in [copy.path(), again.path()] {
            let left = restart(root, &encrypted(root)).await;
            assert_eq!(left.records, 0);
            let messages = decode(&records(root).join(ID));
            assert_eq!(content(&messages, 0, IoStream::Stdout).len(), number * 50_000);
            assert_eq!(messages.last().unwrap().payload, Payload::Disconnect);
        }
    }
    // Before anything was recorded, and before the file had even its header.
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(spool(root.path())).unwrap();
    for name in ["empty.open", "empty.tail"] {
        std::fs::write(spool(root.path()).join(name), "").unwrap();
    }
    let left = restart(root.path(), &encrypted(root.path())).await;
    assert_eq!(left.records, 0);
    assert_eq!(decode(&records(root.path()).join("empty")).len(), 1);
}
