//! What a thousand gateways cost the operator and the apiserver: `operator-cold`, `operator-idle-rps`,
//! `operator-policy-change`, `operator-memory`.
//!
//! The operator runs as a process of this machine against the cluster, so that its memory and its requests can be read;
//! one that is installed is scaled to zero meanwhile. The gateways have no replicas: what is measured is the operator, not
//! the nodes. The peers are the goals, for nothing else does the same work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_crds::SSHGateway;
use containerssh_e2e::operator::{Operator, without_installed};
use containerssh_e2e::{Cluster, wait};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::Figure;

/// Smaller with `E2E_BENCH_GATEWAYS`, for machines that are shared.
const GATEWAYS: usize = 1000;
const NAMESPACES: usize = 200;
const POLICIES: usize = 50;
/// The goals.
const COLD_SECONDS: f64 = 180.0;
const IDLE_REQUESTS_PER_SECOND: f64 = 1.0;
const POLICY_CHANGE_SECONDS: f64 = 20.0;
const MEMORY_MEGABYTES: f64 = 120.0;
/// Long enough for a round of everything that is done every minute.
const IDLE: Duration = Duration::from_secs(150);
const DEADLINE: Duration = Duration::from_secs(1800);
/// Requests of ours at once.
const AT_ONCE: usize = 16;
const REQUESTS: &str = "containerssh_operator_api_requests_total{";
const WRITES: &str = "containerssh_operator_writes_total{";
const LABEL: &str = "containerssh-bench";
/// The policy that covers every gateway and is changed.
const EVERYWHERE: &str = "bench-operator-everywhere";

/// All four, since each begins where the one before ends.
pub(crate) async fn measure() -> Result<Vec<Figure>> {
    let cluster = Cluster::connect().await?;
    let count = match std::env::var("E2E_BENCH_GATEWAYS") {
        Ok(text) => text.parse().context("E2E_BENCH_GATEWAYS")?,
        Err(_) => GATEWAYS,
    };
    clear(&cluster).await?;
    let figures = without_installed(&cluster, with_objects(&cluster, count)).await;
    clear(&cluster).await?;
    figures
}

async fn with_objects(cluster: &Cluster, count: usize) -> Result<Vec<Figure>> {
    create(cluster, count).await?;
    let gateways = Gateways::watch(cluster).await?;
    let operator = Operator::start(cluster, "containerssh-operator-bench", "bench").await?;
    let started = Instant::now();
    gateways.until(count, "all gateways to be ready", |gateway| condition(gateway, "Ready")).await?;
    let cold = started.elapsed().as_secs_f64();

    quiet(&operator).await?;
    let before = operator.metric(REQUESTS).await?;
    let since = Instant::now();
    tokio::time::sleep(IDLE).await;
    let idle = (operator.metric(REQUESTS).await? - before) / since.elapsed().as_secs_f64();

    let hash = |gateway: &SSHGateway| Some(gateway.status.as_ref()?.audit.as_ref()?.hash.clone());
    let earlier: std::collections::HashMap<_, _> =
        gateways.0.state().iter().map(|gateway| (gateway.uid(), hash(gateway))).collect();
    policy(
        cluster,
        EVERYWHERE,
        json!({"namespaceSelector": {}, "enforce": {"sessions": {"idleTimeout": "20m"}}}),
    )
    .await?;
    let changed = Instant::now();
    gateways
        .until(count, "all gateways to obey the change", |gateway| {
            earlier.get(&gateway.uid()) != Some(&hash(gateway)) && condition(gateway, "AuditPolicyResolved")
        })
        .await?;
    let change = changed.elapsed().as_secs_f64();
    let memory = operator.resident_megabytes().await?;
    Ok(vec![
        Figure { name: "operator-cold", ours: cold, peer: COLD_SECONDS, unit: "s" },
        Figure { name: "operator-idle-rps", ours: idle, peer: IDLE_REQUESTS_PER_SECOND, unit: "1/s" },
        Figure { name: "operator-policy-change", ours: change, peer: POLICY_CHANGE_SECONDS, unit: "s" },
        Figure { name: "operator-memory", ours: memory, peer: MEMORY_MEGABYTES, unit: "MB" },
    ])
}

fn condition(gateway: &SSHGateway, kind: &str) -> bool {
    let conditions = gateway.status.iter().flat_map(|status| &status.conditions);
    let mut this = conditions.filter(|condition| condition.type_ == kind && condition.status == "True");
    this.any(|condition| condition.observed_generation == gateway.metadata.generation)
}

fn name(number: usize) -> String {
    format!("bench-operator-{number}")
}

/// Namespaces, keys, policies and gateways, while no operator runs.
async fn create(cluster: &Cluster, count: usize) -> Result<()> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let made: Result<Vec<()>> = stream::iter(0..NAMESPACES)
        .map(|number| {
            let api = api.clone();
            async move {
                let labels = json!({LABEL: "true", "bench-group": (number % POLICIES).to_string()});
                let object =
                    serde_json::from_value(json!({"metadata": {"name": name(number), "labels": labels}}))?;
                api.create(&Default::default(), &object).await?;
                let keys = json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": name(number)},
                    "stringData": {"dev": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA bench"},
                });
                cluster.apply_object(&serde_json::from_value(keys)?).await.map(drop)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await;
    made?;
    policy(
        cluster,
        EVERYWHERE,
        json!({"namespaceSelector": {}, "enforce": {"sessions": {"idleTimeout": "30m"}}}),
    )
    .await?;
    for number in 0..POLICIES - 1 {
        let spec = json!({
            "namespaceSelector": {"matchLabels": {"bench-group": number.to_string()}},
            "enforce": {"onFailure": "Deny", "sessions": {"maxDuration": format!("{}h", number + 1)}},
            "default": {"spool": {"size": "1Gi"}},
        });
        policy(cluster, &name(number), spec).await?;
    }
    let made: Result<Vec<()>> = stream::iter(0..count)
        .map(|number| async move {
            let gateway = json!({
                "apiVersion": "containerssh.io/v1alpha1", "kind": "SSHGateway",
                "metadata": {"name": name(number), "namespace": name(number % NAMESPACES)},
                "spec": {
                    "replicas": 0,
                    "authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": "keys"}}]}},
                    "backend": {"kubernetes": {"podTemplate": {"spec": {"containers": [
                        {"name": "shell", "image": "debian:12", "resources": {"limits": {"memory": "1Gi"}}},
                    ]}}}},
                },
            });
            cluster.apply_object(&serde_json::from_value(gateway)?).await.map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await;
    made.map(drop)
}

async fn policy(cluster: &Cluster, name: &str, spec: serde_json::Value) -> Result<()> {
    let policy = json!({
        "apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy",
        "metadata": {"name": name, "labels": {LABEL: "true"}},
        "spec": spec,
    });
    cluster.apply_object(&serde_json::from_value(policy)?).await.map(drop)
}

/// Removes everything of an earlier run, and waits until it is gone.
async fn clear(cluster: &Cluster) -> Result<()> {
    let ours = ListParams::default().labels(&format!("{LABEL}=true"));
    let resource = kube::api::ApiResource::erase::<containerssh_crds::AuditPolicy>(&());
    let policies: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    policies.delete_collection(&DeleteParams::default(), &ours).await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    for namespace in namespaces.list_metadata(&ours).await? {
        match namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 409 => {}
            other => drop(other?),
        }
    }
    wait::until("the namespaces to be gone", DEADLINE, || async {
        let left = namespaces.list_metadata(&ours).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}

/// Every gateway, by a watch: listing a thousand again and again would be the measurement's own load.
struct Gateways(Store<SSHGateway>);

impl Gateways {
    async fn watch(cluster: &Cluster) -> Result<Self> {
        let (store, writer) = reflector::store();
        let api: Api<SSHGateway> = Api::all(cluster.client.clone());
        let events = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
        tokio::spawn(events.for_each(|_| std::future::ready(())));
        store.wait_until_ready().await?;
        Ok(Self(store))
    }

    async fn until(&self, count: usize, what: &str, holds: impl Fn(&SSHGateway) -> bool) -> Result<()> {
        wait::until(what, DEADLINE, || async {
            let all = self.0.state();
            let ours = all.iter().filter(|gateway| gateway.name_any().starts_with("bench-operator-"));
            let so_far = ours.filter(|gateway| holds(gateway)).count();
            ensure!(so_far == count, "{so_far} of {count}");
            Ok(())
        })
        .await
    }
}

/// Waits until a while passes in which the operator writes nothing: what the start has set off is done.
async fn quiet(operator: &Operator) -> Result<()> {
    wait::until("the operator to have nothing to do", DEADLINE, || async {
        let before = operator.metric(WRITES).await?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let written = operator.metric(WRITES).await? - before;
        ensure!(written == 0.0, "{written} writes in the last 20 s");
        Ok(())
    })
    .await
}
