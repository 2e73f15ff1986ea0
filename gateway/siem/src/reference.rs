//! The types of events and their fields, as docs/siem.md lists them.
//!
//! The table is part of the code because consumers build on it: a test encodes every record and compares its fields with
//! what stands here, and another one compares this with the document.

/// One type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// Its `type`.
    pub name: &'static str,
    /// When it is sent.
    pub meaning: &'static str,
    /// Its own fields, in order.
    pub fields: &'static [&'static str],
}

/// Fields of every event, in order, with their meaning. `username` is left out while nobody is known.
pub const COMMON: &[(&str, &str)] = &[
    ("type", "what happened: see below"),
    (
        "sessionId",
        "the connection: 32 hexadecimal digits, the name of its record; empty only in a `gap` of several sessions",
    ),
    (
        "username",
        "who is logged in; in `authRequest` and `authChallenge` the name that was tried. Left out while unknown",
    ),
    ("remoteAddr", "the client's IP address, always a string; empty if it is not known any more"),
    ("timestamp", "when it happened: RFC 3339, UTC, nanoseconds; the same as in the record"),
    (
        "sequence",
        "counts the session's events at this target from 1, without a gap; 0 in what is of no open session",
    ),
    ("channelId", "the SSH channel; `null` for the connection as a whole"),
    ("gateway", "name of the `SSHGateway`"),
    ("namespace", "its namespace"),
    ("pod", "the gateway's pod"),
    ("policyHash", "hash of the audit policy the session is recorded under; may be empty"),
];

/// Fields that any event may have at its end.
pub const CUT: &[(&str, &str)] = &[
    (
        "truncated",
        "`true`: contents or a text were longer than `audit.eventLimits.dataBytes`, or than a syslog message",
    ),
    ("originalLength", "how long, in bytes"),
];

/// Every type, in the order of a session's life.
pub const TYPES: &[EventType] = &[
    EventType {
        name: "connect",
        meaning: "A client connected over TCP.",
        fields: &["remotePort", "country"],
    },
    EventType {
        name: "handshakeFailed",
        meaning: "The connection ended before anybody logged in.",
        fields: &["reason"],
    },
    EventType {
        name: "authRequest",
        meaning: "A credential was accepted or rejected. `authMethod` is `password`, `publickey` or `keyboard-interactive`; \
                  `reason` says why nobody could decide; `password` (base64) stands only where it is both intercepted and included.",
        fields: &["authMethod", "success", "publicKey?", "password?", "reason?"],
    },
    EventType {
        name: "authChallenge",
        meaning: "The user was asked questions. Answers are in no event.",
        fields: &["instruction", "questions"],
    },
    EventType { name: "handshakeSuccessful", meaning: "The user is logged in.", fields: &[] },
    EventType {
        name: "globalRequest",
        meaning: "A request of the whole connection that is not served.",
        fields: &["requestType", "reason?"],
    },
    EventType {
        name: "forwardListen",
        meaning: "The client asks to listen on the far side.",
        fields: &["forwardType", "bindHost?", "bindPort?", "path?"],
    },
    EventType {
        name: "forwardUnlisten",
        meaning: "The client asks to stop listening.",
        fields: &["forwardType", "bindHost?", "bindPort?", "path?"],
    },
    EventType {
        name: "forwardOpen",
        meaning: "A forwarded connection is asked for; `channelOpen` or `channelRefused` follows.",
        fields: &[
            "forwardType",
            "connectHost?",
            "connectPort?",
            "originatorHost?",
            "originatorPort?",
            "path?",
        ],
    },
    EventType { name: "forwardClose", meaning: "A forwarded connection ended.", fields: &["forwardType"] },
    EventType { name: "channelOpen", meaning: "A channel was opened.", fields: &["channelType"] },
    EventType {
        name: "channelRefused",
        meaning: "A channel was refused.",
        fields: &["channelType", "reason"],
    },
    EventType {
        name: "pty",
        meaning: "A terminal was asked for: the session is interactive.",
        fields: &["requestId", "columns", "rows", "termType"],
    },
    EventType {
        name: "env",
        meaning: "An environment variable was sent.",
        fields: &["requestId", "name", "value"],
    },
    EventType { name: "shell", meaning: "A shell is to be run.", fields: &["requestId"] },
    EventType { name: "exec", meaning: "A command is to be run.", fields: &["requestId", "command"] },
    EventType {
        name: "subsystem",
        meaning: "A subsystem is to be run.",
        fields: &["requestId", "subsystem"],
    },
    EventType {
        name: "window",
        meaning: "The terminal's size changed.",
        fields: &["requestId", "columns", "rows"],
    },
    EventType {
        name: "signal",
        meaning: "A signal for the program, without `SIG`.",
        fields: &["requestId", "signal"],
    },
    EventType {
        name: "x11",
        meaning: "X11 forwarding was asked for. The cookie is in no event.",
        fields: &["requestId", "singleConnection", "authProtocol", "screen"],
    },
    EventType {
        name: "requestRefused",
        meaning: "A request on a channel is of an unknown type or cannot be read.",
        fields: &["requestId", "requestType", "reason?"],
    },
    EventType {
        name: "requestFailed",
        meaning: "The request with this `requestId` on this channel was refused or failed.",
        fields: &["requestId", "reason"],
    },
    EventType {
        name: "stdin",
        meaning: "What the user typed or sent, base64. Keystrokes of a moment are one event.",
        fields: &["data"],
    },
    EventType { name: "stdout", meaning: "What the program printed, base64.", fields: &["data"] },
    EventType { name: "stderr", meaning: "What the program printed as errors, base64.", fields: &["data"] },
    EventType {
        name: "sftp.…, scp.…",
        meaning: "What was done to a file or directory over SFTP (`sftp.open`, `sftp.close` with bytes and sha256, `sftp.rename`, \
                  `sftp.remove`, …) or with scp, read from the recorded streams. docs/sftp-audit.md lists operations and fields.",
        fields: &["protocol", "path?", "target?", "read?", "written?", "result?", "…"],
    },
    EventType { name: "eof", meaning: "The program prints no more.", fields: &[] },
    EventType { name: "exit", meaning: "The program exited.", fields: &["exitCode"] },
    EventType {
        name: "exitSignal",
        meaning: "The program was ended by a signal.",
        fields: &["signal", "coreDumped", "errorMessage"],
    },
    EventType { name: "channelClose", meaning: "The channel is closed.", fields: &[] },
    EventType {
        name: "recordGap",
        meaning: "The session's record lacks something, and the policy lets the session go on.",
        fields: &["reason"],
    },
    EventType {
        name: "recordFailed",
        meaning: "The session cannot be recorded, and the policy ends it.",
        fields: &["reason"],
    },
    EventType {
        name: "disconnect",
        meaning: "The connection ended. `exitCode` is that of the program that ended last, or `null`; `duration` is in seconds; \
                  the others tell of the finished record, if it was finished within ten seconds.",
        fields: &["exitCode", "duration", "sha256?", "object?", "recordBytes?"],
    },
    EventType {
        name: "recovered",
        meaning: "The gateway was killed, and found this session's record when it started again. What is missing in the \
                  events is in the record. `interrupted`: the record had no end, and was given one.",
        fields: &["interrupted", "sha256?", "object?", "recordBytes?"],
    },
    EventType {
        name: "gap",
        meaning: "Events of this session were dropped, because this target's queue was full: those with the sequence numbers from \
                  `firstSequence` to `lastSequence`. `bytes` counts the contents in them. Always sent, whatever `include` says.",
        fields: &["events", "bytes", "sessions", "firstSequence?", "lastSequence?"],
    },
];

/// The tables of docs/siem.md.
#[must_use]
pub fn markdown() -> String {
    let mut text =
        String::from("Every event has these fields, in this order:\n\n| Field | Meaning |\n|---|---|\n");
    for (name, meaning) in COMMON {
        text.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    text.push_str(
        "\nThen those of its type; a `?` marks those that are left out where there is nothing to say:\n\n",
    );
    text.push_str("| Type | Fields | Meaning |\n|---|---|---|\n");
    for EventType { name, meaning, fields } in TYPES {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        text.push_str(&format!("| `{name}` | {} | {meaning} |\n", fields.join(", ")));
    }
    text.push_str("\nAnd at the end, if something was cut:\n\n| Field | Meaning |\n|---|---|\n");
    for (name, meaning) in CUT {
        text.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use containerssh_auditlog::sftp::{Channels, Options};
    use containerssh_auditlog::{IoStream, Payload, Question};
    use containerssh_config::EventKind;

    use super::*;
    use crate::encode::{self, Style};
    use crate::event::{
        Contents, Data, Ending, Event, FinishedRecord, Gap, Origin, Recovered, Source, What, record_kind,
    };

    fn text() -> String {
        "t".to_owned()
    }

    /// One of each record, with something in every field.
    fn records() -> Vec<Payload> {
        let password = Some(Bytes::from_static(b"p"));
        let (username, key, reason) = (text(), text(), text());
        let (bind_host, bind_port, path) = (text(), 1, text());
        let (request_id, request_type, channel_type, payload) = (1, text(), text(), None);
        let (originator_host, originator_port) = (text(), 1);
        vec![
            Payload::Connect { remote_addr: text(), country: text() },
            Payload::Disconnect,
            Payload::AuthPassword { username: text(), password: password.clone() },
            Payload::AuthPasswordSuccessful { username: text(), password: password.clone() },
            Payload::AuthPasswordFailed { username: text(), password: password.clone() },
            Payload::AuthPasswordBackendError { username: text(), password, reason: text() },
            Payload::AuthPubKey { username: text(), key: text() },
            Payload::AuthPubKeySuccessful { username: text(), key: text() },
            Payload::AuthPubKeyFailed { username: text(), key: text() },
            Payload::AuthPubKeyBackendError { username: text(), key, reason: text() },
            Payload::AuthKeyboardInteractiveChallenge {
                username: text(),
                instruction: text(),
                questions: vec![Question { question: text(), echo: false }],
            },
            Payload::AuthKeyboardInteractiveAnswer { username: text(), answers: Vec::new() },
            Payload::AuthKeyboardInteractiveFailed { username: text() },
            Payload::AuthKeyboardInteractiveBackendError { username, reason: text() },
            Payload::HandshakeFailed { reason: text() },
            Payload::HandshakeSuccessful { username: text() },
            Payload::GlobalRequestUnknown { request_type: text() },
            Payload::GlobalRequestDecodeFailed {
                request_id,
                request_type: text(),
                payload: None,
                reason: text(),
            },
            Payload::RequestReverseForward { bind_host: text(), bind_port },
            Payload::RequestCancelReverseForward { bind_host, bind_port },
            Payload::RequestStreamLocal { path: text() },
            Payload::RequestCancelStreamLocal { path: text() },
            Payload::NewChannel { channel_type: text() },
            Payload::NewChannelSuccessful { channel_type: text() },
            Payload::NewChannelFailed { channel_type, reason: text() },
            Payload::NewForwardChannel {
                host_to_connect: text(),
                port_to_connect: 1,
                originator_host: text(),
                originator_port,
            },
            Payload::NewReverseForwardChannel {
                connected_host: text(),
                connected_port: 1,
                originator_host: text(),
                originator_port,
            },
            Payload::NewReverseX11ForwardChannel { originator_host, originator_port },
            Payload::NewForwardStreamLocalChannel { path: text() },
            Payload::NewReverseStreamLocalChannel { path },
            Payload::ChannelRequestUnknownType { request_id, request_type: text(), payload: None },
            Payload::ChannelRequestDecodeFailed { request_id, request_type, payload, reason: text() },
            Payload::ChannelRequestSetEnv { request_id, name: text(), value: text() },
            Payload::ChannelRequestExec { request_id, program: text() },
            Payload::ChannelRequestPty {
                request_id,
                term: text(),
                columns: 1,
                rows: 1,
                width: 1,
                height: 1,
                mode_list: None,
            },
            Payload::ChannelRequestShell { request_id },
            Payload::ChannelRequestSignal { request_id, signal: text() },
            Payload::ChannelRequestSubsystem { request_id, subsystem: text() },
            Payload::ChannelRequestWindow { request_id, columns: 1, rows: 1, width: 1, height: 1 },
            Payload::ChannelRequestX11 {
                request_id,
                single_connection: true,
                auth_protocol: text(),
                cookie: "cookie".into(),
                screen: 1,
            },
            Payload::WriteClose,
            Payload::Close,
            Payload::ExitSignal {
                signal: text(),
                core_dumped: true,
                error_message: text(),
                language_tag: text(),
            },
            Payload::Exit { exit_status: 1 },
            Payload::Io { stream: IoStream::Stdin, data: Bytes::new() },
            Payload::RequestFailed { request_id, reason },
        ]
    }

    fn others() -> Vec<What> {
        let record = FinishedRecord { sha256: Some(text()), object: Some(text()), bytes: Some(1) };
        let io =
            |stream| What::Io(Contents { stream, data: Data::Shared(Bytes::from_static(b"x")), length: 1 });
        vec![
            io(IoStream::Stdin),
            io(IoStream::Stdout),
            io(IoStream::Stderr),
            What::ForwardClose("x11"),
            What::RecordFailed(text()),
            What::RecordGap(text()),
            What::Disconnect(Ending { exit_code: Some(1), seconds: 1.0, record: Some(record.clone()) }),
            What::Disconnect(Ending::default()),
            What::Recovered(Recovered { record, ..Recovered::default() }),
            What::Recovered(Recovered::default()),
            What::Gap(Gap { events: 1, bytes: 1, range: Some((1, 2)), sessions: 1 }),
            What::Gap(Gap { events: 1, bytes: 1, range: None, sessions: 7 }),
        ]
    }

    fn keys(what: What) -> (String, Vec<String>, String) {
        let remote = Some("192.0.2.1:22".parse().unwrap());
        let origin = Origin { session_id: text(), remote, policy_hash: text() };
        let name = what.name().into_owned();
        let event =
            Event { origin: Arc::new(origin), username: Some("u".into()), at: 1, channel: Some(1), what };
        let mut out = Vec::new();
        encode::encode(&mut out, &Source::default(), &event, 1, Style { limit: 1000, passwords: true });
        let text = String::from_utf8(out).unwrap();
        // In the order of the text, which a map of serde_json does not keep.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_by_key(|key| text.find(&format!("\"{key}\":")).unwrap());
        (name, keys, text)
    }

    #[test]
    fn every_event_has_the_fields_that_are_documented_and_no_others() {
        let kinds = records().into_iter().filter_map(|payload| {
            let kind = record_kind(&payload)?;
            (!matches!(payload, Payload::Io { .. })).then(|| What::Record(kind, Arc::new(payload)))
        });
        let common: Vec<&str> = COMMON.iter().map(|(name, _)| *name).collect();
        let mut seen: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for what in kinds.chain(others()) {
            let (name, keys, text) = keys(what);
            assert_eq!(keys[..common.len()], common, "{text}");
            assert!(!text.contains("cookie"), "{text}");
            seen.entry(name).or_default().push(keys[common.len()..].to_vec());
        }
        for EventType { name, fields, .. } in TYPES.iter().filter(|event| !event.name.contains('…')) {
            let variants = seen.remove(*name).unwrap_or_else(|| panic!("nothing becomes {name}"));
            for field in *fields {
                let plain = field.trim_end_matches('?');
                let count = variants.iter().filter(|keys| keys.iter().any(|key| key == plain)).count();
                assert!(count > 0, "{name} never has {field}");
                assert!(field.ends_with('?') || count == variants.len(), "{name} lacks {field} at times");
            }
            for keys in variants {
                let order = keys.iter().map(|key| {
                    let known = fields.iter().position(|field| field.trim_end_matches('?') == key);
                    known.unwrap_or_else(|| panic!("{name} has {key}, which is not documented"))
                });
                assert!(order.is_sorted(), "{name}: {keys:?}");
            }
        }
        assert_eq!(seen, BTreeMap::new(), "events that are not documented");
    }

    #[test]
    fn every_record_type_is_tried_and_every_kind_documented() {
        let mut codes: Vec<u32> = records().iter().map(Payload::type_code).collect();
        codes.sort_unstable();
        assert_eq!(codes, Payload::TYPE_CODES);
        for kind in EventKind::ALL {
            let documented = TYPES.iter().any(|event| event.name == kind.as_str());
            let other = matches!(kind, EventKind::Sftp | EventKind::Passwords);
            assert!(documented != other, "{kind}");
        }
    }

    #[test]
    fn what_happens_to_files_keeps_the_common_fields() {
        let (mut channels, mut seen) = (Channels::new(Options::default()), Vec::new());
        let request = Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "sftp".into() };
        let noise =
            Payload::Io { stream: IoStream::Stdin, data: Bytes::from_static(b"\xff\xff\xff\xffnothing") };
        for payload in [request, noise, Payload::Close] {
            channels.push(Some(1), 7, &payload, &mut |_, event| seen.push(event));
        }
        let (name, keys, text) = keys(What::File(Arc::new(seen.swap_remove(0))));
        assert_eq!(name, "sftp.desynchronised");
        assert_eq!(keys.iter().filter(|key| *key == "timestamp" || *key == "sequence").count(), 2);
        assert!(text.contains("\"timestamp\":\"1970-") && text.contains("\"protocol\":\"sftp\""), "{text}");
    }
}
