//! A forwarded stream over a connection: the halves that the gateway holds, and the agent's side.

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{BackendError, Stream, StreamInput, StreamOutput};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::frame::{FrameReader, FrameWriter, Kind, MAX_FRAME_OF_GUEST};

/// Sends bytes in pieces that either side takes.
pub(crate) async fn send_data(
    writer: &mut FrameWriter<impl AsyncWrite + Unpin>,
    kind: Kind,
    mut data: Bytes,
) -> std::io::Result<()> {
    while !data.is_empty() {
        let piece = data.split_to(data.len().min(MAX_FRAME_OF_GUEST));
        writer.send(kind, piece).await?;
    }
    Ok(())
}

pub(crate) fn broken(error: &std::io::Error) -> BackendError {
    BackendError::StreamBroken(format!("The connection to the agent broke: {error}"))
}

/// Towards the peer of a stream that the agent opened.
#[derive(Debug)]
pub(crate) struct RemoteStreamInput<W>(pub(crate) FrameWriter<W>);

#[async_trait]
impl<W: AsyncWrite + Send + Unpin + std::fmt::Debug> StreamInput for RemoteStreamInput<W> {
    async fn send(&mut self, data: Bytes) -> Result<(), BackendError> {
        send_data(&mut self.0, Kind::Data, data).await.map_err(|error| broken(&error))
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        self.0.send(Kind::Eof, Bytes::new()).await.map_err(|error| broken(&error))
    }
}

/// From that peer.
#[derive(Debug)]
pub(crate) struct RemoteStreamOutput<R>(pub(crate) FrameReader<R>);

#[async_trait]
impl<R: AsyncRead + Send + Unpin + std::fmt::Debug> StreamOutput for RemoteStreamOutput<R> {
    async fn next(&mut self) -> Result<Option<Bytes>, BackendError> {
        loop {
            match self.0.next().await.map_err(|error| broken(&error))? {
                Some((Kind::Data, data)) if data.is_empty() => {}
                Some((Kind::Data, data)) => return Ok(Some(data)),
                Some((Kind::Eof, _)) => return Ok(None),
                Some(_) | None => return Err(BackendError::StreamBroken("The stream was cut.".to_owned())),
            }
        }
    }
}

/// The agent's side: moves bytes until both directions have ended or one breaks.
pub(crate) async fn pump(
    mut reader: FrameReader<impl AsyncRead + Unpin>,
    mut writer: FrameWriter<impl AsyncWrite + Unpin>,
    stream: Stream,
) {
    let Stream { mut input, mut output } = stream;
    let inwards = async {
        loop {
            match reader.next().await {
                Ok(Some((Kind::Data, data))) => {
                    // Its peer takes no more; what it sends still counts.
                    if input.send(data).await.is_err() {
                        return Some(());
                    }
                }
                Ok(Some((Kind::Eof, _))) => {
                    let _ = input.eof().await;
                    return Some(());
                }
                Ok(_) | Err(_) => return None,
            }
        }
    };
    let outwards = async {
        loop {
            match output.next().await {
                Ok(Some(data)) => send_data(&mut writer, Kind::Data, data).await.ok()?,
                Ok(None) => return writer.send(Kind::Eof, Bytes::new()).await.ok(),
                Err(_) => return None,
            }
        }
    };
    tokio::pin!(inwards, outwards);
    // A direction that ends well leaves the other one alone; one that breaks ends both.
    tokio::select! {
        well = &mut inwards => {
            if well.is_some() {
                outwards.await;
            }
        }
        well = &mut outwards => {
            if well.is_some() {
                inwards.await;
            }
        }
    }
}
