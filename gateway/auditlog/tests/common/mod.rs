//! What several test files need: logs to read and ways to read them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::io::{Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{
    Answer, DecodeError, Decoder, Encoder, HEADER_LEN, IoStream, Message, Payload, Question, Version, encode,
    header,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

pub const ID: &str = "0123456789abcdef0123456789abcdef";
pub const TIME: u64 = 1_795_252_585_569_015_274;

/// The logs that ContainerSSH recorded, version 1 and 2.
pub const RECORDED: [&str; 5] =
    ["v1-shell", "v2-exec", "v2-kubernetes-exec", "v2-pty-shell", "v2-reverse-forward"];

pub fn vector_path(name: &str, extension: &str) -> PathBuf {
    // The tests of the tool beside this crate include this file.
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../auditlog/tests/vectors")
        .join(format!("{name}.{extension}"))
}

pub fn vector(name: &str) -> Vec<u8> {
    std::fs::read(vector_path(name, "bin")).unwrap()
}

/// All that gzip gives up to where it ends or breaks off.
pub fn content(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut rest = &file[HEADER_LEN..];
    while !rest.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        let complete = member.read_to_end(&mut content).is_ok();
        rest = if complete { member.into_inner() } else { &[] };
    }
    content
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn gunzip(data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(data).read_to_end(&mut content).unwrap();
    content
}

/// A file of this version around any content.
pub fn file(version: Version, content: &[u8]) -> Vec<u8> {
    [&header(version)[..], &gzip(content)].concat()
}

pub fn message(number: u64, payload: Payload) -> Message {
    Message {
        connection_id: ID.into(),
        timestamp: TIME + number * 1_000_000,
        channel_id: (payload.type_code() >= 300).then_some(number),
        payload,
    }
}

pub fn io(data: &[u8]) -> Payload {
    Payload::Io { stream: IoStream::Stdout, data: Bytes::copy_from_slice(data) }
}

/// A FORMAT v1 log as our gateway writes it: one member per slice, the last with the array's end.
pub fn segmented(segments: &[&[Message]]) -> Vec<Vec<u8>> {
    segmented_as(Version::V1, segments)
}

/// A log of this version: one member per slice.
pub fn segmented_as(version: Version, segments: &[&[Message]]) -> Vec<Vec<u8>> {
    let encoder = Encoder::new(ID);
    let mut scratch = Scratch::new();
    let mut pieces = vec![header(version).to_vec()];
    for (at, messages) in segments.iter().enumerate() {
        let (mut content, mut out) = (Vec::new(), Vec::new());
        if version == Version::V1 && at == 0 {
            encode::open(&mut content);
        }
        for message in *messages {
            encoder.record(&mut content, message.timestamp, message.channel_id, &message.payload);
        }
        if version == Version::V1 && at == segments.len() - 1 {
            encode::close(&mut content);
        }
        member::compress(&content, &mut out, &mut scratch);
        pieces.push(out);
    }
    pieces
}

/// Everything a decoder says about a file that has a sound header.
pub fn decode(file: &[u8]) -> Vec<Result<Message, DecodeError>> {
    Decoder::new(file).unwrap().collect()
}

/// The records of a file that must be sound.
pub fn messages(file: &[u8]) -> Vec<Message> {
    decode(file).into_iter().map(Result::unwrap).collect()
}

/// Splits what a decoder says into records and errors.
pub fn sound_and_damaged(items: Vec<Result<Message, DecodeError>>) -> (Vec<Message>, Vec<DecodeError>) {
    let (mut sound, mut damaged) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(message) => sound.push(message),
            Err(error) => damaged.push(error),
        }
    }
    (sound, damaged)
}

/// Material for one payload of every type.
#[derive(Clone, Debug)]
pub struct Material {
    pub text: String,
    pub other: String,
    pub bytes: Option<Bytes>,
    pub data: Bytes,
    pub small: u32,
    pub large: u64,
    pub flag: bool,
}

/// One payload of every type, in the order of their codes.
pub fn every_type(material: &Material) -> Vec<Payload> {
    let Material { text, other, bytes, data, small, large, flag } = material;
    let (a, b) = (|| text.clone(), || other.clone());
    let (bytes, n, id) = (|| bytes.clone(), *small, *large);
    let port = n.rotate_left(7);
    let questions = vec![Question { question: a(), echo: *flag }, Question { question: b(), echo: !*flag }];
    let answers = vec![Answer { question: a(), answer: b() }];
    vec![
        Payload::Connect { remote_addr: a(), country: b() },
        Payload::Disconnect,
        Payload::AuthPassword { username: a(), password: bytes() },
        Payload::AuthPasswordSuccessful { username: a(), password: bytes() },
        Payload::AuthPasswordFailed { username: a(), password: bytes() },
        Payload::AuthPasswordBackendError { username: a(), password: bytes(), reason: b() },
        Payload::AuthPubKey { username: a(), key: b() },
        Payload::AuthPubKeySuccessful { username: a(), key: b() },
        Payload::AuthPubKeyFailed { username: a(), key: b() },
        Payload::AuthPubKeyBackendError { username: a(), key: b(), reason: a() },
        Payload::AuthKeyboardInteractiveChallenge { username: a(), instruction: b(), questions },
        Payload::AuthKeyboardInteractiveAnswer { username: a(), answers },
        Payload::AuthKeyboardInteractiveFailed { username: a() },
        Payload::AuthKeyboardInteractiveBackendError { username: a(), reason: b() },
        Payload::HandshakeFailed { reason: a() },
        Payload::HandshakeSuccessful { username: a() },
        Payload::GlobalRequestUnknown { request_type: a() },
        Payload::GlobalRequestDecodeFailed {
            request_id: id,
            request_type: a(),
            payload: bytes(),
            reason: b(),
        },
        Payload::RequestReverseForward { bind_host: a(), bind_port: n },
        Payload::RequestCancelReverseForward { bind_host: a(), bind_port: n },
        Payload::RequestStreamLocal { path: a() },
        Payload::RequestCancelStreamLocal { path: a() },
        Payload::NewChannel { channel_type: a() },
        Payload::NewChannelSuccessful { channel_type: a() },
        Payload::NewChannelFailed { channel_type: a(), reason: b() },
        Payload::NewForwardChannel {
            host_to_connect: a(),
            port_to_connect: n,
            originator_host: b(),
            originator_port: port,
        },
        Payload::NewReverseForwardChannel {
            connected_host: a(),
            connected_port: n,
            originator_host: b(),
            originator_port: port,
        },
        Payload::NewReverseX11ForwardChannel { originator_host: a(), originator_port: n },
        Payload::NewForwardStreamLocalChannel { path: a() },
        Payload::NewReverseStreamLocalChannel { path: a() },
        Payload::ChannelRequestUnknownType { request_id: id, request_type: a(), payload: bytes() },
        Payload::ChannelRequestDecodeFailed {
            request_id: id,
            request_type: a(),
            payload: bytes(),
            reason: b(),
        },
        Payload::ChannelRequestSetEnv { request_id: id, name: a(), value: b() },
        Payload::ChannelRequestExec { request_id: id, program: a() },
        Payload::ChannelRequestPty {
            request_id: id,
            term: a(),
            columns: n,
            rows: port,
            width: 1,
            height: 0,
            mode_list: bytes(),
        },
        Payload::ChannelRequestShell { request_id: id },
        Payload::ChannelRequestSignal { request_id: id, signal: a() },
        Payload::ChannelRequestSubsystem { request_id: id, subsystem: a() },
        Payload::ChannelRequestWindow { request_id: id, columns: n, rows: port, width: 1, height: 0 },
        Payload::ChannelRequestX11 {
            request_id: id,
            single_connection: *flag,
            auth_protocol: a(),
            cookie: b(),
            screen: n,
        },
        Payload::WriteClose,
        Payload::Close,
        Payload::ExitSignal { signal: a(), core_dumped: *flag, error_message: b(), language_tag: a() },
        Payload::Exit { exit_status: n },
        Payload::Io { stream: IoStream::Stderr, data: data.clone() },
        Payload::RequestFailed { request_id: id, reason: a() },
    ]
}

/// Bytes without any pattern (xorshift), the same in each run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| step()).collect()
}
