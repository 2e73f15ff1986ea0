//! `verify` as its users run it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use containerssh_auditlog::chain::{Chain, End, Kind};
use containerssh_auditlog::manifest::{self, ClosedBy, Digests, Encryption, Manifest, SigningKey, Summary};
use containerssh_auditlog::member::{Scratch, compress_with_extra};
use containerssh_auditlog::{Encoder, Payload, Version, encode, header};

/// Of RFC 8410, section 10.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A record of three segments and its manifest.
fn record(encryption: Encryption) -> (Vec<u8>, Manifest) {
    let header = header(Version::V1);
    let mut bytes = header.to_vec();
    let mut chain = Chain::start(&header);
    for number in 0..3_u64 {
        let mut content = Vec::new();
        if number == 0 {
            encode::open(&mut content);
        }
        let payload = if number == 2 { Payload::Disconnect } else { Payload::Close };
        Encoder::new("c").record(&mut content, 1_700_000_000_000_000_000 + number, None, &payload);
        if number == 2 {
            encode::close(&mut content);
        }
        let start = bytes.len();
        compress_with_extra(&content, &chain.next_link(Kind::Segment), &mut bytes, &mut Scratch::new());
        chain.push(&bytes[start..], bytes.len() as u64);
    }
    let length = bytes.len() as u64;
    let seal = chain.seal(Kind::Seal, End { length, session: length, dropped: 0 });
    bytes.extend_from_slice(&seal);
    chain.push(&seal, bytes.len() as u64);
    let digests = Digests::of(&bytes[..], bytes.len() as u64).unwrap();
    let manifest = Manifest {
        version: Manifest::VERSION,
        connection_id: "c".to_owned(),
        key: "2026/c".to_owned(),
        namespace: String::new(),
        gateway: String::new(),
        pod: String::new(),
        policy: String::new(),
        started: "2026-05-09T12:00:00Z".parse().unwrap(),
        closed: "2026-05-09T12:01:00Z".parse().unwrap(),
        closed_by: ClosedBy::Session,
        encryption,
        bytes: digests.bytes,
        sha256: digests.sha256,
        chain: Some(Summary { members: chain.members(), marks: chain.marks().to_vec() }),
        ranges: Vec::new(),
    };
    (bytes, manifest)
}

struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    /// A record with a signed manifest beside it, and the keys.
    fn new() -> Self {
        let case = Self { directory: tempfile::tempdir().unwrap() };
        let (bytes, manifest) = record(Encryption::None);
        std::fs::write(case.path("record"), bytes).unwrap();
        let key = SigningKey::from_pem(KEY).unwrap();
        let manifest = manifest::write(&manifest, Some(&key)).unwrap();
        std::fs::write(case.path("record.manifest.json"), manifest).unwrap();
        std::fs::write(case.path("public.pem"), PUBLIC).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Exit status and standard output.
    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        run(self.directory.path(), arguments)
    }
}

fn run(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_containerssh-auditlog-tool"))
        .arg("verify")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn an_intact_record_is_said_to_be_so_and_by_what() {
    let case = Case::new();
    let (status, text) = case.verify(&["record", "--public-key", "public.pem"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("record: INTACT: as its session wrote it\n"), "{text}");
    assert!(text.contains("intact, segments 0 to 3, 3 records, 2023-11-14T22:13:20.000000Z to"), "{text}");
    assert!(
        text.contains("manifest: agrees; signed by a given key; connection c, stored as 2026/c"),
        "{text}"
    );
    let (status, text) = case.verify(&["record"]);
    assert!(status == 0 && text.contains("no key was given to check that"), "{text}");
    std::fs::remove_file(case.path("record.manifest.json")).unwrap();
    let (status, text) = case.verify(&["record"]);
    assert!(status == 0 && text.contains("INTACT by its chain") && text.contains("no manifest"), "{text}");
    let (status, text) = case.verify(&["record", "--public-key", "public.pem"]);
    assert!(status == 2 && text.contains("there is none, so nothing is signed"), "{text}");
}

#[test]
fn a_change_is_located_and_has_its_own_exit_status() {
    let case = Case::new();
    case.change("record", |bytes| bytes[150] ^= 1);
    let (status, text) = case.verify(&["record"]);
    assert_eq!(status, 2, "{text}");
    assert!(text.starts_with("record: ALTERED"), "{text}");
    assert!(text.contains(": altered") && text.contains(": intact, segment"), "{text}");
    assert!(text.contains("manifest: DISAGREES"), "{text}");
}

#[test]
fn a_cut_record_without_manifest_is_cut_and_nothing_worse() {
    let case = Case::new();
    std::fs::remove_file(case.path("record.manifest.json")).unwrap();
    case.change("record", |bytes| bytes.truncate(bytes.len() - 10));
    let (status, text) = case.verify(&["record"]);
    assert!(status == 3 && text.contains("CUT: its end is missing"), "{text}");
}

#[test]
fn a_manifest_that_was_changed_or_signed_by_another_does_not_count() {
    let case = Case::new();
    case.change("record.manifest.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"pod\":\"\"", "\"pod\":\"x\"");
        *bytes = text.into_bytes();
    });
    let (status, text) = case.verify(&["record", "--public-key", "public.pem"]);
    assert!(status == 2 && text.contains("not signed by any of the given keys"), "{text}");
    std::fs::write(case.path("record.manifest.json"), "{}").unwrap();
    let (status, text) = case.verify(&["record"]);
    assert!(status == 2 && text.contains("not a manifest"), "{text}");
}

#[test]
fn many_records_are_checked_and_the_worst_counts() {
    let case = Case::new();
    for (name, length) in [("good", None), ("cut", Some(200))] {
        std::fs::copy(case.path("record"), case.path(name)).unwrap();
        if let Some(length) = length {
            case.change(name, |bytes| bytes.truncate(length));
        }
    }
    std::fs::write(case.path("notes.txt"), "not a record").unwrap();
    let (status, text) = case.verify(&["."]);
    assert_eq!(status, 3, "{text}");
    assert_eq!(text.matches("INTACT").count(), 2, "{text}");
    assert!(!text.contains("notes"), "{text}");
    let (status, _) = case.verify(&["good", "missing"]);
    assert_eq!(status, 1);
}

#[test]
fn json_says_the_same() {
    let case = Case::new();
    case.change("record", |bytes| bytes[150] ^= 1);
    let (status, text) = case.verify(&["record", "--format", "json"]);
    assert_eq!(status, 2);
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&line["verdict"], &line["asManifest"]), (&"altered".into(), &false.into()));
    assert_eq!(line["manifest"]["used"]["signed"], "unchecked");
    assert!(line["pieces"].as_array().unwrap().iter().any(|piece| piece["state"] == "altered"), "{line}");
}

#[test]
fn what_older_versions_wrote_cannot_be_verified_and_is_not_called_altered() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../auditlog/tests/vectors");
    let (status, text) = run(&vectors, &["v1-shell.bin"]);
    assert!(status == 4 && text.contains("no chain and no manifest"), "{text}");
}
