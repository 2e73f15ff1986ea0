//! The halves of a program that an agent runs.

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{BackendError, Output, ProgramInput, ProgramOutput, Signal, WindowSize};

use super::{Reader, Writer};
use crate::forwarded::{broken, send_data};
use crate::frame::Kind;
use crate::message::{End, encode_size};

/// Towards the program.
#[derive(Debug)]
pub(super) struct RemoteInput {
    writer: Writer,
    /// Its input has been closed.
    closed: bool,
}

impl RemoteInput {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, closed: false }
    }

    async fn send(&mut self, kind: Kind, content: Bytes) -> Result<(), BackendError> {
        self.writer.send(kind, content).await.map_err(|error| broken(&error))
    }
}

#[async_trait]
impl ProgramInput for RemoteInput {
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError> {
        if self.closed {
            return Err(BackendError::Unsupported("The program's input has been closed.".to_owned()));
        }
        send_data(&mut self.writer, Kind::Data, data).await.map_err(|error| broken(&error))
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        if std::mem::replace(&mut self.closed, true) {
            Ok(())
        } else {
            self.send(Kind::Eof, Bytes::new()).await
        }
    }

    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError> {
        self.send(Kind::Resize, encode_size(size)).await
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError> {
        self.send(Kind::Signal, Bytes::from_static(signal.name().as_bytes())).await
    }
}

/// From the program.
#[derive(Debug)]
pub(super) struct RemoteOutput(Reader);

impl RemoteOutput {
    pub(super) fn new(reader: Reader) -> Self {
        Self(reader)
    }
}

#[async_trait]
impl ProgramOutput for RemoteOutput {
    async fn next(&mut self) -> Result<Output, BackendError> {
        let senseless = || BackendError::StreamBroken("The agent in the guest makes no sense.".to_owned());
        loop {
            match self.0.next().await.map_err(|error| broken(&error))? {
                Some((Kind::Data | Kind::Stderr, data)) if data.is_empty() => {}
                Some((Kind::Data, data)) => return Ok(Output::Stdout(data)),
                Some((Kind::Stderr, data)) => return Ok(Output::Stderr(data)),
                Some((Kind::End, content)) => {
                    return serde_json::from_slice::<End>(&content).map_err(|_| senseless())?.into();
                }
                Some(_) => return Err(senseless()),
                // Without a verdict there is no success.
                None => return Err(BackendError::StreamBroken("The agent in the guest is gone.".to_owned())),
            }
        }
    }
}
