//! The agent itself.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::available_parallelism;

use containerssh_agent::{Accounts, Base, HostGuest, HostSettings};
use containerssh_link::{Greeting, Hello, Identity, PROTOCOL, PublicKey, serve};
use tokio::net::TcpListener;

use crate::start::line;

/// Threads at most: more than a transfer uses, and no more than a pod is likely to be given.
const THREADS: usize = 4;

/// Reads the greeting, answers, and serves until the gateway is gone.
pub(crate) fn run() -> io::Result<()> {
    let text = line(io::stdin().lock())?;
    let greeting: Greeting = serde_json::from_str(&text)?;
    if greeting.protocol != PROTOCOL {
        return Err(io::Error::other(format!(
            "this agent speaks protocol {PROTOCOL}, the gateway {}: use the agent of its release",
            greeting.protocol
        )));
    }
    let threads = available_parallelism().map_or(1, usize::from).min(THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(agent(greeting))
}

async fn agent(greeting: Greeting) -> io::Result<()> {
    // Whoever started us ends now, and with it what it was part of.
    rustix::process::setsid()?;
    let peer = PublicKey::from_text(&greeting.key).map_err(io::Error::other)?;
    let identity = Identity::generate().map_err(io::Error::other)?;
    let listener = listen(greeting.local).await?;
    let port = listener.local_addr()?.port();
    let hello = Hello { protocol: PROTOCOL, key: identity.public().to_text(), port };
    let mut answer = serde_json::to_string(&hello)?;
    answer.push('\n');
    let mut stdout = io::stdout();
    stdout.write_all(answer.as_bytes())?;
    stdout.flush()?;
    let_go()?;

    let settings = HostSettings {
        shell_command: greeting.shell_command,
        subsystems: greeting.subsystems,
        ..HostSettings::of(Base::Container)
    };
    let guest = HostGuest::new("agent".to_owned(), settings, &Accounts::of_host());
    serve(listener, &identity, peer, Arc::new(guest)).await
}

/// On any address of the pod, in whichever families it has.
async fn listen(local: bool) -> io::Result<TcpListener> {
    if local {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    }
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
    }
}

/// The exec ends when nobody holds its streams any more.
fn let_go() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
