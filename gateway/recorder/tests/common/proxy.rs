//! A network that fails as told, between the recorder and a real store.
//!
//! Bytes pass as they are until the fault strikes; then the connection behaves as broken networks and busy servers do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What happens to each connection that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    Well,
    /// It is closed at once.
    Down,
    /// It is reset after so many bytes of the request.
    ResetAfter(usize),
    /// It is closed after so many bytes of the answer; the store has done what it was asked.
    HalfAnswer(usize),
    /// A middlebox answers instead of the store, once it has seen the request's head.
    Answers(String),
    /// Nobody answers, and the connection stays.
    Hangs,
    /// So many bytes pass at a time, with a pause after each.
    Slow(usize, Duration),
}

#[derive(Debug, Clone)]
pub struct Proxy {
    pub url: String,
    network: Arc<Mutex<Network>>,
    made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of `upstream`, an address.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            network: Arc::new(Mutex::new(Network::Well)),
            made: Arc::default(),
            open: Arc::default(),
            most: Arc::default(),
        };
        let (handle, upstream) = (proxy.clone(), upstream.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (handle, upstream) = (handle.clone(), upstream.clone());
                tokio::spawn(async move {
                    let open = handle.open.fetch_add(1, Ordering::SeqCst) + 1;
                    handle.most.fetch_max(open, Ordering::SeqCst);
                    handle.made.fetch_add(1, Ordering::SeqCst);
                    let network = handle.network.lock().unwrap().clone();
                    let _broken = serve(client, &upstream, network).await;
                    handle.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        proxy
    }

    /// Connections made from now on behave so. (The recorder's client keeps connections; a fault that is to strike it
    /// has to be set before it makes one.)
    pub fn set(&self, network: Network) {
        *self.network.lock().unwrap() = network;
    }

    /// Connections made so far.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// The most that were open at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, upstream: &str, network: Network) -> std::io::Result<()> {
    match network {
        Network::Down => return Ok(()),
        Network::Hangs => {
            let (mut read, _write) = client.into_split();
            // Until the client gives up.
            return tokio::io::copy(&mut read, &mut tokio::io::sink()).await.map(drop);
        }
        Network::Answers(answer) => return answer_instead(client, &answer).await,
        _ => {}
    }
    let server = TcpStream::connect(upstream).await?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (up, down, pace) = match network {
        Network::ResetAfter(bytes) => (bytes, usize::MAX, None),
        Network::HalfAnswer(bytes) => (usize::MAX, bytes, None),
        Network::Slow(bytes, pause) => (usize::MAX, usize::MAX, Some((bytes, pause))),
        _ => (usize::MAX, usize::MAX, None),
    };
    // Whichever ends first ends the connection.
    tokio::select! {
        outcome = pass(client_read, server_write, up, pace) => outcome,
        outcome = pass(server_read, client_write, down, None) => outcome,
    }
}

/// Copies until the end, or until so many bytes have passed.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut left: usize,
    pace: Option<(usize, Duration)>,
) -> std::io::Result<()> {
    let mut block = vec![0; pace.map_or(64 * 1024, |(bytes, _)| bytes)];
    while left > 0 {
        let want = block.len().min(left);
        let length = from.read(&mut block[..want]).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&block[..length]).await?;
        left -= length;
        if let Some((_, pause)) = pace {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

async fn answer_instead(mut client: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut block = [0; 4096];
        match client.read(&mut block).await? {
            0 => return Ok(()),
            length => head.extend_from_slice(&block[..length]),
        }
    }
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    // What the client still sends must not make the kernel reset the connection before the answer is read.
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(drop)
}

/// An HTTP answer with an S3 error.
pub fn refusal(status: &str, code: &str, headers: &str) -> Network {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    );
    Network::Answers(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    ))
}
