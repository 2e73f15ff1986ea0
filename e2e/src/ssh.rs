//! The OpenSSH client, as a process.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::Gateway;

/// Longer than any session of a test: pod start on a busy machine and a 100 MB transfer.
const SESSION_DEADLINE: Duration = Duration::from_secs(180);

/// A key pair in a directory of its own.
#[derive(Debug)]
pub struct Key {
    directory: TempDir,
    /// The public key in authorized_keys form.
    pub public: String,
}

impl Key {
    /// Makes an ed25519 pair with `ssh-keygen`.
    pub async fn generate() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("id");
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(&path)
            .output()
            .await?;
        ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
        let public = std::fs::read_to_string(path.with_extension("pub"))?.trim().to_owned();
        Ok(Self { directory, public })
    }

    /// The private key's file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("id")
    }
}

/// How to log in: where, as whom, with what.
#[derive(Debug, Clone)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Private key, if any.
    pub identity: Option<PathBuf>,
    /// Password, typed by `sshpass`, if any.
    pub password: Option<String>,
    /// More `-o` options.
    pub options: Vec<String>,
}

/// What a client did.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status: the program's, or 255 for an error of ssh itself.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Its exit code.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    /// Itself if the exit code is `code`, or an error with all it said.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(
            self.code() == code,
            "exit code {} instead of {code}\nstdout: {}\nstderr: {}",
            self.code(),
            self.out(),
            self.err()
        );
        Ok(self)
    }
}

impl Login {
    /// To a gateway, with a key.
    pub async fn with_key(gateway: &Gateway, user: &str, key: &Key) -> Result<Self> {
        let (host, port) = gateway.address().await?;
        Ok(Self {
            host,
            port,
            user: user.to_owned(),
            identity: Some(key.path()),
            password: None,
            options: Vec::new(),
        })
    }

    /// To a gateway, with a password.
    pub async fn with_password(gateway: &Gateway, user: &str, password: &str) -> Result<Self> {
        let (host, port) = gateway.address().await?;
        Ok(Self {
            host,
            port,
            user: user.to_owned(),
            identity: None,
            password: Some(password.to_owned()),
            options: Vec::new(),
        })
    }

    /// The same with another `-o` option.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    fn common(&self, command: &mut Command, port_flag: &str) {
        command.args([port_flag, &self.port.to_string()]);
        // The first value of an option counts.
        for option in &self.options {
            command.args(["-o", option]);
        }
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
        ] {
            command.args(["-o", option]);
        }
        match &self.identity {
            Some(identity) => command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(identity),
            None => command.args(["-o", "PubkeyAuthentication=no"]),
        };
        let asked = if self.password.is_some() { "NumberOfPasswordPrompts=1" } else { "BatchMode=yes" };
        command.args(["-o", asked]);
        command.env_remove("SSH_AUTH_SOCK").kill_on_drop(true);
    }

    fn program(&self, program: &str) -> Command {
        match &self.password {
            Some(password) => {
                let mut command = Command::new("sshpass");
                command.env("SSHPASS", password).args(["-e", program]);
                command
            }
            None => Command::new(program),
        }
    }

    /// An `ssh` command line up to and including the destination: append flags through [`Login::option`], then the
    /// remote command.
    pub fn ssh(&self) -> Command {
        let mut command = self.program("ssh");
        self.common(&mut command, "-p");
        command.arg(format!("{}@{}", self.user, self.host));
        command
    }

    /// Runs a remote command with an empty standard input.
    pub async fn run(&self, remote: &str) -> Result<Finished> {
        self.run_with_input(remote, Stdio::null()).await
    }

    /// Runs a remote command with this standard input.
    pub async fn run_with_input(&self, remote: &str, stdin: Stdio) -> Result<Finished> {
        finish(self.ssh().arg(remote).stdin(stdin)).await
    }

    /// Runs a remote command that reads these bytes.
    pub async fn run_with_bytes(&self, remote: &str, bytes: Vec<u8>) -> Result<Finished> {
        let mut child = self
            .ssh()
            .arg(remote)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("stdin was asked for")?;
        let feed = tokio::spawn(async move {
            // A program that ends without reading all of it is a matter of its exit status.
            let _ = stdin.write_all(&bytes).await;
        });
        let finished = collect(child).await;
        feed.abort();
        finished
    }

    /// Starts a remote command and leaves it running; dropping the child ends the client.
    pub fn spawn(&self, remote: &str) -> Result<Child> {
        Ok(self
            .ssh()
            .arg(remote)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// Runs `sftp` with a batch file.
    pub async fn sftp(&self, batch: &str, directory: &Path) -> Result<Finished> {
        let file = directory.join("batch");
        std::fs::write(&file, batch)?;
        let mut command = self.program("sftp");
        self.common(&mut command, "-P");
        command.arg("-b").arg(&file).arg(format!("{}@{}", self.user, self.host)).current_dir(directory);
        finish(command.stdin(Stdio::null())).await
    }
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Result<Finished> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    collect(child).await
}

/// Waits for a child and takes all it said.
pub async fn collect(child: Child) -> Result<Finished> {
    let output = tokio::time::timeout(SESSION_DEADLINE, child.wait_with_output())
        .await
        .with_context(|| format!("the client did not end within {} s", SESSION_DEADLINE.as_secs()))??;
    Ok(Finished { status: output.status, stdout: output.stdout, stderr: output.stderr })
}
