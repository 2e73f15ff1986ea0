//! Against ContainerSSH itself: logs that it recorded, and what its decoder prints for them and for ours.
//!
//! `tests/vectors/*.bin` and `.jsonl`: five sessions recorded by ContainerSSH, and `v1-all-types` and `v2-all-types`, logs with
//! each type in three variants written by this crate. Every `.jsonl` is the output of ContainerSSH's own decoder; that of
//! `v1-all-types` holds for both.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use bytes::Bytes;
use common::{Material, RECORDED, content, every_type, message, messages, segmented_as, vector};
use containerssh_auditlog::{Decoder, Encoder, Message, Payload, Version, encode};

fn version(file: &[u8]) -> Version {
    Decoder::new(file).unwrap().version()
}

/// What the records are as bytes, written again from what was read.
fn encoded_again(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let messages = messages(file);
    if version(file) == Version::V1 {
        // ContainerSSH opens the array without a count, too.
        encode::open(&mut out);
    }
    for message in &messages {
        message.encode(&mut out);
    }
    if version(file) == Version::V1 {
        encode::close(&mut out);
    }
    out
}

#[test]
fn what_containerssh_recorded_is_written_again_byte_for_byte() {
    for name in RECORDED {
        let file = vector(name);
        assert_eq!(encoded_again(&file), content(&file), "{name}");
    }
}

#[test]
fn the_recorded_logs_have_the_versions_their_names_say() {
    for name in RECORDED {
        let expected = if name.starts_with("v1") { Version::V1 } else { Version::V2 };
        assert_eq!(version(&vector(name)), expected, "{name}");
    }
}

/// Each type three times: with everything that JSON has to escape, with empty fields, with the largest numbers.
fn all_types() -> Vec<Message> {
    let materials = [
        Material {
            text:
                "<a href=\"x\">&amp; \u{2028}\u{2029} \\ / \u{8}\u{c}\n\r\t\u{0}\u{1b}\u{7f} \u{e9} \u{1f600}"
                    .into(),
            other: "second".into(),
            bytes: Some(Bytes::from_static(&[0, 1, 2, 0xff, b'<', b'>'])),
            data: Bytes::from_static(b"\x1b[31mred\x1b[0m\r\n"),
            small: 80,
            large: 3,
            flag: true,
        },
        Material {
            text: String::new(),
            other: String::new(),
            bytes: None,
            data: Bytes::new(),
            small: 0,
            large: 0,
            flag: false,
        },
        Material {
            text: "x".repeat(300),
            other: "y".repeat(30),
            bytes: Some(Bytes::new()),
            data: Bytes::from(vec![0xa5; 70_000]),
            small: u32::MAX,
            large: u64::MAX,
            flag: true,
        },
    ];
    let payloads = materials.iter().flat_map(every_type);
    payloads.enumerate().map(|(number, payload)| message(number as u64 * 7, payload)).collect()
}

#[test]
fn the_samples_hold_every_type() {
    let mut codes: Vec<u32> = all_types().iter().map(|message| message.payload.type_code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, Payload::TYPE_CODES);
}

/// `UPDATE_VECTORS=1` writes the files anew; what ContainerSSH's decoder prints has to be recorded again then. It prints the
/// same lines for both, and after those of version 2 that the gzip stream has an end, which its own never have.
#[test]
fn every_type_is_written_as_when_the_reference_decoder_read_it() {
    let messages = all_types();
    let thirds: Vec<&[Message]> = messages.chunks(messages.len() / 3).collect();
    for (name, of_version) in [("v1-all-types", Version::V1), ("v2-all-types", Version::V2)] {
        let file = segmented_as(of_version, &thirds).concat();
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(common::vector_path(name, "bin"), &file).unwrap();
        }
        let golden = vector(name);
        assert!(content(&file) == content(&golden), "{name}");
        assert_eq!((version(&golden), common::messages(&golden)), (of_version, messages.clone()), "{name}");
    }
}

#[test]
fn an_encoder_writes_what_a_message_writes() {
    for message in all_types() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        message.encode(&mut a);
        Encoder::new(&message.connection_id).record(
            &mut b,
            message.timestamp,
            message.channel_id,
            &message.payload,
        );
        assert_eq!(a, b);
    }
}
