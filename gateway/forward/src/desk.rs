//! What arrived and waits for the client to take it: one queue per connection, whatever it arrived through.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use containerssh_backend::{Incoming, Origin, Stream};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::stream;

/// Connections that are accepted and that nobody has taken yet. More wait in the kernel, behind their listener.
const QUEUED: usize = 64;
/// After a failed accept, usually for want of file descriptors: looking again this often costs nothing.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The queue's end that the connection holds.
#[derive(Debug)]
pub(crate) struct Queue {
    desk: Desk,
    arrived: Mutex<mpsc::Receiver<Incoming>>,
}

/// The queue's end that listeners hold.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    queue: mpsc::Sender<Incoming>,
    streams: Arc<Semaphore>,
}

impl Queue {
    pub(crate) fn new(streams: Arc<Semaphore>) -> Self {
        let (queue, arrived) = mpsc::channel(QUEUED);
        Self { desk: Desk { queue, streams }, arrived: Mutex::new(arrived) }
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The next stream. Cancel-safe: both waits are.
    pub(crate) async fn next(&self) -> Incoming {
        match self.arrived.lock().await.recv().await {
            Some(incoming) => incoming,
            // We hold a sender, so this is never reached; nothing arriving is what it would mean.
            None => std::future::pending().await,
        }
    }
}

/// What a listener is for, so where its streams come from.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    Tcp { host: String, port: u16 },
    Unix { path: String },
    X11,
    AuthAgent,
}

impl Purpose {
    fn origin(&self, peer: Option<SocketAddr>) -> Origin {
        let originator_host = peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default();
        let originator_port = peer.map_or(0, |peer| u32::from(peer.port()));
        match self {
            Self::Tcp { host, port } => {
                Origin::Tcp { host: host.clone(), port: *port, originator_host, originator_port }
            }
            Self::Unix { path } => Origin::Unix { path: path.clone() },
            Self::X11 => Origin::X11 { originator_host, originator_port },
            Self::AuthAgent => Origin::AuthAgent,
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What was accepted, before there is a place for it.
enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

impl Desk {
    /// Brings what arrives at `socket` to the queue, until the future is dropped or `served` is cancelled, which the first
    /// arrival does if there may be only one.
    pub(crate) async fn serve(self, socket: Socket, purpose: Purpose, once: bool, served: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = served.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    if once {
                        served.cancel();
                    }
                    // A listener waits here with the one connection it has accepted; the kernel keeps the others waiting.
                    if self.bring(accepted, &purpose).await.is_none() {
                        return;
                    }
                }
                Err(_) => sleep(ACCEPT_BACKOFF).await,
            }
        }
    }

    /// `None` when the queue is gone.
    async fn bring(&self, accepted: Accepted, purpose: &Purpose) -> Option<()> {
        let permit = Arc::new(Arc::clone(&self.streams).acquire_owned().await.ok()?);
        let (stream, peer): (Stream, _) = match accepted {
            Accepted::Tcp(socket, peer) => (stream::tcp(socket, permit), Some(peer)),
            Accepted::Unix(socket) => (stream::unix(socket, permit), None),
        };
        self.queue.send(Incoming { origin: purpose.origin(peer), stream }).await.ok()
    }
}
