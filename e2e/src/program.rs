//! The programs that `e2e/images` built, and ports for them.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tokio::process::Command;

/// The gateway, or another one that `E2E_GATEWAY` names.
pub async fn gateway() -> Result<PathBuf> {
    built("containerssh-gateway", "E2E_GATEWAY").await
}

/// The operator, or another one that `E2E_OPERATOR` names.
pub async fn operator() -> Result<PathBuf> {
    built("containerssh-operator", "E2E_OPERATOR").await
}

/// The command line tool, or another one that `E2E_AUDITLOG_TOOL` names.
pub async fn auditlog_tool() -> Result<PathBuf> {
    built("containerssh-auditlog-tool", "E2E_AUDITLOG_TOOL").await
}

async fn built(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Ok(named.into());
    }
    let images = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("images");
    let output = Command::new(images).args(["path", name]).output().await?;
    let program = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(program.exists(), "{} is not there: run e2e/images programs", program.display());
    Ok(program)
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
