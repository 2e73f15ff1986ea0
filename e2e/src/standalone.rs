//! A gateway as a process of this machine, for what the operator does not render: it reaches the cluster by `KUBECONFIG`, and its
//! guests by their addresses, as a pod on this node would.

use std::process::Stdio;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::daemon::Daemon;
use crate::gateway::merge;
use crate::ssh::Key;
use crate::{Login, program};

/// One gateway and its only user. Dropping it kills it.
#[derive(Debug)]
pub struct Standalone {
    daemon: Daemon,
    /// How to log in.
    pub login: Login,
    directory: TempDir,
    _key: Key,
}

impl Standalone {
    /// With records into files, everything recorded, and `extra` merged into its configuration.
    pub async fn start(extra: Value) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        let key = Key::generate().await?;
        std::fs::write(at("keys"), &key.public)?;
        std::fs::create_dir(at("records"))?;
        let port = program::free_port()?;
        let mut config = json!({
            "ssh": {"listen": format!("127.0.0.1:{port}")},
            "auth": {"publicKey": {"authorizedKeys": {"paths": [at("keys")]}}},
            "audit": {
                "enable": true, "format": "binary", "storage": "file", "file": {"directory": at("records")},
                "intercept": {"stdin": true, "stdout": true, "stderr": true},
            },
            "log": {"level": "warning"},
        });
        merge(&mut config, extra);
        std::fs::write(at("config.json"), config.to_string())?;
        let mut command = Command::new(program::gateway().await?);
        command
            .args(["--config", &at("config.json")])
            .stdout(Stdio::from(std::fs::File::create(at("log"))?))
            .stderr(Stdio::inherit());
        let daemon = Daemon::start(&mut command, port).await?;
        let login = Login {
            host: "127.0.0.1".into(),
            port,
            user: "user".into(),
            identity: Some(key.path()),
            password: None,
            options: Vec::new(),
        };
        Ok(Self { daemon, login, directory, _key: key })
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        self.daemon.pid()
    }

    /// What it has logged, warnings and worse.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// Tells it to end and waits until it has.
    pub async fn stop(self) -> Result<()> {
        self.daemon.stop().await
    }
}
