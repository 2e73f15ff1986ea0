//! What those who may not log in can do: nothing that anybody else notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::bytes::unique;
use containerssh_e2e::fixture::Shared;
use containerssh_e2e::{bytes, fixture};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn gateway() -> Result<Shared> {
    fixture::shared("strangers", json!({})).await
}

/// The gateway's process has not restarted.
async fn unharmed(shared: &Shared) -> Result<()> {
    for pod in shared.gateway.pods().await? {
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        ensure!(statuses.iter().all(|container| container.restart_count == 0), "it restarted: {statuses:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_silent_connections_keep_nobody_out() -> Result<()> {
    let shared = gateway().await?;
    let address = (shared.login.host.clone(), shared.login.port);
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(address.clone()).await?);
    }
    let marker = unique();
    shared.login.run(&format!("echo {marker}")).await?.expect_code(0)?;
    drop(silent);
    unharmed(&shared).await
}

#[tokio::test]
async fn random_bytes_end_their_own_connection_only() -> Result<()> {
    let shared = gateway().await?;
    for _ in 0..50 {
        let mut stream = TcpStream::connect((shared.login.host.as_str(), shared.login.port)).await?;
        // The gateway may hang up while it is written to.
        let _ = stream.write_all(&bytes::random_bytes(65_536)).await;
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
        // A reset is an end as well.
        let _ = closed.context("the gateway keeps a connection that speaks rubbish")?;
    }
    shared.login.run("true").await?.expect_code(0)?;
    unharmed(&shared).await
}

#[tokio::test]
async fn a_stranger_gets_no_pod_and_leaves_a_record() -> Result<()> {
    let shared = gateway().await?;
    let stranger = containerssh_e2e::ssh::Key::generate().await?;
    let mut login = shared.login.clone();
    login.identity = Some(stranger.path());
    login.user = format!("stranger-{}", unique());
    login.run("true").await?.expect_code(255)?;
    let prefix = format!("{}/{}/", shared.namespace.name, shared.gateway.name);
    let records = containerssh_e2e::record::all(&shared.cluster, &prefix, 1).await?;
    drop(records);
    let user = login.user.clone();
    containerssh_e2e::wait::until("the stranger's record", Duration::from_secs(60), || async {
        let records = containerssh_e2e::record::all(&shared.cluster, &prefix, 1).await?;
        let found = records.iter().any(|record| {
            record.messages.iter().any(|message| match &message.payload {
                containerssh_auditlog::Payload::AuthPubKeyFailed { username, .. } => *username == user,
                _ => false,
            })
        });
        ensure!(found, "no failed login of {user} in {} records", records.len());
        Ok(())
    })
    .await?;
    let guests = shared.gateway.guests().await?;
    let of_stranger = guests.iter().filter(|pod| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get("containerssh_username")) == Some(&user)
    });
    ensure!(of_stranger.count() == 0, "a stranger got a pod");
    Ok(())
}

#[tokio::test]
async fn only_modern_algorithms_are_offered() -> Result<()> {
    let shared = gateway().await?;
    for weak in [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1",
        "HostKeyAlgorithms=ssh-rsa",
    ] {
        // AEAD ciphers carry no MAC: with one of those a weak MAC is never used, so it is asked for without.
        let mut login = shared.login.clone().option(weak).option("LogLevel=INFO");
        if weak.starts_with("MACs") {
            login = login.option("Ciphers=aes256-ctr");
        }
        let finished = login.run("true").await?;
        ensure!(finished.code() == 255, "{weak} was accepted");
        ensure!(
            finished.err().contains("no matching") || finished.err().contains("Unable to negotiate"),
            "{weak}: {}",
            finished.err()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_is_set_to_one_modern_cipher_gets_it() -> Result<()> {
    let shared = gateway().await?;
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"] {
        let login = shared.login.clone().option(&format!("Ciphers={cipher}"));
        login.run("true").await?.expect_code(0).context(cipher)?;
    }
    Ok(())
}
