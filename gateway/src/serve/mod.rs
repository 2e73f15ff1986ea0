//! The server around the connections: accept, limits, drain.

mod accept;
mod drain;
mod gate;
mod kexinit;
mod limits;
mod penalties;
mod proxy;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use containerssh_log::notice;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use drain::Drain;
pub(crate) use gate::MESSAGE_OVERHEAD;
pub(crate) use kexinit::Ciphers;
pub use limits::Limits;
pub(crate) use limits::{Place, Places, Refusal, TooManyOfUser};
pub(crate) use penalties::Offence;
pub(crate) use wire::{Wire, WireControl};

use crate::admin::Metrics;
use crate::codes;
use crate::snapshot::{Current, Snapshot};
use crate::ssh;

/// After the drain's time is over, connections say goodbye, remove their guests and close their records. All of that
/// has deadlines of its own; this one covers them, so that the process ends whatever happens.
const LAST_GRACE: Duration = Duration::from_secs(30);

/// Connections of load balancers that have not said yet whose they are. Those are not counted by source: theirs is unknown.
const MAX_UNNAMED: usize = 1024;

/// What the server works with.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The configuration in force; each connection takes the newest when it is accepted.
    pub snapshots: Arc<Current>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The two ends of a client's connection, as the client sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Serves SSH until `shutdown`, then drains: no more connections are accepted, sessions may finish for as long as the
/// configuration says, and the rest is ended. Returns when every connection has ended, its guest is removed and its
/// record closed.
pub async fn serve(listener: TcpListener, deps: Deps, shutdown: CancellationToken) {
    let server = Server {
        deps,
        places: Arc::default(),
        drain: Drain::default(),
        tasks: TaskTracker::new(),
        unnamed: Arc::new(Semaphore::new(MAX_UNNAMED)),
    };
    accept::accept_until(listener, &shutdown, |stream, peer| server.accept(stream, peer)).await;
    server.drain().await;
}

#[derive(Clone)]
struct Server {
    deps: Deps,
    places: Arc<Places>,
    drain: Drain,
    /// Connections. All of them are awaited before the server ends.
    tasks: TaskTracker,
    /// Places of connections whose PROXY header is being read.
    unnamed: Arc<Semaphore>,
}

impl Server {
    /// Serves a connection, once it is known whose it is.
    fn accept(&self, mut stream: TcpStream, peer: SocketAddr) {
        let snapshot = self.deps.snapshots.load_full();
        // An address that cannot be told is nobody's.
        let local = stream.local_addr().unwrap_or(peer);
        if !snapshot.proxies.iter().any(|network| network.contains(&peer.ip().to_canonical())) {
            return self.admit(stream, Ends { client: peer, server: local }, snapshot);
        }
        let Ok(unnamed) = Arc::clone(&self.unnamed).try_acquire_owned() else {
            return self.refuse(&stream, peer, Refusal::Connections);
        };
        let server = self.clone();
        self.tasks.spawn(async move {
            let header = tokio::select! {
                header = proxy::read(&mut stream) => header,
                () = server.drain.begun.cancelled() => return,
            };
            drop(unnamed);
            match header {
                Ok(proxied) => {
                    let own = Ends { client: peer, server: local };
                    let ends =
                        proxied.map_or(own, |named| Ends { client: named.client, server: named.server });
                    server.admit(stream, ends, snapshot);
                }
                Err(error) => {
                    server.deps.metrics.refused("proxy");
                    tracing::warn!(
                        code = codes::ssh::SSH_PROXY_HEADER,
                        module = "ssh",
                        remoteAddr = %peer,
                        error = %error,
                        "A load balancer does not say whose connection it passes on"
                    );
                }
            }
        });
    }

    fn admit(&self, stream: TcpStream, ends: Ends, snapshot: Arc<Snapshot>) {
        let peer = ends.client;
        let kill = CancellationToken::new();
        match self.places.admit(peer, &snapshot.limits, kill.clone()) {
            Ok(place) => {
                let connection = ssh::serve_connection(
                    stream,
                    ends,
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
