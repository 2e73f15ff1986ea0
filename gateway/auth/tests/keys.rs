//! Files of authorized keys, read from a real directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::path::Path;

use common::{Server, attempt, reason, settings};
use containerssh_auth::keys::{AuthorizedKeys, MAX_FILE};
use containerssh_auth::{Attempt, Authenticator, Metrics, Verdict, authenticator};
use containerssh_config::{Auth, AuthMethod, AuthorizedKeys as Files, PublicKeyAuth};

const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn keys(&self) -> AuthorizedKeys {
        AuthorizedKeys::new(vec![format!("{}/%u", self.path().display())])
            .with_clock(|| "2026-06-01T12:00:00Z".parse().unwrap())
    }
}

fn accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accepted(_))
}

#[tokio::test]
async fn a_listed_key_logs_in_under_the_typed_name() {
    let directory = Directory::new();
    directory.write("alice", format!("# team\n\n{BOB} bob\n{ALICE} alice@laptop\n"));
    match directory.keys().public_key(&attempt(), ALICE).await {
        Verdict::Accepted(identity) => assert_eq!(identity.authenticated_username, "alice"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_of_others_unlisted_keys_and_missing_files_are_rejected() {
    let directory = Directory::new();
    directory.write("bob", format!("{ALICE}\n"));
    assert_eq!(directory.keys().public_key(&attempt(), ALICE).await, Verdict::Rejected);
    directory.write("alice", format!("{BOB}\n"));
    assert_eq!(directory.keys().public_key(&attempt(), ALICE).await, Verdict::Rejected);
    directory.write("alice", "");
    assert_eq!(directory.keys().public_key(&attempt(), ALICE).await, Verdict::Rejected);
}

#[tokio::test]
async fn a_rotated_file_counts_at_once() {
    let directory = Directory::new();
    let keys = directory.keys();
    directory.write("alice", ALICE);
    assert!(accepted(&keys.public_key(&attempt(), ALICE).await));
    directory.write("alice", BOB);
    assert_eq!(keys.public_key(&attempt(), ALICE).await, Verdict::Rejected);
    assert!(accepted(&keys.public_key(&attempt(), BOB).await));
}

#[tokio::test]
async fn a_mounted_secret_s_links_are_followed_but_its_bookkeeping_is_no_user() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path().join("..2026")).unwrap();
    directory.write("..2026/alice", ALICE);
    std::os::unix::fs::symlink("..2026", directory.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/alice", directory.path().join("alice")).unwrap();
    assert!(accepted(&directory.keys().public_key(&attempt(), ALICE).await));
    for username in ["..data/alice", "..data", "../x", ".", "", "alice\0", "./alice"] {
        let stranger = Attempt { username: username.into(), ..attempt() };
        assert_eq!(directory.keys().public_key(&stranger, ALICE).await, Verdict::Rejected, "{username:?}");
    }
}

#[tokio::test]
async fn options_only_take_away() {
    let directory = Directory::new();
    for (line, grants) in [
        (format!("restrict,pty {ALICE}"), true),
        (format!("from=\"192.0.2.0/24\" {ALICE}"), true),
        (format!("from=\"198.51.100.0/24\" {ALICE}"), false),
        (format!("expiry-time=\"20260601115959Z\" {ALICE}"), false),
        (format!("tunnel=\"0\" {ALICE}"), false),
        (format!("environment=\"A=b\" {ALICE}"), false),
        (format!("verify-required {ALICE}"), false),
        // An authority signs; it does not log in itself.
        (format!("cert-authority {ALICE}"), false),
        (format!("unheard-of {ALICE}"), false),
        // A line that grants nothing does not stand in the way of one that does.
        (format!("tunnel=\"x\" {ALICE}\n{ALICE}"), true),
        (format!("garbage in between\n\u{1b}[31m\nssh-ed25519 AAAA\n{ALICE}"), true),
    ] {
        directory.write("alice", &line);
        assert_eq!(accepted(&directory.keys().public_key(&attempt(), ALICE).await), grants, "{line}");
    }
}

#[tokio::test]
async fn a_line_s_command_and_switches_go_with_the_user() {
    let directory = Directory::new();
    directory
        .write("alice", format!("command=\"/usr/bin/backup --all\",no-pty,no-port-forwarding {ALICE}\n"));
    let Verdict::Accepted(identity) = directory.keys().public_key(&attempt(), ALICE).await else {
        panic!("rejected")
    };
    let restrictions = identity.restrictions;
    assert_eq!(restrictions.force_command.as_deref(), Some("/usr/bin/backup --all"));
    assert!(restrictions.no_pty && restrictions.no_port_forwarding && !restrictions.no_agent_forwarding);
}

#[tokio::test]
async fn a_comment_in_any_encoding_does_not_matter() {
    let directory = Directory::new();
    directory.write("alice", [ALICE.as_bytes(), b" Zo\xeb\n"].concat());
    assert!(accepted(&directory.keys().public_key(&attempt(), ALICE).await));
}

#[tokio::test]
async fn what_cannot_be_read_is_no_answer() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path().join("alice")).unwrap();
    let reason_of = async || reason(directory.keys().public_key(&attempt(), ALICE).await);
    assert!(reason_of().await.ends_with("alice is not a regular file"));
    std::fs::remove_dir(directory.path().join("alice")).unwrap();

    directory.write("alice", vec![b'#'; MAX_FILE as usize + 1]);
    assert!(reason_of().await.ends_with("alice is larger than 1048576 bytes"));

    std::fs::remove_file(directory.path().join("alice")).unwrap();
    std::os::unix::fs::symlink("alice", directory.path().join("alice")).unwrap();
    assert!(reason_of().await.contains("cannot read"));
}

#[tokio::test]
async fn rubbish_instead_of_a_key_is_no_answer() {
    let directory = Directory::new();
    directory.write("alice", ALICE);
    for key in ["", "ssh-ed25519", "ssh-ed25519 !!!", "\0\0"] {
        assert_eq!(
            reason(directory.keys().public_key(&attempt(), key).await),
            "the offered public key cannot be read"
        );
    }
}

async fn with_webhook(
    directory: &Directory,
    answer: &'static str,
) -> (Server, std::sync::Arc<dyn Authenticator>) {
    let server = Server::with(200, answer).await;
    let paths =
        vec![format!("{}/%u", directory.path().display()), format!("{}/more/%u", directory.path().display())];
    let config = Auth {
        public_key: PublicKeyAuth {
            method: AuthMethod::Webhook,
            webhook: settings(&server.url()),
            authorized_keys: Files { paths },
            ..PublicKeyAuth::default()
        },
        ..Auth::default()
    };
    let authenticator = authenticator(&config, &Metrics::default()).unwrap();
    (server, authenticator)
}

#[tokio::test]
async fn files_are_asked_first_and_the_webhook_about_the_rest() {
    let directory = Directory::new();
    directory.write("alice", ALICE);
    std::fs::create_dir(directory.path().join("more")).unwrap();
    let (server, authenticator) = with_webhook(&directory, r#"{"success":true}"#).await;
    match authenticator.public_key(&attempt(), ALICE).await {
        Verdict::Accepted(identity) => assert_eq!(identity.authenticated_username, "alice"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.seen().len(), 0);
    match authenticator.public_key(&attempt(), BOB).await {
        Verdict::Accepted(identity) => assert_eq!(identity.authenticated_username, ""),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.seen().len(), 1);
    // The second path lists it too.
    directory.write("more/alice", BOB);
    assert!(accepted(&authenticator.public_key(&attempt(), BOB).await));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_unreadable_file_is_named_when_nobody_else_accepts() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path().join("alice")).unwrap();
    let (_server, rejecting) = with_webhook(&directory, r#"{"success":false}"#).await;
    assert!(reason(rejecting.public_key(&attempt(), ALICE).await).contains("not a regular file"));
    let (_server, accepting) = with_webhook(&directory, r#"{"success":true}"#).await;
    assert!(accepted(&accepting.public_key(&attempt(), ALICE).await));
}
