//! The client that people use.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use containerssh_config::{Config, SecurityMode};
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::{Gateway, noise, within};

pub(crate) struct OpenSsh {
    pub(crate) gateway: Gateway,
    key: PathBuf,
}

impl OpenSsh {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let gateway = Gateway::start(adjust).await;
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        gateway.auth.keys.lock().unwrap().push(key.public_key().to_openssh().unwrap());
        let path = gateway.directory.path().join("id");
        key.write_openssh_file(&path, Default::default()).unwrap();
        Self { gateway, key: path }
    }

    /// The same by way of somebody else's port.
    pub(crate) async fn run_through(&self, port: &str, command_line: &str) -> (String, String, Option<i32>) {
        self.run(&["-p", port], command_line).await
    }

    pub(crate) fn command(&self, options: &[&str], command_line: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.arg("-i").arg(&self.key);
        // The first value of an option counts, so these are only the defaults.
        command
            .args(options)
            .args(["-o", &format!("Port={}", self.gateway.address.port())])
            .args(["-o", "LogLevel=ERROR", "alice@127.0.0.1"])
            .args(command_line)
            .env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, options: &[&str], command_line: &str) -> (String, String, Option<i32>) {
        let output = within("ssh", self.command(options, &[command_line]).output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_commands_with_their_status_and_streams() {
    let ssh = OpenSsh::new().await;
    let (stdout, stderr, status) = ssh.run(&[], "echo out; echo err >&2; exit 3").await;
    assert_eq!((stdout.as_str(), stderr.as_str(), status), ("out\n", "err\n", Some(3)));
    let (_, _, status) = ssh.run(&[], " ").await;
    assert_eq!(status, Some(0));
    let (stdout, _, status) = ssh.run(&[], "").await;
    assert_eq!((stdout.as_str(), status), ("", Some(0)), "a shell without input ends");
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn negotiates_the_fastest_cipher_and_a_key_exchange_of_this_decade() {
    let ssh = OpenSsh::new().await;
    let (_, stderr, status) = ssh.run(&["-o", "LogLevel=DEBUG"], "true").await;
    assert_eq!(status, Some(0));
    assert!(stderr.contains("kex: algorithm: curve25519-sha256"), "{stderr}");
    assert!(stderr.contains("server->client cipher: aes"), "{stderr}");
    assert!(stderr.contains("gcm@openssh.com"), "{stderr}");
    assert!(stderr.contains("compression: none"), "{stderr}");
    // And still takes what a client insists on.
    let (_, _, status) = ssh.run(&["-c", "aes256-gcm@openssh.com"], "true").await;
    assert_eq!(status, Some(0));
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_share_one_connection() {
    let ssh = OpenSsh::new().await;
    let socket = ssh.gateway.directory.path().join("mux");
    let control = format!("ControlPath={}", socket.display());
    let mut master = ssh.command(&["-M", "-N", "-o", &control], &[]).spawn().unwrap();
    within("the master", async {
        while !Path::new(&socket).exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let options = ["-o", control.as_str()];
    let (first, second) = tokio::join!(ssh.run(&options, "echo $$"), ssh.run(&options, "echo $$"));
    assert_eq!((first.2, second.2), (Some(0), Some(0)));
    assert_ne!(first.0, second.0);
    assert_eq!(ssh.gateway.backend.connections.lock().unwrap().len(), 1);
    master.start_kill().unwrap();
    master.wait().await.unwrap();
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn echoes_a_large_file_through_a_pipe() {
    let ssh = OpenSsh::new().await;
    let sent = noise(20_000_000);
    let mut child = ssh.command(&[], &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move { stdin.write_all(&sent).await }
    });
    let output = within("ssh", child.wait_with_output()).await.unwrap();
    writing.await.unwrap().unwrap();
    assert!(output.stdout == sent, "{} bytes of {}", output.stdout.len(), sent.len());
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_the_reason_when_recording_is_not_possible() {
    let ssh = OpenSsh::new().await;
    let audit = ssh.gateway.directory.path().join("audit");
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::write(&audit, "in the way").unwrap();
    let (_, stderr, status) = ssh.run(&[], "true").await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("recording is not possible"), "{stderr}");
    std::fs::remove_file(&audit).unwrap();
    std::fs::create_dir(&audit).unwrap();
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_forced_command_whatever_was_asked_for() {
    let ssh = OpenSsh::with(|config| {
        config.security.force_command = "echo \"asked: $SSH_ORIGINAL_COMMAND\"".into();
    })
    .await;
    let (stdout, _, status) = ssh.run(&[], "rm -rf / | wc").await;
    assert_eq!((stdout.as_str(), status), ("asked: rm -rf / | wc\n", Some(0)));
    let (stdout, _, status) = ssh.run(&["-s"], "sftp").await;
    assert_eq!((stdout.as_str(), status), ("asked: sftp\n", Some(0)));
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_only_commands_that_are_listed() {
    let ssh = OpenSsh::with(|config| {
        config.security.command.mode = SecurityMode::Filter;
        config.security.command.allow = vec!["echo  exact".into()];
        config.security.command.allow_patterns = vec!["echo [0-9]+".into()];
        config.security.shell.mode = SecurityMode::Disable;
    })
    .await;
    assert_eq!(ssh.run(&[], "echo  exact").await.0, "exact\n");
    assert_eq!(ssh.run(&[], "echo 42").await.0, "42\n");
    for denied in ["echo exact", "echo 42; id", "id", ""] {
        let (stdout, stderr, status) = ssh.run(&[], denied).await;
        assert_eq!((stdout.as_str(), status), ("", Some(255)), "{denied}: {stderr}");
    }
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_keeps_failing_waits_outside_and_others_do_not() {
    let ssh = OpenSsh::with(|config| {
        config.ssh.penalties.enable = true;
        // Two failures and the time between them.
        config.ssh.penalties.min = Duration::from_secs(6);
    })
    .await;
    let stranger = ssh.gateway.directory.path().join("stranger");
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .unwrap()
        .write_openssh_file(&stranger, Default::default())
        .unwrap();
    let identity = format!("IdentityFile={}", stranger.display());
    // Of two identities in the options only the right one would be let in.
    let wrong = ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", &identity, "-o", "LogLevel=INFO"];
    for _ in 0..2 {
        let mut command = Command::new("ssh");
        command.args(wrong).args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-p", &ssh.gateway.address.port().to_string()]);
        let output = within("ssh", command.args(["alice@127.0.0.1", "true"]).output()).await.unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
    }
    let (_, stderr, status) = ssh.run(&["-o", "LogLevel=DEBUG"], "true").await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("too many failed logins from this address"), "{stderr}");
    let (_, stderr, status) = ssh.run(&["-b", "127.0.0.2"], "true").await;
    assert_eq!(status, Some(0), "{stderr}");
    ssh.gateway.stop().await;
}
