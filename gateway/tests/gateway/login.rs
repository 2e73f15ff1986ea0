//! Logging in, and what is recorded of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use containerssh_auditlog::Payload;
use russh::MethodKind;
use russh::client::AuthResult;
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{Client, Gateway, kinds, within};

fn key() -> (PrivateKey, String) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let public = key.public_key().to_openssh().unwrap();
    (key, public)
}

async fn offer(client: &mut Client, key: &PrivateKey) -> AuthResult {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    within("an answer to a key", client.session.authenticate_publickey("alice", key)).await.unwrap()
}

#[tokio::test]
async fn a_wrong_password_may_be_tried_again_and_the_record_says_so_without_passwords() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let AuthResult::Failure { remaining_methods, .. } = client.password("alice", "wrong").await else {
        panic!("let in")
    };
    assert_eq!(&remaining_methods[..], [MethodKind::PublicKey, MethodKind::Password]);
    assert!(client.password("alice", "secret").await.success());
    drop(client);
    let record = gateway.stop().await.remove(0);
    let expected = [
        "connect",
        "auth_password",
        "auth_password_failed",
        "auth_password",
        "auth_password_successful",
        "handshake_successful",
        "disconnect",
    ];
    assert_eq!(kinds(&record), expected);
    assert!(record.iter().all(|message| match &message.payload {
        Payload::AuthPassword { password, .. } => password.is_none(),
        _ => true,
    }));
    assert!(
        matches!(&record[0].payload, Payload::Connect { remote_addr, country } if remote_addr == "127.0.0.1" && country == "XX")
    );
}

#[tokio::test]
async fn passwords_are_recorded_only_when_asked_for() {
    let gateway = Gateway::start(|config| config.audit.intercept.passwords = true).await;
    let client = Client::login(&gateway).await;
    drop(client);
    let record = gateway.stop().await.remove(0);
    let kept = record.iter().find_map(|message| match &message.payload {
        Payload::AuthPasswordSuccessful { password, .. } => password.clone(),
        _ => None,
    });
    assert_eq!(kept.as_deref(), Some(&b"secret"[..]));
}

#[tokio::test]
async fn the_webhook_learns_who_asks() {
    let gateway = Gateway::start(|_| {}).await;
    drop(Client::login(&gateway).await);
    let attempt = gateway.auth.attempts.lock().unwrap()[0].clone();
    assert!(attempt.client_version.starts_with("SSH-2.0-russh"), "{attempt:?}");
    assert_eq!(attempt.username, "alice");
    assert!(
        attempt.connection_id.len() == 32 && attempt.connection_id.bytes().all(|b| b.is_ascii_hexdigit())
    );
    let info = gateway.backend.connections.lock().unwrap()[0].clone();
    assert_eq!(info.authenticated_username, "alice@example");
    assert_eq!(info.connection_id, attempt.connection_id);
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_counts_once_its_possession_is_proven_and_costs_one_question() {
    let gateway = Gateway::start(|_| {}).await;
    let (good, public) = key();
    let (stranger, unknown) = key();
    gateway.auth.keys.lock().unwrap().push(public.clone());
    let mut client = Client::connect(&gateway).await;
    assert!(!offer(&mut client, &stranger).await.success());
    assert!(offer(&mut client, &good).await.success());
    drop(client);
    assert_eq!(gateway.auth.key_questions.load(Ordering::SeqCst), 2);
    let record = gateway.stop().await.remove(0);
    assert_eq!(
        kinds(&record)[1..],
        [
            "auth_pubkey",
            "auth_pubkey_failed",
            "auth_pubkey",
            "auth_pubkey_successful",
            "handshake_successful",
            "disconnect"
        ]
    );
    let named: Vec<_> = record
        .iter()
        .filter_map(|message| match &message.payload {
            Payload::AuthPubKeyFailed { key, .. } | Payload::AuthPubKeySuccessful { key, .. } => {
                Some(key.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(named, [unknown, public]);
}

#[tokio::test]
async fn nobody_gets_in_when_nobody_can_say_who_they_are() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    assert!(!client.password("undecided", "secret").await.success());
    drop(client);
    let record = gateway.stop().await.remove(0);
    let reason = record.iter().find_map(|message| match &message.payload {
        Payload::AuthPasswordBackendError { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.as_deref(), Some("the webhook is down"));
    assert!(kinds(&record).contains(&"handshake_failed"));
}

#[tokio::test]
async fn six_wrong_answers_end_the_connection_and_a_seventh_is_not_even_asked() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    for _ in 0..6 {
        assert!(!client.password("alice", "wrong").await.success());
    }
    let seventh = client.session.authenticate_password("alice", "secret").await;
    assert!(!seventh.is_ok_and(|result| result.success()));
    assert_eq!(gateway.auth.attempts.lock().unwrap().len(), 6);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_not_waited_for_while_a_webhook_is() {
    let gateway = Gateway::start(|_| {}).await;
    let mut client = Client::connect(&gateway).await;
    let (asked, given_up) = (gateway.auth.asked.clone(), gateway.auth.given_up.clone());
    let waiting = tokio::spawn(async move { client.session.authenticate_password("patient", "x").await });
    within("the question", asked.cancelled()).await;
    // Dropping the client closes its end of the connection.
    waiting.abort();
    within("the answer being given up", given_up.cancelled()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_record_nobody_gets_in() {
    let gateway = Gateway::start(|_| {}).await;
    // The spool's directory vanishes under the gateway.
    std::fs::remove_dir_all(gateway.directory.path().join("audit")).unwrap();
    std::fs::write(gateway.directory.path().join("audit"), "in the way").unwrap();
    let mut client = Client::connect(&gateway).await;
    let result = within("an answer", client.session.authenticate_password("alice", "secret")).await;
    assert!(!result.is_ok_and(|result| result.success()), "let in without a record");
    assert!(gateway.backend.connections.lock().unwrap().is_empty(), "a guest was started");
    std::fs::remove_file(gateway.directory.path().join("audit")).unwrap();
    std::fs::create_dir(gateway.directory.path().join("audit")).unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn the_login_grace_time_ends_those_who_do_not_log_in() {
    let gateway =
        Gateway::start(|config| config.ssh.login_grace_time = std::time::Duration::from_millis(300)).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut received = Vec::new();
    within("the end of a silent connection", silent.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"SSH-2.0-ContainerSSH\r\n");
    let client = Client::connect(&gateway).await;
    within("the end of an idle login", async {
        while !client.session.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let records = gateway.stop().await;
    for record in records {
        assert_eq!(kinds(&record), ["connect", "handshake_failed", "disconnect"]);
    }
}
