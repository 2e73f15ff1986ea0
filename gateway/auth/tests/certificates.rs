//! Certificates and revocation lists made by `ssh-keygen`: every wrong kind lets nobody in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use common::{attempt, reason};
use containerssh_auth::certificates::{Krl, Revoked};
use containerssh_auth::{Attempt, Authenticator, Identity, Metrics, Verdict, authenticator};
use containerssh_config::{Auth, Certificates as Settings, PublicKeyAuth};
use russh::keys::{Certificate, PublicKey};

struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for name in ["ca", "other", "user"] {
            keys.keygen(&["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", name]);
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn keygen(&self, arguments: &[&str]) {
        let output = Command::new("ssh-keygen").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// What `ssh-keygen` makes of the user's key with these options.
    fn sign(&self, options: &[&str]) -> Certificate {
        self.sign_by("ca", options)
    }

    fn sign_by(&self, authority: &str, options: &[&str]) -> Certificate {
        let arguments = [&["-q", "-s", authority, "-I", "id"], options, &["user.pub"]].concat();
        self.keygen(&arguments);
        Certificate::from_openssh(&std::fs::read_to_string(self.path("user-cert.pub")).unwrap()).unwrap()
    }

    fn config(&self) -> Auth {
        let certificates = Settings { authorities: vec![self.text("ca.pub")], principals_file: None };
        Auth { public_key: PublicKeyAuth { certificates, ..PublicKeyAuth::default() }, ..Auth::default() }
    }

    fn trusting(&self) -> Arc<dyn Authenticator> {
        authenticator(&self.config(), &Metrics::default()).unwrap()
    }
}

fn accepted(verdict: Verdict) -> Option<Identity> {
    match verdict {
        Verdict::Accepted(identity) => Some(*identity),
        _ => None,
    }
}

#[tokio::test]
async fn every_wrong_kind_of_certificate_is_rejected() {
    let keys = Keys::new();
    let trusting = keys.trusting();
    for (options, granted) in [
        (&["-n", "alice"][..], true),
        (&["-n", "bob,alice"], true),
        (&["-n", "alice", "-V", "-1d:+1d"], true),
        (&["-n", "alice", "-V", "always:forever"], true),
        // Nobody, others, and names that only look alike.
        (&[], false),
        (&["-n", "bob"], false),
        (&["-n", "Alice"], false),
        (&["-n", "alice2,al"], false),
        (&["-n", "*"], false),
        // For hosts.
        (&["-h", "-n", "alice"], false),
        // Too late, too early.
        (&["-n", "alice", "-V", "-2d:-1d"], false),
        (&["-n", "alice", "-V", "+1d:+2d"], false),
        // From 192.0.2.7.
        (&["-n", "alice", "-O", "source-address=192.0.2.0/24,10.0.0.1"], true),
        (&["-n", "alice", "-O", "source-address=192.0.2.7"], true),
        (&["-n", "alice", "-O", "source-address=198.51.100.0/24"], false),
        // What is critical and not known, or cannot be honoured.
        (&["-n", "alice", "-O", "critical:future@example.com=x"], false),
        (&["-n", "alice", "-O", "verify-required"], false),
        // What is not known and not critical.
        (&["-n", "alice", "-O", "extension:future@example.com=x"], true),
    ] {
        let certificate = keys.sign(options);
        let verdict = trusting.certificate(&attempt(), &certificate).await;
        assert_eq!(accepted(verdict).is_some(), granted, "{options:?}");
    }
}

#[tokio::test]
async fn only_trusted_authorities_count_and_only_with_their_own_signature() {
    let keys = Keys::new();
    let trusting = keys.trusting();
    let stranger = keys.sign_by("other", &["-n", "alice"]);
    assert_eq!(trusting.certificate(&attempt(), &stranger).await, Verdict::Rejected);
    let good = keys.sign(&["-n", "alice"]);
    assert!(accepted(trusting.certificate(&attempt(), &good).await).is_some());
    // The same certificate with the name changed, byte for byte.
    let mut bytes = keys.sign(&["-n", "alicf"]).to_bytes().unwrap();
    let at = bytes.windows(5).position(|window| window == b"alicf").unwrap();
    bytes[at + 4] = b'e';
    let forged = Certificate::from_bytes(&bytes).unwrap();
    assert_eq!(trusting.certificate(&attempt(), &forged).await, Verdict::Rejected);
    // A user whose key is signed is no authority.
    keys.keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "second"]);
    keys.keygen(&["-q", "-s", "user", "-I", "id", "-n", "alice", "second.pub"]);
    let second = std::fs::read_to_string(keys.path("second-cert.pub")).unwrap();
    let second = Certificate::from_openssh(&second).unwrap();
    assert_eq!(trusting.certificate(&attempt(), &second).await, Verdict::Rejected);
}

#[tokio::test]
async fn signatures_of_rsa_authorities_need_sha_2() {
    let keys = Keys::new();
    keys.keygen(&["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"]);
    let mut config = keys.config();
    config.public_key.certificates.authorities = vec![std::fs::read_to_string(keys.path("rsa.pub")).unwrap()];
    let trusting = authenticator(&config, &Metrics::default()).unwrap();
    for (algorithm, granted) in [("rsa-sha2-512", true), ("rsa-sha2-256", true), ("ssh-rsa", false)] {
        let certificate = keys.sign_by("rsa", &["-n", "alice", "-t", algorithm]);
        let verdict = trusting.certificate(&attempt(), &certificate).await;
        assert_eq!(accepted(verdict).is_some(), granted, "{algorithm}");
    }
}

#[tokio::test]
async fn options_and_extensions_become_restrictions() {
    let keys = Keys::new();
    let trusting = keys.trusting();
    let open = accepted(trusting.certificate(&attempt(), &keys.sign(&["-n", "alice"])).await).unwrap();
    assert_eq!(open.restrictions, containerssh_auth::Restrictions::default());
    let options = ["-n", "alice", "-O", "clear", "-O", "permit-pty", "-O", "force-command=/bin/menu"];
    let narrow = accepted(trusting.certificate(&attempt(), &keys.sign(&options)).await).unwrap().restrictions;
    assert_eq!(narrow.force_command.as_deref(), Some("/bin/menu"));
    assert!(
        !narrow.no_pty && narrow.no_port_forwarding && narrow.no_agent_forwarding && narrow.no_x11_forwarding
    );
}

#[tokio::test]
async fn principals_may_stand_in_files() {
    let keys = Keys::new();
    let mut config = keys.config();
    config.public_key.certificates.principals_file = Some(keys.text("principals-%u"));
    let trusting = authenticator(&config, &Metrics::default()).unwrap();
    let certificate = keys.sign(&["-n", "ops,dev"]);
    let ask = async |username: &str| {
        let attempt = Attempt { username: username.to_owned(), ..attempt() };
        trusting.certificate(&attempt, &certificate).await
    };
    assert_eq!(ask("alice").await, Verdict::Rejected, "without a file");
    std::fs::write(keys.path("principals-alice"), "# who\nweb\n dev \n").unwrap();
    assert!(accepted(ask("alice").await).is_some());
    std::fs::write(keys.path("principals-alice"), "command=\"x\" dev\nopsdev\n").unwrap();
    assert_eq!(ask("alice").await, Verdict::Rejected, "a line with options");
    // Only the file counts then, not the name.
    assert_eq!(ask("dev").await, Verdict::Rejected);
    assert_eq!(ask("../alice").await, Verdict::Rejected);
    std::fs::create_dir(keys.path("principals-odd")).unwrap();
    assert!(reason(ask("odd").await).contains("not a regular file"));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_let_nobody_in() {
    let keys = Keys::new();
    let certificate = keys.sign(&["-n", "alice"]);
    let ca = std::fs::read_to_string(keys.path("ca.pub")).unwrap();
    for (text, words) in [
        (format!("{ca}garbage\n"), ":2: it is not a public key"),
        (std::fs::read_to_string(keys.path("user-cert.pub")).unwrap(), "not a public key"),
    ] {
        std::fs::write(keys.path("ca.pub"), text).unwrap();
        let said = reason(keys.trusting().certificate(&attempt(), &certificate).await);
        assert!(said.contains(words) || said.contains("is a certificate"), "{said}");
    }
    std::fs::remove_file(keys.path("ca.pub")).unwrap();
    assert!(reason(keys.trusting().certificate(&attempt(), &certificate).await).contains("is not there"));
}

async fn with_revoked(keys: &Keys, file: &str) -> (Verdict, Verdict) {
    let mut config = keys.config();
    config.public_key.revoked_keys = vec![keys.text(file)];
    config.public_key.authorized_keys.paths = vec![keys.text("authorized")];
    let trusting = authenticator(&config, &Metrics::default()).unwrap();
    std::fs::copy(keys.path("user.pub"), keys.path("authorized")).unwrap();
    let certificate = std::fs::read_to_string(keys.path("user-cert.pub")).unwrap();
    let certificate = Certificate::from_openssh(&certificate).unwrap();
    let key = std::fs::read_to_string(keys.path("user.pub")).unwrap();
    let plain = trusting.public_key(&attempt(), key.trim()).await;
    (trusting.certificate(&attempt(), &certificate).await, plain)
}

#[tokio::test]
async fn what_ssh_keygen_revokes_lets_nobody_in() {
    let keys = Keys::new();
    keys.sign(&["-n", "alice", "-z", "1000"]);
    let fingerprint =
        PublicKey::from_openssh(&std::fs::read_to_string(keys.path("user.pub")).unwrap()).unwrap();
    let hash = format!("hash: {}\n", fingerprint.fingerprint(russh::keys::HashAlg::Sha256));
    for (specification, certificate, plain) in [
        ("serial: 1000\n", true, false),
        ("serial: 999\n", false, false),
        ("serial: 990-1010\n", true, false),
        ("serial: 1001-1010\n", false, false),
        // Many in a row with gaps become a bitmap.
        ("serial: 990\nserial: 992\nserial: 995\nserial: 1000\nserial: 1003\nserial: 1007\n", true, false),
        ("serial: 990\nserial: 992\nserial: 995\nserial: 1001\nserial: 1003\nserial: 1007\n", false, false),
        ("id: id\n", true, false),
        ("id: other\n", false, false),
        ("sha1: KEY", true, true),
        ("sha256: KEY", true, true),
        ("key: KEY", true, true),
        (hash.as_str(), true, true),
        ("", false, false),
    ] {
        let key = std::fs::read_to_string(keys.path("user.pub")).unwrap();
        std::fs::write(keys.path("specification"), specification.replace("KEY", &key)).unwrap();
        keys.keygen(&["-q", "-k", "-f", "krl", "-s", "ca.pub", "specification"]);
        let (by_certificate, by_key) = with_revoked(&keys, "krl").await;
        assert_eq!(accepted(by_certificate).is_none(), certificate, "certificate, {specification}");
        assert_eq!(accepted(by_key).is_none(), plain, "key, {specification}");
        // The judgement of ssh-keygen itself.
        let query = Command::new("ssh-keygen")
            .args(["-Q", "-f", "krl", "user-cert.pub"])
            .current_dir(keys.0.path())
            .output();
        assert_eq!(!query.unwrap().status.success(), certificate, "ssh-keygen on {specification}");
    }
    // Serials of another authority are nobody's here.
    std::fs::write(keys.path("specification"), "serial: 1000\nid: id\n").unwrap();
    keys.keygen(&["-q", "-k", "-f", "krl", "-s", "other.pub", "specification"]);
    assert!(accepted(with_revoked(&keys, "krl").await.0).is_some());
    // An authority that is revoked takes all its certificates with it.
    keys.keygen(&["-q", "-k", "-f", "krl", "ca.pub"]);
    assert_eq!(with_revoked(&keys, "krl").await.0, Verdict::Rejected);
}

#[tokio::test]
async fn a_list_of_keys_revokes_and_a_list_that_cannot_be_read_lets_nobody_in() {
    let keys = Keys::new();
    keys.sign(&["-n", "alice"]);
    std::fs::copy(keys.path("other.pub"), keys.path("list")).unwrap();
    let (certificate, plain) = with_revoked(&keys, "list").await;
    assert!(accepted(certificate).is_some() && accepted(plain).is_some());
    std::fs::copy(keys.path("user.pub"), keys.path("list")).unwrap();
    assert_eq!(with_revoked(&keys, "list").await, (Verdict::Rejected, Verdict::Rejected));
    keys.keygen(&["-q", "-k", "-f", "krl", "other.pub"]);
    let krl = std::fs::read(keys.path("krl")).unwrap();
    for broken in [
        &b"ssh-ed25519 garbage"[..],
        b"\xff\xfe",
        &krl[..krl.len() - 1],
        &[&krl[..], &[9, 0, 0, 0, 0]].concat(),
    ] {
        std::fs::write(keys.path("list"), broken).unwrap();
        let (certificate, plain) = with_revoked(&keys, "list").await;
        assert!(
            reason(certificate).starts_with("revoked keys: ") && reason(plain).starts_with("revoked keys: ")
        );
    }
    let (certificate, plain) = with_revoked(&keys, "missing").await;
    assert!(reason(certificate).contains("is not there") && reason(plain).contains("is not there"));
    assert!(Krl::parse(&krl).is_ok());
    let nothing = Revoked::new(&[]);
    let key = PublicKey::from_openssh(&std::fs::read_to_string(keys.path("user.pub")).unwrap()).unwrap();
    assert_eq!(nothing.key(key.key_data()).await, Ok(false));
}
