//! Debian's sshd on this machine, as a peer.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Login, wait};
use tokio::process::{Child, Command};

/// A server that ends when it is dropped.
pub(crate) struct Sshd {
    pub(crate) login: Login,
    pub(crate) pid: u32,
    _server: Child,
    _keys: [Key; 2],
    _directory: tempfile::TempDir,
}

impl Sshd {
    /// Starts one that takes `connections` at once, and waits until it answers.
    pub(crate) async fn start(connections: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let host = Key::generate().await?;
        let user = Key::generate().await?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let keys = directory.path().join("keys");
        std::fs::write(&keys, &user.public)?;
        std::fs::create_dir_all("/run/sshd")?;
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").args(["-f", "/dev/null", "-h"]).arg(host.path());
        for option in [
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".into(),
            format!("AuthorizedKeysFile={}", keys.display()),
            "StrictModes=no".into(),
            "PermitRootLogin=yes".into(),
            "UsePAM=no".into(),
            format!("MaxStartups={connections}"),
            "PidFile=none".into(),
        ] {
            command.args(["-o", &option]);
        }
        let server = command.kill_on_drop(true).stderr(Stdio::null()).spawn()?;
        let pid = server.id().context("sshd's process id")?;
        let login = Login {
            host: "127.0.0.1".into(),
            port,
            user: "root".into(),
            identity: Some(user.path()),
            password: None,
            options: Vec::new(),
        };
        wait::until("sshd to answer", Duration::from_secs(20), || async {
            login.run("true").await?.expect_code(0).map(drop)
        })
        .await?;
        Ok(Self { login, pid, _server: server, _keys: [host, user], _directory: directory })
    }
}
