//! Whatever happens to operators, gateways end as their specs and policies say, and as an operator leaves them that nothing
//! happened to. Gateways without replicas: it is the operator that is tried here.

#![allow(clippy::indexing_slicing, reason = "JSON that lacks a field gives null")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::operator::{Operator, without_installed};
use containerssh_e2e::{Cluster, Gateway, Namespace, policy, wait};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

/// More with `E2E_CHAOS_ROUNDS`.
const ROUNDS: usize = 10;
const GATEWAYS: usize = 4;
/// Longer than a reconcile of all takes, so that the kill hits every part of it, and the pause after it.
const LONGEST_LIFE: Duration = Duration::from_secs(4);
const SETTLE_DEADLINE: Duration = Duration::from_secs(240);
/// What the operator makes.
const KINDS: &str = "deployments,statefulsets,services,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets";

/// Each test scales an installed operator down and up again.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Some of all that can be changed of a gateway.
fn changes() -> Vec<Value> {
    vec![
        json!({"spool": {"medium": "Persistent", "size": "1Gi"}}),
        json!({"networkPolicy": {"enabled": false}}),
        json!({"podDisruptionBudget": {"enabled": false}}),
        json!({"ssh": {"banner": "hello\n"}, "log": {"level": "Debug"}}),
        json!({"service": {"port": 2222}}),
        json!({"template": {"serviceAccountName": "default"}}),
        json!({"backend": {"kubernetes": {"namespace": "e2e-chaos-guests"}}}),
        json!({"security": {"shell": {"mode": "Disable"}}}),
        json!({}),
    ]
}

async fn apply(namespace: &Namespace, number: usize, change: &Value) -> Result<Gateway> {
    let mut extra = change.clone();
    extra["replicas"] = json!(0);
    Gateway::with_key(namespace, &format!("gw{number}"), "dev", "ssh-ed25519 AAAA", extra).await
}

async fn settled(gateways: &[Gateway]) -> Result<()> {
    for gateway in gateways {
        wait::until(&format!("{} to settle", gateway.name), SETTLE_DEADLINE, || async {
            let (ready, message) = gateway.condition("Ready").await?;
            ensure!(ready == "True", "{message}");
            let (resolved, message) = gateway.condition("AuditPolicyResolved").await?;
            ensure!(resolved == "True", "{message}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Every object that belongs to a gateway of the namespace, without what differs from one making to the next.
async fn objects(namespace: &str, places: &[&str]) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for place in places {
        let selector = format!("containerssh.io/gateway-namespace={namespace}");
        let output = Command::new("kubectl")
            .args(["-n", place, "get", KINDS, "-l", &selector, "-o", "json"])
            .output()
            .await?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
        let list: Value = serde_json::from_slice(&output.stdout)?;
        for mut object in list["items"].as_array().cloned().unwrap_or_default() {
            let name = format!("{} {place}/{}", object["kind"], object["metadata"]["name"]);
            // What controllers and the API server add, and what is random by nature.
            for path in ["/metadata", "/spec"] {
                let Some(Value::Object(map)) = object.pointer_mut(path) else { continue };
                for key in [
                    "uid",
                    "resourceVersion",
                    "creationTimestamp",
                    "generation",
                    "managedFields",
                    "clusterIP",
                    "clusterIPs",
                    "annotations",
                ] {
                    map.remove(key);
                }
            }
            object["status"] = Value::Null;
            if object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-host-keys")) {
                object["data"] = Value::Null;
            }
            let text = object.to_string();
            ensure!(!text.contains("deletionTimestamp"), "{name} is being deleted");
            found.insert(name, object);
        }
    }
    Ok(found)
}

/// Without what two namespaces with the same gateways differ in.
fn neutral(objects: BTreeMap<String, Value>, namespace: &str, uids: &[(String, String)]) -> Vec<String> {
    let mut texts: Vec<String> = objects
        .into_iter()
        .map(|(name, mut object)| {
            // The configuration and the fingerprints of host keys name them too.
            if let Some(data) = object.pointer_mut("/data/config.yaml") {
                *data = json!(plain(data));
            }
            if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
                annotations["containerssh.io/host-keys"] = Value::Null;
            }
            let mut text = format!("{name} {object}").replace(namespace, "NAMESPACE");
            for (gateway, uid) in uids {
                text = text.replace(uid, gateway);
            }
            text
        })
        .collect();
    texts.sort();
    texts
}

fn plain(data: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap_or_default());
    String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

async fn uids(gateways: &[Gateway]) -> Result<Vec<(String, String)>> {
    let mut uids = Vec::new();
    for gateway in gateways {
        let object = gateway.get().await?;
        // Settings that name another policy have another hash.
        let hash = object.data["status"]["audit"]["hash"].as_str().context("a hash")?;
        uids.push((format!("HASH-{}", gateway.name), hash.to_owned()));
        uids.push((gateway.name.clone(), object.metadata.uid.context("a uid")?));
    }
    Ok(uids)
}

/// What the namespace looks like once nothing changes any more.
async fn outcome(namespace: &Namespace, gateways: &[Gateway]) -> Result<Vec<String>> {
    settled(gateways).await?;
    let uids = uids(gateways).await?;
    let places = [namespace.name.as_str(), "e2e-chaos-guests"];
    wait::until("nothing to be on its way out", SETTLE_DEADLINE, || async {
        let first = objects(&namespace.name, &places).await?;
        Ok(neutral(first, &namespace.name, &uids))
    })
    .await
}

async fn kill_at_random(cluster: &Cluster, rounds: usize) -> Result<()> {
    let tried = cluster.namespace("e2e-chaos-tried").await?;
    let calm = cluster.namespace("e2e-chaos-quiet").await?;
    let guests = cluster.namespace("e2e-chaos-guests").await?;
    let consent = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": guests.name,
        "annotations": {"containerssh.io/allow-gateways-from": "e2e-chaos-tried,e2e-chaos-quiet"}}});
    cluster.apply_object(&serde_json::from_value(consent)?).await?;

    let changes = changes();
    let mut last = vec![json!({}); GATEWAYS];
    let mut gateways = Vec::new();
    for (number, change) in last.iter().enumerate() {
        gateways.push(apply(&tried, number, change).await?);
    }
    for round in 0..rounds {
        let operator = Operator::start(cluster, "containerssh-operator-chaos", "chaos").await?;
        let number = rand::rng().random_range(0..GATEWAYS);
        let change = &changes[rand::rng().random_range(0..changes.len())];
        if round % 3 == 2 {
            let idle = json!({"sessions": {"idleTimeout": format!("{}m", round + 1)}});
            for name in [&tried.name, &calm.name] {
                policy::record_everything(cluster, name, idle.clone()).await?;
            }
        }
        apply(&tried, number, change).await?;
        last[number] = change.clone();
        // The moment is what is tried: any may come.
        tokio::time::sleep(LONGEST_LIFE.mul_f64(rand::rng().random())).await;
        operator.kill().await?;
    }

    let operator = Operator::start(cluster, "containerssh-operator-chaos", "chaos").await?;
    let mut quiet = Vec::new();
    for (number, change) in last.iter().enumerate() {
        quiet.push(apply(&calm, number, change).await?);
    }
    let expected = outcome(&calm, &quiet).await?;
    ensure!(expected.len() >= GATEWAYS * 6, "only {} objects", expected.len());
    wait::until("the disturbed namespace to look like the other", SETTLE_DEADLINE, || async {
        let found = outcome(&tried, &gateways).await?;
        for (found, expected) in found.iter().zip(&expected) {
            ensure!(found == expected, "is       {found}\nshould be {expected}");
        }
        ensure!(found.len() == expected.len(), "{} objects, should be {}", found.len(), expected.len());
        Ok(())
    })
    .await?;

    // And nothing is left of them in either place.
    for gateway in gateways.iter().chain(&quiet) {
        gateway.delete().await?;
    }
    wait::until("nothing but host keys to be left", SETTLE_DEADLINE, || async {
        for namespace in [&tried.name, &calm.name] {
            let left = objects(namespace, &[namespace, &guests.name]).await?;
            let left: Vec<_> = left.keys().filter(|name| !name.contains("-host-keys")).collect();
            ensure!(left.is_empty(), "{left:?}");
        }
        Ok(())
    })
    .await?;
    drop(operator);
    for namespace in [tried, calm, guests] {
        namespace.discard().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_killed_at_random_leaves_what_an_undisturbed_one_leaves() -> Result<()> {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::connect().await?;
    let rounds = match std::env::var("E2E_CHAOS_ROUNDS") {
        Ok(text) => text.parse().context("E2E_CHAOS_ROUNDS")?,
        Err(_) => ROUNDS,
    };
    without_installed(&cluster, kill_at_random(&cluster, rounds)).await
}

/// A leader that stands still loses its Lease; when it goes on, it must notice before it does any harm.
async fn stop_and_go_on(cluster: &Cluster) -> Result<()> {
    const LEASE: &str = "containerssh-operator-rivals";
    let namespace = cluster.namespace("e2e-rivals").await?;
    let mut first = Operator::start(cluster, LEASE, "first").await?;
    first.leads().await?;
    let second = Operator::start(cluster, LEASE, "second").await?;
    let gateway = apply(&namespace, 0, &json!({})).await?;
    settled(std::slice::from_ref(&gateway)).await?;
    ensure!(second.metric("containerssh_operator_leader ").await? == 0.0, "two lead");

    first.signal("STOP").await?;
    second.leads().await?;
    apply(&namespace, 0, &json!({"service": {"port": 2222}})).await?;
    settled(std::slice::from_ref(&gateway)).await?;
    first.signal("CONT").await?;
    ensure!(!first.ended().await?, "the old leader ended as if it had been told to");
    let (_, port) = gateway.address().await?;
    ensure!(port == 2222, "port {port}: the old leader has undone what the new one did");
    ensure!(second.metric("containerssh_operator_leader ").await? == 1.0, "nobody leads");
    namespace.discard().await
}

#[tokio::test]
async fn a_leader_that_was_stopped_gives_way_and_undoes_nothing() -> Result<()> {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::connect().await?;
    without_installed(&cluster, stop_and_go_on(&cluster)).await
}

/// A way to the API server that can be closed.
struct Door {
    port: String,
    proxy: Option<tokio::process::Child>,
}

impl Door {
    fn open(&mut self) -> Result<()> {
        let proxy = Command::new("kubectl")
            .args(["proxy", "--port", &self.port])
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        self.proxy = Some(proxy);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let mut proxy = self.proxy.take().context("it is open")?;
        Ok(proxy.kill().await?)
    }
}

/// An API server that goes away, for longer than a Lease is valid.
async fn go_away(cluster: &Cluster) -> Result<()> {
    const LEASE: &str = "containerssh-operator-away";
    let namespace = cluster.namespace("e2e-away").await?;
    let directory = tempfile::tempdir()?;
    let mut door = Door { port: containerssh_e2e::program::free_port()?.to_string(), proxy: None };
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, users: [{{name: u, user: {{}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}], clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{}'}}}}]}}",
            door.port
        ),
    )?;
    let path = kubeconfig.to_string_lossy().into_owned();
    let environment = [("KUBECONFIG", path.as_str())];
    door.open()?;
    let mut operator = Operator::start_with(cluster, LEASE, "one", &environment).await?;
    // One that only waits for its turn has nothing to lose, and waits on.
    operator.leads().await?;
    let gateway = apply(&namespace, 0, &json!({})).await?;
    settled(std::slice::from_ref(&gateway)).await?;

    // It cannot know whether another one leads by now, so it ends; the next one waits for the API server.
    door.close().await?;
    apply(&namespace, 0, &json!({"service": {"port": 2222}})).await?;
    ensure!(!operator.ended().await?, "the operator ended as if it had been told to");
    let next = Operator::start_with(cluster, LEASE, "one", &environment).await?;
    wait::until("the next operator to answer", SETTLE_DEADLINE, || async {
        ensure!(next.metric("containerssh_operator_leader ").await? == 0.0, "it leads without an API server");
        Ok(())
    })
    .await?;
    door.open()?;
    settled(std::slice::from_ref(&gateway)).await?;
    ensure!(gateway.address().await?.1 == 2222, "the change was lost");
    namespace.discard().await
}

#[tokio::test]
async fn an_api_server_that_was_away_finds_everything_done_when_it_is_back() -> Result<()> {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::connect().await?;
    without_installed(&cluster, go_away(&cluster)).await
}
