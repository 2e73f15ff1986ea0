//! A TCP proxy that cuts connections: after so many bytes, and with a reset.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// Carries one connection to `target` until the client has sent `bytes`, then resets it on both sides. Returns the port to
/// connect to, and what resolves when the connection is over.
pub async fn after(target: SocketAddr, bytes: usize) -> Result<(u16, oneshot::Receiver<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (over, ended) = oneshot::channel();
    tokio::spawn(async move {
        let carried = carry(listener, target, bytes).await;
        drop(carried);
        let _ = over.send(());
    });
    Ok((port, ended))
}

async fn carry(listener: TcpListener, target: SocketAddr, bytes: usize) -> Result<()> {
    let (client, _) = listener.accept().await?;
    let server = TcpStream::connect(target).await.context("the gateway")?;
    for stream in [&client, &server] {
        // Dropped with unsent data or not, it is reset.
        stream.set_zero_linger()?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let (mut left, mut buffer) = (bytes, vec![0; CHUNK]);
        while left > 0 {
            let room = left.min(CHUNK);
            let read = from_client.read(&mut buffer[..room]).await?;
            if read == 0 {
                break;
            }
            to_server.write_all(&buffer[..read]).await?;
            left -= read;
        }
        Ok(())
    };
    let down = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    tokio::select! {
        result = up => result,
        result = down => result,
    }
    .map_err(|error: std::io::Error| error.into())
}
