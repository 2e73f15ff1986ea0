//! The example of a webhook server in the documentation, started and logged in through.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use containerssh_config::{AuthMethod, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{Client, Gateway, within};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/webhook-server.py")
}

/// What the example makes of a password.
async fn hashed(password: &str) -> Value {
    let mut child = Command::new("python3")
        .arg(script())
        .arg("--hash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).await.unwrap();
    let output = within("a digest", child.wait_with_output()).await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Example {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
    url: String,
    _directory: tempfile::TempDir,
}

impl Example {
    async fn start(users: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("users.json");
        std::fs::write(&file, users.to_string()).unwrap();
        let mut child = Command::new("python3")
            .arg(script())
            .args(["--listen", "127.0.0.1:0", "--users"])
            .arg(file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within("the example", said.next_line()).await.unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { _child: child, said, url, _directory: directory }
    }

    fn asked(&self) -> impl FnOnce(&mut Config) + use<> {
        let url = self.url.clone();
        move |config| {
            let auth = &mut config.auth;
            for (method, webhook) in [
                (&mut auth.password.method, &mut auth.password.webhook),
                (&mut auth.public_key.method, &mut auth.public_key.webhook),
                (&mut auth.authz.method, &mut auth.authz.webhook),
                (&mut auth.teardown.method, &mut auth.teardown.webhook),
            ] {
                *method = AuthMethod::Webhook;
                webhook.url.clone_from(&url);
                // A digest that is slow on purpose, on a machine that may be busy.
                webhook.timeout = std::time::Duration::from_secs(20);
            }
            config.configserver.url = format!("{url}/config");
        }
    }
}

#[tokio::test]
async fn the_example_lets_its_users_in_with_their_settings_and_nobody_else() {
    let digest = hashed("correct horse").await;
    let mut example = Example::start(&json!({
        "alice": {"scrypt": digest, "team": "blue", "config": {"security": {"forceCommand": "echo forced"}}},
        "mallory": {"scrypt": digest, "locked": true},
    }))
    .await;
    let gateway = Gateway::real(example.asked()).await;
    let mut client = Client::connect(&gateway).await;
    assert!(client.password("alice", "correct horse").await.success());
    assert_eq!(client.exec(b"id", b"").await.stdout(), "forced\n");
    let team = gateway.backend.connections.lock().unwrap()[0].metadata["TEAM"].value.clone();
    assert_eq!(team, "blue");
    drop(client);
    let ended = within("the end to be told", example.said.next_line()).await.unwrap().unwrap();
    assert!(ended.starts_with("ended ") && ended.contains("alice"), "{ended}");
    for (name, password) in [("alice", "wrong"), ("bob", "correct horse"), ("mallory", "correct horse")] {
        let mut client = Client::connect(&gateway).await;
        assert!(!client.password(name, password).await.success(), "{name} got in");
    }
    gateway.stop().await;
}
