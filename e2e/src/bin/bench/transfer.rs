//! Throughput each way, against `kubectl exec` on the same pod.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stage::Stage;
use crate::{Figure, median};

/// As the claims are stated: 256 MB of random bytes.
const BYTES: usize = 256_000_000;
const ROUNDS: usize = 5;

/// From the pod to the client.
pub(crate) async fn down(stage: &Stage) -> Result<Figure> {
    let session = Session::open(stage).await?;
    session.ssh(&format!("head -c {BYTES} /dev/urandom >/tmp/bytes"), Stdio::null()).await?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(session.ssh("cat /tmp/bytes", Stdio::null()).await?);
        peer.push(session.kubectl("cat /tmp/bytes", Stdio::null()).await?);
    }
    session.close().await?;
    Ok(Figure { name: "exec-down", ours: median(ours), peer: median(peer), unit: "MB/s" })
}

/// From the client to the pod. The remote shell outlives `cat`, so that `kubectl exec` loses nothing either.
pub(crate) async fn up(stage: &Stage) -> Result<Figure> {
    let session = Session::open(stage).await?;
    let (file, _) = containerssh_e2e::bytes::random_file(BYTES)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(session.ssh("cat >/dev/null; true", Stdio::from(file.reopen()?)).await?);
        peer.push(session.kubectl("cat >/dev/null; true", Stdio::from(file.reopen()?)).await?);
    }
    session.close().await?;
    Ok(Figure { name: "exec-up", ours: median(ours), peer: median(peer), unit: "MB/s" })
}

/// Each way through a gateway that records everything, against one that records nothing.
pub(crate) async fn record_cost(recorded: &Stage) -> Result<[Figure; 2]> {
    let unrecorded = Stage::unrecorded().await?;
    let sessions = [Session::open(recorded).await?, Session::open(&unrecorded).await?];
    let (file, _) = containerssh_e2e::bytes::random_file(BYTES)?;
    let mut down = [Vec::new(), Vec::new()];
    let mut up = [Vec::new(), Vec::new()];
    for session in &sessions {
        session.ssh(&format!("head -c {BYTES} /dev/urandom >/tmp/bytes"), Stdio::null()).await?;
    }
    for _ in 0..ROUNDS {
        for ((session, down), up) in sessions.iter().zip(&mut down).zip(&mut up) {
            down.push(session.ssh("cat /tmp/bytes", Stdio::null()).await?);
            up.push(session.ssh("cat >/dev/null; true", Stdio::from(file.reopen()?)).await?);
        }
    }
    for session in sessions {
        session.close().await?;
    }
    unrecorded.clear().await?;
    Ok([("record-cost-down", down), ("record-cost-up", up)].map(|(name, [ours, peer])| Figure {
        name,
        ours: median(ours),
        peer: median(peer),
        unit: "MB/s",
    }))
}

/// A connection that stays open, so that all transfers run in one pod.
struct Session<'a> {
    stage: &'a Stage,
    master: Child,
    directory: tempfile::TempDir,
    pod: String,
}

impl<'a> Session<'a> {
    async fn open(stage: &'a Stage) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let login = stage.login.clone().option(&control(&directory)).option("ControlMaster=yes");
        let mut master = login.spawn("echo up; exec cat")?;
        let mut line = String::new();
        BufReader::new(master.stdout.as_mut().context("piped")?).read_line(&mut line).await?;
        ensure!(line == "up\n", "the session began with {line:?}");
        let pod = stage.gateway.one_guest().await?.name_any();
        Ok(Self { stage, master, directory, pod })
    }

    /// Runs a command in a session of its own over the open connection; gives MB/s.
    async fn ssh(&self, remote: &str, stdin: Stdio) -> Result<f64> {
        let login = self.stage.login.clone().option(&control(&self.directory));
        rate(login.ssh().arg(remote).stdin(stdin)).await
    }

    /// The same by `kubectl exec`.
    async fn kubectl(&self, remote: &str, stdin: Stdio) -> Result<f64> {
        let mut command = Command::new("kubectl");
        command.args(["-n", &self.stage.namespace.name, "exec", "-i", &self.pod, "--", "sh", "-c", remote]);
        rate(command.stdin(stdin)).await
    }

    async fn close(mut self) -> Result<()> {
        drop(self.master.stdin.take());
        self.master.wait().await?;
        self.stage.gateway.no_guests().await?;
        // The record of what was just moved is uploaded now, on the same cores: the next measurement waits for it.
        self.stage.uploaded().await
    }
}

fn control(directory: &tempfile::TempDir) -> String {
    format!("ControlPath={}", directory.path().join("mux").display())
}

async fn rate(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::inherit()).status().await?;
    ensure!(status.success(), "it failed: {status}");
    Ok(BYTES as f64 / 1e6 / start.elapsed().as_secs_f64())
}
