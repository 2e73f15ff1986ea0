//! A channel's task: requests as they come, and bytes towards the program.
//!
//! It owns the channel's read half from the channel's first moment to its last and takes every message at once, so that
//! russh never waits for it; what the program has not taken yet stays in a queue that the connection's read gate bounds.
//! The program's own task ([`super::output`]) begins with the request that starts it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_backend::{BackendError, ProgramInput, Signal, WindowSize};
use russh::server::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, NotRecorded, SessionGuard};
use super::output::Output;
use super::records::request_record;
use super::setup::{Asked, Decision, Outcome, Refusal, Start};
use crate::codes;
use crate::serve::MESSAGE_OVERHEAD;

/// A program that takes no input for so long is given up, if that holds up other sessions of the connection or if its
/// output waits for the client as well. Otherwise it may take all the time it wants.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// What the handler hands over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) number: u64,
    pub(crate) read: ChannelReadHalf,
    pub(crate) write: ChannelWriteHalf<Msg>,
    pub(crate) handle: Handle,
    pub(crate) decisions: mpsc::UnboundedReceiver<Decision>,
    pub(crate) guard: SessionGuard,
}

/// What both tasks of a channel share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connection: Arc<Connection>,
    /// Numbers the channel in records.
    pub(crate) number: u64,
    /// The channel is over for one of the two, so for both.
    pub(crate) over: CancellationToken,
    /// The program does not read, and that is no longer tolerable.
    pub(crate) stalled: CancellationToken,
}

impl Shared {
    pub(crate) async fn record(&self, payload: Payload) -> Result<(), NotRecorded> {
        self.connection.record_on(Some(self.number), payload).await
    }

    /// Records bytes. Only afterwards may they be delivered.
    pub(crate) async fn io(&self, stream: IoStream, data: &Bytes) -> Result<(), NotRecorded> {
        self.connection.touch();
        let result = self.connection.tap.io(self.number, stream, data.clone()).await;
        result.map_err(|error| self.connection.not_recorded(&error))
    }
}

/// Runs the channel to its end.
pub(crate) async fn run(connection: Arc<Connection>, parts: Parts) {
    let Parts { number, read, write, handle, decisions, guard } = parts;
    tracing::debug!(
        code = codes::ssh::SSH_NEW_CHANNEL,
        module = "ssh",
        connectionId = connection.id,
        channelId = number,
        "Session channel opened"
    );
    let shared = Arc::new(Shared {
        connection,
        number,
        over: CancellationToken::new(),
        stalled: CancellationToken::new(),
    });
    // Whatever ends this task (a panic too) ends the program's.
    let _over = shared.over.clone().drop_guard();
    let mut input = Input::new(Arc::clone(&shared), read, decisions);
    match input.until_start().await {
        Some((request, start)) => {
            let (sender, program) = oneshot::channel();
            let output = Output::new(Arc::clone(&shared), write, handle, request, start);
            let output = shared.connection.tasks.spawn(output.run(sender));
            input.feed(program).await;
            shared.over.cancel();
            let _ = output.await;
        }
        None => {
            let _ = shared.record(Payload::Close).await;
            let _ = write.close().await;
        }
    }
    drop(guard);
}

/// What waits for the program, in the order in which it came.
#[derive(Debug)]
enum Item {
    Data(Bytes),
    Eof,
    Resize(Decision, WindowSize),
    Signal(Decision, Signal),
}

impl Item {
    fn weight(&self) -> usize {
        MESSAGE_OVERHEAD + if let Self::Data(data) = self { data.len() } else { 0 }
    }
}

/// What became of an item.
enum Fed {
    Taken,
    /// The program reads no more; its output may go on.
    Refused(BackendError),
    NotRecorded,
}

type Feeding = Pin<Box<dyn Future<Output = (Box<dyn ProgramInput>, Fed)> + Send>>;

/// What a message from russh means.
enum Event {
    Nothing,
    Start(u64, Start),
    /// The client closed the channel, or the session is over.
    End,
}

/// From the client to the program.
struct Input {
    shared: Arc<Shared>,
    read: ChannelReadHalf,
    decisions: mpsc::UnboundedReceiver<Decision>,
    waiting: VecDeque<Item>,
    /// What the gate counts for this channel: `waiting` and the item that is being fed.
    held: usize,
    /// The program reads no more: input is dropped.
    deaf: bool,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.shared.connection.wire.gate.release(self.held);
    }
}

impl Input {
    fn new(shared: Arc<Shared>, read: ChannelReadHalf, decisions: mpsc::UnboundedReceiver<Decision>) -> Self {
        Self { shared, read, decisions, waiting: VecDeque::new(), held: 0, deaf: false }
    }

    /// Requests until one starts a program; `None` if the channel ends first.
    async fn until_start(&mut self) -> Option<(u64, Start)> {
        let opened = Payload::NewChannelSuccessful { channel_type: "session".to_owned() };
        self.shared.record(opened).await.ok()?;
        let (ending, closed) = (self.shared.connection.ending.clone(), self.shared.connection.closed.clone());
        loop {
            let message = tokio::select! {
                message = self.read.wait() => message,
                () = ending.cancelled() => return None,
                () = closed.cancelled() => return None,
            };
            match self.take(message).await {
                Ok(Event::Nothing) => {}
                Ok(Event::Start(request, start)) => return Some((request, start)),
                Ok(Event::End) | Err(NotRecorded) => return None,
            }
        }
    }

    /// Feeds the program until the channel is over. `program` brings the program's input once it runs.
    async fn feed(&mut self, mut program: oneshot::Receiver<Box<dyn ProgramInput>>) {
        let (over, closed) = (self.shared.over.clone(), self.shared.connection.closed.clone());
        let mut awaited = true;
        let mut idle: Option<Box<dyn ProgramInput>> = None;
        let mut feeding: Option<Feeding> = None;
        let mut weight = 0;
        let stall = sleep(STALL_LIMIT);
        tokio::pin!(stall);
        loop {
            if feeding.is_none()
                && !self.waiting.is_empty()
                && let Some(input) = idle.take()
                && let Some(item) = self.waiting.pop_front()
            {
                weight = item.weight();
                feeding = Some(Box::pin(feed(Arc::clone(&self.shared), input, item)));
                stall.as_mut().reset(Instant::now() + STALL_LIMIT);
            }
            tokio::select! {
                () = over.cancelled() => return,
                () = closed.cancelled() => return,
                message = self.read.wait() => match self.take(message).await {
                    // A second program was refused by the handler.
                    Ok(Event::Nothing | Event::Start(..)) => {}
                    Ok(Event::End) => return,
                    Err(NotRecorded) => break,
                },
                // Fails when the program could not be started; the output's task says so and ends the channel.
                started = &mut program, if awaited => {
                    awaited = false;
                    idle = started.ok();
                }
                (input, fed) = under_way(&mut feeding), if feeding.is_some() => {
                    feeding = None;
                    self.release(weight);
                    idle = Some(input);
                    match fed {
                        Fed::Taken => {}
                        Fed::Refused(error) => self.stop_listening(&error),
                        Fed::NotRecorded => break,
                    }
                }
                () = &mut stall, if feeding.is_some() => self.report_stall(stall.as_mut()),
            }
        }
        // What cannot be recorded is not passed on. The connection ends for that reason, and the output's task tells
        // the user before this one ends.
        tokio::select! {
            () = over.cancelled() => {}
            () = closed.cancelled() => {}
        }
    }

    /// Handles one message: queues what is for the program, records what is refused.
    async fn take(&mut self, message: Option<ChannelMsg>) -> Result<Event, NotRecorded> {
        match message {
            None | Some(ChannelMsg::Close) => Ok(Event::End),
            Some(ChannelMsg::Data { data }) => {
                self.queue(Item::Data(data));
                Ok(Event::Nothing)
            }
            Some(ChannelMsg::Eof) => {
                self.queue(Item::Eof);
                Ok(Event::Nothing)
            }
            Some(
                ChannelMsg::RequestPty { .. }
                | ChannelMsg::SetEnv { .. }
                | ChannelMsg::RequestShell { .. }
                | ChannelMsg::Exec { .. }
                | ChannelMsg::RequestSubsystem { .. }
                | ChannelMsg::WindowChange { .. }
                | ChannelMsg::Signal { .. }
                | ChannelMsg::RequestX11 { .. }
                | ChannelMsg::AgentForward { .. },
            ) => match self.decisions.recv().await {
                Some(decision) => self.carry_out(decision).await,
                // The handler is gone, so the session is.
                None => Ok(Event::End),
            },
            // Window adjustments, and extended data, which clients have no use for.
            Some(_) => Ok(Event::Nothing),
        }
    }

    async fn carry_out(&mut self, decision: Decision) -> Result<Event, NotRecorded> {
        match decision.outcome.clone() {
            Outcome::Noted => {
                self.shared.record(request_record(&decision)).await?;
                Ok(Event::Nothing)
            }
            Outcome::Start(start) => {
                self.shared.record(request_record(&decision)).await?;
                if decision.asked != Asked::Program(start.command.clone()) {
                    tracing::info!(
                        code = codes::security::SECURITY_EXEC_FORCING_COMMAND,
                        module = "security",
                        connectionId = self.shared.connection.id,
                        channelId = self.shared.number,
                        "The forced command runs instead of the one asked for"
                    );
                }
                Ok(Event::Start(decision.request, start))
            }
            // Recorded when they are delivered: their place among the input is part of what happened.
            Outcome::Resize(size) => {
                self.queue(Item::Resize(decision, size));
                Ok(Event::Nothing)
            }
            Outcome::Deliver(signal) => {
                self.queue(Item::Signal(decision, signal));
                Ok(Event::Nothing)
            }
            Outcome::Refused(Refusal { code, reason }) => {
                tracing::info!(
                    code = code,
                    module = "ssh",
                    connectionId = self.shared.connection.id,
                    channelId = self.shared.number,
                    reason = reason,
                    "Request refused"
                );
                self.shared.record(request_record(&decision)).await?;
                let failed =
                    Payload::RequestFailed { request_id: decision.request, reason: reason.to_owned() };
                self.shared.record(failed).await?;
                Ok(Event::Nothing)
            }
        }
    }

    fn queue(&mut self, item: Item) {
        if self.deaf && matches!(item, Item::Data(_) | Item::Eof) {
            return;
        }
        let weight = item.weight();
        self.held += weight;
        self.shared.connection.wire.gate.hold(weight);
        self.waiting.push_back(item);
    }

    fn release(&mut self, weight: usize) {
        self.held = self.held.saturating_sub(weight);
        self.shared.connection.wire.gate.release(weight);
    }

    /// As for a closed pipe: what still comes is dropped, and the output goes on.
    fn stop_listening(&mut self, error: &BackendError) {
        tracing::debug!(
            code = codes::ssh::SSH_CHANNEL_REQUEST,
            module = "ssh",
            connectionId = self.shared.connection.id,
            channelId = self.shared.number,
            error = %error,
            "The program takes no more input"
        );
        self.deaf = true;
        let before: usize = self.waiting.iter().map(Item::weight).sum();
        self.waiting.retain(|item| !matches!(item, Item::Data(_) | Item::Eof));
        let after: usize = self.waiting.iter().map(Item::weight).sum();
        self.release(before - after);
    }

    fn report_stall(&self, mut stall: Pin<&mut Sleep>) {
        let connection = &self.shared.connection;
        let gate = &connection.wire.gate;
        if gate.is_stuck() || (!gate.is_open() && connection.sessions() > 1) {
            self.shared.stalled.cancel();
        }
        stall.as_mut().reset(Instant::now() + STALL_LIMIT);
    }
}

/// What is under way; never, while nothing is.
pub(crate) async fn under_way<T>(feeding: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match feeding {
        Some(feeding) => feeding.await,
        None => std::future::pending().await,
    }
}

/// Records an item and gives it to the program, in this order.
async fn feed(
    shared: Arc<Shared>,
    mut input: Box<dyn ProgramInput>,
    item: Item,
) -> (Box<dyn ProgramInput>, Fed) {
    let recorded = match &item {
        Item::Data(data) => shared.io(IoStream::Stdin, data).await,
        Item::Eof => Ok(()),
        Item::Resize(decision, _) | Item::Signal(decision, _) => {
            shared.record(request_record(decision)).await
        }
    };
    if recorded.is_err() {
        return (input, Fed::NotRecorded);
    }
    let fed = match item {
        Item::Data(data) => refused(input.stdin(data).await),
        Item::Eof => refused(input.eof().await),
        Item::Resize(decision, size) => failed(&shared, &decision, input.resize(size).await).await,
        Item::Signal(decision, signal) => failed(&shared, &decision, input.signal(signal).await).await,
    };
    (input, fed)
}

fn refused(result: Result<(), BackendError>) -> Fed {
    result.map_or_else(Fed::Refused, |()| Fed::Taken)
}

/// A request that the program did not take, although the client was told that it is on its way.
async fn failed(shared: &Shared, decision: &Decision, result: Result<(), BackendError>) -> Fed {
    let Err(error) = result else { return Fed::Taken };
    let failed = Payload::RequestFailed { request_id: decision.request, reason: error.to_string() };
    if shared.record(failed).await.is_ok() { Fed::Taken } else { Fed::NotRecorded }
}
