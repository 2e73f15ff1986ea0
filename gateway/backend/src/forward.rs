//! Byte streams that a guest opens for the client (`-L`, `-D`), and those it brings back (`-R`, X11, agent forwarding).
//!
//! The same shapes as RFC 4254 section 7 and OpenSSH's `PROTOCOL`: what a client asks for is a [`Target`] or a [`Bind`];
//! what arrives in the guest afterwards is an [`Incoming`], whatever it arrived through, from one queue per connection.

use async_trait::async_trait;
use bytes::Bytes;

use crate::BackendError;

/// What a client wants to reach through the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `direct-tcpip` (RFC 4254 section 7.2). The name is resolved in the guest.
    Tcp {
        /// A name or an address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// `direct-streamlocal@openssh.com`: a unix socket in the guest.
    Unix {
        /// Its path in the guest.
        path: String,
    },
}

/// What a client wants the guest to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// `tcpip-forward` (RFC 4254 section 7.1).
    Tcp {
        /// An address; empty for every address, `localhost` for the loopback ones.
        host: String,
        /// 0 lets the guest choose.
        port: u16,
    },
    /// `streamlocal-forward@openssh.com`.
    Unix {
        /// The socket's path in the guest.
        path: String,
    },
}

/// `x11-req` (RFC 4254 section 6.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X11 {
    /// Only the first connection is forwarded.
    pub single_connection: bool,
    /// Such as `MIT-MAGIC-COOKIE-1`.
    pub protocol: String,
    /// The cookie in hexadecimal digits, as the client made it up.
    pub cookie: String,
    /// The screen's number.
    pub screen: u32,
}

/// Where a stream that the guest brings comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `forwarded-tcpip`: the address and port as they were asked for (the chosen port, if 0 was), and the peer's.
    Tcp {
        /// What [`Guest::listen`](crate::Guest::listen) was given.
        host: String,
        /// The port listened on.
        port: u16,
        /// The peer's address.
        originator_host: String,
        /// The peer's port.
        originator_port: u32,
    },
    /// `forwarded-streamlocal@openssh.com`.
    Unix {
        /// The socket's path.
        path: String,
    },
    /// `x11`.
    X11 {
        /// The peer's address.
        originator_host: String,
        /// The peer's port.
        originator_port: u32,
    },
    /// `auth-agent@openssh.com`.
    AuthAgent,
}

/// A stream that arrived in the guest and waits for the client to take it. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming {
    /// Where it comes from.
    pub origin: Origin,
    /// Its bytes.
    pub stream: Stream,
}

/// Why a stream could not be opened: the reason codes of RFC 4254 section 5.1, with a text fit for the user.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// The target refused, is unreachable, or did not answer in time (`SSH_OPEN_CONNECT_FAILED`).
    #[error("{0}")]
    ConnectFailed(String),
    /// This guest opens no such streams (`SSH_OPEN_ADMINISTRATIVELY_PROHIBITED`).
    #[error("{0}")]
    Unsupported(String),
    /// The guest has too many of them (`SSH_OPEN_RESOURCE_SHORTAGE`).
    #[error("{0}")]
    Exhausted(String),
}

/// An open stream: two halves, for two tasks. Either direction ends by itself; dropping both halves closes it.
#[derive(Debug)]
pub struct Stream {
    /// Towards the peer.
    pub input: Box<dyn StreamInput>,
    /// From the peer.
    pub output: Box<dyn StreamOutput>,
}

/// Towards the peer. Calls wait while it does not take more: that wait is the back-pressure.
#[async_trait]
pub trait StreamInput: Send + std::fmt::Debug {
    /// Bytes for the peer.
    async fn send(&mut self, data: Bytes) -> Result<(), BackendError>;
    /// No more bytes come; the other direction goes on (a half-closed TCP connection).
    async fn eof(&mut self) -> Result<(), BackendError>;
}

/// From the peer.
#[async_trait]
pub trait StreamOutput: Send + std::fmt::Debug {
    /// The next bytes, or `None` once the peer has sent its last: do not call again. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Bytes>, BackendError>;
}
