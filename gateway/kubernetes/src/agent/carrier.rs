//! Connections to an agent through the API server: one exec of `relay` each.

use std::io;

use async_trait::async_trait;
use bytes::BytesMut;
use containerssh_backend::Output;
use containerssh_link::{Bytestream, Carrier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, split};

use crate::exec::{self, Receiver, Target, Writer};

/// Bytes under way in either direction between the exec stream and TLS.
const BUFFER: usize = 128 * 1024;
/// Bytes of one message to the pod.
const CHUNK: usize = 32 * 1024;

/// Through the API server.
#[derive(Debug)]
pub(super) struct ByExec {
    pub(super) target: Target,
    /// Of the agent, in the pod.
    pub(super) path: String,
    /// Where it listens, in the pod.
    pub(super) port: u16,
}

#[async_trait]
impl Carrier for ByExec {
    async fn open(&self) -> io::Result<Box<dyn Bytestream>> {
        let argv = vec![self.path.clone(), "relay".to_owned(), self.port.to_string()];
        let opened = exec::pipe(&self.target, &argv).await;
        let (receiver, writer) = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let (near, far) = tokio::io::duplex(BUFFER);
        let (from_near, to_near) = split(far);
        // Each ends when its counterpart does; both end when `near` is dropped.
        tokio::spawn(outwards(receiver, to_near));
        tokio::spawn(inwards(from_near, writer));
        Ok(Box::new(near))
    }
}

async fn outwards(mut from: Receiver, mut to: WriteHalf<DuplexStream>) {
    use containerssh_backend::ProgramOutput as _;
    loop {
        match from.next().await {
            Ok(Output::Stdout(data)) => {
                if to.write_all(&data).await.is_err() {
                    return;
                }
            }
            Ok(Output::Stderr(data)) => {
                tracing::debug!(relay = %String::from_utf8_lossy(&data), "The relay complains");
            }
            Ok(Output::Exit(_) | Output::ExitSignal { .. }) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}

async fn inwards(mut from: ReadHalf<DuplexStream>, to: Writer) {
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {
                if to.stdin(buffer.freeze()).await.is_err() {
                    return;
                }
            }
            _ => {
                let _ = to.close_stdin().await;
                return;
            }
        }
    }
}
