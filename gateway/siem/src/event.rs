//! What an event is, and which record becomes which.
//!
//! Not every record is an event. A credential, a channel and a request are recorded twice, when they are asked for and when
//! they are decided; as an event each appears once, with its outcome: what a SIEM counts are attempts, not messages.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use containerssh_auditlog::sftp::FileEvent;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::EventKind;

/// The longest user name in events other than the attempt to log in, in bytes: it stands in each of them. POSIX systems
/// allow 32 to 256.
pub(crate) const MAX_USERNAME: usize = 256;

/// Which gateway sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Name of the `SSHGateway`.
    pub gateway: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
}

/// The connection that events are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Connection id: 32 lowercase hexadecimal digits.
    pub(crate) session_id: String,
    /// `None` where it is not known any more.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) policy_hash: String,
}

/// One event, not yet text.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) origin: Arc<Origin>,
    pub(crate) username: Option<Arc<str>>,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub(crate) at: u64,
    pub(crate) channel: Option<u64>,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// What a record says.
    Record(EventKind, Arc<Payload>),
    Io(Contents),
    /// What was done to a file, read from the streams of a channel.
    File(Arc<FileEvent>),
    ForwardClose(&'static str),
    RecordFailed(String),
    RecordGap(String),
    Disconnect(Ending),
    Recovered(Recovered),
    Gap(Gap),
}

/// Bytes of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub(crate) stream: IoStream,
    pub(crate) data: Data,
    /// How many they were; more than there are in `data` if they were cut.
    pub(crate) length: u64,
}

/// Bytes as they came, or several pieces put together.
#[derive(Clone)]
pub(crate) enum Data {
    Shared(Bytes),
    Joined(Vec<u8>),
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What users type is not for logs.
        write!(f, "<{} bytes>", self.as_slice().len())
    }
}

impl Data {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(data) => data,
            Self::Joined(data) => data,
        }
    }

    /// Adds bytes at the end.
    pub(crate) fn join(&mut self, more: &[u8]) {
        if let Self::Shared(data) = self {
            *self = Self::Joined(data.to_vec());
        }
        if let Self::Joined(data) = self {
            data.extend_from_slice(more);
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ending {
    /// Of the program that ended last; `None` if none told one.
    pub(crate) exit_code: Option<u32>,
    /// Seconds from connect to disconnect.
    pub(crate) seconds: f64,
    /// `None` if the record was not finished in time.
    pub(crate) record: Option<FinishedRecord>,
}

/// A finished record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinishedRecord {
    /// Sha256 of the object, 64 hexadecimal digits, where known.
    pub sha256: Option<String>,
    /// Where it is stored or going to be: the object's key, or a file's name. Where known.
    pub object: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
}

/// A record that an earlier run of the gateway left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The connection.
    pub session_id: String,
    /// Where the client came from, where known.
    pub remote: Option<SocketAddr>,
    /// Who had logged in, where known.
    pub username: Option<String>,
    /// Hash of the policy it was recorded under.
    pub policy_hash: String,
    /// Whether the record's end was written by recovery.
    pub interrupted: bool,
    /// The record.
    pub record: FinishedRecord,
}

/// Events that were not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) events: u64,
    /// Bytes of contents in them.
    pub(crate) bytes: u64,
    /// Sequence numbers of the first and the last; `None` if they are of several sessions.
    pub(crate) range: Option<(u64, u64)>,
    /// Sessions they are of.
    pub(crate) sessions: u64,
}

impl What {
    /// The word of `include` that asks for it; `None` if it is always sent.
    pub(crate) fn kind(&self) -> Option<EventKind> {
        Some(match self {
            Self::Record(kind, _) => *kind,
            Self::Io(contents) => stream_kind(contents.stream),
            Self::File(_) => EventKind::Sftp,
            Self::ForwardClose(_) => EventKind::ForwardClose,
            Self::RecordFailed(_) => EventKind::RecordFailed,
            Self::RecordGap(_) => EventKind::RecordGap,
            Self::Disconnect(_) => EventKind::Disconnect,
            Self::Recovered(_) => EventKind::Recovered,
            Self::Gap(_) => return None,
        })
    }

    /// The event's `type`.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        match self {
            Self::File(file) => format!("{}.{}", file.protocol.name(), file.operation.name()).into(),
            other => other.kind().map_or("gap", EventKind::as_str).into(),
        }
    }

    /// Whether it is contents, of which there may be any amount.
    pub(crate) fn is_contents(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    /// Bytes of contents.
    pub(crate) fn content_bytes(&self) -> u64 {
        match self {
            Self::Io(contents) => contents.length,
            _ => 0,
        }
    }
}

/// The kind of a stream's contents.
pub(crate) const fn stream_kind(stream: IoStream) -> EventKind {
    match stream {
        IoStream::Stdin => EventKind::Stdin,
        IoStream::Stdout => EventKind::Stdout,
        IoStream::Stderr => EventKind::Stderr,
    }
}

/// The kind of event that a record becomes; `None` for the first of two records about one thing, for answers (which
/// are secrets), and for the disconnect, which is told when the record is finished.
pub(crate) fn record_kind(payload: &Payload) -> Option<EventKind> {
    Some(match payload {
        Payload::Connect { .. } => EventKind::Connect,
        Payload::HandshakeFailed { .. } => EventKind::HandshakeFailed,
        Payload::HandshakeSuccessful { .. } => EventKind::HandshakeSuccessful,
        Payload::AuthPasswordSuccessful { .. }
        | Payload::AuthPasswordFailed { .. }
        | Payload::AuthPasswordBackendError { .. }
        | Payload::AuthPubKeySuccessful { .. }
        | Payload::AuthPubKeyFailed { .. }
        | Payload::AuthPubKeyBackendError { .. }
        | Payload::AuthKeyboardInteractiveFailed { .. }
        | Payload::AuthKeyboardInteractiveBackendError { .. } => EventKind::AuthRequest,
        Payload::AuthKeyboardInteractiveChallenge { .. } => EventKind::AuthChallenge,
        Payload::GlobalRequestUnknown { .. } | Payload::GlobalRequestDecodeFailed { .. } => {
            EventKind::GlobalRequest
        }
        Payload::RequestReverseForward { .. } | Payload::RequestStreamLocal { .. } => {
            EventKind::ForwardListen
        }
        Payload::RequestCancelReverseForward { .. } | Payload::RequestCancelStreamLocal { .. } => {
            EventKind::ForwardUnlisten
        }
        Payload::NewForwardChannel { .. }
        | Payload::NewReverseForwardChannel { .. }
        | Payload::NewReverseX11ForwardChannel { .. }
        | Payload::NewForwardStreamLocalChannel { .. }
        | Payload::NewReverseStreamLocalChannel { .. } => EventKind::ForwardOpen,
        Payload::NewChannelSuccessful { .. } => EventKind::ChannelOpen,
        Payload::NewChannelFailed { .. } => EventKind::ChannelRefused,
        Payload::ChannelRequestUnknownType { .. } | Payload::ChannelRequestDecodeFailed { .. } => {
            EventKind::RequestRefused
        }
        Payload::ChannelRequestSetEnv { .. } => EventKind::Env,
        Payload::ChannelRequestExec { .. } => EventKind::Exec,
        Payload::ChannelRequestPty { .. } => EventKind::Pty,
        Payload::ChannelRequestShell { .. } => EventKind::Shell,
        Payload::ChannelRequestSignal { .. } => EventKind::Signal,
        Payload::ChannelRequestSubsystem { .. } => EventKind::Subsystem,
        Payload::ChannelRequestWindow { .. } => EventKind::Window,
        Payload::ChannelRequestX11 { .. } => EventKind::X11,
        Payload::WriteClose => EventKind::Eof,
        Payload::Close => EventKind::ChannelClose,
        Payload::Exit { .. } => EventKind::Exit,
        Payload::ExitSignal { .. } => EventKind::ExitSignal,
        Payload::RequestFailed { .. } => EventKind::RequestFailed,
        Payload::Io { stream, .. } => stream_kind(*stream),
        Payload::Disconnect
        | Payload::AuthPassword { .. }
        | Payload::AuthPubKey { .. }
        | Payload::AuthKeyboardInteractiveAnswer { .. }
        | Payload::NewChannel { .. }
        | Payload::Unknown { .. } => return None,
    })
}

/// What a channel that a record asks for forwards, in SSH's words; `None` if it forwards nothing.
pub(crate) const fn forward_type(payload: &Payload) -> Option<&'static str> {
    Some(match payload {
        Payload::NewForwardChannel { .. } => "direct-tcpip",
        Payload::NewReverseForwardChannel { .. } => "forwarded-tcpip",
        Payload::NewReverseX11ForwardChannel { .. } => "x11",
        Payload::NewForwardStreamLocalChannel { .. } => "direct-streamlocal@openssh.com",
        Payload::NewReverseStreamLocalChannel { .. } => "forwarded-streamlocal@openssh.com",
        _ => return None,
    })
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u64);

impl Kinds {
    const fn bit(kind: EventKind) -> u64 {
        1 << kind as u32
    }

    /// What `include` asks for: absent, everything but passwords.
    pub(crate) fn included(include: Option<&[EventKind]>) -> Self {
        match include {
            Some(kinds) => Self(kinds.iter().fold(0, |bits, kind| bits | Self::bit(*kind))),
            None => Self(!Self::bit(EventKind::Passwords)),
        }
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, kind: EventKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }
}

/// The start of a text, at most so many bytes, cut between characters.
pub(crate) fn start(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_bit_of_its_own_and_passwords_are_never_meant_by_all() {
        let mut seen = Kinds::default();
        for kind in EventKind::ALL {
            assert!(!seen.has(*kind), "{kind}");
            seen = seen.with(Kinds::included(Some(&[*kind])));
        }
        let all = Kinds::included(None);
        for kind in EventKind::ALL {
            assert_eq!(all.has(*kind), *kind != EventKind::Passwords, "{kind}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(start("aé", 2), "a");
        assert_eq!(start("aé", 3), "aé");
        assert_eq!(start("a", 100), "a");
    }
}
