//! A TCP stream whose other end is watched: by keepalive, and by whether it has been closed while nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A peer is asked for a sign of life after so long without one, and is gone after four questions without an answer.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// The same for a peer that acknowledges nothing while there is something to send.
const UNACKNOWLEDGED: Duration = Duration::from_secs(75);
/// How often a peer that nobody reads from is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// For a peer to take what is on its way when nobody wants anything of it any more. After that it is cut off.
const FAREWELL: Duration = Duration::from_secs(3);

/// The gateway's end. Dropping it delivers what has been written, if the agent takes it; what is stuck because a program does
/// not read is thrown away by a reset, for the end of a TCP stream cannot overtake its bytes.
#[derive(Debug)]
pub(crate) struct Near(Socket);

impl Near {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        Ok(Self(Socket::new(stream)?))
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        let Socket { stream, .. } = self.0.clone();
        let _ = SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
        // Without a runtime the process is about to end, and the kernel sees to it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut rest = [0; 4096];
            let ended = async {
                while stream.readable().await.is_ok() {
                    match stream.try_read(&mut rest) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Ok(read) if read > 0 => {}
                        _ => return,
                    }
                }
            };
            if tokio::time::timeout(FAREWELL, ended).await.is_err() {
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
        });
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// What is read at once. TLS asks for its records in pieces of 4 KiB, which would be four system calls for each.
const READ_AHEAD: usize = 64 * 1024;

/// Clones share the stream; one of them reads, others write or watch.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    /// Read and not asked for yet.
    ahead: BytesMut,
}

impl Clone for Socket {
    fn clone(&self) -> Self {
        Self { stream: Arc::clone(&self.stream), ahead: BytesMut::new() }
    }
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(4);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(Self { stream: Arc::new(stream), ahead: BytesMut::new() })
    }

    /// Resolves when the peer has closed its direction, even if bytes from before are unread. Looks now and then, because
    /// unread bytes make every wait for the socket return at once.
    pub(crate) async fn closed_by_peer(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let look = self.stream.ready(Interest::READABLE);
            // Unread bytes answer at once; an open and idle connection does not answer at all.
            match tokio::time::timeout(Duration::ZERO, look).await {
                Ok(Ok(ready)) if !ready.is_read_closed() => {}
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut ahead = BytesMut::with_capacity(READ_AHEAD);
            match self.stream.try_read_buf(&mut ahead) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Ok(())),
                result => {
                    result?;
                    self.ahead = ahead;
                }
            }
        }
        let piece = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(piece));
        if self.ahead.is_empty() {
            // An idle connection holds no buffer.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(data) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}
