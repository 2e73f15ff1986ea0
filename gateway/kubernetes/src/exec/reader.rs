//! The receiving direction.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::SILENCE_LIMIT;
use super::connection::Hold;
use super::websocket::{Decoder, Event, ProtocolError};
use super::writer::Activity;

/// The read buffer while little comes: what an idle session costs.
const MIN_READ: usize = 4 * 1024;

/// The read buffer while much comes: several TLS records of 16 KiB and runtime chunks of 32 KiB at once. This bounds the
/// memory of one direction.
const MAX_READ: usize = 128 * 1024;

/// Why nothing more can be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection to the cluster failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the cluster broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the cluster has not answered for {} s", SILENCE_LIMIT.as_secs())]
    Silent,
}

/// A piece of a message.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) channel: u8,
    pub(crate) data: Bytes,
    /// Whether it completes its message.
    pub(crate) complete: bool,
}

/// Receives messages and answers pings by way of the writer's task.
pub(crate) struct Reader {
    source: Box<dyn AsyncRead + Send + Unpin>,
    decoder: Decoder,
    /// How much to read at once: doubles while reads fill it, halves while they do not.
    room: usize,
    pongs: mpsc::Sender<Bytes>,
    activity: Arc<Activity>,
    /// What had been sent when something was last received.
    sent_before: u64,
    /// When the wait that is under way becomes too long.
    deadline: Option<Instant>,
    ended: bool,
    _hold: Hold,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("room", &self.room).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(
        source: Box<dyn AsyncRead + Send + Unpin>,
        pongs: mpsc::Sender<Bytes>,
        activity: Arc<Activity>,
        hold: Hold,
    ) -> Self {
        Self {
            source,
            decoder: Decoder::default(),
            room: MIN_READ,
            pongs,
            activity,
            sent_before: 0,
            deadline: None,
            ended: false,
            _hold: hold,
        }
    }

    /// The next piece of a message; `None` once the peer has closed the connection. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        while !self.ended {
            match self.decoder.next()? {
                Some(Event::Message { channel, data, complete }) => {
                    return Ok(Some(Piece { channel, data, complete }));
                }
                Some(Event::Ping(payload)) => {
                    // A full queue has newer pings of the same peer in it.
                    let _ = self.pongs.try_send(payload);
                }
                Some(Event::Pong) => {}
                Some(Event::Close) => self.ended = true,
                None => self.ended = self.fill().await? == 0,
            }
        }
        Ok(None)
    }

    async fn fill(&mut self) -> Result<usize, ReadError> {
        let buffer = self.decoder.buffer();
        if buffer.capacity() - buffer.len() < self.room {
            buffer.reserve(self.room);
        }
        let space = buffer.capacity() - buffer.len();
        loop {
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + SILENCE_LIMIT);
            tokio::select! {
                // Reading first: after a long back-pressure the deadline has passed while data lies ready.
                biased;
                read = self.source.read_buf(self.decoder.buffer()) => {
                    let read = read?;
                    self.deadline = None;
                    self.sent_before = self.activity.sent();
                    if read >= space {
                        self.room = (self.room * 2).min(MAX_READ);
                    } else if read < self.room / 4 {
                        self.room = (self.room / 2).max(MIN_READ);
                    }
                    return Ok(read);
                }
                () = sleep_until(deadline) => {
                    // The peer reads one direction in order and may rightly wait for a program that does not take its
                    // input: then our pings lie behind that input, unread. TCP still notices a dead peer, later.
                    let sent = self.activity.sent();
                    if sent == self.sent_before {
                        return Err(ReadError::Silent);
                    }
                    self.deadline = None;
                }
            }
        }
    }
}
