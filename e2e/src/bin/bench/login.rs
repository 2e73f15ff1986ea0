//! Logging in, many times over: handshakes a second, connections that do nothing, and a login while others guess passwords.
//!
//! The gateway is a process of this machine and runs programs here, so no pod's start is measured. Clients are in this process, by
//! the SSH library's other half: a process for each would measure how fast this machine starts processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::routing::post;
use axum::{Json, Router};
use containerssh_e2e::sshd::Sshd;
use containerssh_e2e::standalone::Standalone;
use containerssh_e2e::wait;
use futures::StreamExt as _;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, load_secret_key};
use russh::{Preferred, kex};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::{Figure, median, percentile};

/// Clients that log in at the same time: enough to keep two cores busy, and a hundred are what sshd lets wait.
const AT_ONCE: usize = 32;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// As the claim is stated; fewer, and the claim for so many times as much, where this machine lets nobody open the files.
const IDLE: usize = 10_000;
/// Files of a connection, in the gateway: its socket and its record.
const FILES: usize = 2;
/// Of a process, besides.
const OTHER_FILES: usize = 500;
/// The peer's processes take more than ten times as much.
const IDLE_OF_PEER: usize = 300;
/// What the gateway may take with all of them.
const IDLE_LIMIT: f64 = (1 << 30) as f64;
const SOURCES: usize = 1_000;
/// Of those, so many guess at any time.
const GUESSERS: usize = 64;
const LOGINS: usize = 100;
const LOGIN_DEADLINE: Duration = Duration::from_secs(60);

/// Of backend `local` a user is one of this machine: whoever runs this, as root.
const USER: &str = "root";
const PASSWORD: &str = "correct horse";

/// Trusts any host key: the host is this machine.
#[derive(Debug)]
struct AnyHost;

impl client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// What a client proves who it is with.
#[derive(Debug, Clone)]
enum Credential {
    Password(&'static str),
    Key(Arc<PrivateKey>),
}

/// How to log in, and from which address.
#[derive(Debug, Clone)]
struct Client {
    server: SocketAddr,
    user: String,
    credential: Credential,
    config: Arc<client::Config>,
}

impl Client {
    fn new(server: SocketAddr, user: &str, credential: Credential, kex: kex::Name) -> Self {
        let preferred = Preferred { kex: [kex].to_vec().into(), ..Preferred::DEFAULT };
        let config = Arc::new(client::Config { preferred, nodelay: true, ..client::Config::default() });
        Self { server, user: user.to_owned(), credential, config }
    }

    /// A connection, and whether the credential was good.
    async fn log_in(&self, from: Ipv4Addr) -> Result<(Handle<AnyHost>, bool)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.server).await?;
        let mut session = client::connect_stream(Arc::clone(&self.config), stream, AnyHost).await?;
        let result = match &self.credential {
            Credential::Password(password) => session.authenticate_password(&self.user, *password).await?,
            Credential::Key(key) => {
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
                session.authenticate_publickey(&self.user, key).await?
            }
        };
        Ok((session, result.success()))
    }

    /// A connection that is logged in.
    async fn session(&self) -> Result<Handle<AnyHost>> {
        let (session, success) = tokio::time::timeout(LOGIN_DEADLINE, self.log_in(Ipv4Addr::LOCALHOST))
            .await
            .context("a login")??;
        ensure!(success, "the credential was rejected");
        Ok(session)
    }
}

/// The gateway, and the server that it asks about passwords.
struct Door {
    gateway: Standalone,
    client: Client,
}

impl Door {
    async fn open() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().route("/password", post(password));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let gateway = Standalone::start(json!({
            "backend": "local",
            "local": {"permitRoot": true},
            "auth": {"password": {"method": "webhook", "webhook": {"url": url}}},
            "ssh": {"limits": {"connections": 2 * IDLE}},
        }))
        .await?;
        let server = SocketAddr::from(([127, 0, 0, 1], gateway.login.port));
        let client = Client::new(server, USER, Credential::Password(PASSWORD), kex::MLKEM768X25519_SHA256);
        client.session().await.context("the first login")?;
        Ok(Self { gateway, client })
    }

    /// Resident memory of the process, bytes.
    fn memory(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.pid()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    }
}

/// Says whether it is the right one, as a customer's server does.
async fn password(Json(asked): Json<Value>) -> Json<Value> {
    use base64::Engine as _;
    let right = base64::engine::general_purpose::STANDARD.encode(PASSWORD);
    Json(json!({"success": asked["passwordBase64"] == right}))
}

/// sshd of this machine with the same client; it knows a key, for it has no webhook. Debian's of today has no ML-KEM, so it is spared
/// that part of the work.
async fn peer(max_startups: usize) -> Result<(Sshd, Client)> {
    let sshd = Sshd::start(max_startups).await?;
    let identity = sshd.login.identity.clone().context("a key")?;
    let key = Arc::new(load_secret_key(identity, None)?);
    let server = SocketAddr::from(([127, 0, 0, 1], sshd.login.port));
    let client = Client::new(server, &sshd.login.user, Credential::Key(key), kex::CURVE25519);
    Ok((sshd, client))
}

/// Connections that get as far as a login, one after another in each of [`AT_ONCE`] tasks. A second.
pub(crate) async fn handshakes() -> Result<Figure> {
    let door = Door::open().await?;
    let (_sshd, peer) = peer(10 * AT_ONCE).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ours.push(rate(&door.client).await?);
        theirs.push(rate(&peer).await?);
    }
    door.gateway.stop().await?;
    Ok(Figure { name: "handshakes", ours: median(ours), peer: median(theirs), unit: "/s" })
}

async fn rate(client: &Client) -> Result<f64> {
    let start = Instant::now();
    let tasks = (0..AT_ONCE).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut done = 0_usize;
            while start.elapsed() < HANDSHAKE_TIME {
                client.session().await?;
                done += 1;
            }
            anyhow::Ok(done)
        })
    });
    let mut done = 0;
    for task in tasks.collect::<Vec<_>>() {
        done += task.await??;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// Memory of the server for each connection that is logged in and does nothing. Bytes.
pub(crate) async fn idle() -> Result<Figure> {
    let door = Door::open().await?;
    let before = door.memory()?;
    let count = IDLE.min(files()?.saturating_sub(OTHER_FILES) / FILES);
    let clients = many(&door.client, count).await.with_context(|| door.gateway.log().unwrap_or_default())?;
    let all = door.memory()?;
    let ours = (all - before) / count as f64;
    ensure!(before + ours * (IDLE as f64) < IDLE_LIMIT, "{count} connections take {all} bytes");
    drop(clients);
    let (sshd, peer) = peer(IDLE_OF_PEER).await?;
    let clients = many(&peer, IDLE_OF_PEER).await?;
    let total = wait::until("all sessions of sshd", LOGIN_DEADLINE, || async {
        let children = sshd.children()?;
        ensure!(children.len() >= IDLE_OF_PEER, "{} processes", children.len());
        children.iter().map(|child| crate::memory::proportional(*child)).sum::<Result<f64>>()
    })
    .await?;
    drop(clients);
    let theirs = total * 1024.0 / IDLE_OF_PEER as f64;
    Ok(Figure { name: "idle-10k", ours, peer: theirs, unit: "bytes" })
}

/// How many files a process may open here.
fn files() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("Max open files")?;
    Ok(line.split_whitespace().next().context("a limit")?.parse()?)
}

async fn many(client: &Client, count: usize) -> Result<Vec<Handle<AnyHost>>> {
    let logins = (0..count).map(|_| client.session());
    let sessions: Vec<_> = futures::stream::iter(logins).buffer_unordered(AT_ONCE).collect().await;
    sessions.into_iter().collect()
}

/// How long a login takes while [`SOURCES`] addresses guess passwords; the peer is the same without them. The slowest but one of a
/// hundred, in milliseconds.
pub(crate) async fn bruteforce() -> Result<Figure> {
    let door = Door::open().await?;
    let alone = latencies(&door.client).await?;
    let guess = Client { credential: Credential::Password("a guess"), ..door.client.clone() };
    let (stop, guesses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..GUESSERS)
        .map(|_| {
            let (guess, stop, guesses, next) =
                (guess.clone(), Arc::clone(&stop), Arc::clone(&guesses), Arc::clone(&next));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // They are refused, dropped, kept out: whatever comes, the next one tries.
                    let source = next.fetch_add(1, Ordering::Relaxed) % SOURCES;
                    if let Ok((_, success)) = guess.log_in(address(source)).await {
                        assert!(!success, "a guess was good");
                        guesses.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    wait::until("all sources to guess", LOGIN_DEADLINE, || async {
        let begun = next.load(Ordering::Relaxed);
        ensure!(begun >= SOURCES, "{begun} have");
        Ok(())
    })
    .await?;
    let attacked = latencies(&door.client).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    ensure!(guesses.load(Ordering::Relaxed) > 0, "nobody was asked for a password");
    door.gateway.stop().await?;
    let p99 = |latencies| percentile(latencies, 99);
    Ok(Figure { name: "bruteforce-login", ours: p99(attacked?), peer: p99(alone), unit: "ms" })
}

/// One of this machine's own addresses.
fn address(number: usize) -> Ipv4Addr {
    let [_, _, high, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    Ipv4Addr::new(127, 1, high, low.max(1))
}

async fn latencies(client: &Client) -> Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(LOGINS);
    for _ in 0..LOGINS {
        let start = Instant::now();
        client.session().await?;
        latencies.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(latencies)
}
