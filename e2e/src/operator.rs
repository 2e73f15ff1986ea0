//! The operator as a process of this machine, which a test can kill, stop and look into; an installed one is scaled to
//! zero meanwhile, so that nobody else does its work.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{Cluster, program, wait};

/// For an operator that ends or begins: it releases its Lease, or waits for one that was not released.
const CHANGE_DEADLINE: Duration = Duration::from_secs(120);

/// Runs `body` while no installed operator works, and scales it back whatever comes of it.
pub async fn without_installed<T>(cluster: &Cluster, body: impl Future<Output = Result<T>>) -> Result<T> {
    let api: Api<Deployment> =
        Api::namespaced(cluster.client.clone(), &cluster.environment.operator_namespace);
    let found =
        api.list(&ListParams::default().labels("app.kubernetes.io/name=containerssh-operator")).await?;
    let Some(deployment) = found.items.into_iter().next() else { return body.await };
    let (name, replicas) =
        (deployment.name_any(), deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1));
    scale(&api, &name, 0).await?;
    let result = body.await;
    scale(&api, &name, replicas).await?;
    result
}

async fn scale(api: &Api<Deployment>, name: &str, replicas: i32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale(name, &PatchParams::default(), &patch).await?;
    wait::until(&format!("{replicas} operators"), CHANGE_DEADLINE, || async {
        let status = api.get_status(name).await?.status.unwrap_or_default();
        let (all, ready) = (status.replicas.unwrap_or_default(), status.ready_replicas.unwrap_or_default());
        ensure!(all == replicas && ready == replicas, "{all} there, {ready} ready");
        Ok(())
    })
    .await
}

/// One operator.
#[derive(Debug)]
pub struct Operator {
    process: Child,
    metrics: String,
}

impl Operator {
    /// Starts one. Operators with the same `lease` elect a leader; `instance` is who it is among them.
    pub async fn start(cluster: &Cluster, lease: &str, instance: &str) -> Result<Self> {
        Self::start_with(cluster, lease, instance, &[]).await
    }

    /// The same with more environment variables.
    pub async fn start_with(
        cluster: &Cluster,
        lease: &str,
        instance: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let program = program::operator().await?;
        let namespace = &cluster.environment.operator_namespace;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        cluster.apply_object(&serde_json::from_value(object)?).await?;
        let (metrics, health) = (program::free_port()?, program::free_port()?);
        let process = Command::new(&program)
            .args(["--gateway-image", &cluster.environment.gateway_image])
            .args(["--lease-name", lease, "--log-level", "error"])
            .args(["--metrics-addr", &format!("127.0.0.1:{metrics}")])
            .args(["--health-addr", &format!("127.0.0.1:{health}")])
            .envs([("POD_NAMESPACE", namespace.as_str()), ("POD_NAME", instance)])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { process, metrics: format!("http://127.0.0.1:{metrics}/metrics") })
    }

    /// The sum of its metrics whose line begins so.
    pub async fn metric(&self, begin: &str) -> Result<f64> {
        let output = Command::new("curl").args(["-sf", "-m", "5", &self.metrics]).output().await?;
        ensure!(output.status.success(), "the operator does not answer");
        let text = String::from_utf8(output.stdout)?;
        let values = text.lines().filter(|line| line.starts_with(begin));
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> Result<()> {
        wait::until("the operator to lead", CHANGE_DEADLINE, || async {
            ensure!(self.metric("containerssh_operator_leader ").await? == 1.0, "it does not");
            Ok(())
        })
        .await
    }

    /// Kills it where it stands.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }

    /// Sends it a signal, by the name that kill knows.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.id()?.to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await?;
        ensure!(status.success(), "kill -s {name} {id}");
        Ok(())
    }

    /// Waits until it has ended; whether it says that it did so of its own will.
    pub async fn ended(&mut self) -> Result<bool> {
        let status = tokio::time::timeout(CHANGE_DEADLINE, self.process.wait());
        Ok(status.await.context("it goes on")??.success())
    }

    fn id(&self) -> Result<u32> {
        self.process.id().context("the operator has ended")
    }

    /// Its resident memory, in MB.
    pub async fn resident_megabytes(&self) -> Result<f64> {
        let status = tokio::fs::read_to_string(format!("/proc/{}/status", self.id()?)).await?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes / 1000.0)
    }
}
