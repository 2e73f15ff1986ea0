//! The agent's side: serves one gateway with one guest.

mod program;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerssh_backend::{Guest, Incoming as Arrived};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::forwarded::pump;
use crate::frame::{FrameReader, FrameWriter, Kind, MAX_FRAME};
use crate::message::{Failure, Incoming, Reply, Request};
use crate::socket::Socket;
use crate::tls::{Identity, PublicKey};

/// For a peer to prove who it is and say what it wants. Generous for a gateway behind a busy node, and short for others.
const GREETING_LIMIT: Duration = Duration::from_secs(20);
/// For the gateway to come back after it has started us.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);
/// Connections that have not proven who they are. Others in the cluster may knock; they wait.
const STRANGERS: usize = 64;
/// Connections of the gateway: programs and streams of one SSH connection, each bounded by the gateway and by the guest.
const CONNECTIONS: usize = 2048;
/// Things that have arrived and that the gateway has not taken.
const UNTAKEN: usize = 64;
/// For the gateway to take them.
const TAKE_LIMIT: Duration = Duration::from_secs(30);
/// For the peer of a stream to take what came before the gateway closed it.
const LINGER: Duration = Duration::from_secs(10);
/// An accept that fails (no descriptors) is tried again after this time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `guest` to the one gateway that has the key `peer`, until that gateway's control connection ends; then closes the
/// guest. Gives up if it does not come.
///
/// # Errors
/// When the keys cannot be used.
pub async fn serve(
    listener: TcpListener,
    identity: &Identity,
    peer: PublicKey,
    guest: Arc<dyn Guest>,
) -> io::Result<()> {
    let config = identity.server(peer).map_err(io::Error::other)?;
    let server = Arc::new(Server {
        guest: Arc::clone(&guest),
        acceptor: TlsAcceptor::from(config),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
        waiting: Mutex::default(),
        controlled: CancellationToken::new(),
        over: CancellationToken::new(),
    });
    tokio::select! {
        () = server.accept(&listener) => {}
        () = server.uncontrolled() => {}
        () = server.over.cancelled() => {}
    }
    server.over.cancel();
    guest.close().await;
    Ok(())
}

struct Server {
    guest: Arc<dyn Guest>,
    acceptor: TlsAcceptor,
    strangers: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// The gateway's control connection has come.
    controlled: CancellationToken,
    /// It has ended.
    over: CancellationToken,
}

/// What has arrived, by number.
#[derive(Default)]
struct Waiting {
    last: u64,
    arrived: HashMap<u64, Arrived>,
}

impl Server {
    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let Ok(stranger) = Arc::clone(&self.strangers).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = Arc::clone(self);
                    tokio::spawn(self.over.clone().run_until_cancelled_owned(async move {
                        let Ok(permit) = Arc::clone(&server.connections).acquire_owned().await else {
                            return;
                        };
                        let greeted = timeout(GREETING_LIMIT, server.greet(stream)).await;
                        drop(stranger);
                        if let Ok(Some((request, connection))) = greeted {
                            server.answer(request, connection).await;
                        }
                        drop(permit);
                    }));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Resolves if no gateway has come in time.
    async fn uncontrolled(&self) {
        if timeout(CONTROL_LIMIT, self.controlled.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }

    async fn greet(
        &self,
        stream: TcpStream,
    ) -> Option<(
        Request,
        Connection<impl AsyncRead + Send + Unpin + use<>, impl AsyncWrite + Send + Unpin + use<>>,
    )> {
        let socket = Socket::new(stream).ok()?;
        let stream = self.acceptor.accept(socket.clone()).await.ok()?;
        let (read, write) = split(stream);
        let mut reader = FrameReader::new(read, MAX_FRAME);
        let (Kind::Request, content) = reader.next().await.ok()?? else { return None };
        let request = serde_json::from_slice(&content).ok()?;
        Some((request, Connection { socket, reader, writer: FrameWriter::new(write) }))
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request,
        mut connection: Connection<impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin>,
    ) {
        match request {
            Request::Control => {
                // A second one would make two ends.
                if self.controlled.is_cancelled() {
                    return;
                }
                self.controlled.cancel();
                let _over = self.over.clone().drop_guard();
                self.control(connection).await;
            }
            Request::Start(spec) => match self.guest.start(spec.into()).await {
                Ok(program) => program::run(connection, program).await,
                Err(error) => connection.last(Reply::Failed(error.into())).await,
            },
            Request::Dial(target) => match self.guest.dial(target.into()).await {
                Ok(stream) => connection.stream(stream).await,
                Err(error) => connection.last(Reply::Failed(error.into())).await,
            },
            Request::Listen(bind) => {
                let reply = match self.guest.listen(bind.into()).await {
                    Ok(port) => Reply::Port(port),
                    Err(error) => Reply::Failed(error.into()),
                };
                connection.last(reply).await;
            }
            Request::Unlisten(bind) => {
                let found = self.guest.unlisten(bind.into()).await;
                connection.last(Reply::Found(found)).await;
            }
            Request::Take(number) => {
                let taken = self.waiting().arrived.remove(&number);
                match taken {
                    Some(arrived) => connection.stream(arrived.stream).await,
                    None => connection.last(Reply::Failed(Failure::Connect("it is gone".to_owned()))).await,
                }
            }
        }
    }

    /// Tells of what arrives until the gateway is gone.
    async fn control(
        self: &Arc<Self>,
        mut connection: Connection<impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin>,
    ) {
        if connection.reply(&Reply::Done).await.is_err() {
            return;
        }
        loop {
            let arrived = tokio::select! {
                arrived = self.guest.accept(), if self.waiting().arrived.len() < UNTAKEN => arrived,
                () = sleep(ACCEPT_PAUSE), if self.waiting().arrived.len() >= UNTAKEN => continue,
                // The gateway says nothing here; this is its end.
                _ = connection.reader.next() => return,
            };
            let origin = arrived.origin.clone().into();
            let number = {
                let mut waiting = self.waiting();
                waiting.last += 1;
                let number = waiting.last;
                waiting.arrived.insert(number, arrived);
                number
            };
            let server = Arc::clone(self);
            tokio::spawn(self.over.clone().run_until_cancelled_owned(async move {
                sleep(TAKE_LIMIT).await;
                server.waiting().arrived.remove(&number);
            }));
            let Ok(content) = serde_json::to_vec(&Incoming { number, origin }) else { continue };
            if connection.writer.send(Kind::Incoming, content.into()).await.is_err() {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Held for one instruction of the map, which cannot panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of the gateway.
struct Connection<R, W> {
    socket: Socket,
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    async fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        let content = serde_json::to_vec(reply)?;
        self.writer.send(Kind::Reply, content.into()).await
    }

    /// The only thing there is to say.
    async fn last(&mut self, reply: Reply) {
        if self.reply(&reply).await.is_ok() {
            self.close().await;
        }
    }

    /// Waits until the gateway has read everything: closing with something unread would take back what is under way.
    async fn close(&mut self) {
        let _ = timeout(GREETING_LIMIT, async {
            self.writer.shutdown().await?;
            while self.reader.next().await?.is_some() {}
            io::Result::Ok(())
        })
        .await;
    }

    async fn stream(mut self, stream: containerssh_backend::Stream) {
        if self.reply(&Reply::Done).await.is_err() {
            return;
        }
        tokio::select! {
            () = pump(self.reader, self.writer, stream) => {}
            // What the gateway sent before it went is still delivered, if the stream's peer takes it.
            () = async {
                self.socket.closed_by_peer().await;
                sleep(LINGER).await;
            } => {}
        }
    }
}
