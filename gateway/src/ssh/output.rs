//! A program's task: waits for the guest, starts the program, brings its output to the client, and ends the channel.
//!
//! Every way out ends in [`Output::finish`]: a message that says why (unless the program simply ended), the record, the
//! exit status, end of file, close, in this order and on one write half, so that they arrive in this order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_backend::{BackendError, Command, Output as Message, Program, ProgramInput, ProgramSpec};
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{EndReason, NotRecorded};
use super::messages;
use super::session::{STALL_LIMIT, Shared};
use super::setup::Start;
use super::waiting::WaitingLine;
use crate::codes;

/// A start that is quicker shows nothing.
const SHOW_WAITING_AFTER: Duration = Duration::from_secs(1);
/// The last words must fit into the client's window, or are not said.
const GOODBYE: Duration = Duration::from_secs(2);
/// Largest piece that is written at once: a packet of ours.
const PIECE: usize = 32 * 1024;
/// The number of stderr among extended data (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// The exit status of a program that could not be started; 255 is what `ssh` itself uses for a lost connection.
const NOT_STARTED: u32 = 254;
const LOST: u32 = 255;

/// How the channel ends.
enum End {
    Exit(u32),
    Signal {
        signal: String,
        core_dumped: bool,
        message: String,
    },
    NotStarted(BackendError),
    Lost(BackendError),
    /// The gateway ends the connection.
    Ending,
    /// The program held up the connection's other sessions.
    Stalled,
    /// The client closed the channel or is gone: nobody listens.
    ClientGone,
}

/// From the program to the client.
pub(crate) struct Output {
    shared: Arc<Shared>,
    write: ChannelWriteHalf<Msg>,
    handle: Handle,
    /// The request that starts the program.
    request: u64,
    start: Start,
}

impl Output {
    pub(crate) fn new(
        shared: Arc<Shared>,
        write: ChannelWriteHalf<Msg>,
        handle: Handle,
        request: u64,
        start: Start,
    ) -> Self {
        Self { shared, write, handle, request, start }
    }

    /// Runs the program to its end. `input` gets the program's other half.
    pub(crate) async fn run(self, input: oneshot::Sender<Box<dyn ProgramInput>>) {
        // Whatever ends this task (a panic too) ends the channel's.
        let _over = self.shared.over.clone().drop_guard();
        let end = tokio::select! {
            biased;
            () = self.shared.over.cancelled() => End::ClientGone,
            end = self.program(input) => end,
            () = self.shared.connection.ending.cancelled() => End::Ending,
            () = self.shared.stalled.cancelled() => End::Stalled,
        };
        // The program is dropped by now, and with it what still ran.
        self.finish(end).await;
    }

    async fn program(&self, input: oneshot::Sender<Box<dyn ProgramInput>>) -> End {
        let mut asked_for = Some(Instant::now());
        let spec = ProgramSpec {
            channel: self.shared.number,
            command: self.start.command.clone(),
            env: self.env(),
            pty: self.start.pty.clone(),
            x11: self.start.x11.clone(),
            auth_agent: self.start.auth_agent,
        };
        let program = match self.started(spec).await {
            Ok(Ok(program)) => program,
            Ok(Err(error)) => return End::NotStarted(error),
            Err(NotRecorded) => return End::Ending,
        };
        if input.send(program.input).is_err() {
            return End::ClientGone;
        }
        let mut output = program.output;
        if let Err(SendError::NotRecorded) = self.greet().await {
            return End::Ending;
        }
        let mut notices = self.shared.connection.notices();
        let interactive = self.is_interactive();
        let draining = self.shared.connection.drain.begun.clone();
        let mut told = !interactive;
        loop {
            let message = tokio::select! {
                biased;
                message = output.next() => message,
                () = draining.cancelled(), if !told => {
                    told = true;
                    let text = messages::gateway_drains(self.shared.connection.drain.remaining());
                    if self.tell(&text).await.is_err() {
                        return End::Ending;
                    }
                    continue;
                }
                Ok(()) = notices.changed(), if interactive => {
                    let notice = notices.borrow_and_update().clone();
                    if let Some(notice) = notice && self.notify(&notice).await.is_err() {
                        return End::Ending;
                    }
                    continue;
                }
            };
            let sent = match message {
                Ok(Message::Stdout(data)) => self.send(IoStream::Stdout, data).await,
                Ok(Message::Stderr(data)) => self.send(IoStream::Stderr, data).await,
                Ok(Message::Exit(status)) => return End::Exit(status),
                Ok(Message::ExitSignal { signal, core_dumped, message }) => {
                    return End::Signal { signal, core_dumped, message };
                }
                Err(error) => return End::Lost(error),
            };
            match sent {
                Ok(()) => {
                    if let Some(asked_for) = asked_for.take() {
                        self.shared.connection.metrics.first_byte(asked_for.elapsed());
                    }
                }
                Err(SendError::NotRecorded) => return End::Ending,
                Err(SendError::ClientGone) => return End::ClientGone,
            }
        }
    }

    /// What the client asked for, and what only the server says: names of ours are refused in requests, so neither can be
    /// forged.
    fn env(&self) -> Vec<(String, String)> {
        let (client, server) = (self.shared.connection.peer, self.shared.connection.local);
        let (client_ip, server_ip) = (client.ip().to_canonical(), server.ip().to_canonical());
        let connection = format!("{client_ip} {} {server_ip} {}", client.port(), server.port());
        let mut env = self.start.env.clone();
        env.push(("SSH_CLIENT".to_owned(), format!("{client_ip} {} {}", client.port(), server.port())));
        env.push(("SSH_CONNECTION".to_owned(), connection));
        env
    }

    /// Shows the message of the day to whoever opens a shell.
    async fn greet(&self) -> Result<(), SendError> {
        match &self.shared.connection.snapshot.motd {
            Some(motd) if self.start.pty.is_some() && self.start.command == Command::Shell => {
                self.send(IoStream::Stdout, Bytes::from(messages::motd(motd))).await
            }
            _ => Ok(()),
        }
    }

    /// Waits for the guest and starts the program, which may take a guest of its own. A user with a terminal sees what it is
    /// waiting for.
    async fn started(&self, spec: ProgramSpec) -> Result<Result<Program, BackendError>, NotRecorded> {
        let Some(slot) = self.shared.connection.guest() else {
            // Channels come after the login, and the login starts the guest.
            return Ok(Err(BackendError::StartFailed("nobody has logged in".into())));
        };
        let starting = async { slot.ready().await?.start(spec).await };
        tokio::pin!(starting);
        let Some(pty) = self.start.pty.as_ref().filter(|_| self.is_interactive()) else {
            return Ok(starting.await);
        };
        let mut line = WaitingLine::new(&pty.term, pty.size.columns);
        let mut progress = slot.progress();
        let delay = sleep(SHOW_WAITING_AFTER);
        tokio::pin!(delay);
        let mut shown = false;
        let mut reporting = true;
        loop {
            tokio::select! {
                started = &mut starting => {
                    self.paint(line.clear()).await?;
                    return Ok(started);
                }
                () = &mut delay, if !shown => shown = true,
                changed = progress.changed(), if shown && reporting => reporting = changed.is_ok(),
            }
            if shown {
                let state = progress.borrow_and_update().clone();
                self.paint(line.show(state.as_deref().unwrap_or(messages::WAITING))).await?;
            }
        }
    }

    async fn paint(&self, text: Option<String>) -> Result<(), NotRecorded> {
        match text {
            Some(text) => match self.send(IoStream::Stdout, Bytes::from(text)).await {
                Err(SendError::NotRecorded) => Err(NotRecorded),
                // That the client is gone shows elsewhere, too.
                Ok(()) | Err(SendError::ClientGone) => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Records bytes, then sends them.
    async fn send(&self, stream: IoStream, data: Bytes) -> Result<(), SendError> {
        self.shared.io(stream, &data).await?;
        self.deliver(stream, data).await
    }

    /// Sends bytes, as fast as the client's window allows.
    async fn deliver(&self, stream: IoStream, mut data: Bytes) -> Result<(), SendError> {
        let gate = &self.shared.connection.wire.gate;
        while !data.is_empty() {
            let room = self.write.writable_packet_size().await;
            // Without room we wait for the client, whose window adjustment must be read for that.
            let _waiting = (room == 0).then(|| gate.blocked_writer());
            let piece = data.split_to(data.len().min(if room == 0 { PIECE } else { room }));
            let sent = match stream {
                IoStream::Stderr => self.write.extended_data_bytes(STDERR, piece).await,
                IoStream::Stdin | IoStream::Stdout => self.write.data_bytes(piece).await,
            };
            sent.map_err(|_| SendError::ClientGone)?;
        }
        Ok(())
    }

    /// Shows a line of ours: on the terminal, or on stderr where output may be data.
    async fn tell(&self, text: &str) -> Result<(), SendError> {
        let (stream, line) = self.line(text);
        self.send(stream, line).await
    }

    /// Likewise, but it is no activity: a warning of idleness must not end it.
    async fn notify(&self, text: &str) -> Result<(), SendError> {
        let (stream, line) = self.line(text);
        let connection = &self.shared.connection;
        let recorded = connection.tap.io(self.shared.number, stream, line.clone()).await;
        recorded.map_err(|error| connection.not_recorded(&error))?;
        self.deliver(stream, line).await
    }

    fn line(&self, text: &str) -> (IoStream, Bytes) {
        let terminal = self.start.pty.is_some();
        let stream = if terminal { IoStream::Stdout } else { IoStream::Stderr };
        (stream, Bytes::from(messages::line(text, terminal)))
    }

    fn is_interactive(&self) -> bool {
        self.start.pty.is_some() && !matches!(self.start.command, Command::Subsystem(_))
    }

    async fn finish(&self, end: End) {
        self.report(&end);
        if let Some(text) = self.last_words(&end) {
            let (stream, line) = self.line(&text);
            // A message that cannot be recorded is shown all the same: it says that nothing more can be.
            let _ = timeout(GOODBYE, async {
                let _ = self.shared.io(stream, &line).await;
                self.deliver(stream, line).await
            })
            .await;
        }
        if !matches!(end, End::ClientGone) {
            let _ = self.exit(end).await;
            let _ = self.shared.record(Payload::WriteClose).await;
            let _ = self.write.eof().await;
        }
        let _ = self.shared.record(Payload::Close).await;
        let _ = self.write.close().await;
    }

    fn last_words(&self, end: &End) -> Option<String> {
        match end {
            End::NotStarted(error) => Some(messages::cannot_start(error)),
            End::Lost(error) => Some(messages::lost(error)),
            End::Ending => self.shared.connection.end_reason().and_then(EndReason::text),
            End::Stalled => Some(messages::stalled(STALL_LIMIT)),
            End::Exit(_) | End::Signal { .. } | End::ClientGone => None,
        }
    }

    /// Records how it ended, then tells the client. A status is told even if it could not be recorded: the connection
    /// ends for that reason anyway.
    async fn exit(&self, end: End) -> Result<(), russh::Error> {
        let shared = &self.shared;
        let status = match end {
            End::Exit(status) => status,
            End::Signal { signal, core_dumped, message } => {
                let _ = shared
                    .record(Payload::ExitSignal {
                        signal: signal.clone(),
                        core_dumped,
                        error_message: message.clone(),
                        language_tag: String::new(),
                    })
                    .await;
                // The handle's queue is the write half's, so the order holds.
                let _ = self
                    .handle
                    .exit_signal_request(
                        self.write.id(),
                        Sig::Custom(signal),
                        core_dumped,
                        message,
                        String::new(),
                    )
                    .await;
                return Ok(());
            }
            End::NotStarted(error) => {
                let reason = error.to_string();
                let _ = shared.record(Payload::RequestFailed { request_id: self.request, reason }).await;
                NOT_STARTED
            }
            End::Lost(_) | End::Ending | End::Stalled | End::ClientGone => LOST,
        };
        let _ = shared.record(Payload::Exit { exit_status: status }).await;
        self.write.exit_status(status).await
    }

    fn report(&self, end: &End) {
        let (id, channel) = (&self.shared.connection.id, self.shared.number);
        match end {
            End::Exit(status) => tracing::info!(
                code = codes::ssh::SSH_EXIT,
                module = "ssh",
                connectionId = id,
                channelId = channel,
                exitStatus = status,
                "Program exited"
            ),
            End::Signal { signal, .. } => tracing::info!(
                code = codes::ssh::SSH_EXIT_SIGNAL,
                module = "ssh",
                connectionId = id,
                channelId = channel,
                signal = signal,
                "Program ended by a signal"
            ),
            End::NotStarted(error) | End::Lost(error) => tracing::error!(
                code = codes::ssh::SSH_SESSION_FAILED,
                module = "ssh",
                connectionId = id,
                channelId = channel,
                error = %error,
                "Program not started or lost"
            ),
            End::Stalled => tracing::warn!(
                code = codes::ssh::SSH_SESSION_FAILED,
                module = "ssh",
                connectionId = id,
                channelId = channel,
                error = "the program does not read its input and holds up other sessions",
                "Session given up"
            ),
            End::Ending | End::ClientGone => {}
        }
    }
}

/// Why output was not sent.
#[derive(Debug)]
enum SendError {
    NotRecorded,
    ClientGone,
}

impl From<NotRecorded> for SendError {
    fn from(_: NotRecorded) -> Self {
        Self::NotRecorded
    }
}
