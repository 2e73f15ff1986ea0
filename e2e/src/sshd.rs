//! Debian's sshd on this machine, to compare with.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use crate::ssh::Key;
use crate::{Login, wait};

/// One server and its only user, who is root. Dropping it kills it.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    /// How to log in.
    pub login: Login,
    _keys: [Key; 2],
    _directory: tempfile::TempDir,
}

impl Sshd {
    /// Starts one on the loopback address that lets so many clients log in at once.
    pub async fn start(max_startups: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (host, user) = (Key::generate().await?, Key::generate().await?);
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
            format!("MaxStartups={max_startups}"),
            "PidFile=none".into(),
        ] {
            command.args(["-o", &option]);
        }
        let child = command.kill_on_drop(true).stderr(Stdio::null()).spawn()?;
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
        Ok(Self { child, login, _keys: [host, user], _directory: directory })
    }

    /// The processes that serve its connections.
    pub fn children(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        let mut parents = vec![self.child.id().context("sshd has ended")?];
        while let Some(parent) = parents.pop() {
            let path = format!("/proc/{parent}/task/{parent}/children");
            for child in std::fs::read_to_string(path).unwrap_or_default().split_whitespace() {
                let child = child.parse()?;
                found.push(child);
                parents.push(child);
            }
        }
        Ok(found)
    }
}
