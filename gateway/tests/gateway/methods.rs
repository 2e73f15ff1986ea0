//! Several methods in a row.

use std::sync::Arc;

use containerssh_config::Config;
use russh::MethodKind;
use russh::client::AuthResult;
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg};
use tokio::process::Command;

use crate::support::{Client, Gateway, kinds, within};

fn both(config: &mut Config) {
    config.auth.authentication_methods = vec!["publickey,password".parse().unwrap()];
}

fn key(gateway: &Gateway) -> PrivateKey {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    gateway.auth.keys.lock().unwrap().push(key.public_key().to_openssh().unwrap());
    key
}

async fn offer(client: &mut Client, user: &str, key: &PrivateKey) -> AuthResult {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    within("an answer to a key", client.session.authenticate_publickey(user, key)).await.unwrap()
}

fn partial(result: &AuthResult) -> Option<Vec<MethodKind>> {
    match result {
        AuthResult::Failure { remaining_methods, partial_success: true } => {
            Some(remaining_methods[..].to_vec())
        }
        _ => None,
    }
}

#[tokio::test]
async fn each_method_has_to_succeed_in_its_turn() {
    let gateway = Gateway::start(both).await;
    let key = key(&gateway);
    let mut client = Client::connect(&gateway).await;
    // The right password, too early: not even asked about.
    let early = client.password("alice", "secret").await;
    assert!(!early.success() && partial(&early).is_none());
    assert!(gateway.auth.attempts.lock().unwrap().is_empty());
    assert_eq!(partial(&offer(&mut client, "alice", &key).await), Some(vec![MethodKind::Password]));
    // The key again is no second factor.
    let again = offer(&mut client, "alice", &key).await;
    assert!(!again.success() && partial(&again).is_none());
    assert!(!client.password("alice", "wrong").await.success());
    assert!(gateway.backend.connections.lock().unwrap().is_empty(), "a guest was started half-way");
    assert!(client.password("alice", "secret").await.success());
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    drop(client);
    let record = gateway.stop().await.remove(0);
    let kinds = kinds(&record);
    let place = |kind| kinds.iter().position(|other| *other == kind).unwrap();
    assert!(place("auth_pubkey_successful") < place("auth_password_successful"));
    assert!(place("auth_password_successful") < place("handshake_successful"));
}

#[tokio::test]
async fn one_user_s_key_and_another_one_s_password_are_nobody() {
    let gateway = Gateway::start(both).await;
    let key = key(&gateway);
    let mut client = Client::connect(&gateway).await;
    assert!(partial(&offer(&mut client, "alice", &key).await).is_some());
    let result = within("an answer", client.session.authenticate_password("bob", "secret")).await;
    assert!(!result.is_ok_and(|result| result.success()), "let in");
    // And there is no way back.
    let result = within("an answer", client.session.authenticate_password("alice", "secret")).await;
    assert!(!result.is_ok_and(|result| result.success()), "let in");
    drop(client);
    assert!(gateway.backend.connections.lock().unwrap().is_empty());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_goes_through_both() {
    let gateway = Gateway::start(both).await;
    let key = key(&gateway);
    let path = gateway.directory.path().join("id");
    key.write_openssh_file(&path, Default::default()).unwrap();
    let askpass = gateway.directory.path().join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho secret\n").unwrap();
    std::fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-v"]);
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-p", &gateway.address.port().to_string(), "-i"]);
    command.arg(&path).args(["alice@127.0.0.1", "echo both"]);
    command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK");
    let output = within("ssh", command.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"both\n", "{stderr}");
    assert!(stderr.contains("partial success"), "{stderr}");
    gateway.stop().await;
}
