//! A gateway's process: it listens, it is told to end, or it is killed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::wait;

/// A process that starts on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a gateway waits for its sessions, its last pods and its records.
const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// One process. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it listens on this port of the loopback address.
    pub async fn start(command: &mut Command, port: u16) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("running {:?}", command.as_std().get_program()))?;
        wait::until("the gateway to listen", START_DEADLINE, || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.context("connecting").map(drop)
        })
        .await?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("it has ended")
    }

    /// Kills it: it cleans nothing up.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.map_err(Into::into)
    }

    /// Tells it to end and waits until it has, without complaint.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.pid()?.to_string();
        // The shell's own: the program is another package's.
        let told = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().await?;
        ensure!(told.success(), "it could not be told");
        let status =
            tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.context("it does not end")??;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}
