//! The bytes of a forwarded stream: a task per direction, recorded before they are passed on, never copied.
//!
//! The end of one direction is passed on as such (`shutdown(SHUT_WR)` on one side is `SSH_MSG_CHANNEL_EOF` on the other) and the other goes on.
//!
//! # Who closes first
//! russh keeps some memory of every channel that we close before the client does (see [`Connection::closed_first`]). So once both
//! directions have ended the client gets a moment to close, as OpenSSH does at once.
//!
//! # Back-pressure
//! Towards the client, its window. Towards the target, the connection's read gate: russh grants windows on arrival, so what the
//! target has not taken waits in a queue here, and above a megabyte nothing more is read from the socket, for any
//! channel. A target that is slow slows its connection; one that takes nothing at all while others wait is given up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_backend::{Stream, StreamInput, StreamOutput};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::connection::{Connection, NotRecorded};
use super::super::session::under_way;
use super::{Kind, Place};
use crate::codes;
use crate::serve::MESSAGE_OVERHEAD;

/// A target that takes not one message for so long is given up, if that holds up the rest of the connection: shorter than for
/// programs, because the other end of a connection that is no longer read is usually gone.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How long the client gets to close a channel whose both directions have ended.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Largest piece that is written at once: a packet of ours.
const PIECE: usize = 32 * 1024;

/// What both directions share.
#[derive(Debug)]
struct Shared {
    connection: Arc<Connection>,
    number: u64,
    kind: Kind,
    /// The target has sent its last byte, and the client knows.
    ended: CancellationToken,
    /// The stream broke, or what it carries cannot be recorded.
    broken: CancellationToken,
    /// Nobody takes what the target still sends.
    unheard: CancellationToken,
}

impl Shared {
    /// Records bytes. Only afterwards may they be passed on.
    async fn forwarded(&self, stream: IoStream, data: &Bytes) -> Result<(), NotRecorded> {
        self.connection.touch();
        let result = self.connection.tap.forwarded(self.number, stream, data.clone()).await;
        result.map_err(|error| self.connection.not_recorded(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display, message: &'static str) {
        tracing::debug!(
            code = codes::ssh::SSH_FORWARD_CLOSED,
            module = "ssh",
            connectionId = self.connection.id,
            channelId = self.number,
            error = %error,
            "{message}"
        );
    }
}

/// Carries the bytes of an open channel to its end.
pub(super) async fn run(
    connection: Arc<Connection>,
    number: u64,
    kind: Kind,
    channel: Channel<Msg>,
    stream: Stream,
    place: Place,
) {
    tracing::debug!(
        code = codes::ssh::SSH_FORWARD_OPENED,
        module = "ssh",
        connectionId = connection.id,
        channelId = number,
        channelType = kind.channel_type(),
        "Forwarded stream opened"
    );
    let _counted = connection.metrics.forward_opened(kind);
    connection.touch();
    let shared = Arc::new(Shared {
        connection,
        number,
        kind,
        ended: CancellationToken::new(),
        broken: CancellationToken::new(),
        unheard: CancellationToken::new(),
    });
    // Whatever ends this task (a panic too) ends the other's.
    let _unheard = shared.unheard.clone().drop_guard();
    let (read, write) = channel.split();
    let outbound = shared.connection.tasks.spawn(to_client(Arc::clone(&shared), write, stream.output));
    let mut input = ToTarget::new(Arc::clone(&shared), read);
    input.run(stream.input).await;
    let closed_by_client = input.linger().await;
    drop(input);
    shared.unheard.cancel();
    let write = outbound.await;
    let _ = shared.connection.record_on(Some(number), Payload::Close).await;
    if let (Ok(write), false) = (write, closed_by_client) {
        shared.connection.closed_first();
        let _ = write.close().await;
    }
    tracing::debug!(
        code = codes::ssh::SSH_FORWARD_CLOSED,
        module = "ssh",
        connectionId = shared.connection.id,
        channelId = number,
        channelType = kind.channel_type(),
        "Forwarded stream closed"
    );
    drop(place);
}

/// Records and reports that a channel was not opened.
pub(super) async fn report_failure(connection: &Connection, number: u64, kind: Kind, reason: &str) {
    connection.metrics.forward_failed(kind);
    tracing::info!(
        code = codes::ssh::SSH_FORWARD_FAILED,
        module = "ssh",
        connectionId = connection.id,
        channelId = number,
        channelType = kind.channel_type(),
        reason = reason,
        "Forwarded stream not opened"
    );
    let failed =
        Payload::NewChannelFailed { channel_type: kind.channel_type().to_owned(), reason: reason.to_owned() };
    // If it cannot be recorded the connection ends; either way nothing is opened.
    let _ = connection.record_on(Some(number), failed).await;
}

/// From the target to the client. Gives the write half back: the channel is closed when both directions have ended.
async fn to_client(
    shared: Arc<Shared>,
    write: ChannelWriteHalf<Msg>,
    mut output: Box<dyn StreamOutput>,
) -> ChannelWriteHalf<Msg> {
    let carrying = async {
        loop {
            match output.next().await {
                Ok(Some(data)) => {
                    // Otherwise the connection ends for that reason.
                    shared.forwarded(IoStream::Stdout, &data).await.ok()?;
                    shared.connection.metrics.forwarded("out", data.len());
                    deliver(&shared, &write, data).await.ok()?;
                }
                Ok(None) => return Some(shared.ended.clone()),
                Err(error) => {
                    shared.failed(&error, "The target broke the stream off");
                    return Some(shared.broken.clone());
                }
            }
        }
    };
    let finished = tokio::select! {
        biased;
        () = shared.unheard.cancelled() => return write,
        finished = carrying => finished,
    };
    if finished.is_some() {
        let _ = shared.connection.record_on(Some(shared.number), Payload::WriteClose).await;
        // SSH knows no reset: one that broke off ends like any other, and is closed for it.
        let _ = write.eof().await;
    }
    finished.unwrap_or_else(|| shared.broken.clone()).cancel();
    write
}

/// Sends bytes as fast as the client's window allows.
async fn deliver(
    shared: &Shared,
    write: &ChannelWriteHalf<Msg>,
    mut data: Bytes,
) -> Result<(), russh::Error> {
    let gate = &shared.connection.wire.gate;
    while !data.is_empty() {
        let room = write.writable_packet_size().await;
        // Without room we wait for the client, whose window adjustment must be read for that.
        let _waiting = (room == 0).then(|| gate.blocked_writer());
        let piece = data.split_to(data.len().min(if room == 0 { PIECE } else { room }));
        write.data_bytes(piece).await?;
    }
    Ok(())
}

/// What waits for the target; `None` is the end.
type Item = Option<Bytes>;

fn weight(item: &Item) -> usize {
    MESSAGE_OVERHEAD + item.as_ref().map_or(0, Bytes::len)
}

/// What became of an item.
enum Fed {
    Taken,
    /// The target reads no more; what it sends may go on.
    Refused,
    NotRecorded,
}

type Feeding = Pin<Box<dyn Future<Output = (Box<dyn StreamInput>, Fed)> + Send>>;

/// From the client to the target.
struct ToTarget {
    shared: Arc<Shared>,
    read: ChannelReadHalf,
    waiting: VecDeque<Item>,
    /// What the gate counts for this stream: `waiting` and the item that is being fed.
    held: usize,
    /// The client has closed the channel; what it sent before still has to arrive.
    closed: bool,
    /// The end is queued, or nothing is taken any more: further data is dropped.
    deaf: bool,
}

impl Drop for ToTarget {
    fn drop(&mut self) {
        self.shared.connection.wire.gate.release(self.held);
    }
}

impl ToTarget {
    fn new(shared: Arc<Shared>, read: ChannelReadHalf) -> Self {
        Self { shared, read, waiting: VecDeque::new(), held: 0, closed: false, deaf: false }
    }

    /// Feeds the target until there is nothing more to feed it.
    async fn run(&mut self, input: Box<dyn StreamInput>) {
        let connection = Arc::clone(&self.shared.connection);
        let shared = Arc::clone(&self.shared);
        let mut idle = Some(input);
        let mut feeding: Option<Feeding> = None;
        let mut fed_weight = 0;
        let stall = sleep(STALL_LIMIT);
        tokio::pin!(stall);
        loop {
            if feeding.is_none()
                && !self.waiting.is_empty()
                && let Some(input) = idle.take()
                && let Some(item) = self.waiting.pop_front()
            {
                fed_weight = weight(&item);
                feeding = Some(Box::pin(feed(Arc::clone(&self.shared), input, item)));
                stall.as_mut().reset(Instant::now() + STALL_LIMIT);
            }
            let through = self.deaf && self.waiting.is_empty() && feeding.is_none();
            if through && self.closed {
                return;
            }
            tokio::select! {
                () = connection.closed.cancelled() => return,
                () = connection.ending.cancelled() => return,
                () = shared.broken.cancelled(), if !self.closed => return,
                () = shared.ended.cancelled(), if through => return,
                message = self.read.wait(), if !self.closed => self.take(message),
                (input, fed) = under_way(&mut feeding), if feeding.is_some() => {
                    feeding = None;
                    self.release(fed_weight);
                    idle = Some(input);
                    match fed {
                        Fed::Taken => {}
                        Fed::Refused => self.stop_listening(),
                        // The connection ends for that reason.
                        Fed::NotRecorded => return,
                    }
                }
                () = &mut stall, if feeding.is_some() => {
                    if self.is_in_the_way() {
                        tracing::warn!(
                            code = codes::ssh::SSH_FORWARD_STALLED,
                            module = "ssh",
                            connectionId = connection.id,
                            channelId = shared.number,
                            channelType = shared.kind.channel_type(),
                            "The target of a forwarded stream takes nothing and holds the connection up: it is closed"
                        );
                        return;
                    }
                    stall.as_mut().reset(Instant::now() + STALL_LIMIT);
                }
            }
        }
    }

    fn take(&mut self, message: Option<ChannelMsg>) {
        match message {
            Some(ChannelMsg::Data { data }) => self.queue(Some(data)),
            Some(ChannelMsg::Eof) => self.queue(None),
            None | Some(ChannelMsg::Close) => {
                self.closed = true;
                self.shared.unheard.cancel();
                self.queue(None);
            }
            // Window adjustments, and what has no meaning on such a channel.
            Some(_) => {}
        }
    }

    fn queue(&mut self, item: Item) {
        if self.deaf {
            return;
        }
        self.deaf = item.is_none();
        let weight = weight(&item);
        self.held += weight;
        self.shared.connection.wire.gate.hold(weight);
        self.waiting.push_back(item);
    }

    fn release(&mut self, weight: usize) {
        self.held = self.held.saturating_sub(weight);
        self.shared.connection.wire.gate.release(weight);
    }

    /// As for a closed pipe: what still comes is dropped.
    fn stop_listening(&mut self) {
        self.deaf = true;
        self.waiting.clear();
        self.release(self.held);
    }

    /// Whether others of the connection wait because this target does not take its bytes, or nobody will ever miss it.
    fn is_in_the_way(&self) -> bool {
        let connection = &self.shared.connection;
        let gate = &connection.wire.gate;
        let others = connection.sessions() + connection.forwarding.streams() > 1;
        self.closed || gate.is_stuck() || (!gate.is_open() && others)
    }

    /// Waits a moment for the client to close the channel; `false` if it does not.
    async fn linger(&mut self) -> bool {
        let (closed, ending) = (&self.shared.connection.closed, &self.shared.connection.ending);
        let closing = async {
            while !self.closed {
                match self.read.wait().await {
                    None | Some(ChannelMsg::Close) => self.closed = true,
                    Some(_) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => true,
            () = ending.cancelled() => false,
            closing = timeout(CLOSE_GRACE, closing) => closing.is_ok(),
        }
    }
}

/// Records an item and gives it to the target, in this order.
async fn feed(
    shared: Arc<Shared>,
    mut input: Box<dyn StreamInput>,
    item: Item,
) -> (Box<dyn StreamInput>, Fed) {
    let result = match item {
        Some(data) => {
            if shared.forwarded(IoStream::Stdin, &data).await.is_err() {
                return (input, Fed::NotRecorded);
            }
            shared.connection.metrics.forwarded("in", data.len());
            input.send(data).await
        }
        None => input.eof().await,
    };
    let fed = match result {
        Ok(()) => Fed::Taken,
        Err(error) => {
            shared.failed(&error, "The target takes no more");
            Fed::Refused
        }
    };
    (input, fed)
}
