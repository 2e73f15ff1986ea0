//! The half of a program that is written to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{BackendError, ProgramInput, Signal, WindowSize};
use tokio::time::{sleep_until, timeout};

use super::start::Running;
use super::writer::{Closed, Writer};
use crate::signal;

/// The input of a program is not closed before it has run for so long. Where the closing meets the program's own end, the
/// cluster loses the end of the output (and its status) in about one of a hundred cases; most programs that need no
/// input have ended by then, and need no closing at all. It is little beside the start of the exec.
const SETTLED: Duration = Duration::from_millis(40);

/// Towards a program in a container. Cancel-safe: a message is queued whole or not at all.
#[derive(Debug)]
pub(crate) struct Input {
    writer: Writer,
    running: Arc<Running>,
    /// Its input has been closed.
    closed: bool,
}

impl Input {
    pub(super) fn new(writer: Writer, running: Arc<Running>) -> Self {
        Self { writer, running, closed: false }
    }

    fn window_timeout(&self) -> Duration {
        self.running.remains().timeouts().window
    }
}

impl From<Closed> for BackendError {
    fn from(closed: Closed) -> Self {
        Self::StreamBroken(closed.to_string())
    }
}

#[async_trait]
impl ProgramInput for Input {
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError> {
        if self.closed {
            return Err(BackendError::Unsupported("The program's input has been closed.".to_owned()));
        }
        Ok(self.writer.stdin(data).await?)
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        // A terminal's input has no end: its program reads on after the key that stands for one. sshd ignores it too.
        if self.closed || self.running.terminal() {
            return Ok(());
        }
        sleep_until(self.running.since() + SETTLED).await;
        if !self.running.is_over() {
            self.writer.close_stdin().await?;
        }
        self.closed = true;
        Ok(())
    }

    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError> {
        if !self.running.terminal() {
            return Err(BackendError::Unsupported("The program has no terminal.".to_owned()));
        }
        if size.columns == 0 || size.rows == 0 {
            // Zero means unknown (RFC 4254 section 6.2): nothing to tell.
            return Ok(());
        }
        let sent = timeout(self.window_timeout(), self.writer.resize(size.columns, size.rows)).await;
        Ok(sent.map_err(|_| {
            BackendError::StreamBroken("The window change was not taken in time.".to_owned())
        })??)
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError> {
        let Some(group) = self.running.group() else {
            return Err(BackendError::Unsupported(
                "Signals need a shell in the image: it has no /bin/sh.".to_owned(),
            ));
        };
        if self.running.is_over() {
            return Ok(());
        }
        let remains = self.running.remains();
        let sent = signal::send(remains.target(), signal, group, self.running.terminal());
        match timeout(remains.timeouts().signal, sent).await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(BackendError::ProgramFailed("The signal was not delivered in time.".to_owned())),
        }
    }
}
