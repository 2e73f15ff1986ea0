//! Ways to log in that an SSHGateway has besides plain keys and passwords, and the configuration server, by their fields alone.

use anyhow::{Result, ensure};
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, fixture, policy, wait, webhook};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// A changed Secret reaches a running gateway within the kubelet's sync period and its cache's.
const IN_FORCE: Duration = Duration::from_secs(180);

async fn config_map(namespace: &Namespace, name: &str, data: Value) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace.name}, "data": data,
    });
    namespace.cluster.apply_object(&serde_json::from_value(object)?).await.map(drop)
}

/// A gateway's spec with this authentication.
fn spec(cluster: &Cluster, authentication: &Value) -> Value {
    json!({
        "replicas": 1,
        "authentication": authentication,
        "backend": {"kubernetes": {
            "podTemplate": containerssh_e2e::gateway::guest_template(&cluster.environment.debian_image),
        }},
    })
}

/// Signs a key for a principal; the client finds the certificate beside the key.
async fn sign(authority: &Path, key: &Key, principal: &str) -> Result<()> {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(authority)
        .args(["-I", principal, "-n", principal, "-V", "+1h"])
        .arg(key.path().with_extension("pub"))
        .output()
        .await?;
    ensure!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn certificates_let_their_principals_in_until_they_are_revoked() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-certificates").await?;
    let (authority, key) = (Key::generate().await?, Key::generate().await?);
    config_map(&namespace, "principals", json!({"web": "deployer", "db": "other"})).await?;
    config_map(&namespace, "revoked", json!({"keys": "# nobody yet\n"})).await?;

    // Before its authority is there, the gateway says what it lacks.
    let authentication = json!({"publicKey": {
        "certificateAuthorities": {
            "configMapRef": {"name": "user-ca"}, "principalsFrom": {"configMapRef": {"name": "principals"}},
        },
        "revokedKeysFrom": [{"configMapRef": {"name": "revoked", "key": "keys"}}],
    }});
    let gateway = Gateway::apply(&namespace, "signed", spec(&cluster, &authentication)).await?;
    let message = gateway.wait_condition("ResolvedRefs", "False").await?;
    ensure!(message.contains("user-ca") && message.contains("certificateAuthorities"), "{message}");
    config_map(&namespace, "user-ca", json!({"ca.pub": "ssh-ed25519 rubbish"})).await?;
    wait::until("the mistyped authority to be named", Duration::from_secs(60), || async {
        let message = gateway.wait_condition("ResolvedRefs", "False").await?;
        ensure!(message.contains("\"ca.pub\", line 1"), "{message}");
        Ok(())
    })
    .await?;
    config_map(&namespace, "user-ca", json!({"ca.pub": authority.public})).await?;
    gateway.ready().await?;

    sign(&authority.path(), &key, "deployer").await?;
    Login::with_key(&gateway, "web", &key).await?.run("true").await?.expect_code(0)?;
    Login::with_key(&gateway, "db", &key).await?.run("true").await?.expect_code(255)?;
    Login::with_key(&gateway, "deployer", &key).await?.run("true").await?.expect_code(255)?;

    let before = gateway.pods().await?.first().and_then(|pod| pod.metadata.uid.clone());
    config_map(&namespace, "revoked", json!({"keys": key.public})).await?;
    wait::until("the revoked key to be refused", IN_FORCE, || async {
        let code = Login::with_key(&gateway, "web", &key).await?.run("true").await?.code();
        ensure!(code == 255, "exit code {code}");
        Ok(())
    })
    .await?;
    let after = gateway.pods().await?.first().and_then(|pod| pod.metadata.uid.clone());
    ensure!(before == after, "a revocation restarted the gateway");
    namespace.discard().await
}

#[tokio::test]
async fn two_methods_in_a_row_and_the_last_word() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-in-a-row").await?;
    webhook::serve(&namespace).await?;
    let key = fixture::key().await?;
    let asked = json!({"url": format!("http://webhook.{}.svc", namespace.name), "timeout": "5s"});
    namespace.secret("keys", json!({"alice": key.public, "clerk": key.public, "barred": key.public})).await?;
    let keys = json!({"authorizedKeysFrom": [{"secretRef": {"name": "keys"}}]});
    let both = json!({
        "publicKey": keys, "password": {"webhook": asked}, "authorization": {"webhook": asked},
        "require": [["publicKey", "password"]],
    });
    let strict = Gateway::apply(&namespace, "strict", spec(&cluster, &both)).await?;
    let judged = json!({"publicKey": keys, "authorization": {"webhook": asked}});
    let judged = Gateway::apply(&namespace, "judged", spec(&cluster, &judged)).await?;
    strict.ready().await?;
    judged.ready().await?;

    let with_key = Login::with_key(&strict, "clerk", key).await?;
    let password = Some("clerk's secret".to_owned());
    Login { password: password.clone(), ..with_key.clone() }.run("true").await?.expect_code(0)?;
    with_key.run("true").await?.expect_code(255)?;
    Login { identity: None, password, ..with_key }.run("true").await?.expect_code(255)?;
    // The key is alice's, the password somebody's whom the webhook calls alice@example.org: nobody is both.
    let password = Some("alice's secret".to_owned());
    let alice = Login { password, ..Login::with_key(&strict, "alice", key).await? };
    alice.run("true").await?.expect_code(255)?;

    Login::with_key(&judged, "alice", key).await?.run("true").await?.expect_code(0)?;
    Login::with_key(&judged, "barred", key).await?.run("true").await?.expect_code(255)?;
    namespace.discard().await
}

#[tokio::test]
async fn a_configuration_server_cannot_give_back_what_a_policy_took() -> Result<()> {
    const NAMESPACE: &str = "e2e-config-server";
    let cluster = Cluster::connect().await?;
    policy::record_everything(&cluster, NAMESPACE, json!({"allow": {"forwarding": ["Direct"]}})).await?;
    let namespace = cluster.namespace(NAMESPACE).await?;
    webhook::serve(&namespace).await?;
    let key = fixture::key().await?;
    let users = ["plain", "confined", "forwarder", "escapee"];
    let keys: serde_json::Map<String, Value> =
        users.iter().map(|user| ((*user).to_owned(), json!(key.public))).collect();
    namespace.secret("keys", Value::Object(keys)).await?;
    let authentication = json!({"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": "keys"}}]}});
    let mut spec = spec(&cluster, &authentication);
    containerssh_e2e::gateway::merge(
        &mut spec,
        json!({"configServer": {"url": format!("http://webhook.{NAMESPACE}.svc/config"), "timeout": "5s"}}),
    );
    let gateway = Gateway::apply(&namespace, "tailored", spec).await?;
    gateway.ready().await?;
    let run = async |user: &str| Login::with_key(&gateway, user, key).await?.run("echo free").await;
    ensure!(run("plain").await?.expect_code(0)?.out() == "free\n");
    ensure!(run("confined").await?.expect_code(0)?.out() == "confined\n");
    run("forwarder").await?.expect_code(255)?;
    run("escapee").await?.expect_code(255)?;
    namespace.discard().await
}
