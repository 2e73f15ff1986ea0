//! A gateway as a process of this machine, for what the operator does not render: it reaches the cluster by `KUBECONFIG`, and its
//! guests by their addresses, as a pod on this node would.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::gateway::merge;
use crate::ssh::Key;
use crate::{Login, program, wait};

const START_DEADLINE: Duration = Duration::from_secs(30);
/// Its last pods and records.
const STOP_DEADLINE: Duration = Duration::from_secs(90);

/// One gateway and its only user. Dropping it kills it.
#[derive(Debug)]
pub struct Standalone {
    child: Child,
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
        let child = Command::new(program::gateway().await?)
            .args(["--config", &at("config.json")])
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::fs::File::create(at("log"))?))
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let login = Login {
            host: "127.0.0.1".into(),
            port,
            user: "user".into(),
            identity: Some(key.path()),
            password: None,
            options: Vec::new(),
        };
        let gateway = Self { child, login, directory, _key: key };
        wait::until("the gateway to listen", START_DEADLINE, || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.context("connecting").map(drop)
        })
        .await?;
        Ok(gateway)
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("it has ended")
    }

    /// What it has logged, warnings and worse.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// Tells it to end and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        let pid = self.pid()?.to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status().await?.success(), "it has ended");
        let status = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.context("its end")??;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}
