//! A socket as the two halves of a [`Stream`].
//!
//! The end of one direction is carried as TCP does: `eof` shuts down writing, and reading goes on. A half that is dropped is
//! shut down, too; with both dropped the socket is closed.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use containerssh_backend::{BackendError, Stream, StreamInput, StreamOutput};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio::sync::OwnedSemaphorePermit;

use crate::words::reason;

/// Bytes read at once: a packet of SSH.
const CHUNK: usize = 32 * 1024;
/// Less room than this is not read into: a full block is cheaper than many small messages that each keep one alive.
const MIN_ROOM: usize = 4 * 1024;

/// A place among the streams of a connection, given back when both halves are dropped.
pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

/// A TCP connection as a stream.
pub(crate) fn tcp(socket: TcpStream, permit: Permit) -> Stream {
    // Keystrokes of an inner session must not wait for the acknowledgement of earlier ones. A socket that does not take it
    // is gone already, which the first read tells.
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    halves(ReadHalf::Tcp(read), write, permit)
}

/// A unix socket as a stream.
pub(crate) fn unix(socket: UnixStream, permit: Permit) -> Stream {
    let (read, write) = socket.into_split();
    halves(ReadHalf::Unix(read), write, permit)
}

fn halves<W>(read: ReadHalf, write: W, permit: Permit) -> Stream
where
    W: AsyncWrite + Unpin + Send + std::fmt::Debug + 'static,
{
    let output = Output { half: read, buffer: BytesMut::new(), _permit: Arc::clone(&permit) };
    Stream { input: Box::new(Input { half: write, _permit: permit }), output: Box::new(output) }
}

#[derive(Debug)]
struct Input<W> {
    half: W,
    _permit: Permit,
}

#[async_trait]
impl<W: AsyncWrite + Unpin + Send + std::fmt::Debug> StreamInput for Input<W> {
    async fn send(&mut self, data: Bytes) -> Result<(), BackendError> {
        self.half.write_all(&data).await.map_err(|error| broken(&error))
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        self.half.shutdown().await.map_err(|error| broken(&error))
    }
}

#[derive(Debug)]
enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

impl ReadHalf {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.ready(Interest::READABLE).await.map(drop),
            Self::Unix(half) => half.ready(Interest::READABLE).await.map(drop),
        }
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_read_buf(buffer),
            Self::Unix(half) => half.try_read_buf(buffer),
        }
    }
}

#[derive(Debug)]
struct Output {
    half: ReadHalf,
    /// Room for what comes next. None while nothing comes: an idle stream holds no memory.
    buffer: BytesMut,
    _permit: Permit,
}

#[async_trait]
impl StreamOutput for Output {
    async fn next(&mut self) -> Result<Option<Bytes>, BackendError> {
        loop {
            self.half.readable().await.map_err(|error| broken(&error))?;
            if self.buffer.capacity() < MIN_ROOM {
                self.buffer = BytesMut::with_capacity(CHUNK);
            }
            match self.half.try_read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(self.buffer.split().freeze())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.buffer = BytesMut::new(),
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

fn broken(error: &io::Error) -> BackendError {
    BackendError::StreamBroken(reason(error))
}
