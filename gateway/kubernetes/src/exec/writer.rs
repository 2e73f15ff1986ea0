//! The sending direction: a bounded queue and one task.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Hold;
use super::gather::Gather;
use super::websocket::{ControlFrame, encode_control};
use super::{PING_INTERVAL, channel};

/// Messages that wait for the task. One holds what an SSH client sends at once, at most 256 KiB and usually 32 KiB.
const QUEUE: usize = 8;

/// Written at once when enough is queued: a few TLS records per system call.
const BATCH: usize = 128 * 1024;

/// How long the rest of a flow waits for what follows it: several times what a client takes to send its next packet, and less than
/// anybody notices.
const FLOW: Duration = Duration::from_millis(1);

/// Written by one turn of the task at most: then it looks after what else there is to do.
const TURN: usize = 1024 * 1024;

/// The write buffer that an idle session keeps.
const IDLE_BUFFER: usize = 4 * 1024;

/// How long an orderly goodbye may take. The peer needs none.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the reader needs to know of the sending direction.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    sent: AtomicU64,
}

impl Activity {
    /// Messages handed to the connection so far, control frames not counted.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }
}

/// A message for the peer.
#[derive(Debug)]
struct Message {
    channel: u8,
    data: Bytes,
}

/// The connection no longer takes anything: the program or the connection has ended, which the reader tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program no longer takes input")]
pub(crate) struct Closed;

/// Sends messages. Each call waits until the queue has room.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    _hold: Hold,
}

impl Writer {
    /// Bytes for the program's standard input.
    pub(crate) async fn stdin(&self, data: Bytes) -> Result<(), Closed> {
        if data.is_empty() {
            return Ok(());
        }
        self.send(channel::STDIN, data).await
    }

    /// The end of the program's standard input.
    pub(crate) async fn close_stdin(&self) -> Result<(), Closed> {
        self.send(channel::CLOSE, Bytes::from_static(&[channel::STDIN])).await
    }

    /// A new size of the program's terminal.
    pub(crate) async fn resize(&self, columns: u32, rows: u32) -> Result<(), Closed> {
        self.send(channel::RESIZE, channel::resize(columns, rows).into()).await
    }

    async fn send(&self, channel: u8, data: Bytes) -> Result<(), Closed> {
        self.queue.send(Message { channel, data }).await.map_err(|_| Closed)
    }
}

/// Starts the task. It ends when `stop` does, or when the connection takes no more.
pub(super) fn spawn<W: AsyncWrite + Send + Unpin + 'static>(
    sink: W,
    pongs: mpsc::Receiver<Bytes>,
    activity: Arc<Activity>,
    stop: CancellationToken,
    hold: Hold,
) -> Writer {
    let (sender, queue) = mpsc::channel(QUEUE);
    let task = Task { sink, queue, pongs, activity, buffer: Vec::new() };
    tokio::spawn(async move {
        if let Err(error) = task.run(&stop).await {
            // The reader meets the same end and reports it, with whatever the peer still had to say before it.
            tracing::debug!(%error, "the sending direction of an exec stream ended");
        }
    });
    Writer { queue: sender, _hold: hold }
}

struct Task<W> {
    sink: W,
    queue: mpsc::Receiver<Message>,
    pongs: mpsc::Receiver<Bytes>,
    activity: Arc<Activity>,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Send + Unpin> Task<W> {
    async fn run(mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(payload) = self.pongs.recv() => self.control(ControlFrame::Pong, &payload),
                Some(message) = self.queue.recv() => {
                    // The stop must interrupt a write that nobody reads; half a frame is then left behind, and so is the
                    // connection.
                    tokio::select! {
                        written = self.messages(message) => written?,
                        () = stop.cancelled() => return Ok(()),
                    }
                    continue;
                }
                _ = pings.tick() => {
                    self.control(ControlFrame::Ping, &[]);
                    if self.buffer.capacity() > IDLE_BUFFER {
                        self.buffer.shrink_to(IDLE_BUFFER);
                    }
                }
            }
            tokio::select! {
                written = self.flush() => written?,
                () = stop.cancelled() => return Ok(()),
            }
        }
        self.control(ControlFrame::Close, &[]);
        let goodbye = async {
            self.flush().await?;
            self.sink.shutdown().await
        };
        timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()))
    }

    /// Writes a message and all that wait behind it.
    ///
    /// Before a small batch leaves, whoever fills the queue gets a turn: one write of many messages costs the whole way to
    /// the pod far less than many writes of one. For the same reason the rest of a flow waits a moment.
    async fn messages(&mut self, first: Message) -> io::Result<()> {
        let mut next = Some(first);
        let mut waited = false;
        let mut taken = 0;
        let mut gather = Gather::default();
        while let Some(Message { channel, data }) = next {
            self.activity.sent.fetch_add(1, Ordering::Release);
            taken += data.len();
            gather.add(channel, data, &mut self.buffer);
            if self.buffer.len() >= BATCH {
                self.write().await?;
            }
            if taken >= TURN {
                break;
            }
            next = self.queue.try_recv().ok();
            if next.is_none() && !waited && self.buffer.len() < BATCH {
                waited = true;
                tokio::task::yield_now().await;
                next = self.queue.try_recv().ok();
            }
            if next.is_none() && gather.flows() {
                self.flush().await?;
                next = timeout(FLOW, self.queue.recv()).await.ok().flatten();
                waited = false;
            }
        }
        gather.finish(&mut self.buffer);
        self.flush().await
    }

    fn control(&mut self, kind: ControlFrame, payload: &[u8]) {
        encode_control(&mut self.buffer, kind, payload, rand::random());
    }

    async fn write(&mut self) -> io::Result<()> {
        self.sink.write_all(&self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write().await?;
        self.sink.flush().await
    }
}
