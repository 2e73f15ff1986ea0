//! What carries a connection to the agent.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::socket::Near;

/// Bytes both ways.
pub trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Bytestream for T {}

/// Opens connections to one agent.
#[async_trait]
pub trait Carrier: Send + Sync + std::fmt::Debug + 'static {
    /// One more connection.
    async fn open(&self) -> io::Result<Box<dyn Bytestream>>;
}

/// TCP from the gateway to the pod.
#[derive(Debug, Clone)]
pub struct Direct {
    /// Where the agent listens.
    pub address: SocketAddr,
    /// For the connection to be made.
    pub timeout: Duration,
}

#[async_trait]
impl Carrier for Direct {
    async fn open(&self) -> io::Result<Box<dyn Bytestream>> {
        let stream = timeout(self.timeout, TcpStream::connect(self.address)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Box::new(Near::new(stream)?))
    }
}
