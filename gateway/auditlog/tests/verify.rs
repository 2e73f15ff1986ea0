//! What verification finds: 10,000 random edits of finished records, and what it says of each kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

use std::ops::Range;

use bytes::Bytes;
use containerssh_auditlog::chain::{Chain, End, Hash, Kind};
use containerssh_auditlog::manifest::{ClosedBy, Digests, Encryption, Manifest, Summary};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::verify::{self, Ending, Report, State, Verdict};
use containerssh_auditlog::{Encoder, HEADER_LEN, IoStream, Payload, Version, encode, header};

/// A record, where its members stand, and its manifest.
struct Record {
    bytes: Vec<u8>,
    members: Vec<Range<usize>>,
    manifest: Manifest,
}

/// Numbers without a pattern (xorshift), the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Appends a member with this content.
fn append(bytes: &mut Vec<u8>, chain: &mut Chain, kind: Kind, content: &[u8]) -> Range<usize> {
    let start = bytes.len();
    member::compress_with_extra(content, &chain.next_link(kind), bytes, &mut Scratch::new());
    chain.push(&bytes[start..], bytes.len() as u64);
    start..bytes.len()
}

fn seal(bytes: &mut Vec<u8>, chain: &mut Chain, kind: Kind, session: usize, dropped: u64) -> Range<usize> {
    let start = bytes.len();
    let end = End { length: start as u64, session: session as u64, dropped };
    bytes.extend_from_slice(&chain.seal(kind, end));
    chain.push(&bytes[start..], bytes.len() as u64);
    start..bytes.len()
}

fn manifest(bytes: &[u8], chain: Option<&Chain>, closed_by: ClosedBy) -> Manifest {
    let digests = Digests::of(bytes, bytes.len() as u64).unwrap();
    Manifest {
        version: Manifest::VERSION,
        connection_id: "c".to_owned(),
        key: "c".to_owned(),
        namespace: String::new(),
        gateway: String::new(),
        pod: String::new(),
        policy: String::new(),
        started: "2026-05-09T12:00:00Z".parse().unwrap(),
        closed: "2026-05-09T12:01:00Z".parse().unwrap(),
        closed_by,
        encryption: Encryption::None,
        bytes: digests.bytes,
        sha256: digests.sha256,
        chain: chain.map(|chain| Summary { members: chain.members(), marks: chain.marks().to_vec() }),
        ranges: if chain.is_some() { Vec::new() } else { digests.ranges },
    }
}

/// A record of some segments, each a record of terminal text or of noise.
fn record(id: &str, segments: usize, dice: &mut Dice) -> Record {
    let header = header(Version::V1);
    let mut bytes = header.to_vec();
    let mut chain = Chain::start(&header);
    let encoder = Encoder::new(id);
    let mut members = Vec::new();
    for number in 0..segments {
        let mut content = Vec::new();
        if number == 0 {
            encode::open(&mut content);
        }
        let data: Vec<u8> = match dice.roll(3) {
            0 => b"$ ls -l\r\n".to_vec(),
            1 => b"-rw-r--r-- 1 root root 1234 Jan  1 file\r\n".repeat(1 + dice.roll(20)),
            _ => (0..dice.roll(600)).map(|_| dice.roll(256) as u8).collect(),
        };
        let at = 1_000_000_000 * (number as u64 + 1);
        let data = Bytes::from(data);
        encoder.record(&mut content, at, Some(0), &Payload::Io { stream: IoStream::Stdout, data });
        if number + 1 == segments {
            encoder.record(&mut content, at, None, &Payload::Disconnect);
            encode::close(&mut content);
        }
        members.push(append(&mut bytes, &mut chain, Kind::Segment, &content));
    }
    let session = bytes.len();
    members.push(seal(&mut bytes, &mut chain, Kind::Seal, session, 0));
    let manifest = manifest(&bytes, Some(&chain), ClosedBy::Session);
    Record { bytes, members, manifest }
}

fn check(bytes: &[u8], manifest: Option<&Manifest>) -> Report {
    let report = verify::plain(bytes, manifest).unwrap();
    assert_eq!((report.bytes, report.sha256), (bytes.len() as u64, Hash::of(bytes)));
    report
}

fn states(report: &Report) -> Vec<(State, Option<(u32, u32)>)> {
    report.pieces.iter().map(|piece| (piece.state, piece.members)).collect()
}

/// Changes a record somehow. Returns what was done.
fn edit(bytes: &mut Vec<u8>, members: &[Range<usize>], other: &Record, dice: &mut Dice) -> String {
    let at = dice.roll(bytes.len());
    let (one, two) = (dice.roll(members.len()), dice.roll(members.len()));
    let (first, second) = (members[one.min(two)].clone(), members[one.max(two)].clone());
    match dice.roll(9) {
        0 => {
            bytes[at] ^= 1 << dice.roll(8);
            format!("flip in byte {at}")
        }
        1 => {
            let end = (at + 1 + dice.roll(64)).min(bytes.len());
            bytes[at..end].iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
            format!("overwrite {at}..{end}")
        }
        2 => {
            let end = (at + 1 + dice.roll(64)).min(bytes.len());
            bytes.drain(at..end);
            format!("delete {at}..{end}")
        }
        3 => {
            let new: Vec<u8> = (0..=dice.roll(64)).map(|_| dice.roll(256) as u8).collect();
            let length = new.len();
            bytes.splice(at..at, new);
            format!("insert {length} bytes at {at}")
        }
        4 => {
            bytes.truncate(at);
            format!("truncate to {at}")
        }
        5 => {
            let (a, b) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
            bytes.splice(second.clone(), a);
            bytes.splice(first.clone(), b);
            format!("swap {first:?} and {second:?}")
        }
        6 => {
            let copy = bytes[first.clone()].to_vec();
            bytes.splice(second.start..second.start, copy);
            format!("repeat {first:?} at {}", second.start)
        }
        7 => {
            let foreign = other.members[dice.roll(other.members.len())].clone();
            bytes.splice(second.clone(), other.bytes[foreign.clone()].to_vec());
            format!("replace {second:?} by another record's {foreign:?}")
        }
        _ => {
            bytes.drain(first.start..second.end);
            format!("remove members {:?}", first.start..second.end)
        }
    }
}

#[test]
fn ten_thousand_random_edits_are_found_each_of_them() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let records: Vec<Record> =
        [1, 2, 5, 17, 40].iter().map(|segments| record("a", *segments, &mut dice)).collect();
    let other = record("b", 6, &mut dice);
    let (mut edits, mut located) = (0, 0);
    while edits < 10_000 {
        let original = &records[edits % records.len()];
        let mut bytes = original.bytes.clone();
        let mut done = Vec::new();
        for _ in 0..=dice.roll(8) / 7 {
            if !bytes.is_empty() && done.is_empty() {
                done.push(edit(&mut bytes, &original.members, &other, &mut dice));
            }
        }
        if bytes == original.bytes {
            continue;
        }
        edits += 1;
        let report = check(&bytes, Some(&original.manifest));
        assert_eq!(report.verdict, Verdict::Altered, "edit {edits}: {done:?}");
        assert!(
            report.pieces.iter().any(|piece| piece.state.is_change() || piece.state == State::Cut),
            "{done:?}"
        );
        // What is called intact is.
        for piece in
            report.pieces.iter().filter(|piece| piece.state == State::Intact && piece.members.is_some())
        {
            let (first, last) = piece.members.unwrap();
            let member = |number: u32| original.members[usize::try_from(number).unwrap()].clone();
            let start = if piece.from == 0 { 0 } else { member(first).start };
            let expected = &original.bytes[start..member(last).end];
            let found = &bytes[usize::try_from(piece.from).unwrap()..usize::try_from(piece.to).unwrap()];
            assert!(found == expected, "edit {edits}: {done:?}: {piece:?} is not as it was");
            located += 1;
        }
        // The chain alone finds it too: nobody recomputed it.
        let alone = check(&bytes, None);
        assert!(
            matches!(alone.verdict, Verdict::Altered | Verdict::Cut) || !alone.chain,
            "edit {edits}: {done:?}: {:?}",
            alone.verdict
        );
    }
    assert!(located > 5_000, "only {located} intact parts were told from what was changed");
}

#[test]
fn a_finished_record_is_intact_with_and_without_its_manifest() {
    let record = record("a", 5, &mut Dice(7));
    for manifest in [Some(&record.manifest), None] {
        let report = check(&record.bytes, manifest);
        assert_eq!((report.verdict, report.ending), (Verdict::Intact, Ending::Session));
        assert_eq!(states(&report), [(State::Intact, Some((0, 5)))]);
        assert_eq!((report.pieces[0].from, report.pieces[0].to), (0, record.bytes.len() as u64));
        assert_eq!(report.tally.records, 6);
        assert_eq!((report.tally.first, report.tally.last), (Some(1_000_000_000), Some(5_000_000_000)));
    }
}

#[test]
fn no_bit_is_outside_the_chain() {
    let record = record("a", 2, &mut Dice(11));
    for bit in 0..record.bytes.len() * 8 {
        let mut bytes = record.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let report = check(&bytes, None);
        let found = matches!(report.verdict, Verdict::Altered | Verdict::Cut);
        assert!(found || !report.chain, "bit {bit}: {:?}", report.verdict);
    }
}

#[test]
fn what_is_changed_is_told_from_what_is_not() {
    let record = record("a", 6, &mut Dice(3));
    let member = |number: usize| record.members[number].clone();
    let with = |manifest, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = record.bytes.clone();
        change(&mut bytes);
        states(&check(&bytes, manifest))
    };
    let all = Some(&record.manifest);
    let (intact, altered) = (State::Intact, State::Altered);

    // In the content, in the checksum, in what gzip does not check.
    for at in [member(3).start + 60, member(3).end - 5, member(3).start + 8] {
        for manifest in [all, None] {
            let states: Vec<State> =
                with(manifest, &|bytes| bytes[at] ^= 1).iter().map(|(state, _)| *state).collect();
            assert_eq!(states, [intact, altered, intact], "byte {at}");
        }
    }
    let gone = with(all, &|bytes| drop(bytes.drain(member(2).start..member(3).end)));
    assert_eq!(gone, [(intact, Some((0, 1))), (State::Missing, Some((2, 3))), (intact, Some((4, 6)))]);

    let repeated = with(all, &|bytes| {
        let copy = bytes[member(1)].to_vec();
        bytes.splice(member(3).start..member(3).start, copy);
    });
    assert_eq!(repeated, [(intact, Some((0, 2))), (State::Misplaced, Some((1, 1))), (intact, Some((3, 6)))]);

    let ended = with(all, &|bytes| bytes.truncate(member(4).end));
    assert_eq!(ended, [(intact, Some((0, 4))), (State::Missing, Some((5, 6)))]);
    let alone = with(None, &|bytes| bytes.truncate(member(4).end));
    assert_eq!(alone, [(intact, Some((0, 4))), (State::Cut, None)]);
    let torn = with(None, &|bytes| bytes.truncate(member(4).end - 3));
    assert_eq!(torn, [(intact, Some((0, 3))), (State::Cut, None)]);

    let appended = with(None, &|bytes| bytes.extend_from_slice(&record.bytes));
    assert_eq!(appended[0], (intact, Some((0, 6))));
    assert!(appended[1..].iter().all(|(state, _)| *state == State::Foreign), "{appended:?}");
    let header = with(all, &|bytes| bytes[3] ^= 1);
    assert_eq!(header[0], (altered, None));
}

#[test]
fn a_chain_that_was_computed_anew_contradicts_the_manifest_and_nothing_else() {
    let original = record("a", 6, &mut Dice(3));
    let header = header(Version::V1);
    let mut bytes = header.to_vec();
    let mut chain = Chain::start(&header);
    for number in 0..3 {
        append(&mut bytes, &mut chain, Kind::Segment, format!("forged {number}").as_bytes());
    }
    let session = bytes.len();
    seal(&mut bytes, &mut chain, Kind::Seal, session, 0);
    assert_eq!(check(&bytes, None).verdict, Verdict::Intact, "the chain alone cannot tell");
    let report = check(&bytes, Some(&original.manifest));
    assert_eq!(report.verdict, Verdict::Altered);
    assert!(report.pieces.iter().all(|piece| piece.state != State::Intact), "{report:?}");
}

#[test]
fn members_that_no_mark_vouches_for_are_not_called_intact() {
    let mut dice = Dice(5);
    let record = record("a", 1300, &mut dice);
    let summary = record.manifest.chain.as_ref().unwrap();
    assert!(summary.marks.len() < 600);
    let broken = record.members[1001].clone();
    let mut bytes = record.bytes.clone();
    bytes[broken.end - 1] ^= 1;
    let report = check(&bytes, Some(&record.manifest));
    let around: Vec<_> = states(&report);
    assert_eq!(around[0].0, State::Intact);
    let unsure: u32 = around
        .iter()
        .filter(|(state, _)| matches!(state, State::Unproven | State::Altered))
        .map(|(_, members)| members.map_or(1, |(first, last)| last - first + 1))
        .sum();
    assert!((1..=8).contains(&unsure), "{around:?}");
}

#[test]
fn a_record_that_recovery_closed_is_not_taken_for_altered() {
    let header = header(Version::V1);
    let mut bytes = header.to_vec();
    let mut chain = Chain::start(&header);
    let mut content = Vec::new();
    encode::open(&mut content);
    Encoder::new("c").record(&mut content, 5, None, &Payload::Close);
    append(&mut bytes, &mut chain, Kind::Segment, &content);
    let session = bytes.len();
    let mut content = Vec::new();
    Encoder::new("c").record(&mut content, 6, None, &Payload::Disconnect);
    encode::close(&mut content);
    append(&mut bytes, &mut chain, Kind::Recovery, &content);
    seal(&mut bytes, &mut chain, Kind::RecoverySeal, session, 77);
    let manifest = manifest(&bytes, Some(&chain), ClosedBy::Recovery);
    for manifest in [Some(&manifest), None] {
        let report = check(&bytes, manifest);
        assert_eq!(report.verdict, Verdict::Recovered);
        assert_eq!(report.ending, Ending::Recovery { at: Some(session as u64), dropped: 77 });
        assert_eq!(states(&report), [(State::Intact, Some((0, 0))), (State::Recovered, Some((1, 2)))]);
    }
}

#[test]
fn records_of_earlier_versions_have_nothing_to_tell_by() {
    for name in ["v1-shell", "v2-exec"] {
        let bytes = std::fs::read(format!("tests/vectors/{name}.bin")).unwrap();
        let report = check(&bytes, None);
        assert_eq!((report.verdict, report.chain), (Verdict::Unproven, false), "{name}");
        assert!(report.tally.records > 0);
        let manifest = manifest(&bytes, None, ClosedBy::Session);
        assert_eq!(check(&bytes, Some(&manifest)).verdict, Verdict::Intact);
        let mut changed = bytes.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert_eq!(check(&changed, Some(&manifest)).verdict, Verdict::Altered);
    }
}

#[test]
fn what_is_empty_or_no_record_is_said_to_be_so() {
    assert_eq!(check(b"", None).verdict, Verdict::Cut);
    assert_eq!(check(&header(Version::V1)[..17], None).verdict, Verdict::Cut);
    let record = record("a", 1, &mut Dice(3));
    assert_eq!(check(b"", Some(&record.manifest)).verdict, Verdict::Altered);
    let rubbish: Vec<u8> = (0..10_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    assert_ne!(check(&rubbish, None).verdict, Verdict::Intact);
    assert_eq!(check(&record.bytes[..HEADER_LEN], None).verdict, Verdict::Unproven);
}

#[test]
fn what_is_encrypted_is_compared_by_ranges() {
    let bytes: Vec<u8> = (0..900_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let manifest = Manifest { encryption: Encryption::Age, ..manifest(&bytes, None, ClosedBy::Session) };
    let states = |bytes: &[u8], manifest: Option<&Manifest>| {
        let report = verify::sealed(bytes, manifest).unwrap();
        let states: Vec<_> = report.pieces.iter().map(|piece| (piece.state, piece.from, piece.to)).collect();
        (report.verdict, states)
    };
    assert_eq!(states(&bytes, Some(&manifest)), (Verdict::Intact, vec![(State::Intact, 0, 900_000)]));
    let mut changed = bytes.clone();
    changed[300_000] ^= 1;
    assert_eq!(
        states(&changed, Some(&manifest)),
        (
            Verdict::Altered,
            vec![
                (State::Intact, 0, 262_144),
                (State::Altered, 262_144, 524_288),
                (State::Intact, 524_288, 900_000)
            ]
        )
    );
    let (verdict, pieces) = states(&bytes[..600_000], Some(&manifest));
    assert_eq!((verdict, pieces[1].0, pieces[2].0), (Verdict::Altered, State::Cut, State::Missing));
    assert_eq!(states(&bytes, None).0, Verdict::Unproven);
}

#[test]
fn findings_are_bounded() {
    let mut bytes = header(Version::V1).to_vec();
    let record = record("a", 3, &mut Dice(3));
    for _ in 0..3000 {
        bytes.extend_from_slice(&record.bytes[record.members[1].clone()]);
        bytes.extend_from_slice(b"rubbish");
    }
    let report = check(&bytes, None);
    assert!(report.pieces.len() <= verify::MAX_PIECES + 2);
    assert_eq!(report.verdict, Verdict::Altered);
    assert_eq!(report.pieces.last().unwrap().to, bytes.len() as u64);
}
