//! What people do with clients other than `ssh`: each moves bytes both ways, and they are compared.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use containerssh_auditlog::Payload;
use containerssh_e2e::bytes::{random_bytes, sha256, unique};
use containerssh_e2e::fixture::{self, Shared};
use containerssh_e2e::python;
use containerssh_e2e::ssh::{Finished, finish};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// Not a multiple of any block size.
const SIZE: usize = 7_000_003;

async fn gateway() -> Result<Shared> {
    fixture::shared("clients", json!({})).await
}

/// A client's machine: a directory of its own with a file to send.
struct Desk {
    directory: TempDir,
    content: Vec<u8>,
}

impl Desk {
    fn new() -> Result<Self> {
        let (directory, content) = (tempfile::tempdir()?, random_bytes(SIZE));
        std::fs::write(directory.path().join("there"), &content)?;
        Ok(Self { directory, content })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What came back is what was sent.
    fn came_back(&self) -> Result<()> {
        let back = std::fs::read(self.path("back")).context("nothing came back")?;
        ensure!(back == self.content, "{} bytes of {} came back", back.len(), self.content.len());
        Ok(())
    }

    /// A program that starts in the directory, with nothing on its standard input.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        // What the machine's user has configured is not what is tested.
        command.env("HOME", self.directory.path()).env_remove("SSH_AUTH_SOCK").kill_on_drop(true);
        command
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        finish(self.command(program).args(arguments)).await?.expect_code(0).context(program.to_owned())
    }
}

/// The `ssh` command line that rsync, sshfs, git and lftp are given.
fn remote_shell(shared: &Shared) -> Result<String> {
    let identity = identity(shared)?;
    Ok(format!(
        "ssh -F none -p {} -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        shared.login.port,
        identity.display()
    ))
}

fn identity(shared: &Shared) -> Result<&Path> {
    shared.login.identity.as_deref().context("the login has a key")
}

fn destination(shared: &Shared) -> String {
    format!("{}@{}", shared.login.user, shared.login.host)
}

/// What `sha256sum` says of a file.
fn digest(finished: &Finished) -> String {
    finished.out().split_whitespace().next().unwrap_or_default().to_owned()
}

/// One pod serves several programs of a test: a connection that stays open.
struct Master<'a> {
    shared: &'a Shared,
    desk: &'a Desk,
    child: tokio::process::Child,
}

impl<'a> Master<'a> {
    async fn open(shared: &'a Shared, desk: &'a Desk) -> Result<Self> {
        let control = format!("ControlPath={}", desk.path("mux").display());
        let login = shared.login.clone().option(&control).option("ControlMaster=yes");
        let mut child = login.spawn("echo up; cat")?;
        let mut stdout = child.stdout.take().context("piped")?;
        let mut up = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut up)
            .await
            .context("the master did not come up")?;
        Ok(Self { shared, desk, child })
    }

    /// The command line of an `ssh` that joins it.
    fn remote_shell(&self) -> Result<String> {
        Ok(format!("{} -o ControlPath={}", remote_shell(self.shared)?, self.desk.path("mux").display()))
    }

    async fn run(&self, remote: &str) -> Result<Finished> {
        let control = format!("ControlPath={}", self.desk.path("mux").display());
        self.shared.login.clone().option(&control).run(remote).await
    }

    async fn close(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().await?;
        Ok(())
    }
}

#[tokio::test]
async fn scp_over_sftp_and_of_the_old_kind() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let master = Master::open(&shared, &desk).await?;
    let control = format!("ControlPath={}", desk.path("mux").display());
    for old in [&[][..], &["-O"][..]] {
        let port = shared.login.port.to_string();
        let common = [&["-q", "-p", "-P", &port, "-o", &control][..], old].concat();
        let remote = format!("{}:/tmp/moved", destination(&shared));
        desk.run("scp", &[&common[..], &["there", &remote]].concat()).await?;
        desk.run("scp", &[&common[..], &[&remote, "back"]].concat()).await?;
        desk.came_back()?;
        std::fs::remove_file(desk.path("back"))?;
    }
    let stored = master.run("sha256sum /tmp/moved").await?.expect_code(0)?;
    ensure!(digest(&stored) == sha256(&desk.content), "stored: {}", stored.out());
    master.close().await
}

#[tokio::test]
async fn ssh_keyscan_reads_the_host_keys() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let port = shared.login.port.to_string();
    let scanned = desk.run("ssh-keyscan", &["-p", &port, &shared.login.host]).await?;
    ensure!(scanned.out().contains("ssh-ed25519 AAAA"), "{scanned:?}");
    Ok(())
}

/// What ssh-audit is told and kept all the same: key exchanges without ML-KEM are second, for clients that know no better (OpenSSH before
/// 9.9, PuTTY, paramiko); an ECDSA host key is there for clients that know no Ed25519 (FIPS), beside one that all others take.
const KEPT: [&str; 4] = [
    "warn kex curve25519-sha256",
    "warn kex curve25519-sha256@libssh.org",
    "fail key ecdsa-sha2-nistp256",
    "warn key ecdsa-sha2-nistp256",
];

#[tokio::test]
async fn ssh_audit_complains_of_nothing_but_what_is_kept_for_old_clients() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let audit = python::program("ssh-audit").await?;
    let target = format!("{}:{}", shared.login.host, shared.login.port);
    // Its rate test would be a flood of connections; everything else is about algorithms.
    let mut command = desk.command(audit);
    let finished = finish(command.args(["--json", "--skip-rate-test", &target])).await?;
    let report: serde_json::Value = serde_json::from_slice(&finished.stdout)
        .with_context(|| format!("no report: {} {}", finished.out(), finished.err()))?;
    let mut complaints = Vec::new();
    for kind in ["kex", "key", "enc", "mac"] {
        let algorithms = report[kind].as_array().with_context(|| format!("no {kind} in {report}"))?;
        ensure!(!algorithms.is_empty(), "no {kind} is offered");
        for algorithm in algorithms {
            for severity in ["fail", "warn"] {
                for note in algorithm["notes"][severity].as_array().into_iter().flatten() {
                    let algorithm = algorithm["algorithm"].as_str().unwrap_or_default();
                    let complaint = format!("{severity} {kind} {algorithm}");
                    ensure!(KEPT.contains(&complaint.as_str()), "{complaint}: {note}");
                    complaints.push(complaint);
                }
            }
        }
    }
    // What is no longer complained of need not be excused.
    ensure!(KEPT.iter().all(|kept| complaints.iter().any(|complaint| complaint == kept)), "{complaints:?}");
    let first = report["kex"][0]["algorithm"].as_str();
    ensure!(first == Some("mlkem768x25519-sha256"), "first comes {first:?}");
    let cves = report["cves"].as_array().map_or(0, Vec::len);
    ensure!(cves == 0, "{}", report["cves"]);
    Ok(())
}

#[tokio::test]
async fn dropbear_runs_commands() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let key = desk.path("key");
    let openssh = identity(&shared)?;
    finish(desk.command("dropbearconvert").args(["openssh", "dropbear"]).arg(openssh).arg(&key))
        .await?
        .expect_code(0)?;
    let port = shared.login.port.to_string();
    let mut command = desk.command("dbclient");
    command.args(["-y", "-y", "-i"]).arg(&key).args(["-p", &port, &destination(&shared)]);
    command.arg("cat; echo err >&2; exit 3").stdin(Stdio::from(std::fs::File::open(desk.path("there"))?));
    let finished = finish(&mut command).await?.expect_code(3)?;
    ensure!(finished.stdout == desk.content, "{} bytes came back", finished.stdout.len());
    ensure!(finished.err().contains("err\n"), "{}", finished.err());
    Ok(())
}

/// PuTTY's own form of the key, and the fingerprint of the host's.
async fn putty(shared: &Shared, desk: &Desk) -> Result<(PathBuf, String)> {
    let key = desk.path("key.ppk");
    let mut convert = desk.command("puttygen");
    finish(convert.arg(identity(shared)?).args(["-O", "private", "-o"]).arg(&key)).await?.expect_code(0)?;
    let port = shared.login.port.to_string();
    let scanned = desk.run("ssh-keyscan", &["-t", "ed25519", "-p", &port, &shared.login.host]).await?;
    std::fs::write(desk.path("host.pub"), scanned.out())?;
    let shown = desk.run("ssh-keygen", &["-lf", "host.pub"]).await?;
    let fingerprint = shown.out().split_whitespace().nth(1).context("a fingerprint")?.to_owned();
    Ok((key, fingerprint))
}

#[tokio::test]
async fn plink_runs_commands() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let (key, host_key) = putty(&shared, &desk).await?;
    let port = shared.login.port.to_string();
    let mut command = desk.command("plink");
    command.args(["-batch", "-ssh", "-P", &port, "-hostkey", &host_key, "-i"]).arg(&key);
    command.args([&destination(&shared), "cat; exit 3"]);
    command.stdin(Stdio::from(std::fs::File::open(desk.path("there"))?));
    let finished = finish(&mut command).await?.expect_code(3)?;
    ensure!(finished.stdout == desk.content, "{} bytes came back: {}", finished.stdout.len(), finished.err());
    Ok(())
}

#[tokio::test]
async fn psftp_moves_a_file_there_and_back() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let (key, host_key) = putty(&shared, &desk).await?;
    std::fs::write(desk.path("batch"), "put there /tmp/moved\nget /tmp/moved back\n")?;
    let port = shared.login.port.to_string();
    let mut command = desk.command("psftp");
    command.args(["-batch", "-P", &port, "-hostkey", &host_key, "-b", "batch", "-i"]).arg(&key);
    finish(command.arg(destination(&shared))).await?.expect_code(0)?;
    desk.came_back()
}

#[tokio::test]
async fn rsync_moves_a_tree_and_then_only_what_changed() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let tree = desk.path("tree");
    std::fs::create_dir_all(tree.join("deep/er"))?;
    std::fs::write(tree.join("large"), &desk.content)?;
    for number in 0..300 {
        std::fs::write(tree.join(format!("deep/er/{number}")), format!("file {number}"))?;
    }
    let master = Master::open(&shared, &desk).await?;
    let shell = master.remote_shell()?;
    let remote = format!("{}:/tmp/tree/", destination(&shared));
    desk.run("rsync", &["-a", "-e", &shell, "tree/", &remote]).await?;
    std::fs::write(tree.join("deep/er/7"), "changed")?;
    let again = desk.run("rsync", &["-ai", "-e", &shell, "tree/", &remote]).await?;
    let sent: Vec<_> =
        again.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"<f")).collect();
    ensure!(sent.len() == 1 && sent[0].ends_with(b"deep/er/7"), "{}", again.out());
    desk.run("rsync", &["-a", "-e", &shell, &remote, "back/"]).await?;
    desk.run("diff", &["-r", "tree", "back"]).await?;
    master.close().await
}

#[tokio::test]
async fn sshfs_shows_the_pods_files_as_local_ones() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let mount = desk.path("mount");
    std::fs::create_dir(&mount)?;
    let shell = format!("ssh_command={}", remote_shell(&shared)?);
    let remote = format!("{}:/tmp", destination(&shared));
    let mounted = mount.display().to_string();
    desk.run("sshfs", &[&remote, &mounted, "-o", &shell]).await?;
    let moved = async {
        desk.run("cp", &["there", "mount/moved"]).await?;
        desk.run("mv", &["mount/moved", "mount/moved again"]).await?;
        desk.run("cp", &["mount/moved again", "back"]).await?;
        desk.came_back()
    };
    let moved = moved.await;
    desk.run("fusermount3", &["-u", &mounted]).await?;
    moved
}

#[tokio::test]
async fn lftp_moves_a_file_there_and_back() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let script = format!(
        "set sftp:auto-confirm yes; set net:max-retries 1; set sftp:connect-program \"{} -a -x\"; \
         open sftp://{}:@{}:{}; cd /tmp; put there -o moved; get moved -o back; bye",
        remote_shell(&shared)?,
        shared.login.user,
        shared.login.host,
        shared.login.port
    );
    desk.run("lftp", &["-c", &script]).await?;
    desk.came_back()
}

#[tokio::test]
async fn git_pushes_and_clones() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let master = Master::open(&shared, &desk).await?;
    master.run("git init --quiet --bare /tmp/repository").await?.expect_code(0)?;
    let shell = master.remote_shell()?;
    let url = format!("ssh://{}:{}/tmp/repository", destination(&shared), shared.login.port);
    let identity = ["-c", "user.name=e2e", "-c", "user.email=e2e@example.com"];
    let git = async |arguments: &[&str]| {
        finish(desk.command("git").env("GIT_SSH_COMMAND", &shell).args(identity).args(arguments))
            .await?
            .expect_code(0)
    };
    git(&["init", "--quiet", "work"]).await?;
    std::fs::write(desk.path("work/large"), &desk.content)?;
    git(&["-C", "work", "add", "large"]).await?;
    git(&["-C", "work", "commit", "--quiet", "-m", "one large file"]).await?;
    git(&["-C", "work", "push", "--quiet", &url, "HEAD:refs/heads/main"]).await?;
    git(&["clone", "--quiet", "--branch", "main", &url, "cloned"]).await?;
    std::fs::rename(desk.path("cloned/large"), desk.path("back"))?;
    desk.came_back()?;
    master.close().await
}

const PARAMIKO: &str = r"
import hashlib, sys, paramiko
host, port, user, key, marker = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
stdin, stdout, stderr = client.exec_command('echo %s; cat; echo err >&2; exit 3' % marker)
stdin.write(b'typed'); stdin.flush(); stdin.channel.shutdown_write()
assert stdout.read() == marker.encode() + b'\ntyped', 'stdout'
assert stderr.read() == b'err\n', 'stderr'
assert stdout.channel.recv_exit_status() == 3, 'status'
sftp = client.open_sftp()
sftp.put('there', '/tmp/moved')
sftp.get('/tmp/moved', 'back')
assert sftp.stat('/tmp/moved').st_size == len(open('there', 'rb').read()), 'size'
shell = client.invoke_shell('xterm', 101, 37)
shell.sendall(b'stty size; exit 7\n')
seen = b''
while True:
    more = shell.recv(4096)
    if not more: break
    seen += more
assert b'37 101' in seen, seen
assert shell.recv_exit_status() == 7, 'status of the shell'
client.close()
";

#[tokio::test]
async fn paramiko_runs_commands_and_shells_and_moves_files() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    let marker = unique();
    let mut command = desk.command(python::program("python3").await?);
    command.args(["-c", PARAMIKO, &shared.login.host, &shared.login.port.to_string(), &shared.login.user]);
    finish(command.arg(identity(&shared)?).arg(&marker)).await?.expect_code(0)?;
    desk.came_back()?;
    let record = shared.record_of(&marker).await?;
    let asked = record
        .messages
        .iter()
        .any(|message| matches!(&message.payload, Payload::ChannelRequestPty { columns: 101, rows: 37, .. }));
    ensure!(asked, "no terminal in the record");
    Ok(())
}

const PLAYBOOK: &str = "
- hosts: all
  gather_facts: true
  tasks:
    - copy: {src: there, dest: /tmp/moved, mode: '0640'}
    - command: sha256sum /tmp/moved
      register: digest
    - fetch: {src: /tmp/moved, dest: back, flat: true}
    - assert: {that: digest.stdout.startswith(expected)}
    - command: 'false'
      register: failing
      failed_when: failing.rc != 1
";

#[tokio::test]
async fn ansible_plays_a_book() -> Result<()> {
    let (shared, desk) = (gateway().await?, Desk::new()?);
    std::fs::write(desk.path("book.yaml"), PLAYBOOK)?;
    let inventory = format!(
        "pod ansible_host={} ansible_port={} ansible_user={} ansible_ssh_private_key_file={} \
         ansible_python_interpreter=/usr/bin/python3 \
         ansible_ssh_common_args='-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes'\n",
        shared.login.host,
        shared.login.port,
        shared.login.user,
        identity(&shared)?.display()
    );
    std::fs::write(desk.path("inventory"), inventory)?;
    let mut command = desk.command(python::program("ansible-playbook").await?);
    let expected = format!("expected={}", sha256(&desk.content));
    command.args(["-i", "inventory", "-e", &expected, "book.yaml"]).env("LC_ALL", "C.UTF-8");
    let finished = finish(&mut command).await?.expect_code(0)?;
    ensure!(finished.out().contains("failed=0"), "{}", finished.out());
    desk.came_back()
}
