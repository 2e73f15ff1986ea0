//! The half of a program that is read from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerssh_backend::{BackendError, Output, ProgramOutput};
use tokio::time::{Instant, timeout_at};

use super::channel;
use super::farewell::Farewell;
use super::reader::{Piece, Reader};
use super::start::Running;
use super::status::{MAX_STATUS, Verdict, verdict};

/// How long the connection may stay open after the status has come. It is the last message, but nothing in the protocol
/// orders it behind output on the other channels, so the verdict waits for the end of the connection.
const STATUS_LINGER: Duration = Duration::from_secs(2);

/// Receives a program's output and its end.
#[derive(Debug)]
pub(crate) struct Receiver {
    reader: Reader,
    /// Output that came while the start was awaited.
    early: VecDeque<Output>,
    /// The status as far as it has come.
    status: Vec<u8>,
    verdict: Option<(Verdict, Instant)>,
    /// Brings the exit status in the parent's own hand, if the program has a parent.
    farewell: Option<Farewell>,
    /// The end, while something held back is given out before it.
    finished: Option<Result<Output, BackendError>>,
    /// Set once the program is known to have started.
    running: Option<Arc<Running>>,
}

impl Receiver {
    pub(super) fn new(reader: Reader, farewell: Option<Farewell>) -> Self {
        Self {
            reader,
            early: VecDeque::new(),
            status: Vec::new(),
            verdict: None,
            farewell,
            finished: None,
            running: None,
        }
    }

    /// The program has started; `early` is what it has written so far.
    pub(super) fn running(mut self, early: VecDeque<Output>, running: Arc<Running>) -> Self {
        self.early = early;
        self.running = Some(running);
        self
    }

    /// Takes the status in. What is not for us is skipped: the server opens with an empty message per channel.
    fn take_status(&mut self, piece: &Piece) -> Result<(), BackendError> {
        if self.status.len() + piece.data.len() > MAX_STATUS {
            return Err(BackendError::StreamBroken(format!(
                "The cluster's status is longer than {MAX_STATUS} bytes."
            )));
        }
        self.status.extend_from_slice(&piece.data);
        if piece.complete && !self.status.is_empty() && self.verdict.is_none() {
            self.verdict = Some((verdict(&self.status), Instant::now() + STATUS_LINGER));
        }
        Ok(())
    }

    /// The connection has ended, because of `reason` if one is known.
    fn end(&mut self, reason: Option<&dyn std::error::Error>) -> Result<Output, BackendError> {
        let result = self.result(reason);
        let held = self.farewell.as_mut().map(Farewell::rest).unwrap_or_default();
        if held.is_empty() {
            return result;
        }
        // It was the program's after all.
        self.finished = Some(result);
        Ok(Output::Stderr(held))
    }

    fn result(&mut self, reason: Option<&dyn std::error::Error>) -> Result<Output, BackendError> {
        let own = self.farewell.as_ref().map(Farewell::status);
        let result = match (self.verdict.take(), reason) {
            (Some((Verdict::Exited(code), _)), _) => match own {
                // The program has no parent; the cluster's word is all there is.
                None => Ok(Output::Exit(code)),
                Some(Some(own)) => Ok(Output::Exit(own)),
                // The parent was killed.
                Some(None) if code != 0 => Ok(Output::Exit(code)),
                Some(None) => Err(BackendError::StreamBroken(
                    "The program's exit status is unknown: the cluster reports success, but the end of its output was lost."
                        .to_owned(),
                )),
            },
            (Some((Verdict::Failed(message), _)), _) => match &self.running {
                // It is known to have run.
                Some(running) if running.group().is_some() => Err(BackendError::StreamBroken(message)),
                _ => Err(BackendError::ProgramFailed(message)),
            },
            (None, reason) => Err(BackendError::StreamBroken(match reason {
                Some(reason) => format!("The program's exit status is unknown: {reason}."),
                None => {
                    "The program's exit status is unknown: the connection to it ended without one.".to_owned()
                }
            })),
        };
        if let (Ok(_), Some(running)) = (&result, &self.running) {
            running.has_ended();
        }
        result
    }
}

#[async_trait]
impl ProgramOutput for Receiver {
    async fn next(&mut self) -> Result<Output, BackendError> {
        if let Some(output) = self.early.pop_front() {
            return Ok(output);
        }
        if let Some(finished) = self.finished.take() {
            return finished;
        }
        loop {
            let piece = match &self.verdict {
                None => self.reader.next().await,
                Some((_, deadline)) => match timeout_at(*deadline, self.reader.next()).await {
                    Ok(piece) => piece,
                    Err(_) => return self.end(None),
                },
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                Ok(None) => return self.end(None),
                Err(error) => return self.end(Some(&error)),
            };
            match piece.channel {
                channel::STDOUT if !piece.data.is_empty() => return Ok(Output::Stdout(piece.data)),
                channel::STDERR => {
                    let data = match &mut self.farewell {
                        Some(farewell) => farewell.take(piece.data),
                        None => piece.data,
                    };
                    if !data.is_empty() {
                        return Ok(Output::Stderr(data));
                    }
                }
                channel::STATUS => self.take_status(&piece)?,
                _ => {}
            }
        }
    }
}
