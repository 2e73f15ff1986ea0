//! Starts a program and waits for the proof that it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use containerssh_backend::{BackendError, Output, Program, ProgramOutput, Pty, WindowSize};
use tokio::time::Instant;

use super::farewell::Farewell;
use super::input::Input;
use super::output::Receiver;
use super::request::Streams;
use super::status::is_missing_program;
use super::writer::Writer;
use super::{Target, connection};
use crate::guest::Remains;
use crate::shim::{Launch, SHELL};

/// What may come before the announcement: complaints of a loader, at most. More is something else.
const MAX_PREAMBLE: usize = 16 * 1024;

/// Why a program did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The image has no `/bin/sh`.
    NoShell,
    /// The image has none of the programs that the subsystem could be.
    NoProgram,
    /// Anything else.
    Failed(BackendError),
}

impl From<BackendError> for StartError {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

/// A program that has not ended yet, for the guest to end it when nobody is interested in it any more. Both halves of a
/// [`Program`] hold it.
#[derive(Debug)]
pub(crate) struct Running {
    ended: AtomicBool,
    since: Instant,
    group: Option<u32>,
    terminal: bool,
    remains: Remains,
}

impl Running {
    fn new(group: Option<u32>, terminal: bool, remains: Remains) -> Arc<Self> {
        Arc::new(Self { ended: AtomicBool::new(false), since: Instant::now(), group, terminal, remains })
    }

    #[cfg(test)]
    pub(super) fn unknown(remains: Remains) -> Arc<Self> {
        Self::new(None, false, remains)
    }

    /// There is nothing left to end.
    pub(crate) fn has_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// When its start was seen.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn group(&self) -> Option<u32> {
        self.group
    }

    pub(crate) fn terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn remains(&self) -> &Remains {
        &self.remains
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (false, Some(group)) = (self.is_over(), self.group) {
            self.remains.end(group, self.terminal);
        }
    }
}

/// Starts `launch` by the image's shell. Returns when the shell has announced the program. The caller sets the deadline.
pub(crate) async fn start(
    target: &Target,
    launch: &Launch,
    pty: Option<&Pty>,
    remains: Remains,
) -> Result<Program, StartError> {
    let terminal = pty.is_some();
    let (mut receiver, writer) = exec(target, &launch.argv, pty, launch.farewell.clone()).await?;

    let mut preamble = BytesMut::new();
    let mut errors = Vec::new();
    let announcement = loop {
        match receiver.next().await {
            Ok(Output::Stdout(data)) => preamble.extend_from_slice(&data),
            Ok(Output::Stderr(data)) => errors.extend_from_slice(&data),
            Ok(Output::Exit(code)) => return Err(died(code, &preamble, &errors)),
            Ok(Output::ExitSignal { signal, .. }) => {
                return Err(failed(format!("The program's shell was ended by the signal {signal}.")));
            }
            Err(BackendError::ProgramFailed(message)) if is_missing_program(&message, SHELL) => {
                return Err(StartError::NoShell);
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(announcement) = launch.marker.find(&preamble) {
            break announcement;
        }
        if preamble.len() + errors.len() > MAX_PREAMBLE {
            return Err(failed(format!(
                "The image's {SHELL} does not run scripts: it wrote more than {MAX_PREAMBLE} bytes instead."
            )));
        }
    };
    let Some(group) = announcement.group else { return Err(StartError::NoProgram) };

    let rest = preamble.split_off(announcement.end);
    preamble.truncate(announcement.start);
    let early: VecDeque<Output> = [Output::Stdout(preamble.freeze()), Output::Stdout(rest.freeze())]
        .into_iter()
        .chain([Output::Stderr(Bytes::from(errors))])
        .filter(|output| !matches!(output, Output::Stdout(data) | Output::Stderr(data) if data.is_empty()))
        .collect();
    let running = Running::new(Some(group), terminal, remains);
    Ok(program(receiver.running(early, Arc::clone(&running)), writer, running))
}

/// Starts `argv` without a shell, for images that have none. There is no proof that it runs and no way to signal it, and
/// it must have a terminal: without one, containerd would cut its input (see [`crate::shim`]).
pub(crate) async fn direct(
    target: &Target,
    argv: &[String],
    pty: &Pty,
    remains: Remains,
) -> Result<Program, StartError> {
    let (receiver, writer) = exec(target, argv, Some(pty), None).await?;
    let running = Running::new(None, true, remains);
    Ok(program(receiver.running(VecDeque::new(), Arc::clone(&running)), writer, running))
}

async fn exec(
    target: &Target,
    argv: &[String],
    pty: Option<&Pty>,
    farewell: Option<String>,
) -> Result<(Receiver, Writer), StartError> {
    let streams = Streams { stdin: true, terminal: pty.is_some() };
    let (reader, writer) = connection::open(target, argv, streams).await?;
    if let Some(WindowSize { columns: columns @ 1.., rows: rows @ 1.., .. }) = pty.map(|pty| pty.size) {
        // A connection that is closed already is the reader's to report.
        let _ = writer.resize(columns, rows).await;
    }
    Ok((Receiver::new(reader, farewell.map(Farewell::new)), writer))
}

fn program(output: Receiver, writer: Writer, running: Arc<Running>) -> Program {
    Program { input: Box::new(Input::new(writer, running)), output: Box::new(output) }
}

/// The shell ended before it ran anything. Newer runtimes report a missing program by the exit statuses of a shell.
fn died(code: u32, preamble: &[u8], errors: &[u8]) -> StartError {
    if matches!(code, 126..=128) && preamble.is_empty() && errors.is_empty() {
        return StartError::NoShell;
    }
    let said = [preamble, errors].concat();
    let said = String::from_utf8_lossy(&said);
    failed(format!("The image's {SHELL} ended with status {code} before the program: {}", said.trim()))
}

fn failed(message: String) -> StartError {
    StartError::Failed(BackendError::ProgramFailed(message))
}
