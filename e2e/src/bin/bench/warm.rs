//! From nothing to the prompt of a shell, with a pod of the warm pool, against sshd on this machine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use containerssh_e2e::{Login, wait};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::stage::Stage;
use crate::{Figure, median, percentile};
use containerssh_e2e::sshd::Sshd;

/// The slowest but one of so many is the ninety-ninth percentile.
const ROUNDS: usize = 100;
/// Pods that wait. One is used at a time; the others are there while it is replaced.
pub(crate) const POOL: usize = 3;
/// What root's profile does on this machine is not sshd's time.
const PEER_SHELL: &str = "PS1='$ ' exec sh -i";
/// For the pool to be full again, on a busy machine.
const REFILL_DEADLINE: Duration = Duration::from_secs(120);

/// Connect to the end of a shell's prompt, p50 and p99. Milliseconds.
pub(crate) async fn connect() -> Result<[Figure; 2]> {
    let stage = Stage::warm().await?;
    let sshd = Sshd::start(1).await?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        full(&stage).await?;
        ours.push(prompt(&stage.login, None).await?);
        peer.push(prompt(&sshd.login, Some(PEER_SHELL)).await?);
    }
    let missed = metric(&stage, "containerssh_kubernetes_warm_claims_total{outcome=\"missed\"}").await?;
    ensure!(missed == 0.0, "{missed} connections found no pod in the pool");
    stage.clear().await?;
    let figure = |name, ours, peer| Figure { name, ours, peer, unit: "ms" };
    Ok([
        figure("warm-connect-p50", median(ours.clone()), median(peer.clone())),
        figure("warm-connect-p99", percentile(ours, 99), percentile(peer, 99)),
    ])
}

/// Waits until the pool is full and no pod of an earlier round is left: its end is not what is measured.
async fn full(stage: &Stage) -> Result<()> {
    stage.gateway.no_guests().await?;
    wait::until("the pool to be full", REFILL_DEADLINE, || async {
        let ready = metric(stage, "containerssh_kubernetes_warm_pods{state=\"ready\"}").await?;
        ensure!(ready == POOL as f64, "{ready} are ready");
        Ok(())
    })
    .await
}

/// What comes before it, such as a line on what one waits for, is no shell's word.
async fn prompt(login: &Login, shell: Option<&str>) -> Result<f64> {
    let login = login.clone().option("RequestTTY=force");
    let start = Instant::now();
    let mut client =
        login.ssh().args(shell).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdout = client.stdout.take().context("piped")?;
    while !matches!(stdout.read_u8().await.context("the shell ended without a prompt")?, b'$' | b'#') {}
    let elapsed = start.elapsed().as_secs_f64() * 1000.0;
    client.kill().await?;
    Ok(elapsed)
}

/// A metric of the gateway; 0 where it has not counted yet.
async fn metric(stage: &Stage, name: &str) -> Result<f64> {
    let pod = stage.gateway.pods().await?.pop().context("a gateway pod")?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("its address")?;
    let output = Command::new("curl").args(["-sf", &format!("http://{ip}:9100/metrics")]).output().await?;
    ensure!(output.status.success(), "no metrics at {ip}:9100");
    let text = String::from_utf8(output.stdout)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0.0), |value| value.trim().parse())?)
}
