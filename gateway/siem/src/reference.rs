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
