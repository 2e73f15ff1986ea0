//! Through the agent in a pod, directly, audit on, against Debian's sshd on the same machine's loopback.
//!
//! Client, gateway and pod share the machine's cores with nobody but each other, as client and sshd do.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use containerssh_e2e::sshd::Sshd;
use containerssh_e2e::standalone::Standalone;
use containerssh_e2e::{Cluster, Login, Namespace, gateway};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Figure, median};

const NAMESPACE: &str = "e2e-bench-agent";
/// As the claims are stated: 512 MB of random bytes.
const BYTES: usize = 512_000_000;
const ROUNDS: usize = 5;
/// Keystrokes per side.
const KEYS: usize = 400;
/// Linux' clock ticks per second in `/proc/PID/stat`, the same on all its platforms.
const TICKS: f64 = 100.0;

/// Both servers, and a connection to each that stays open.
pub(crate) struct Pair {
    gateway: Standalone,
    sshd: Sshd,
    ours: Open,
    peers: Open,
    namespace: Namespace,
    bytes: tempfile::NamedTempFile,
}

/// One way of a transfer.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

impl Pair {
    pub(crate) async fn open() -> Result<Self> {
        let namespace = Cluster::connect().await?.namespace(NAMESPACE).await?;
        let environment = &namespace.cluster.environment;
        let mut pod = gateway::guest_template(&environment.debian_image);
        gateway::merge(
            &mut pod,
            json!({
                "metadata": {"namespace": NAMESPACE},
                "disableAgent": false,
                "agent": {"image": environment.agent_image, "transport": "direct"},
            }),
        );
        let gateway = Standalone::start(json!({"kubernetes": {"pod": pod}})).await?;
        let sshd = Sshd::start(10).await?;
        let (ours, peers) = (Open::to(&gateway.login).await?, Open::to(&sshd.login).await?);
        for side in [&ours, &peers] {
            side.rate(&format!("head -c {BYTES} /dev/urandom >/tmp/e2e-bench-bytes"), Stdio::null()).await?;
        }
        let (bytes, _) = containerssh_e2e::bytes::random_file(BYTES)?;
        Ok(Self { gateway, sshd, ours, peers, namespace, bytes })
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.peers.rate("rm /tmp/e2e-bench-bytes", Stdio::null()).await?;
        drop((self.ours, self.peers));
        self.gateway.stop().await?;
        self.namespace.discard().await
    }

    /// MB/s, and the servers' CPU seconds per GB.
    pub(crate) async fn down(&self) -> Result<[Figure; 2]> {
        self.transfer(Way::Down, ["agent-down", "agent-down-cpu"]).await
    }

    /// The same in the other direction.
    pub(crate) async fn up(&self) -> Result<[Figure; 2]> {
        self.transfer(Way::Up, ["agent-up", "agent-up-cpu"]).await
    }

    async fn transfer(&self, way: Way, [rate, cpu]: [&'static str; 2]) -> Result<[Figure; 2]> {
        let (mut rates, mut seconds) = ([Vec::new(), Vec::new()], [0.0, 0.0]);
        for _ in 0..ROUNDS {
            for (number, side) in [&self.ours, &self.peers].into_iter().enumerate() {
                let before = self.cpu(number)?;
                rates[number].push(match way {
                    Way::Down => side.rate("cat /tmp/e2e-bench-bytes", Stdio::null()).await?,
                    Way::Up => side.rate("cat >/dev/null", Stdio::from(self.bytes.reopen()?)).await?,
                });
                seconds[number] += self.cpu(number)? - before;
            }
        }
        let gigabytes = (BYTES * ROUNDS) as f64 / 1e9;
        let [ours, peers] = rates;
        Ok([
            Figure { name: rate, ours: median(ours), peer: median(peers), unit: "MB/s" },
            Figure { name: cpu, ours: seconds[0] / gigabytes, peer: seconds[1] / gigabytes, unit: "s/GB" },
        ])
    }

    /// CPU seconds so far: of the gateway (0), of sshd's processes for its connection (1).
    fn cpu(&self, side: usize) -> Result<f64> {
        let processes = if side == 0 { vec![self.gateway.pid()?] } else { self.sshd.children()? };
        processes.into_iter().map(cpu_seconds).sum()
    }

    /// From a key to its echo by a program on a terminal: the median and the 99th percentile. Milliseconds.
    pub(crate) async fn echo(&self) -> Result<[Figure; 2]> {
        let mut sides = [Echo::start(&self.gateway.login).await?, Echo::start(&self.sshd.login).await?];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..KEYS {
            for (echo, times) in sides.iter_mut().zip(&mut times) {
                times.push(echo.key().await?);
            }
        }
        let [ours, peers] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times
        });
        let at = |times: &[f64], percent: usize| times[times.len() * percent / 100];
        Ok([("echo-p50", 50), ("echo-p99", 99)].map(|(name, percent)| Figure {
            name,
            ours: at(&ours, percent),
            peer: at(&peers, percent),
            unit: "ms",
        }))
    }
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: the state, and as 12th and 13th field user and system time.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).context("a short line")?.parse::<f64>().map_err(anyhow::Error::from);
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// A connection that stays open; transfers are sessions on it.
struct Open {
    login: Login,
    _master: Child,
    _directory: tempfile::TempDir,
}

impl Open {
    async fn to(login: &Login) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let login = login.clone().option(&format!("ControlPath={}", directory.path().join("mux").display()));
        let mut master = login.clone().option("ControlMaster=yes").spawn("echo up; exec cat")?;
        let mut line = String::new();
        BufReader::new(master.stdout.as_mut().context("piped")?).read_line(&mut line).await?;
        ensure!(line == "up\n", "the session began with {line:?}");
        Ok(Self { login, _master: master, _directory: directory })
    }

    /// MB/s of a command that moves the bytes.
    async fn rate(&self, remote: &str, stdin: Stdio) -> Result<f64> {
        let start = Instant::now();
        let mut command: Command = self.login.ssh();
        let status = command.arg(remote).stdin(stdin).stdout(Stdio::null()).status().await?;
        ensure!(status.success(), "it failed: {status}");
        Ok(BYTES as f64 / 1e6 / start.elapsed().as_secs_f64())
    }
}

/// A terminal whose program sends every key back.
struct Echo(Child);

impl Echo {
    async fn start(login: &Login) -> Result<Self> {
        let mut command = login.ssh();
        let remote = "stty raw -echo; printf ready; exec cat";
        command.args(["-tt", remote]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::inherit()).spawn()?;
        let stdout = child.stdout.as_mut().context("piped")?;
        // Before it there may be a line on what the user waits for.
        let mut said = Vec::new();
        let ready = async {
            while !said.ends_with(b"ready") {
                said.push(stdout.read_u8().await?);
            }
            std::io::Result::Ok(())
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await??;
        Ok(Self(child))
    }

    async fn key(&mut self) -> Result<f64> {
        let (stdin, stdout) = (self.0.stdin.as_mut(), self.0.stdout.as_mut());
        let start = Instant::now();
        stdin.context("piped")?.write_all(b"x").await?;
        stdout.context("piped")?.read_exact(&mut [0]).await?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
