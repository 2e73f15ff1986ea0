//! The server around the connections: accept, limits, drain.

mod accept;
mod drain;
mod gate;
mod kexinit;
mod limits;
mod penalties;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use containerssh_log::notice;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use drain::Drain;
pub(crate) use gate::MESSAGE_OVERHEAD;
pub(crate) use kexinit::Ciphers;
pub use limits::Limits;
pub(crate) use limits::{Place, Places, Refusal};
pub(crate) use penalties::Offence;
pub(crate) use wire::{Wire, WireControl};

use crate::admin::Metrics;
use crate::codes;
use crate::snapshot::Current;
use crate::ssh;

/// After the drain's time is over, connections say goodbye, remove their guests and close their records. All of that
/// has deadlines of its own; this one covers them, so that the process ends whatever happens.
const LAST_GRACE: Duration = Duration::from_secs(30);

/// What the server works with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The configuration in force; each connection takes the newest when it is accepted.
    pub snapshots: Arc<Current>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Serves SSH until `shutdown`, then drains: no more connections are accepted, sessions may finish for as long as the
/// configuration says, and the rest is ended. Returns when every connection has ended, its guest is removed and its
/// record closed.
pub async fn serve(listener: TcpListener, deps: Deps, shutdown: CancellationToken) {
    let server = Server { deps, places: Arc::default(), drain: Drain::default(), tasks: TaskTracker::new() };
    accept::accept_until(listener, &shutdown, |stream, peer| server.admit(stream, peer)).await;
    server.drain().await;
}

struct Server {
    deps: Deps,
    places: Arc<Places>,
    drain: Drain,
    /// Connections. All of them are awaited before the server ends.
    tasks: TaskTracker,
}

impl Server {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let snapshot = self.deps.snapshots.load_full();
        let kill = CancellationToken::new();
        match self.places.admit(peer, &snapshot.limits, kill.clone()) {
            Ok(place) => {
                let connection = ssh::serve_connection(
                    stream,
                    peer,
                    place,
                    kill,
                    snapshot,
                    self.deps.clone(),
                    self.drain.clone(),
                );
                self.tasks.spawn(connection);
            }
            Err(refusal) => self.refuse(&stream, peer, refusal),
        }
    }

    fn refuse(&self, stream: &TcpStream, peer: SocketAddr, refusal: Refusal) {
        self.deps.metrics.refused(match refusal {
            Refusal::Connections => "connections",
            Refusal::PerSource => "source",
            Refusal::Penalty(_) => "penalty",
        });
        tracing::warn!(
            code = codes::ssh::SSH_CONNECTION_REFUSED,
            module = "ssh",
            remoteAddr = %peer,
            reason = %refusal,
            "Connection refused"
        );
        // Text before the identification string is allowed (RFC 4253 section 4.2) and shown by `ssh -v`. The socket's
        // buffer is empty, so it goes out at once or not at all.
        let _ = stream.try_write(format!("{refusal}\r\n").as_bytes());
    }

    async fn drain(self) {
        let timeout = self.deps.snapshots.load().drain_timeout;
        self.deps.metrics.set_draining();
        self.tasks.close();
        notice!(
            code = codes::ssh::SSH_DRAINING,
            module = "ssh",
            connections = self.places.open(),
            timeout = ?timeout,
            "Draining"
        );
        self.drain.begin(timeout);
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            self.drain.over.cancel();
            let _ = tokio::time::timeout(LAST_GRACE, self.tasks.wait()).await;
        }
        notice!(code = codes::ssh::SSH_DRAINED, module = "ssh", connections = self.places.open(), "Drained");
    }
}
