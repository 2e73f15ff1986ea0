//! The teardown webhook, told by a gateway.

use containerssh_config::{AuthMethod, Config};
use serde_json::json;

use crate::support::{Client, Gateway, Hooks, within};

fn telling(hooks: &Hooks) -> impl FnOnce(&mut Config) + use<> {
    let url = hooks.url();
    move |config| {
        config.auth.authz.method = AuthMethod::Webhook;
        config.auth.authz.webhook.url = url.clone();
        config.auth.password.method = AuthMethod::Webhook;
        config.auth.password.webhook.url = url.clone();
        config.auth.teardown.method = AuthMethod::Webhook;
        config.auth.teardown.webhook.url = url;
    }
}

async fn hooks() -> Hooks {
    Hooks::start(|path, question| {
        let name = &question["username"];
        let success = if path == "/authz" { name == "alice" } else { name != "nobody" };
        let metadata = json!({"TEAM": {"value": "x"}, "TOKEN": {"value": "t", "sensitive": true}});
        (200, json!({"success": success, "metadata": metadata}).to_string())
    })
    .await
}

fn ends(hooks: &Hooks) -> Vec<serde_json::Value> {
    let asked = hooks.asked().into_iter();
    asked.filter(|(path, _)| path == "/teardown").map(|(_, question)| question).collect()
}

#[tokio::test]
async fn a_connection_s_end_is_told_with_what_it_did() {
    let hooks = hooks().await;
    let gateway = Gateway::real(telling(&hooks)).await;
    let mut client = Client::connect(&gateway).await;
    assert!(client.password("alice", "any").await.success());
    client.exec(b"echo one", b"").await;
    client.exec(b"echo two", b"").await;
    assert!(ends(&hooks).is_empty(), "told before it was over");
    drop(client);
    within("the end to be told", async {
        while ends(&hooks).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    gateway.stop().await;
    let [end] = ends(&hooks).try_into().unwrap();
    assert_eq!(end["connectionId"], hooks.asked()[0].1["connectionId"]);
    assert_eq!(end["username"], "alice");
    assert_eq!((&end["loggedIn"], &end["sessions"]), (&json!(true), &json!(2)));
    assert_eq!(end["metadata"], json!({"TEAM": {"value": "x", "sensitive": false}}));
    assert!(end["bytesIn"].as_u64().unwrap() > 0 && end["reason"] != "", "{end}");
}

#[tokio::test]
async fn who_is_known_and_not_let_in_is_told_of_and_a_stranger_is_not() {
    let hooks = hooks().await;
    let gateway = Gateway::real(telling(&hooks)).await;
    for name in ["bob", "nobody"] {
        let mut client = Client::connect(&gateway).await;
        assert!(!client.password(name, "any").await.success());
    }
    gateway.stop().await;
    let [end] = ends(&hooks).try_into().unwrap();
    assert_eq!((&end["username"], &end["loggedIn"]), (&json!("bob"), &json!(false)));
}
