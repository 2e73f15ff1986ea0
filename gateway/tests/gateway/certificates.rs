//! Certificates made by `ssh-keygen`, brought by `ssh`.

use std::path::Path;
use std::process::Output;

use containerssh_auditlog::Payload;
use containerssh_config::Config;
use tokio::process::Command;

use crate::support::{Gateway, kinds, within};

struct Keys(tempfile::TempDir);

impl Keys {
    /// An authority, somebody else's authority, and a user's key.
    async fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for name in ["ca", "other", "user"] {
            keys.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]).await;
        }
        keys
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    async fn keygen(&self, arguments: &[&str]) {
        let output = within(
            "ssh-keygen",
            Command::new("ssh-keygen").args(arguments).current_dir(self.0.path()).output(),
        );
        let output = output.await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Signs the user's key.
    async fn sign(&self, options: &[&str]) {
        let arguments =
            [&["-q", "-s", "ca", "-I", "alice's laptop", "-z", "7"], options, &["user.pub"]].concat();
        self.keygen(&arguments).await;
    }

    fn trust(&self) -> impl FnOnce(&mut Config) + use<> {
        let authority = self.path("ca.pub").to_str().unwrap().to_owned();
        move |config| config.auth.public_key.certificates.authorities = vec![authority]
    }

    async fn ssh(&self, gateway: &Gateway, options: &[&str], command: &str) -> (String, String) {
        let certificate = self.path("user-cert.pub");
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-i"]).arg(self.path("user"));
        if Path::new(&certificate).exists() {
            ssh.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
        }
        ssh.args(["-p", &gateway.address.port().to_string()]).args(options);
        ssh.args(["alice@127.0.0.1", command]).env_remove("SSH_AUTH_SOCK");
        let Output { stdout, stderr, .. } = within("ssh", ssh.output()).await.unwrap();
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_logs_its_principal_in_and_the_pod_learns_whose_it_is() {
    let keys = Keys::new().await;
    keys.sign(&["-n", "alice,ops", "-V", "-1m:+1h"]).await;
    let gateway = Gateway::real(keys.trust()).await;
    assert_eq!(keys.ssh(&gateway, &[], "echo in").await.0, "in\n");
    {
        let info = gateway.backend.connections.lock().unwrap()[0].clone();
        assert_eq!(info.authenticated_username, "alice");
        assert_eq!(info.metadata["SSH_CERTIFICATE_KEY_ID"].value, "alice's laptop");
        assert_eq!(info.metadata["SSH_CERTIFICATE_SERIAL"].value, "7");
        assert_eq!(info.metadata["SSH_CERTIFICATE_PRINCIPALS"].value, "alice,ops");
    }
    let record = gateway.stop().await.remove(0);
    assert!(kinds(&record).contains(&"auth_pubkey_successful"));
    let key = record.iter().find_map(|message| match &message.payload {
        Payload::AuthPubKeySuccessful { key, .. } => Some(key.clone()),
        _ => None,
    });
    assert!(key.unwrap().starts_with("ssh-ed25519-cert-v01@openssh.com "));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_bare_key_nor_the_authority_s_own_gets_in() {
    let keys = Keys::new().await;
    let gateway = Gateway::real(keys.trust()).await;
    let (stdout, stderr) = keys.ssh(&gateway, &[], "echo in").await;
    assert!(stdout.is_empty() && stderr.contains("Permission denied"), "{stderr}");
    std::fs::copy(keys.path("ca"), keys.path("user")).unwrap();
    let (stdout, stderr) = keys.ssh(&gateway, &[], "echo in").await;
    assert!(stdout.is_empty() && stderr.contains("Permission denied"), "{stderr}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_certificate_forbids_and_forces_holds() {
    let keys = Keys::new().await;
    keys.sign(&["-n", "alice", "-O", "clear", "-O", "force-command=echo forced: $SSH_ORIGINAL_COMMAND"])
        .await;
    let gateway = Gateway::real(keys.trust()).await;
    assert_eq!(keys.ssh(&gateway, &[], "id").await.0, "forced: id\n");
    let (_, stderr) = keys.ssh(&gateway, &["-tt"], "id").await;
    assert!(stderr.contains("PTY allocation request failed"), "{stderr}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_s_own_file_may_trust_an_authority_and_a_plain_key_beside_it() {
    let keys = Keys::new().await;
    keys.sign(&["-n", "admins"]).await;
    let read = |name: &str| std::fs::read_to_string(keys.path(name)).unwrap();
    let directory = keys.path("keys");
    std::fs::create_dir(&directory).unwrap();
    let paths = vec![format!("{}/%u", directory.display())];
    let gateway = Gateway::real(|config| config.auth.public_key.authorized_keys.paths = paths).await;
    for (line, granted) in [
        (format!("cert-authority,principals=\"ops,admins\" {}", read("ca.pub")), true),
        (format!("cert-authority,principals=\"ops\" {}", read("ca.pub")), false),
        (format!("cert-authority {}", read("ca.pub")), false),
        (format!("cert-authority,principals=\"admins\" {}", read("other.pub")), false),
        (read("ca.pub"), false),
        (read("user.pub"), true),
    ] {
        std::fs::write(directory.join("alice"), &line).unwrap();
        let (stdout, stderr) = keys.ssh(&gateway, &[], "echo in").await;
        assert_eq!(stdout == "in\n", granted, "{line}: {stderr}");
    }
    gateway.stop().await;
}
