//! Authentication by ContainerSSH's webhooks, with servers that behave and servers that do not.

use anyhow::{Result, ensure};
use containerssh_e2e::bytes::unique;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, wait};
use containerssh_e2e::{fixture, policy, webhook};
use serde_json::json;
use std::time::Duration;
use tokio::sync::OnceCell;

const NAMESPACE: &str = "e2e-webhooks";
static MADE: OnceCell<()> = OnceCell::const_new();

async fn gateway() -> Result<Gateway> {
    let cluster = Cluster::connect().await?;
    MADE.get_or_try_init(|| async {
        policy::record_everything(&cluster, NAMESPACE, json!({"intercept": {"passwords": "Forbid"}})).await?;
        let namespace = cluster.namespace(NAMESPACE).await?;
        webhook::serve(&namespace).await?;
        let webhook = json!({"url": format!("http://webhook.{NAMESPACE}.svc"), "timeout": "5s"});
        let gateway = Gateway::apply(
            &namespace,
            "hooked",
            json!({
                "replicas": 1,
                "authentication": {"password": {"webhook": webhook}, "publicKey": {"webhook": webhook}},
                "backend": {"kubernetes": {
                    "podTemplate": containerssh_e2e::gateway::guest_template(&cluster.environment.debian_image),
                }},
            }),
        )
        .await?;
        gateway.ready().await.map(drop)
    })
    .await?;
    Ok(Gateway { namespace: Namespace { cluster, name: NAMESPACE.into() }, name: "hooked".into() })
}

#[tokio::test]
async fn a_password_is_checked_and_what_the_answer_brings_reaches_the_pod() -> Result<()> {
    let gateway = gateway().await?;
    let login = Login::with_password(&gateway, "alice", "alice's secret").await?;
    let marker = unique();
    let finished = login
        .run(&format!("echo {marker}; printenv FROM_WEBHOOK; cat /tmp/from/webhook"))
        .await?
        .expect_code(0)?;
    ensure!(finished.out() == format!("{marker}\nit's \"quoted\" $HOME\nhello\n"), "{}", finished.out());
    let prefix = format!("{NAMESPACE}/hooked/");
    let record = containerssh_e2e::record::find(&gateway.namespace.cluster, &prefix, &marker).await?;
    let raw = format!("{:?}", record.messages);
    ensure!(!raw.contains("alice's secret"), "a password was recorded though it is forbidden");
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_refused() -> Result<()> {
    let gateway = gateway().await?;
    let finished = Login::with_password(&gateway, "alice", "alice's guess").await?.run("true").await?;
    ensure!(finished.code() != 0 && finished.err().contains("Permission denied"), "{finished:?}");
    Ok(())
}

#[tokio::test]
async fn a_public_key_is_checked() -> Result<()> {
    let gateway = gateway().await?;
    let key = fixture::key().await?;
    Login::with_key(&gateway, "keyholder", key).await?.run("true").await?.expect_code(0)?;
    Login::with_key(&gateway, "nobody", key).await?.run("true").await?.expect_code(255)?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_misbehaves_lets_nobody_in() -> Result<()> {
    let gateway = gateway().await?;
    for user in ["broken", "rubbish", "almost", "huge", "slow"] {
        // The first answer decides nothing: the gateway retries within the webhook's time, then refuses.
        let login = Login::with_password(&gateway, user, "whatever").await?;
        let finished = login.run("true").await?;
        ensure!(finished.code() != 0, "{user} was let in");
    }
    wait::until("no guest to be left", Duration::from_secs(60), || async {
        let left = gateway.guests().await?.len();
        ensure!(left == 0, "{left} guests");
        Ok(())
    })
    .await
}
