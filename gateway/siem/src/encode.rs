//! An event as JSON. docs/siem.md lists the fields of each type; a test holds it to this.

use containerssh_auditlog::Payload;
use containerssh_auditlog::sftp::{FileEvent, Outcome};
use containerssh_config::EventKind;
use serde::Serialize;

use crate::event::{Event, FinishedRecord, Gap, MAX_USERNAME, Source, What, forward_type, start};
use crate::json::Object;

/// How a target wants its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Most bytes of contents or of one text.
    pub(crate) limit: usize,
    /// Whether passwords are written, if they are there.
    pub(crate) passwords: bool,
}

/// Appends the event as one JSON object, without a line break.
pub(crate) fn encode(out: &mut Vec<u8>, source: &Source, event: &Event, sequence: u64, style: Style) {
    let mut object = Object::new(out, style.limit);
    object.field("type", &event.what.name());
    object.field("sessionId", &event.origin.session_id);
    object.optional("username", username(event).map(|name| start(name, style.limit)));
    // Always a text: consumers rely on it.
    let address = event.origin.remote.map(|remote| remote.ip().to_string());
    object.field("remoteAddr", &address.unwrap_or_default());
    object.field("timestamp", &timestamp(event.at));
    object.field("sequence", &sequence);
    object.field("channelId", &event.channel);
    object.field("gateway", &source.gateway);
    object.field("namespace", &source.namespace);
    object.field("pod", &source.pod);
    object.field("policyHash", &event.origin.policy_hash);
    match &event.what {
        What::Record(_, payload) => {
            if let (Payload::Connect { .. }, Some(remote)) = (&**payload, event.origin.remote) {
                object.field("remotePort", &remote.port());
            }
            record(&mut object, payload, style.passwords);
        }
        What::Io(contents) => object.bytes("data", contents.data.as_slice(), contents.length),
        What::File(file) => fields_of(&mut object, file),
        What::ForwardClose(forwarded) => object.field("forwardType", forwarded),
        What::RecordFailed(reason) | What::RecordGap(reason) => object.text("reason", reason),
        What::Disconnect(ending) => {
            object.field("exitCode", &ending.exit_code);
            object.field("duration", &ending.seconds);
            if let Some(record) = &ending.record {
                finished(&mut object, record);
            }
        }
        What::Recovered(recovered) => {
            object.field("interrupted", &recovered.interrupted);
            finished(&mut object, &recovered.record);
        }
        What::Gap(gap) => told(&mut object, gap),
    }
    object.end();
}

/// The name an attempt was made with, otherwise who is logged in.
pub(crate) fn username(event: &Event) -> Option<&str> {
    match &event.what {
        What::Record(_, payload) => tried(payload),
        _ => None,
    }
    .or(event.username.as_deref())
    .map(|name| start(name, MAX_USERNAME))
}

/// The user name that a record is about.
pub(crate) fn tried(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::AuthPasswordSuccessful { username, .. }
        | Payload::AuthPasswordFailed { username, .. }
        | Payload::AuthPasswordBackendError { username, .. }
        | Payload::AuthPubKeySuccessful { username, .. }
        | Payload::AuthPubKeyFailed { username, .. }
        | Payload::AuthPubKeyBackendError { username, .. }
        | Payload::AuthKeyboardInteractiveChallenge { username, .. }
        | Payload::AuthKeyboardInteractiveFailed { username }
        | Payload::AuthKeyboardInteractiveBackendError { username, .. }
        | Payload::HandshakeSuccessful { username } => Some(username),
        _ => None,
    }
}

/// RFC 3339 in UTC, with nanoseconds.
pub(crate) fn timestamp(at: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

/// The fields of what happened to a file, but for those that every event has.
fn fields_of(object: &mut Object<'_>, file: &FileEvent) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(file) else { return };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("event" | "timestamp" | "sequence", _) => {}
            (key, serde_json::Value::String(text)) => object.text(key, &text),
            (key, value) => object.field(key, &value),
        }
    }
}

fn finished(object: &mut Object<'_>, record: &FinishedRecord) {
    object.optional("sha256", record.sha256.as_ref());
    object.optional("object", record.object.as_ref());
    object.optional("recordBytes", record.bytes.as_ref());
}

fn told(object: &mut Object<'_>, gap: &Gap) {
    object.field("events", &gap.events);
    object.field("bytes", &gap.bytes);
    object.field("sessions", &gap.sessions);
    if let Some((first, last)) = gap.range {
        object.field("firstSequence", &first);
        object.field("lastSequence", &last);
    }
}

fn record(object: &mut Object<'_>, payload: &Payload, passwords: bool) {
    match payload {
        Payload::Connect { country, .. } => object.field("country", country),
        Payload::HandshakeFailed { reason } => object.text("reason", reason),
        Payload::AuthPasswordSuccessful { password, .. } => {
            attempt(object, "password", true);
            secret(object, password.as_deref(), passwords);
        }
        Payload::AuthPasswordFailed { password, .. } => {
            attempt(object, "password", false);
            secret(object, password.as_deref(), passwords);
        }
        Payload::AuthPasswordBackendError { password, reason, .. } => {
            attempt(object, "password", false);
            secret(object, password.as_deref(), passwords);
            object.text("reason", reason);
        }
        Payload::AuthPubKeySuccessful { key, .. } => {
            attempt(object, "publickey", true);
            object.text("publicKey", key);
        }
        Payload::AuthPubKeyFailed { key, .. } => {
            attempt(object, "publickey", false);
            object.text("publicKey", key);
        }
        Payload::AuthPubKeyBackendError { key, reason, .. } => {
            attempt(object, "publickey", false);
            object.text("publicKey", key);
            object.text("reason", reason);
        }
        Payload::AuthKeyboardInteractiveFailed { .. } => attempt(object, "keyboard-interactive", false),
        Payload::AuthKeyboardInteractiveBackendError { reason, .. } => {
            attempt(object, "keyboard-interactive", false);
            object.text("reason", reason);
        }
        Payload::AuthKeyboardInteractiveChallenge { instruction, questions, .. } => {
            object.text("instruction", instruction);
            object.field("questions", &questions.len());
        }
        Payload::GlobalRequestUnknown { request_type } => object.text("requestType", request_type),
        Payload::GlobalRequestDecodeFailed { request_type, reason, .. } => {
            object.text("requestType", request_type);
            object.text("reason", reason);
        }
        Payload::RequestReverseForward { bind_host, bind_port }
        | Payload::RequestCancelReverseForward { bind_host, bind_port } => {
            object.field("forwardType", "tcpip-forward");
            object.text("bindHost", bind_host);
            object.field("bindPort", bind_port);
        }
        Payload::RequestStreamLocal { path } | Payload::RequestCancelStreamLocal { path } => {
            object.field("forwardType", "streamlocal-forward@openssh.com");
            object.text("path", path);
        }
        Payload::NewChannelSuccessful { channel_type } => object.text("channelType", channel_type),
        Payload::NewChannelFailed { channel_type, reason } => {
            object.text("channelType", channel_type);
            object.text("reason", reason);
        }
        _ if forward_type(payload).is_some() => forward(object, payload),
        _ => channel(object, payload),
    }
}

fn attempt(object: &mut Object<'_>, method: &str, success: bool) {
    object.field("authMethod", method);
    object.field("success", &success);
}

fn secret(object: &mut Object<'_>, password: Option<&[u8]>, wanted: bool) {
    if let Some(password) = password.filter(|_| wanted) {
        object.bytes("password", password, password.len() as u64);
    }
}

fn forward(object: &mut Object<'_>, payload: &Payload) {
    object.optional("forwardType", forward_type(payload));
    match payload {
        Payload::NewForwardChannel {
            host_to_connect: host,
            port_to_connect: port,
            originator_host,
            originator_port,
        }
        | Payload::NewReverseForwardChannel {
            connected_host: host,
            connected_port: port,
            originator_host,
            originator_port,
        } => {
            object.text("connectHost", host);
            object.field("connectPort", port);
            object.text("originatorHost", originator_host);
            object.field("originatorPort", originator_port);
        }
        Payload::NewReverseX11ForwardChannel { originator_host, originator_port } => {
            object.text("originatorHost", originator_host);
            object.field("originatorPort", originator_port);
        }
        Payload::NewForwardStreamLocalChannel { path } | Payload::NewReverseStreamLocalChannel { path } => {
            object.text("path", path);
        }
        _ => {}
    }
}

fn channel(object: &mut Object<'_>, payload: &Payload) {
    match payload {
        Payload::ChannelRequestUnknownType { request_id, request_type, .. } => {
            object.field("requestId", request_id);
            object.text("requestType", request_type);
        }
        Payload::ChannelRequestDecodeFailed { request_id, request_type, reason, .. } => {
            object.field("requestId", request_id);
            object.text("requestType", request_type);
            object.text("reason", reason);
        }
        Payload::ChannelRequestSetEnv { request_id, name, value } => {
            object.field("requestId", request_id);
            object.text("name", name);
            object.text("value", value);
        }
        Payload::ChannelRequestExec { request_id, program } => {
            object.field("requestId", request_id);
            object.text("command", program);
        }
        Payload::ChannelRequestPty { request_id, term, columns, rows, .. } => {
            object.field("requestId", request_id);
            object.field("columns", columns);
            object.field("rows", rows);
            object.text("termType", term);
        }
        Payload::ChannelRequestShell { request_id } => object.field("requestId", request_id),
        Payload::ChannelRequestSignal { request_id, signal } => {
            object.field("requestId", request_id);
            object.text("signal", signal);
        }
        Payload::ChannelRequestSubsystem { request_id, subsystem } => {
            object.field("requestId", request_id);
            object.text("subsystem", subsystem);
        }
        Payload::ChannelRequestWindow { request_id, columns, rows, .. } => {
            object.field("requestId", request_id);
            object.field("columns", columns);
            object.field("rows", rows);
        }
        // The cookie is a key to the user's display.
        Payload::ChannelRequestX11 { request_id, single_connection, auth_protocol, screen, .. } => {
            object.field("requestId", request_id);
            object.field("singleConnection", single_connection);
            object.text("authProtocol", auth_protocol);
            object.field("screen", screen);
        }
        Payload::ExitSignal { signal, core_dumped, error_message, .. } => {
            object.text("signal", signal);
            object.field("coreDumped", core_dumped);
            object.text("errorMessage", error_message);
        }
        Payload::Exit { exit_status } => object.field("exitCode", exit_status),
        Payload::RequestFailed { request_id, reason } => {
            object.field("requestId", request_id);
            object.text("reason", reason);
        }
        // Those without fields of their own, and those that are no events.
        _ => {}
    }
}

/// About how many bytes the event takes as text: what queues and batches count.
pub(crate) fn size(event: &Event) -> usize {
    /// The fields of every event, with room for those of its type.
    const FRAME: usize = 512;
    let own = match &event.what {
        What::Record(_, payload) => text_bytes(&**payload),
        What::Io(contents) => contents.data.as_slice().len().div_ceil(3) * 4,
        What::RecordFailed(reason) | What::RecordGap(reason) => reason.len(),
        What::File(file) => text_bytes(&**file),
        What::ForwardClose(_) | What::Disconnect(_) | What::Recovered(_) | What::Gap(_) => 0,
    };
    FRAME.saturating_add(own)
}

/// Bytes of a value as JSON.
pub(crate) fn text_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let _infallible = serde_json::to_writer(&mut count, value);
    count.0
}

/// Whether somebody should look: what is refused, fails or is missing.
pub(crate) fn is_warning(event: &Event) -> bool {
    match &event.what {
        What::Record(EventKind::AuthRequest, payload) => !matches!(
            &**payload,
            Payload::AuthPasswordSuccessful { .. } | Payload::AuthPubKeySuccessful { .. }
        ),
        What::Record(kind, _) => matches!(
            kind,
            EventKind::HandshakeFailed
                | EventKind::GlobalRequest
                | EventKind::ChannelRefused
                | EventKind::RequestRefused
                | EventKind::RequestFailed
                | EventKind::ExitSignal
        ),
        What::File(file) => !matches!(file.outcome, None | Some(Outcome::Ok)),
        What::RecordFailed(_) | What::RecordGap(_) | What::Gap(_) | What::Recovered(_) => true,
        What::Io(_) | What::ForwardClose(_) | What::Disconnect(_) => false,
    }
}
