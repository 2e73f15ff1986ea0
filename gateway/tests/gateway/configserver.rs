//! Settings of one connection's own.

use containerssh_auditlog::Payload;
use containerssh_config::Config;
use serde_json::json;

use crate::support::{Client, Gateway, Hooks, kinds};

fn asking(hooks: &Hooks) -> impl FnOnce(&mut Config) + use<> {
    let url = format!("{}/config?tenant=a", hooks.url());
    move |config| {
        config.auth.public_key.authorized_keys.paths = vec!["/keys/%u".into()];
        config.configserver.url = url;
    }
}

#[tokio::test]
async fn each_user_gets_their_own_settings() {
    let hooks = Hooks::start(|_, question| {
        let answer = match question["username"].as_str().unwrap() {
            "alice" => json!({
                "config": {
                    "security": {"forceCommand": "echo for $WHO"},
                    "kubernetes": {"pod": {"spec": {"containers": [{"name": "alice", "image": "alice:1"}]}}},
                },
                "environment": {"WHO": {"value": "alice", "sensitive": false}},
                "metadata": {"TEAM": {"value": "a", "sensitive": false}},
            }),
            _ => json!({"config": {}}),
        };
        (200, answer.to_string())
    })
    .await;
    let gateway = Gateway::start(asking(&hooks)).await;
    let alice = Client::login(&gateway).await;
    let mut bob = Client::connect(&gateway).await;
    assert!(bob.password("bob", "secret").await.success());
    assert!(alice.exec(b"id", b"").await.stdout().starts_with("for"));
    assert_eq!(bob.exec(b"echo own", b"").await.stdout(), "own\n");
    {
        let infos = gateway.backend.connections.lock().unwrap();
        let alice = infos.iter().find(|info| info.username == "alice").unwrap();
        assert_eq!(alice.environment["WHO"].value, "alice");
        assert_eq!(alice.metadata["TEAM"].value, "a");
        let made = gateway.backend.made.lock().unwrap();
        assert_eq!(made.len(), 1, "a backend of its own for somebody without a pod of their own");
        assert_eq!(made[0].kubernetes.pod.spec.containers[0].image.as_deref(), Some("alice:1"));
    }
    let (path, question) = hooks.asked().remove(0);
    assert_eq!(path, "/config");
    assert_eq!(question["authenticatedUsername"], "alice@example");
    gateway.stop().await;
}

#[tokio::test]
async fn a_doubtful_answer_denies_the_login_and_says_why_in_the_record() {
    for (status, answer, reason) in [
        (200, "<html></html>", "HTML"),
        (200, "{}", "has no field \"config\""),
        (200, r#"{"config": []}"#, "must be an object"),
        (200, r#"{"config": {"securty": {}}}"#, "did you mean \"security\""),
        (200, r#"{"config": {"audit": {"enable": true}}}"#, "has no effect for a single connection"),
        (404, "", "status 404"),
    ] {
        let hooks = Hooks::start(move |_, _| (status, answer.to_owned())).await;
        let gateway = Gateway::start(asking(&hooks)).await;
        let mut client = Client::connect(&gateway).await;
        assert!(!client.password("alice", "secret").await.success(), "let in: {answer}");
        drop(client);
        assert!(gateway.backend.connections.lock().unwrap().is_empty(), "a guest was started");
        let record = gateway.stop().await.remove(0);
        let said = record.iter().find_map(|message| match &message.payload {
            Payload::AuthPasswordBackendError { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(said.as_deref().is_some_and(|said| said.contains(reason)), "{answer}: {said:?}");
        assert!(kinds(&record).contains(&"handshake_failed"));
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_not_asked_about() {
    let hooks = Hooks::start(|_, _| (200, r#"{"config": {}}"#.to_owned())).await;
    let gateway = Gateway::start(asking(&hooks)).await;
    let mut client = Client::connect(&gateway).await;
    assert!(!client.password("alice", "wrong").await.success());
    assert!(hooks.asked().is_empty());
    drop(client);
    gateway.stop().await;
}
