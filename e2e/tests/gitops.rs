//! What tools that apply manifests again and again make of ours. Flux's and Argo CD's own libraries are asked, through the
//! program in `e2e/tools/gitops`. Gateways without replicas: this is about what is said of them.

#![allow(clippy::indexing_slicing, reason = "JSON that lacks a field gives null")]

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::{Cluster, Gateway, Namespace, wait};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DEADLINE: Duration = Duration::from_secs(60);

async fn gateway(namespace: &Namespace, name: &str, mut extra: Value) -> Result<Gateway> {
    extra["replicas"] = json!(0);
    Gateway::with_key(namespace, name, "dev", "ssh-ed25519 AAAA", extra).await
}

async fn kubectl(arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new("kubectl").args(arguments).output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// What Flux and Argo CD say of these objects.
async fn verdicts(objects: &[Value]) -> Result<Vec<(String, String)>> {
    let mut program = Command::new("go")
        .args(["run", "-C", &format!("{ROOT}/e2e/tools/gitops"), ".", "../../../docs/argocd-health.lua"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("go is needed")?;
    let mut input = program.stdin.take().context("piped")?;
    input.write_all(json!(objects).to_string().as_bytes()).await?;
    drop(input);
    let output = program.wait_with_output().await?;
    ensure!(output.status.success(), "e2e/tools/gitops failed");
    let found: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let text = |verdict: &Value, key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
    Ok(found.iter().map(|verdict| (text(verdict, "kstatus"), text(verdict, "argo"))).collect())
}

async fn object(gateway: &Gateway) -> Result<Value> {
    let mut object = serde_json::to_value(gateway.get().await?)?;
    // What apiVersion and kind are is the request's knowledge.
    object["apiVersion"] = json!("containerssh.io/v1alpha1");
    object["kind"] = json!("SSHGateway");
    Ok(object)
}

#[tokio::test]
async fn flux_and_argo_cd_understand_what_is_said() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-gitops").await?;
    let good = gateway(&namespace, "good", json!({})).await?;
    let keys =
        json!({"authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": "none"}}]}}});
    let waiting = gateway(&namespace, "waiting", keys).await?;
    let image = json!({"image": "localhost/somebody-elses:1"});
    let wrong = gateway(&namespace, "wrong", image).await?;
    good.ready().await?;
    // It may be ready a moment before it has settled.
    wait::until("the good gateway to settle", Duration::from_secs(60), || async {
        let object = object(&good).await?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let busy = conditions.iter().any(|one| one["type"] == "Reconciling" && one["status"] == "True");
        ensure!(!busy, "{conditions:?}");
        Ok(())
    })
    .await?;
    waiting.wait_condition("Reconciling", "True").await?;
    wrong.wait_condition("Stalled", "True").await?;

    let (good, waiting, wrong) = (object(&good).await?, object(&waiting).await?, object(&wrong).await?);
    let changed = |path: &str, value: Value| {
        let mut object = good.clone();
        object["metadata"][path] = value;
        object
    };
    // Changed a moment ago, and the operator has not looked at it yet.
    let newer = changed("generation", json!(99));
    let leaving = changed("deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let mut unseen = good.clone();
    unseen["status"] = json!({"conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "not looked at yet"},
        {"type": "Reconciling", "status": "True", "reason": "Progressing", "message": "not looked at yet"},
    ]});
    let found = verdicts(&[good, waiting, wrong, newer, leaving, unseen]).await?;
    let expected = [
        ("Current", "Healthy"),
        ("InProgress", "Progressing"),
        ("Failed", "Degraded"),
        ("InProgress", "Progressing"),
        ("Terminating", "Progressing"),
        ("InProgress", "Progressing"),
    ];
    let found: Vec<_> = found.iter().map(|(flux, argo)| (flux.as_str(), argo.as_str())).collect();
    ensure!(found == expected, "{found:?}");
    namespace.discard().await
}

#[tokio::test]
async fn waiting_never_believes_what_was_true_of_an_older_spec() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-wait").await?;
    let name = namespace.name.as_str();
    gateway(&namespace, "dev", json!({})).await?.ready().await?;
    let wait_for = |condition: &'static str, seconds: &'static str| {
        let timeout = format!("--timeout={seconds}s");
        let condition = format!("--for=condition={condition}");
        async move { kubectl(&["-n", name, "wait", &condition, "sshgateway/dev", &timeout]).await }
    };
    for round in 0..5 {
        let missing = format!("missing-{round}");
        let keys = json!({"authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": missing}}]}}});
        gateway(&namespace, "dev", keys).await?;
        let (ready, text) = wait_for("Ready", "3").await?;
        ensure!(!ready, "ready without {missing}: {text}");
        namespace.secret(&missing, json!({"dev": "ssh-ed25519 AAAA"})).await?;
        let (ready, text) = wait_for("Ready", "60").await?;
        ensure!(ready, "not ready though {missing} is there: {text}");
    }
    namespace.discard().await
}

#[tokio::test]
async fn a_dry_run_on_the_server_judges_and_stores_nothing() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-dry-run").await?;
    let example = std::fs::read_to_string(format!("{ROOT}/docs/examples/gateway.yaml"))?;
    let directory = tempfile::tempdir()?;
    let write = |name: &str, text: String| -> Result<String> {
        let path = directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let ours = example.replace("namespace: team-a", &format!("namespace: {}", namespace.name));
    let good = write("good.yaml", ours.clone())?;
    let bad = write("bad.yaml", ours.replace("authorizedKeysFrom", "authorisedKeysFrom"))?;
    for (file, passes, says) in [(&good, true, "server dry run"), (&bad, false, "authorisedKeysFrom")] {
        let (passed, text) = kubectl(&["apply", "--server-side", "--dry-run=server", "-f", file]).await?;
        ensure!(passed == passes && text.contains(says), "{text}");
    }
    let (_, text) = kubectl(&["-n", &namespace.name, "get", "sshgateways", "-o", "name"]).await?;
    ensure!(!text.contains("sshgateway"), "stored: {text}");
    namespace.discard().await
}

#[tokio::test]
async fn an_object_that_is_made_again_and_again_is_written_once() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-again").await?;
    let first = gateway(&namespace, "dev", json!({})).await?;
    first.ready().await?;
    let resources = "sshgateways,deployments,services,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets";
    let versions = || async {
        let format =
            "jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion}{\"\\n\"}{end}";
        let (_, text) = kubectl(&["-n", &namespace.name, "get", resources, "-o", format]).await?;
        Ok::<_, anyhow::Error>(text)
    };
    let before = wait::until("nothing to be under way", DEADLINE, || async {
        let status = first.get().await?.data["status"].clone();
        ensure!(!status.to_string().contains("Reconciling"), "{status}");
        versions().await
    })
    .await?;
    for _ in 0..100 {
        gateway(&namespace, "dev", json!({})).await?;
    }
    first.ready().await?;
    let after = versions().await?;
    ensure!(before == after, "changed: {before} -> {after}");
    namespace.discard().await
}
