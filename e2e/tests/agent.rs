//! Programs in pods by the agent: in any image, by either carrier, with nothing left behind.

#![allow(clippy::indexing_slicing, reason = "it is all tests; JSON that lacks a field gives null")]

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use containerssh_e2e::bytes::{random_bytes, sha256};
use containerssh_e2e::standalone::Standalone;
use containerssh_e2e::{Cluster, Namespace, gateway, wait};
use kube::ResourceExt;
use serde_json::{Value, json};

/// Not so large that two carriers and three images take minutes.
const BIG: usize = 20_000_000;

/// A namespace and a gateway whose pods run `image` with an agent.
async fn gateway(name: &str, image: &str, transport: &str, spec: Value) -> Result<(Namespace, Standalone)> {
    let namespace = Cluster::connect().await?.namespace(&format!("e2e-agent-{name}")).await?;
    let mut pod = gateway::guest_template(image);
    let agent = json!({"image": namespace.cluster.environment.agent_image, "transport": transport});
    gateway::merge(
        &mut pod,
        json!({"metadata": {"namespace": namespace.name}, "disableAgent": false, "agent": agent}),
    );
    if let Some(container) = spec.get("container") {
        gateway::merge(&mut pod["spec"]["containers"][0], container.clone());
    }
    gateway::merge(&mut pod["spec"], spec.get("pod").cloned().unwrap_or(json!({})));
    let standalone = Standalone::start(json!({"kubernetes": {"pod": pod}})).await?;
    Ok((namespace, standalone))
}

/// Ends the gateway; no pod may be left.
async fn finish(namespace: Namespace, gateway: Standalone) -> Result<()> {
    gateway.stop().await?;
    wait::until("the last pod to go", std::time::Duration::from_secs(60), || async {
        let pods: BTreeSet<String> = namespace.pods("").await?.iter().map(ResourceExt::name_any).collect();
        ensure!(pods.is_empty(), "{pods:?} are left");
        Ok(())
    })
    .await?;
    namespace.discard().await
}

#[tokio::test]
async fn a_usual_image_serves_commands_terminals_and_bytes_both_ways_by_either_carrier() -> Result<()> {
    for transport in ["direct", "exec"] {
        let image = Cluster::connect().await?.environment.debian_image;
        let (namespace, gateway) =
            gateway(&format!("usual-{transport}"), &image, transport, json!({})).await?;
        let login = &gateway.login;
        let finished = login.run("echo out; echo err >&2; exit 3").await?.expect_code(3)?;
        ensure!(finished.out() == "out\n" && finished.err() == "err\n", "{finished:?}");
        let terminal =
            login.clone().option("RequestTTY=force").run("tty && stty size && echo $SSH_TTY").await?;
        // Behind what whoever waits for a pod is shown.
        let shown = terminal.expect_code(0)?.out();
        ensure!(shown.matches("/dev/pts/").count() == 2, "{shown:?}");
        let bytes = random_bytes(BIG);
        let back = login.run_with_bytes("cat", bytes.clone()).await?.expect_code(0)?;
        ensure!(sha256(&back.stdout) == sha256(&bytes), "{} bytes of {BIG} came back", back.stdout.len());
        finish(namespace, gateway).await?;
    }
    Ok(())
}

#[tokio::test]
async fn sftp_works_in_images_without_a_server_and_even_without_a_shell() -> Result<()> {
    let environment = Cluster::connect().await?.environment;
    for (name, image) in [("busybox", &environment.busybox_image), ("noshell", &environment.noshell_image)] {
        // Such images have nothing that their users may write to.
        let spec = json!({
            "pod": {"volumes": [{"name": "data", "emptyDir": {}}]},
            "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        });
        let (namespace, gateway) = gateway(&format!("sftp-{name}"), image, "auto", spec).await?;
        let directory = tempfile::tempdir()?;
        let bytes = random_bytes(BIG);
        std::fs::write(directory.path().join("sent"), &bytes)?;
        let batch = "cd /data\nmkdir d\nput sent d/there\nrename d/there d/moved\nls -l d\nget d/moved back\nrm d/moved\nrmdir d\n";
        gateway.login.sftp(batch, directory.path()).await?.expect_code(0)?;
        ensure!(std::fs::read(directory.path().join("back"))? == bytes, "{name}: other bytes came back");
        finish(namespace, gateway).await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_a_shell_plain_commands_run_and_others_are_refused_with_the_reason() -> Result<()> {
    let image = Cluster::connect().await?.environment.noshell_image;
    let (namespace, gateway) = gateway("noshell", &image, "auto", json!({})).await?;
    // The only program that is surely there.
    let finished = gateway.login.run("/.containerssh/containerssh-agent nonsense").await?.expect_code(64)?;
    ensure!(finished.err().contains("usage: containerssh-agent"), "{finished:?}");
    let finished = gateway.login.run("echo $HOME | wc").await?.expect_code(254)?;
    ensure!(finished.err().contains("no shell"), "{finished:?}");
    finish(namespace, gateway).await
}

#[tokio::test]
async fn a_restricted_pod_with_a_read_only_root_is_enough() -> Result<()> {
    let image = Cluster::connect().await?.environment.busybox_image;
    let spec = json!({
        "pod": {"securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}},
        "container": {"securityContext": {
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }},
    });
    let (namespace, gateway) = gateway("restricted", &image, "auto", spec).await?;
    let finished = gateway.login.run("id -u; touch /x || echo read-only").await?.expect_code(0)?;
    ensure!(finished.out() == "1000\nread-only\n", "{finished:?}");
    finish(namespace, gateway).await
}
