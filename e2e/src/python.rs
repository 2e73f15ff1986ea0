//! Clients that come from PyPI, in an environment of their own.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Pinned: a newer one is taken by changing this line, not by the day a test runs.
const REQUIREMENTS: [&str; 3] = ["ansible-core==2.19.14", "paramiko==5.1.0", "ssh-audit==3.9.0"];

static MADE: OnceCell<PathBuf> = OnceCell::const_new();

/// A program of the environment, which is made in the cache when it is first needed.
pub async fn program(name: &str) -> Result<PathBuf> {
    let environment = MADE.get_or_try_init(make).await?;
    Ok(environment.join("bin").join(name))
}

async fn make() -> Result<PathBuf> {
    let cache = match std::env::var_os("E2E_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
            .join(".cache/containerssh-e2e"),
    };
    let name = crate::bytes::sha256(REQUIREMENTS.join("\n").as_bytes());
    let environment = cache.join(format!("python-{}", name.get(..16).context("a digest")?));
    // Complete or not there: what an interrupted run left is made anew.
    let complete = environment.join("complete");
    if complete.exists() {
        return Ok(environment);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment)).await?;
    run(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(REQUIREMENTS)).await?;
    std::fs::write(&complete, "")?;
    Ok(environment)
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
