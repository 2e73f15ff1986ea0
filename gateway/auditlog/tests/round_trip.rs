//! What is written is read back, by this crate and by another CBOR implementation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use bytes::Bytes;
use ciborium::Value as Cbor;
use common::{Material, every_type, gunzip, messages, segmented};
use containerssh_auditlog::{Encoder, HEADER_LEN, IoStream, Message, Payload, text};
use proptest::prelude::*;

fn material() -> impl Strategy<Value = Material> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from);
    let small = prop_oneof![0..30u32, Just(255), Just(256), Just(65_535), Just(65_536), any::<u32>()];
    let large = prop_oneof![0..30u64, Just(u64::from(u32::MAX)), Just(1 << 32), any::<u64>()];
    let bytes = (proptest::option::of(bytes()), bytes());
    (any::<String>(), any::<String>(), bytes, small, large, any::<bool>()).prop_map(
        |(text, other, (bytes, data), small, large, flag)| Material {
            text,
            other,
            bytes,
            data,
            small,
            large,
            flag,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_type_with_any_content_is_read_back(
        material in material(),
        connection_id in "[0-9a-f]{0,40}",
        timestamp in any::<u64>(),
        channel_id in proptest::option::of(any::<u64>()),
    ) {
        let sent: Vec<Message> = every_type(&material)
            .into_iter()
            .map(|payload| Message { connection_id: connection_id.as_str().into(), timestamp, payload, channel_id })
            .collect();
        let mut content = vec![0x9f];
        sent.iter().for_each(|message| message.encode(&mut content));
        content.push(0xff);
        let file = common::file(containerssh_auditlog::Version::V1, &content);
        prop_assert_eq!(messages(&file), sent);
    }

    #[test]
    fn the_result_does_not_depend_on_how_records_are_spread_over_segments(
        material in material(),
        cuts in proptest::collection::vec(0usize..46, 1..6),
    ) {
        let sent: Vec<Message> = every_type(&material)
            .into_iter()
            .enumerate()
            .map(|(number, payload)| common::message(number as u64, payload))
            .collect();
        let mut rest = &sent[..];
        let mut segments = Vec::new();
        for cut in cuts {
            let (segment, after) = rest.split_at(cut.min(rest.len()));
            segments.push(segment);
            rest = after;
        }
        segments.push(rest);
        prop_assert_eq!(messages(&segmented(&segments).concat()), sent);
    }

    #[test]
    fn another_implementation_reads_the_same(material in material()) {
        let payloads = every_type(&material);
        for (number, payload) in payloads.into_iter().enumerate() {
            let message = common::message(number as u64, payload);
            let mut content = Vec::new();
            message.encode(&mut content);
            let record: Cbor = ciborium::from_reader(&content[..]).unwrap();
            let fields = record.as_map().unwrap();
            let keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_text().unwrap()).collect();
            prop_assert_eq!(keys, ["connectionId", "timestamp", "type", "payload", "channelId"]);
            prop_assert_eq!(&fields[2].1, &Cbor::from(message.payload.type_code()));
            let json = serde_json::to_value(&message.payload).unwrap();
            prop_assert_eq!(json, as_json(&fields[3].1));
        }
    }
}

/// What the reference's decoder makes of a value: byte strings in base64.
fn as_json(value: &Cbor) -> serde_json::Value {
    use base64::Engine;
    match value {
        Cbor::Null => serde_json::Value::Null,
        Cbor::Bool(value) => (*value).into(),
        Cbor::Integer(value) => u64::try_from(*value).unwrap().into(),
        Cbor::Text(value) => value.clone().into(),
        Cbor::Bytes(value) => base64::engine::general_purpose::STANDARD.encode(value).into(),
        Cbor::Array(items) => items.iter().map(as_json).collect(),
        Cbor::Map(pairs) => {
            pairs.iter().map(|(key, value)| (key.as_text().unwrap().to_owned(), as_json(value))).collect()
        }
        other => panic!("{other:?} has no place in a record"),
    }
}

#[test]
fn a_session_of_many_segments_keeps_every_byte() {
    let data = [common::noise(1_500_000), b"text ".repeat(100_000)].concat();
    let encoder = Encoder::new(common::ID);
    let mut scratch = containerssh_auditlog::member::Scratch::new();
    let mut file = containerssh_auditlog::header(containerssh_auditlog::Version::V1).to_vec();
    let mut content = vec![0x9f];
    for piece in data.chunks(32 << 10) {
        encoder.io(&mut content, common::TIME, Some(0), IoStream::Stdin, piece);
        containerssh_auditlog::member::compress(&content, &mut file, &mut scratch);
        content.clear();
    }
    containerssh_auditlog::member::compress(&[0xff], &mut file, &mut scratch);
    let mut back = Vec::new();
    for message in messages(&file) {
        let Payload::Io { stream: IoStream::Stdin, data } = message.payload else { panic!("{message:?}") };
        back.extend_from_slice(&data);
    }
    assert!(back == data);
}

#[test]
fn text_that_is_no_utf_8_is_recorded_as_valid_text_with_visible_marks() {
    let command = text::lossy(b"echo \xff\xfe; rm -rf /\xc3");
    let message = common::message(0, Payload::ChannelRequestExec { request_id: 0, program: command });
    let mut content = Vec::new();
    message.encode(&mut content);
    let record: Cbor = ciborium::from_reader(&content[..]).unwrap();
    let payload = record.as_map().unwrap()[3].1.as_map().unwrap();
    assert_eq!(payload[1].1.as_text().unwrap(), "echo \u{fffd}\u{fffd}; rm -rf /\u{fffd}");
}

#[test]
fn a_member_is_plain_gzip() {
    let pieces = segmented(&[&[common::message(0, Payload::Disconnect)]]);
    assert_eq!(pieces[0].len(), HEADER_LEN);
    let content = gunzip(&pieces[1]);
    assert_eq!((content[0], content[content.len() - 1]), (0x9f, 0xff));
}
