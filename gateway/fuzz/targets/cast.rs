//! Any bytes that a program wrote and a user typed, as a cast: every line is JSON, whatever they are. Each piece is a byte that says
//! which stream, one that says how long, and so many bytes.

use containerssh_auditlog::asciicast::{Cast, Version};
use containerssh_auditlog::{IoStream, Message, Payload};

fn messages(mut data: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let [kind, length, rest @ ..] = data {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        let number = |at: usize| piece.get(at).map_or(0, |byte| u32::from(*byte) << (byte & 31));
        let text = || String::from_utf8_lossy(piece).into_owned();
        let payload = match kind & 15 {
            0..=5 => Payload::Io { stream: IoStream::Stdout, data: piece.to_vec().into() },
            6 => Payload::Io { stream: IoStream::Stderr, data: piece.to_vec().into() },
            7..=9 => Payload::Io { stream: IoStream::Stdin, data: piece.to_vec().into() },
            10 => Payload::ChannelRequestWindow {
                request_id: 0,
                columns: number(0),
                rows: number(1),
                width: number(2),
                height: number(3),
            },
            11 => Payload::ChannelRequestPty {
                request_id: 0,
                term: text(),
                columns: number(0),
                rows: number(1),
                width: 0,
                height: 0,
                mode_list: None,
            },
            12 => Payload::ChannelRequestExec { request_id: 0, program: text() },
            13 => Payload::ChannelRequestSetEnv { request_id: 0, name: text(), value: text() },
            14 => Payload::Exit { exit_status: number(0) },
            _ => Payload::Disconnect,
        };
        let timestamp = u64::from(*kind) << (kind >> 2) ^ messages.len() as u64;
        messages.push(Message { connection_id: "c".into(), timestamp, payload, channel_id: Some(0) });
    }
    messages
}

pub fn run(data: &[u8]) {
    let messages = messages(data);
    for version in [Version::V2, Version::V3] {
        let mut cast = Cast::new(0, true).with_version(version);
        let mut out = Vec::new();
        for message in &messages {
            cast.push(message, &mut out);
        }
        cast.finish(&mut out);
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            assert_eq!(line.last(), Some(&b'\n'), "a line does not end");
            let value: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
            assert!(value.is_object() || value.is_array());
        }
    }
}
