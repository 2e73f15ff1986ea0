//! What an idle connection costs in the gateway, against sshd on this machine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::sshd::Sshd;
use containerssh_e2e::{Login, wait};
use tokio::process::{Child, Command};

use crate::Figure;
use crate::stage::Stage;

const CONNECTIONS: usize = 200;
/// Pods start one after another on a small machine.
const START_DEADLINE: Duration = Duration::from_secs(900);

/// Memory per connection of `CONNECTIONS` idle ones, each with its pod, audit on. kB.
pub(crate) async fn idle(stage: &Stage) -> Result<Figure> {
    // The first connection brings what all share: caches, thread stacks, arenas.
    stage.login.run("true").await?.expect_code(0)?;
    stage.gateway.no_guests().await?;
    let before = gateway_memory(stage).await?;
    let clients = connect(&stage.login)?;
    wait::until("all guests to run", START_DEADLINE, || async {
        let guests = stage.gateway.guests().await?;
        let running = guests
            .iter()
            .filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"));
        let running = running.count();
        ensure!(running == CONNECTIONS, "{running} run");
        Ok(())
    })
    .await?;
    let ours = (gateway_memory(stage).await? - before) / CONNECTIONS as f64;
    drop(clients);
    let peer = sshd_memory().await?;
    Ok(Figure { name: "idle-memory", ours, peer, unit: "kB" })
}

/// Clients that open no session and stay.
fn connect(login: &Login) -> Result<Vec<Child>> {
    let quiet = login.clone().option("SessionType=none");
    (0..CONNECTIONS)
        .map(|_| {
            let mut command = quiet.ssh();
            Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
        })
        .collect()
}

/// Resident memory of the gateway's process, by its own metric. kB.
async fn gateway_memory(stage: &Stage) -> Result<f64> {
    let pod = stage.gateway.pods().await?.pop().context("a gateway pod")?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("its address")?;
    let output = Command::new("curl").args(["-sf", &format!("http://{ip}:9100/metrics")]).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
        .with_context(|| format!("no such metric at {ip}:9100"))?;
    Ok(line.trim().parse::<f64>()? / 1000.0)
}

/// The same number of connections to Debian's sshd: the sum of its processes' proportional set sizes, per connection. kB.
async fn sshd_memory() -> Result<f64> {
    let sshd = Sshd::start(CONNECTIONS).await?;
    let clients = connect(&sshd.login)?;
    let total = wait::until("all sessions of sshd", Duration::from_secs(120), || async {
        let children = sshd.children()?;
        // Privilege separation keeps one process for root's sessions.
        ensure!(children.len() >= CONNECTIONS, "{} processes", children.len());
        children.iter().map(|child| proportional(*child)).sum::<Result<f64>>()
    })
    .await?;
    drop(clients);
    Ok(total / CONNECTIONS as f64)
}

/// The proportional set size of a process, kB.
pub(crate) fn proportional(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
