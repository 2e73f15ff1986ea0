//! A client's TCP stream under our control: it can be cut at any moment, says when it last heard of the client, does not
//! wait for ever in a write, and is read only while the connection's [`ReadGate`] is open.
//!
//! russh has none of this: its `Handle::disconnect` is a message queued behind data that may never leave, and dropping
//! its session future only detaches the task. Cutting the stream below it always works.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::gate::ReadGate;
use super::kexinit::{self, Ciphers, Proposal};

/// A client that takes no byte for so long is gone. Generous, because a suspended `ssh` client (Ctrl-Z) takes none
/// either; where keepalives are configured they notice sooner.
const WRITE_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// What is read from the socket at once where russh asks for a packet's length only. It reads each packet in two steps; a buffer
/// below saves half of the system calls of a bulk transfer. Two packets of the size that clients send.
const READ_AHEAD: usize = 64 * 1024;
/// Reads of fewer bytes go through the buffer, others straight to where russh wants them.
const SMALL_READ: usize = 4 * 1024;
/// Longest identification string with its line end (RFC 4253 section 4.2).
const MAX_IDENTIFICATION: usize = 255;

/// What the rest of the connection sees of its stream.
#[derive(Debug)]
pub(crate) struct WireControl {
    /// Cuts the stream when cancelled: reads and writes fail from then on.
    pub(crate) kill: CancellationToken,
    /// Holds reading back.
    pub(crate) gate: ReadGate,
    /// Shared with [`Wire`], which reads it.
    socket: Arc<OwnedReadHalf>,
    opened: Instant,
    /// Milliseconds after `opened` when the last byte came.
    last_heard: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
}

impl WireControl {
    /// For how long nothing has come from the client.
    pub(crate) fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.last_heard.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(heard)
    }

    /// Whether the client has closed its end, even if bytes from before that are still unread.
    pub(crate) fn client_is_gone(&self) -> bool {
        // Readiness is already known to the runtime; where it is not, there is nothing to know yet.
        matches!(self.socket.ready(Interest::READABLE).now_or_never(), Some(Ok(ready)) if ready.is_read_closed())
    }

    /// Bytes read and written so far, as on the network.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }

    fn heard(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_heard.store(now, Ordering::Relaxed);
    }
}

/// The stream that russh gets.
pub(crate) struct Wire {
    control: Arc<WireControl>,
    write: OwnedWriteHalf,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Read from the socket and not asked for yet. Holds no memory while nothing comes.
    ahead: BytesMut,
    /// Bytes of what russh writes first that are sent already.
    sent: usize,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Wire {
    /// Takes the stream over. `kill` cuts it.
    pub(crate) fn new(stream: TcpStream, kill: CancellationToken) -> (Self, Arc<WireControl>) {
        let (read, write) = stream.into_split();
        let control = Arc::new(WireControl {
            kill: kill.clone(),
            gate: ReadGate::default(),
            socket: Arc::new(read),
            opened: Instant::now(),
            last_heard: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let wire = Self {
            control: Arc::clone(&control),
            write,
            killed: Box::pin(kill.cancelled_owned()),
            deadline: None,
            ahead: BytesMut::new(),
            sent: 0,
        };
        (wire, control)
    }

    /// Exchanges identification strings (RFC 4253 section 4.2) and returns the client's, without the line end.
    ///
    /// russh does the same again and notices nothing: what it writes is dropped and what it reads is given once more.
    /// We look first because russh needs its list of ciphers before it has seen who asks, and because webhooks are told
    /// the client's version. What is not an identification string is russh's to refuse.
    pub(crate) async fn identify(&mut self, own: &str) -> io::Result<String> {
        let own = format!("{own}\r\n");
        self.write_all(own.as_bytes()).await?;
        self.sent = own.len();
        let mut early = BytesMut::with_capacity(MAX_IDENTIFICATION);
        while early.len() < MAX_IDENTIFICATION && !early.contains(&b'\n') {
            if self.read_buf(&mut early).await? == 0 {
                break;
            }
        }
        let line = early.as_ref().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        self.put_back(early);
        Ok(line)
    }

    /// The ciphers that the client proposes, if it says so in its first packet. Only to be asked of clients that send theirs
    /// without waiting for ours; the login grace time bounds the wait for one that claims to be such a client.
    pub(crate) async fn proposed_ciphers(&mut self) -> io::Result<Option<Ciphers>> {
        let mut early = std::mem::take(&mut self.ahead);
        let start = early.iter().position(|byte| *byte == b'\n').map_or(early.len(), |end| end + 1);
        let ciphers = loop {
            match kexinit::read(early.get(start..).unwrap_or_default()) {
                Proposal::Ciphers(ciphers) => break Some(ciphers),
                Proposal::Unreadable => break None,
                Proposal::Incomplete if self.read_buf(&mut early).await? == 0 => break None,
                Proposal::Incomplete => {}
            }
        };
        self.put_back(early);
        Ok(ciphers)
    }

    /// Gives `bytes` to the next reads, before what is read ahead.
    fn put_back(&mut self, mut bytes: BytesMut) {
        bytes.unsplit(std::mem::take(&mut self.ahead));
        self.ahead = bytes;
    }

    /// Fails once the stream is cut; registers for that moment otherwise.
    fn poll_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.killed.poll_unpin(cx) {
            Poll::Ready(()) => Err(cut()),
            Poll::Pending => Ok(()),
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the gateway ended the connection")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.control.kill.is_cancelled() {
            return Poll::Ready(Err(cut()));
        }
        if self.control.gate.poll_open(cx).is_pending() {
            self.poll_alive(cx)?;
            return Poll::Pending;
        }
        loop {
            if !self.ahead.is_empty() {
                let bytes = self.ahead.len().min(buf.remaining());
                buf.put_slice(self.ahead.get(..bytes).unwrap_or_default());
                self.ahead.advance(bytes);
                return Poll::Ready(Ok(()));
            }
            if self.control.socket.as_ref().as_ref().poll_read_ready(cx)?.is_pending() {
                self.ahead = BytesMut::new();
                self.poll_alive(cx)?;
                return Poll::Pending;
            }
            let small = buf.remaining() < SMALL_READ;
            let read = if small {
                self.ahead.reserve(READ_AHEAD);
                let control = Arc::clone(&self.control);
                control.socket.try_read_buf(&mut self.ahead)
            } else {
                self.control.socket.try_read(buf.initialize_unfilled())
            };
            match read {
                Ok(bytes) => {
                    self.control.heard(bytes);
                    if !small {
                        buf.advance(bytes);
                    }
                    if !small || bytes == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.control.kill.is_cancelled() {
            return Poll::Ready(Err(cut()));
        }
        if self.sent > 0 {
            let bytes = self.sent.min(data.len());
            self.sent -= bytes;
            return Poll::Ready(Ok(bytes));
        }
        match Pin::new(&mut self.write).poll_write(cx, data) {
            Poll::Ready(result) => {
                self.deadline = None;
                if let Ok(bytes) = result {
                    self.control.written.fetch_add(bytes as u64, Ordering::Relaxed);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.poll_alive(cx)?;
                let deadline =
                    self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_DEADLINE)));
                ready!(deadline.poll_unpin(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_cut_ends_a_pending_read() {
        let (_client, server) = pair().await;
        let (mut wire, control) = Wire::new(server, CancellationToken::new());
        let reading = tokio::spawn(async move { wire.read_u8().await });
        tokio::task::yield_now().await;
        control.kill.cancel();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn identification_is_exchanged_once_on_the_network_and_twice_for_the_reader() {
        let (mut client, server) = pair().await;
        let (mut wire, _control) = Wire::new(server, CancellationToken::new());
        client.write_all(b"SSH-2.0-test client\r\nmore").await.unwrap();
        assert_eq!(wire.identify("SSH-2.0-ours").await.unwrap(), "SSH-2.0-test client");
        wire.write_all(b"SSH-2.0-ours\r\nkex").await.unwrap();
        let mut again = [0; 25];
        wire.read_exact(&mut again).await.unwrap();
        assert_eq!(&again, b"SSH-2.0-test client\r\nmore");
        let mut received = [0; 17];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"SSH-2.0-ours\r\nkex");
    }

    #[tokio::test]
    async fn a_closed_gate_leaves_bytes_in_the_socket_and_still_sees_the_client_go() {
        let (mut client, server) = pair().await;
        let (mut wire, control) = Wire::new(server, CancellationToken::new());
        control.gate.hold(16 * 1024 * 1024);
        client.write_all(b"x").await.unwrap();
        assert!(wire.read_u8().now_or_never().is_none());
        client.shutdown().await.unwrap();
        while !control.client_is_gone() {
            tokio::task::yield_now().await;
        }
        control.gate.release(16 * 1024 * 1024);
        assert_eq!(wire.read_u8().await.unwrap(), b'x');
        assert_eq!(control.traffic().0, 1);
    }
}
