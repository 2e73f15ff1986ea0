//! Forwarding: streams between the client and what the guest reaches (RFC 4254 sections 6.3 and 7, OpenSSH's `PROTOCOL`).
//!
//! ```text
//! outward  channels that the client opens:  direct-tcpip, direct-streamlocal    -L, -D
//! listen   what the client has the guest listen on                              -R
//! inward   channels that the guest's streams open: forwarded-*, x11, agent      -R, -X, -A
//! pump     the bytes of either kind: one task per direction, ends carried apart
//! ```
//! Each kind has its switch (`security.forwarding`), off unless set. A request is recorded before it is carried out, its
//! failure with the reason; bytes are recorded if `audit.intercept.forwarding` says so, and before they are passed on.
//!
//! # Who may wait for whom
//! Opening a stream waits for the guest to be ready and for its target, in a task of its own: russh lets a channel be
//! answered later. Listening cannot be: russh takes the answer to a global request from its callback alone. So a connection
//! that asks for `-R` while its guest starts is silent until it has started. Nothing could be forwarded earlier
//! anyway; only a client whose keepalives give up sooner than a pod starts will notice.
//!
//! # What a guest is believed
//! Nothing: a stream that it brings is opened towards the client only if this client asked for such streams.

mod inward;
mod listen;
mod outward;
mod pump;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerssh_backend::{Bind, DialError, Guest, Origin};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use inward::run as bring_in;
pub(super) use outward::{Wanted, open};

use super::connection::Connection;
use super::messages;

/// Streams at once on one connection, those that are being opened included. A browser behind `ssh -D` has some hundred. Each
/// costs about 16 KiB besides the bytes under way, so that they stay below what sessions may hold.
pub(super) const MAX_STREAMS: usize = 512;
/// Listeners at once on one connection.
const MAX_BINDS: usize = 128;
/// A guest that has not answered by then will not: longer than it waits for a target itself.
const GUEST_LIMIT: Duration = Duration::from_secs(45);

/// A kind of channel that carries a forwarded stream. Its name is a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DirectTcpip,
    DirectStreamlocal,
    ForwardedTcpip,
    ForwardedStreamlocal,
    X11,
    AuthAgent,
}

impl Kind {
    /// The channel type on the wire.
    pub(crate) fn channel_type(self) -> &'static str {
        match self {
            Self::DirectTcpip => "direct-tcpip",
            Self::DirectStreamlocal => "direct-streamlocal@openssh.com",
            Self::ForwardedTcpip => "forwarded-tcpip",
            Self::ForwardedStreamlocal => "forwarded-streamlocal@openssh.com",
            Self::X11 => "x11",
            Self::AuthAgent => "auth-agent@openssh.com",
        }
    }
}

/// What a connection forwards.
#[derive(Debug)]
pub(crate) struct Forwarding {
    places: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
    /// Held for a few instructions, never across an await.
    asked: Mutex<Asked>,
}

/// What the client has asked for, so what a guest may bring.
#[derive(Debug, Default)]
struct Asked {
    binds: HashSet<Bind>,
    x11: bool,
    auth_agent: bool,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), open: Arc::default(), asked: Mutex::default() }
    }
}

impl Forwarding {
    /// Streams that are open or being opened.
    pub(crate) fn streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a stream, or `None` if there are too many.
    pub(super) fn try_place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|permit| self.count(permit))
    }

    /// Waits for a place.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Fails when the semaphore is closed, which nobody does.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    fn count(&self, permit: OwnedSemaphorePermit) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place { _permit: permit, open: Arc::clone(&self.open) }
    }

    /// The client wants X11 connections.
    pub(super) fn expect_x11(&self) {
        self.asked().x11 = true;
    }

    /// The client wants connections to its agent.
    pub(super) fn expect_auth_agent(&self) {
        self.asked().auth_agent = true;
    }

    /// Whether the client asked for streams of this origin.
    fn expects(&self, origin: &Origin) -> bool {
        let asked = self.asked();
        match origin {
            Origin::Tcp { host, port, .. } => {
                asked.binds.contains(&Bind::Tcp { host: host.clone(), port: *port })
            }
            Origin::Unix { path } => asked.binds.contains(&Bind::Unix { path: path.clone() }),
            Origin::X11 { .. } => asked.x11,
            Origin::AuthAgent => asked.auth_agent,
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Nothing in here can panic half-way.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream counts while this lives.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    open: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection's guest, once it is ready; the reason if it cannot be.
async fn guest(connection: &Connection) -> Result<Arc<dyn Guest>, DialError> {
    let Some(slot) = connection.guest() else {
        // Channels come after the login, and the login starts the guest.
        return Err(DialError::ConnectFailed("nobody has logged in".to_owned()));
    };
    slot.ready().await.map_err(|error| DialError::ConnectFailed(messages::cannot_start(&error)))
}

/// What a guest says, which must not take for ever.
async fn answered<T>(answer: impl Future<Output = Result<T, DialError>>) -> Result<T, DialError> {
    let silent = || Err(DialError::ConnectFailed("your pod does not answer".to_owned()));
    tokio::time::timeout(GUEST_LIMIT, answer).await.unwrap_or_else(|_| silent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_bring_only_what_was_asked_for() {
        let forwarding = Forwarding::default();
        let tcp = |port| Origin::Tcp {
            host: "localhost".into(),
            port,
            originator_host: "10.0.0.1".into(),
            originator_port: 1,
        };
        let x11 = Origin::X11 { originator_host: String::new(), originator_port: 0 };
        assert!(!forwarding.expects(&tcp(80)) && !forwarding.expects(&x11));
        assert!(!forwarding.expects(&Origin::AuthAgent));
        forwarding.asked().binds.insert(Bind::Tcp { host: "localhost".into(), port: 80 });
        forwarding.expect_x11();
        assert!(forwarding.expects(&tcp(80)) && forwarding.expects(&x11));
        assert!(!forwarding.expects(&tcp(81)) && !forwarding.expects(&Origin::AuthAgent));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let forwarding = Forwarding::default();
        let places: Vec<_> = std::iter::from_fn(|| forwarding.try_place()).collect();
        assert_eq!((places.len(), forwarding.streams()), (MAX_STREAMS, MAX_STREAMS));
        drop(places);
        assert!(forwarding.try_place().is_some());
        assert_eq!(forwarding.streams(), 0);
    }
}
