//! What serves a connection: the traits between the SSH server and whatever runs a user's programs.
//!
//! A backend is a trait of **streams and requests, not of bytes**: it starts programs with their environment,
//! terminal and command, moves their output as messages that share the received buffer ([`bytes::Bytes`]), and
//! takes requests (window change, signal, end of input). So the same SSH layer serves the exec path into a pod, an agent
//! in the guest, a remote host or a local shell, and the audit layer sits outside all of them.
//!
//! # Shape
//! ```text
//! Backend::connect ──► Guest (one per SSH connection: a pod)
//!                        └─ Guest::start ──► Program (one per session channel: an exec)
//!                                              ├─ ProgramInput   (moved into the inbound pump)
//!                        │                     └─ ProgramOutput  (moved into the outbound pump)
//!                        ├─ Guest::dial ───► Stream  (one per forwarding channel that the client opens)
//!                        └─ Guest::accept ─► Incoming (one per forwarding channel that the guest opens)
//! ```
//! The two halves of a [`Program`] never share a lock: one task each, so that a stalled direction cannot stall the
//! other. Dropping both halves ends the program (the backend kills what still runs).
//!
//! # Invariants an implementation keeps
//! - Every wait has a deadline; nothing a guest sends makes memory grow without bound.
//! - [`Output::Exit`] or [`Output::ExitSignal`] is the last message and comes exactly once, or an error comes instead:
//!   a stream that ends without a verdict is an error, never exit status 0.
//! - [`Guest::close`] is called once per guest, on every way out, and is safe to call while a start is under way.

mod error;
mod forward;
mod program;
mod progress;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::BackendError;
pub use forward::{Bind, DialError, Incoming, Origin, Stream, StreamInput, StreamOutput, Target, X11};
pub use program::{
    Command, Output, Program, ProgramInput, ProgramOutput, ProgramSpec, Pty, Signal, WindowSize,
};
pub use progress::{Progress, ProgressSender, progress};

/// A value that authentication handed over, and whether it must stay out of logs, labels and hooks.
#[derive(Clone, PartialEq, Eq)]
pub struct MetadataValue {
    /// The value as text.
    pub value: String,
    /// `true` keeps the value out of logs, labels, annotations and later webhooks.
    pub sensitive: bool,
}

impl std::fmt::Debug for MetadataValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.sensitive { "(sensitive)" } else { &self.value })
    }
}

/// A file that authentication handed over.
#[derive(Clone, PartialEq, Eq)]
pub struct FileValue {
    /// Its content.
    pub content: Bytes,
    /// `true` keeps it out of later webhooks. File contents are never logged.
    pub sensitive: bool,
}

impl std::fmt::Debug for FileValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({} bytes)", self.content.len())
    }
}

/// Everything a backend may know of the connection it serves. Immutable once the client is authenticated.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// 32 lowercase hexadecimal digits from a CSPRNG, unique per connection.
    pub connection_id: String,
    /// The client's address, after PROXY protocol where that is configured.
    pub remote_addr: SocketAddr,
    /// The name the client typed (RFC 4252 section 5 `user name`).
    pub username: String,
    /// The name authentication settled on; empty when the webhook named none.
    pub authenticated_username: String,
    /// Metadata from authentication, by key.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Environment variables from authentication, for every program of the connection.
    pub environment: BTreeMap<String, MetadataValue>,
    /// Files from authentication, by absolute path: written into the guest before its first program starts.
    pub files: BTreeMap<String, FileValue>,
}

/// What a guest without forwarding says.
const NO_FORWARDING: &str = "forwarding is not available here";

/// Makes guests. One per gateway, shared by all connections.
#[async_trait]
pub trait Backend: Send + Sync + std::fmt::Debug + 'static {
    /// Starts what will serve one connection and waits until it can run programs.
    ///
    /// Dropping the returned future (the client left meanwhile) must leave nothing behind: whatever was created is
    /// removed in the background.
    async fn connect(
        &self,
        connection: Arc<ConnectionInfo>,
        progress: ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError>;
}

/// What serves one connection, for instance its pod.
#[async_trait]
pub trait Guest: Send + Sync + std::fmt::Debug + 'static {
    /// A name a person can look up: the pod's `namespace/name`.
    fn name(&self) -> &str;

    /// Starts one program. Returns when it runs or with the reason why it cannot.
    async fn start(&self, spec: ProgramSpec) -> Result<Program, BackendError>;

    /// Opens a stream to something that the guest reaches.
    async fn dial(&self, _target: Target) -> Result<Stream, DialError> {
        Err(DialError::Unsupported(NO_FORWARDING.to_owned()))
    }

    /// Listens in the guest; what arrives comes from [`Guest::accept`]. Returns the port listened on (0 for a socket).
    async fn listen(&self, _bind: Bind) -> Result<u16, DialError> {
        Err(DialError::Unsupported(NO_FORWARDING.to_owned()))
    }

    /// Ends a [`Guest::listen`], named by what it was given with the port it returned. Streams that came from it go on.
    /// `false` if there is none.
    async fn unlisten(&self, _bind: Bind) -> bool {
        false
    }

    /// The next stream that arrived in the guest: at a listener, at a program's X11 display or at its agent socket. Never
    /// resolves where nothing can arrive. For one caller at a time; cancel-safe.
    async fn accept(&self) -> Incoming {
        std::future::pending().await
    }

    /// Resolves when the guest is gone by itself (evicted, deleted, crashed), with the reason. Never resolves
    /// while it lives.
    async fn gone(&self) -> BackendError;

    /// Removes the guest. Returns when it is removed or its removal is taken over by a background task that retries.
    async fn close(&self);
}
