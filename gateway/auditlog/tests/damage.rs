//! Logs that are old, foreign, cut off, damaged or hostile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use ciborium::Value as Cbor;
use common::{RECORDED, content, decode, file, gzip, io, message, segmented, sound_and_damaged, vector};
use containerssh_auditlog::{
    Damage, DecodeError, Decoder, HEADER_LEN, HeaderError, IoStream, MAX_RECORD, Message, Payload, Version,
    header,
};
use proptest::prelude::*;

fn three() -> [Message; 3] {
    [message(0, io(b"one")), message(1, io(b"two")), message(2, io(b"three"))]
}

fn encoded(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut out));
    out
}

fn cbor(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn map(pairs: Vec<(&str, Cbor)>) -> Cbor {
    Cbor::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

// Cut off

#[test]
fn a_log_cut_off_anywhere_gives_the_records_before_the_cut() {
    for name in RECORDED {
        let whole = vector(name);
        let all = common::messages(&whole);
        let mut most = 0;
        for length in HEADER_LEN..whole.len() {
            let cut = &whole[..length];
            // Exactly those records whose bytes the gzip stream still gives.
            let available = content(cut);
            let (sound, damaged) = sound_and_damaged(decode(cut));
            let mut records = encoded(&sound);
            let is_array = name.starts_with("v1");
            if is_array && !available.is_empty() {
                records.insert(0, 0x9f);
            }
            assert_eq!(sound, all[..sound.len()], "{name} cut at {length}");
            assert!(available.starts_with(&records), "{name} cut at {length}");
            let left_over = &available[records.len()..];
            let next = all.get(sound.len()).map_or(2, |message| encoded(std::slice::from_ref(message)).len());
            assert!(left_over.len() < next, "{name} cut at {length}: a whole record is left over");
            assert!(damaged.iter().all(|error| matches!(error, DecodeError::CutOff { .. })), "{damaged:?}");
            // Version 2 may end after any record, an array only after its end.
            let complete = if is_array { left_over == [0xff] } else { left_over.is_empty() };
            let expected = usize::from(!complete);
            assert_eq!(damaged.len(), expected, "{name} cut at {length}");
            most = most.max(sound.len());
        }
        assert!(most + 1 >= all.len(), "{name}");
    }
}

#[test]
fn a_header_cut_off_anywhere_is_named_as_such() {
    let whole = vector("v1-shell");
    for length in 0..HEADER_LEN {
        let error = Decoder::new(&whole[..length]).unwrap_err();
        assert!(matches!(error, HeaderError::CutOff { length: l } if l == length), "{error}");
    }
}

#[test]
fn other_files_and_newer_versions_are_refused() {
    assert!(matches!(Decoder::new(&b"PK\x03\x04"[..]), Err(HeaderError::NotAnAuditLog)));
    assert!(matches!(Decoder::new(&gzip(b"x")[..]), Err(HeaderError::NotAnAuditLog)));
    let mut newer = header(Version::V2);
    newer[32] = 3;
    assert!(matches!(Decoder::new(&newer[..]), Err(HeaderError::Version(3))));
}

#[test]
fn version_2_may_end_after_any_record_but_an_array_has_to_be_closed() {
    let records = encoded(&three());
    assert!(decode(&file(Version::V2, &records)).iter().all(Result::is_ok));
    let (sound, damaged) = sound_and_damaged(decode(&file(Version::V1, &[&[0x9f][..], &records].concat())));
    assert_eq!(sound, three());
    assert!(matches!(damaged[..], [DecodeError::CutOff { records: 3, inside_record: false }]), "{damaged:?}");
}

// Other writers

#[test]
fn counted_and_open_arrays_and_finished_version_2_are_read_alike() {
    let records = encoded(&three());
    for (version, before, after) in [
        (Version::V1, &[0x83][..], &[][..]),
        (Version::V1, &[0x9f], &[0xff]),
        (Version::V1, &[0x98, 3], &[]),
        (Version::V1, &[0x9b, 0, 0, 0, 0, 0, 0, 0, 3], &[]),
        (Version::V2, &[], &[]),
        // The header is not believed over the content.
        (Version::V2, &[0x9f], &[0xff]),
        (Version::V1, &[], &[]),
    ] {
        let content = [before, &records, after].concat();
        assert_eq!(common::messages(&file(version, &content)), three(), "{before:02x?}");
    }
    assert_eq!(common::messages(&file(Version::V1, &[0x80])), []);
    assert_eq!(common::messages(&file(Version::V1, &[0x9f, 0xff])), []);
}

/// The FORMAT text names fields otherwise than any ContainerSSH writes them, and has -1 for no channel.
#[test]
fn the_names_of_the_published_format_text_are_read() {
    let record = |kind: i64, payload: Cbor, channel: i64| {
        map(vec![
            ("ConnectionID", common::ID.into()),
            ("Timestamp", common::TIME.into()),
            ("MessageType", kind.into()),
            ("Payload", payload),
            ("ChannelID", channel.into()),
        ])
    };
    let records = Cbor::Array(vec![
        record(0, map(vec![("RemoteAddr", "::1".into())]), -1),
        record(101, map(vec![("Username", "foo".into()), ("Password", Cbor::Bytes(b"bar".to_vec()))]), -1),
        record(200, map(vec![("ChannelType", "keepalive@openssh.com".into())]), -1),
        record(405, Cbor::Null, 0),
        record(404, map(vec![("RequestID", 1.into()), ("ModeList", Cbor::Bytes(vec![0]))]), 0),
        record(500, map(vec![("Stream", 1.into()), ("Data", Cbor::Bytes(b"hi".to_vec()))]), 0),
    ]);
    let read = common::messages(&file(Version::V1, &cbor(&records)));
    let channels: Vec<Option<u64>> = read.iter().map(|message| message.channel_id).collect();
    assert_eq!(channels, [None, None, None, Some(0), Some(0), Some(0)]);
    assert!(
        read.iter().all(|message| &*message.connection_id == common::ID && message.timestamp == common::TIME)
    );
    let payloads: Vec<Payload> = read.into_iter().map(|message| message.payload).collect();
    assert_eq!(
        payloads,
        [
            Payload::Connect { remote_addr: "::1".into(), country: String::new() },
            Payload::AuthPasswordSuccessful { username: "foo".into(), password: Some("bar".into()) },
            Payload::GlobalRequestUnknown { request_type: "keepalive@openssh.com".into() },
            Payload::ChannelRequestShell { request_id: 0 },
            Payload::ChannelRequestPty {
                request_id: 1,
                term: String::new(),
                columns: 0,
                rows: 0,
                width: 0,
                height: 0,
                mode_list: Some(vec![0].into()),
            },
            Payload::Io { stream: IoStream::Stdout, data: "hi".into() },
        ]
    );
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_kept() {
    let payload = map(vec![
        ("zone", "eu".into()),
        ("list", Cbor::Array(vec![Cbor::Null, (-7).into(), 1.5.into(), Cbor::Tag(1, Box::new(true.into()))])),
        ("raw", Cbor::Bytes(vec![0xff])),
    ]);
    let record = |kind: i64, payload: &Cbor| {
        map(vec![
            ("connectionId", common::ID.into()),
            ("novelty", map(vec![("deep", Cbor::Array(vec![1.into()]))])),
            ("timestamp", 5.into()),
            ("type", kind.into()),
            ("payload", payload.clone()),
            ("channelId", 3.into()),
        ])
    };
    let exit = map(vec![("exitStatus", 7.into()), ("novelty", payload.clone())]);
    let content = [cbor(&record(777, &payload)), cbor(&record(499, &exit))].concat();
    let read = common::messages(&file(Version::V2, &content));
    assert_eq!(read[1].payload, Payload::Exit { exit_status: 7 });
    assert_eq!(
        serde_json::to_string(&read[0]).unwrap(),
        format!(
            r#"{{"connectionId":"{}","timestamp":5,"type":777,"typeId":"invalid","typeName":"invalid","payload":{{"zone":"eu","list":[null,-7,1.5,true],"raw":"/w=="}},"channelId":3}}"#,
            common::ID
        )
    );
    // Written again it is still what it was.
    let mut again = Vec::new();
    read[0].encode(&mut again);
    assert_eq!(common::messages(&file(Version::V2, &again))[0], read[0]);
}

#[test]
fn strings_in_chunks_are_joined() {
    let mut content = encoded(&[message(0, io(b"ABCDEF"))]);
    let at = content.windows(7).position(|window| window == b"\x46ABCDEF").unwrap();
    content.splice(at..at + 7, *b"\x5f\x42AB\x40\x44CDEF\xff");
    let at = content.windows(33).position(|window| window[1..] == *common::ID.as_bytes()).unwrap() - 1;
    let id =
        [b"\x7f\x70", &common::ID.as_bytes()[..16], b"\x70", &common::ID.as_bytes()[16..], b"\xff"].concat();
    content.splice(at..at + 34, id);
    assert_eq!(common::messages(&file(Version::V2, &content)), [message(0, io(b"ABCDEF"))]);
}

// Bad records

/// ContainerSSH's decoder stops at the first such record: whoever sends one hides all that follows.
#[test]
fn ill_formed_text_is_shown_and_nothing_after_it_is_lost() {
    let mut content =
        encoded(&[message(0, Payload::ChannelRequestExec { request_id: 0, program: "rm _".into() })]);
    let at = content.iter().rposition(|byte| *byte == b'_').unwrap();
    content[at] = 0xff;
    content.extend(encoded(&three()));
    let read = common::messages(&file(Version::V2, &content));
    let expected = Payload::ChannelRequestExec { request_id: 0, program: "rm \u{fffd}".into() };
    assert_eq!(read[0].payload, expected);
    assert_eq!(read[1..], three());
}

#[test]
fn a_bad_record_is_reported_with_its_reason_and_left_out() {
    let good = [("connectionId", Cbor::from("c")), ("timestamp", 1.into()), ("type", 499.into())];
    let with = |key: &'static str, value: Option<Cbor>| {
        let mut pairs: Vec<(&str, Cbor)> = good.iter().filter(|(name, _)| *name != key).cloned().collect();
        pairs.extend(value.map(|value| (key, value)));
        pairs
    };
    for (pairs, expected) in [
        (with("timestamp", None), "record 1: \"timestamp\" is missing; it is left out"),
        (with("type", None), "record 1: \"type\" is missing; it is left out"),
        (with("connectionId", None), "record 1: \"connectionId\" is missing; it is left out"),
        (
            with("timestamp", Some("x".into())),
            "record 1: \"timestamp\" should be a number from 0; it is left out",
        ),
        (with("connectionId", Some(3.into())), "record 1: \"connectionId\" should be text; it is left out"),
        (
            with("type", Some((1u64 << 32).into())),
            "record 1: \"type\" should be a number below 4294967296; it is left out",
        ),
        (
            with("channelId", Some((-2).into())),
            "record 1: \"channelId\" should be a number from 0, -1 or null; it is left out",
        ),
        (with("payload", Some(3.into())), "record 1: \"payload\" should be a map of fields; it is left out"),
        (
            with("payload", Some(map(vec![("exitStatus", (1u64 << 32).into())]))),
            "record 1: \"exitStatus\" should be a number from 0 to 4294967295; it is left out",
        ),
    ] {
        let content = [cbor(&map(pairs)), encoded(&three())].concat();
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!(sound, three());
        assert_eq!(damaged.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}

// Bad structure

#[test]
fn after_rubbish_reading_goes_on_at_the_next_record() {
    let [one, two, three] = three();
    for rubbish in [
        &b"\x00"[..],
        b"some text",
        b"\xff",
        b"\x9f",
        b"\xa0",
        b"\xa5\x6cconnection",
        // A map with reserved bits, a stray end, an odd open map, an integer that is no key's start.
        b"\xa1\x1c",
        b"\xa1\xff",
        b"\xbf\x01\xff",
    ] {
        let content =
            [&encoded(std::slice::from_ref(&one)), rubbish, &encoded(&[two.clone(), three.clone()])].concat();
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!(sound.first(), Some(&one), "{rubbish:02x?}");
        assert_eq!(sound.last(), Some(&three), "{rubbish:02x?}");
        assert!(!damaged.is_empty(), "{rubbish:02x?}");
    }
}

#[test]
fn a_length_that_claims_too_much_costs_one_record() {
    // A byte string of 2^62 bytes, of 16 MiB, a list of 2^64-1 entries: nothing is allocated for any of them.
    for claim in [&[0x5b, 0x40, 0, 0, 0, 0, 0, 0, 0][..], &[0x5a, 1, 0, 0, 0]] {
        let start = [&[0xa5, 0x6c][..], b"connectionId", claim].concat();
        let content = [start, encoded(&three())].concat();
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!(sound, three(), "{claim:02x?}");
        assert_eq!(damaged.len(), 1, "{damaged:?}");
    }
    let start = [&[0xa5, 0x6c][..], b"connectionId", &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        .concat();
    let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &start)));
    assert!(sound.is_empty() && matches!(damaged[..], [DecodeError::CutOff { inside_record: true, .. }]));
}

#[test]
fn a_record_up_to_the_limit_is_read_and_one_above_is_skipped() {
    let overhead = encoded(&[message(1, io(&vec![0; 1 << 20]))]).len() - (1 << 20);
    for (length, fits) in [(MAX_RECORD - overhead, true), (MAX_RECORD - overhead + 1, false)] {
        let big = message(1, io(&vec![0x5a; length]));
        let after = message(2, io(b"after"));
        let content = encoded(&[big.clone(), after.clone()]);
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!((sound.len(), damaged.len()), if fits { (2, 0) } else { (1, 1) });
        assert_eq!(sound.last(), Some(&after));
        assert_eq!(sound.first() == Some(&big), fits);
    }
}

#[test]
fn a_record_of_very_many_items_is_skipped() {
    // Numbers in a list, empty pieces of a byte string.
    for (open, item) in [(0x9f, 0x00), (0x5f, 0x40)] {
        let many = [&[0xa1, 0x6c][..], b"connectionId", &[open], &vec![item; 1_000_000], &[0xff]].concat();
        let content = [many, encoded(&three())].concat();
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!(sound, three());
        assert!(
            matches!(damaged[..], [DecodeError::Structure { records: 0, damage: Damage::TooMany }]),
            "{damaged:?}"
        );
    }
}

#[test]
fn nesting_without_end_does_not_reach_the_stack() {
    for nested in [0x81u8, 0xa1, 0xc1, 0x9f, 0xbf, 0xd8] {
        let deep = [&[0xa5, 0x6c][..], b"connectionId", &vec![nested; 1_000_000]].concat();
        let content = [deep, encoded(&three())].concat();
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &content)));
        assert_eq!(sound, three(), "{nested:02x}");
        assert!(!damaged.is_empty());
    }
}

#[test]
fn data_after_the_end_is_reported_and_its_records_are_read() {
    let [one, two, _] = three();
    let content =
        [&[0x9f], &encoded(std::slice::from_ref(&one))[..], &[0xff], &encoded(std::slice::from_ref(&two))]
            .concat();
    let (sound, damaged) = sound_and_damaged(decode(&file(Version::V1, &content)));
    assert_eq!(sound, [one, two]);
    assert_eq!(damaged.len(), 1);
}

// Bad segments

#[test]
fn a_damaged_segment_costs_itself_only() {
    let [one, two, three] = three();
    let long = message(3, io(&common::noise(70_000)));
    let after = [three, long];
    let pieces = segmented(&[std::slice::from_ref(&one), &[two], &after[..1], &after[1..]]);
    let offset = (pieces[0].len() + pieces[1].len()) as u64;
    for at in 0..pieces[2].len() - 4 {
        let mut pieces = pieces.clone();
        pieces[2][at] ^= 0x55;
        let (sound, damaged) = sound_and_damaged(decode(&pieces.concat()));
        assert_eq!(sound.first(), Some(&one), "byte {at}");
        // The bytes of time, flags and system in a member's header mean nothing.
        if damaged.is_empty() {
            assert!((4..10).contains(&at), "byte {at}");
            continue;
        }
        let reported =
            |error: &DecodeError| matches!(error, DecodeError::Segment { offset: o } if *o == offset);
        assert!(damaged.iter().any(reported), "byte {at}: {damaged:?}");
        assert!(sound.ends_with(&after), "byte {at}: {} records", sound.len());
    }
}

#[test]
fn a_missing_segment_between_others_is_no_damage_that_stops_reading() {
    let [one, two, three] = three();
    let mut pieces = segmented(&[std::slice::from_ref(&one), &[two], std::slice::from_ref(&three)]);
    // Blocks that the disk never got read as zeros.
    pieces[2].fill(0);
    let (sound, damaged) = sound_and_damaged(decode(&pieces.concat()));
    assert_eq!(sound, [one, three]);
    assert!(matches!(damaged[..], [DecodeError::Segment { .. }]), "{damaged:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_bytes_end_without_panic(rubbish in proptest::collection::vec(any::<u8>(), 0..2000), version in 1u8..=2) {
        let version = if version == 1 { Version::V1 } else { Version::V2 };
        let raw = [&header(version)[..], &rubbish].concat();
        prop_assert!(decode(&raw).len() <= rubbish.len() + 2);
        let wrapped = file(version, &rubbish);
        prop_assert!(decode(&wrapped).len() <= rubbish.len() + 2);
        let _ = Decoder::new(&rubbish[..]).map(Iterator::count);
    }

    #[test]
    fn changed_records_end_without_panic_and_what_follows_is_found(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut broken = content(&vector("v2-pty-shell"));
        for (at, byte) in changes {
            let at = at.index(broken.len());
            broken[at] = byte;
        }
        // More than one damaged length can swallow.
        let mark = message(9, io(b"still here"));
        broken.extend_from_slice(&[0; 70_000]);
        for _ in 0..3 {
            broken.extend(encoded(std::slice::from_ref(&mark)));
        }
        let (sound, damaged) = sound_and_damaged(decode(&file(Version::V2, &broken)));
        // A length may have become larger than all that follows; nothing else can hide the end.
        let swallowed = damaged.iter().any(|error| matches!(error, DecodeError::CutOff { inside_record: true, .. }));
        prop_assert!(swallowed || sound.last() == Some(&mark));
    }
}
