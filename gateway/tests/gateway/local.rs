//! Backend `local`: the program itself as a recording sshd, with the clients that people use.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

use containerssh_auditlog::{Decoder, IoStream};
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::process::{free_address, program};
use crate::support::{Record, kinds, listens, noise, recorded, within};

/// Files that the gateway may have open when it starts.
const SOFT_LIMIT: u64 = 256;

/// The name of whoever runs the tests.
fn me() -> String {
    containerssh_agent::Accounts::of_host().by_uid(rustix::process::getuid().as_raw()).unwrap().name
}

struct Sshd {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Sshd {
    async fn start(local: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::create_dir(at("audit")).unwrap();
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
        key.write_openssh_file(at("id"), Default::default()).unwrap();
        std::fs::write(at("keys"), key.public_key().to_openssh().unwrap()).unwrap();
        let address = free_address();
        let text = format!(
            "backend: local\nlocal: {local}\nssh: {{listen: '{address}'}}\n\
             security: {{forwarding: {{forwardingMode: enable, agentForwardingMode: enable}}}}\n\
             auth: {{publicKey: {{authorizedKeys: {{paths: ['{}']}}}}}}\n\
             audit: {{enable: true, format: binary, storage: file, intercept: {{stdin: true, stdout: true, stderr: true}}, \
             file: {{directory: '{}'}}}}\n",
            at("keys"),
            at("audit"),
        );
        std::fs::write(at("config.yaml"), text).unwrap();
        // With few open files, as container runtimes start programs.
        let gateway = program(&[]);
        let limited = format!("ulimit -Sn {SOFT_LIMIT}; exec \"$0\" --config \"$1\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(limited).arg(gateway.as_std().get_program()).arg(at("config.yaml"));
        let child = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        listens("the gateway", address).await;
        Self { child, port: address.port(), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `ssh`, `sftp` or `scp` with what they need to get in.
    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.arg("-o").arg(format!("Port={}", self.port)).arg("-i").arg(self.path("id"));
        command.env_remove("SSH_AUTH_SOCK").current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn ssh(&self, user: &str, arguments: &[&str]) -> (String, String, Option<i32>) {
        let mut command = self.client("ssh");
        let output =
            within("ssh", command.arg(format!("{user}@127.0.0.1")).args(arguments).output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr), output.status.code())
    }

    /// Ends the gateway and reads what it recorded.
    async fn stop(mut self) -> Vec<Record> {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert!(within("the end", self.child.wait()).await.unwrap().success());
        std::fs::read_dir(self.path("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.extension().is_none())
            .map(|path| {
                Decoder::new(BufReader::new(File::open(path).unwrap())).unwrap().map(Result::unwrap).collect()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_on_this_host_is_recorded() {
    let sshd = Sshd::start("{runAs: gateway}").await;
    let (stdout, stderr, status) =
        sshd.ssh("anyone", &["-tt", "tty; stty size >/dev/null && id -un; exit 9"]).await;
    assert_eq!(status, Some(9), "{stderr}");
    assert!(stdout.starts_with("/dev/pts/") && stdout.ends_with(&format!("\r\n{}\r\n", me())), "{stdout}");
    let (stdout, stderr, status) =
        sshd.ssh("anyone", &["echo $HOME | wc -l; echo err >&2; kill -TERM $$"]).await;
    assert_eq!((stdout.as_str(), stderr.as_str(), status), ("1\n", "err\n", Some(255)));
    let mut records = sshd.stop().await;
    // Without the one of whoever only looked whether the port is open.
    records.retain(|record| kinds(record).contains(&"handshake_successful"));
    assert_eq!(records.len(), 2);
    assert!(records.iter().any(|record| recorded(record, IoStream::Stdout).starts_with(b"/dev/pts/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_opens_as_many_files_as_it_may_and_its_programs_no_more_than_before() {
    let sshd = Sshd::start("{runAs: gateway}").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", sshd.child.id().unwrap())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard, ..] = files.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{files}") };
    assert_eq!(soft, hard);
    assert_ne!(soft, SOFT_LIMIT.to_string());
    let (stdout, stderr, _) = sshd.ssh("anyone", &["ulimit -Sn; ulimit -Hn"]).await;
    assert_eq!(stdout, format!("{SOFT_LIMIT}\n{hard}\n"), "{stderr}");
    sshd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_through_sftp_and_scp_both_ways() {
    let sshd = Sshd::start("{runAs: gateway}").await;
    let sent = noise(3_000_000);
    std::fs::write(sshd.path("sent"), &sent).unwrap();
    let there = |name: &str| format!("anyone@127.0.0.1:{}", sshd.path(name).display());
    for (name, protocol) in [("scp", "-s"), ("scp", "-O")] {
        let copied = format!("copied{protocol}");
        let up = sshd.client(name).args([protocol, "sent"]).arg(there(&copied)).output();
        let up = within("scp", up).await.unwrap();
        assert!(up.status.success(), "{up:?}");
        assert!(std::fs::read(sshd.path(&copied)).unwrap() == sent);
        let back = format!("back{protocol}");
        let down = sshd.client(name).arg(protocol).arg(there(&copied)).arg(&back).output();
        assert!(within("scp", down).await.unwrap().status.success());
        assert!(std::fs::read(sshd.path(&back)).unwrap() == sent);
    }
    let mut sftp =
        sshd.client("sftp").args(["-b", "-", "anyone@127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    let batch = format!("cd {}\nmkdir d\nput sent d/there\nls -l d\n", sshd.directory.path().display());
    sftp.stdin.take().unwrap().write_all(batch.as_bytes()).await.unwrap();
    let output = within("sftp", sftp.wait_with_output()).await.unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("3000000"),
        "{output:?}"
    );
    sshd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_root_runs_programs_of_the_hosts_users_only() {
    let sshd = Sshd::start("{}").await;
    let root = rustix::process::geteuid().is_root();
    for (user, reason) in [("root", "permitRoot"), ("no-such-user", "no user no-such-user")] {
        let (stdout, stderr, status) = sshd.ssh(user, &["id -un"]).await;
        if root {
            assert_eq!((stdout.as_str(), status), ("", Some(254)), "{stderr}");
            assert!(stderr.contains(reason), "{stderr}");
        } else {
            assert_eq!(stdout.trim(), me());
        }
    }
    // A user whom every Debian has, with a shell that lets nobody in.
    let (stdout, stderr, status) = sshd.ssh("daemon", &["id -un"]).await;
    if root {
        assert!(stdout.contains("not available") && status == Some(1), "{stdout} {stderr}");
    }
    sshd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_agents_are_forwarded() {
    let sshd = Sshd::start("{runAs: gateway}").await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap().to_string();
    let echoing = tokio::spawn(async move {
        let (mut socket, _) = target.accept().await.unwrap();
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut ssh =
        sshd.client("ssh").args(["-W", &address, "anyone@127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    let (sent, mut stdin) = (noise(1_000_000), ssh.stdin.take().unwrap());
    let copy = sent.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&copy).await });
    let output = within("ssh -W", ssh.wait_with_output()).await.unwrap();
    writing.await.unwrap().unwrap();
    assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());
    echoing.await.unwrap();

    let socket = sshd.path("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let mut listed = sshd.client("ssh");
    listed.args(["-A", "anyone@127.0.0.1", "ssh-add -l"]).env("SSH_AUTH_SOCK", &socket);
    let add = async {
        let add =
            || Command::new("ssh-add").arg("-q").arg(sshd.path("id")).env("SSH_AUTH_SOCK", &socket).output();
        while !add().await.unwrap().status.success() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within("the agent", add).await;
    let output = within("ssh -A", listed.output()).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("ED25519"), "{output:?}");
    agent.kill().await.unwrap();
    sshd.stop().await;
}
