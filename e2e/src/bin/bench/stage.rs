//! The gateway that is measured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, policy, wait};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::warm;

const NAMESPACE: &str = "e2e-bench";
/// No policy names it.
const UNRECORDED: &str = "e2e-bench-unrecorded";
/// Its gateway keeps pods ready.
const WARM: &str = "e2e-bench-warm";
const USER: &str = "bench";
/// Gigabytes, to a store on the same machine.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);

/// A gateway, and who logs in to it.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
    pub(crate) gateway: Gateway,
    pub(crate) login: Login,
    recorded: bool,
    _key: Key,
}

impl Stage {
    /// Makes one that records everything, and waits until it is ready.
    pub(crate) async fn set() -> Result<Self> {
        let cluster = Cluster::connect().await?;
        policy::record_everything(&cluster, NAMESPACE, json!({})).await?;
        let spool = json!({"spool": {"size": "16Gi"}});
        Self::at(cluster, NAMESPACE, spool, true).await
    }

    /// Makes one that records nothing, and waits until it is ready.
    pub(crate) async fn unrecorded() -> Result<Self> {
        Self::at(Cluster::connect().await?, UNRECORDED, json!({}), false).await
    }

    /// Makes one that records everything and has a warm pool, and waits until it is ready.
    pub(crate) async fn warm() -> Result<Self> {
        let cluster = Cluster::connect().await?;
        policy::record_everything(&cluster, WARM, json!({})).await?;
        let agent = json!({"image": cluster.environment.agent_image});
        let pool = json!({"backend": {"kubernetes": {"warmPool": {"size": warm::POOL}, "agent": agent}}});
        Self::at(cluster, WARM, pool, true).await
    }

    async fn at(cluster: Cluster, namespace: &str, extra: Value, recorded: bool) -> Result<Self> {
        let namespace = cluster.namespace(namespace).await?;
        let key = Key::generate().await?;
        let gateway = Gateway::with_key(&namespace, "bench", USER, &key.public, extra).await?;
        gateway.ready().await?;
        let login = Login::with_key(&gateway, USER, &key).await?;
        Ok(Self { cluster, namespace, gateway, login, recorded, _key: key })
    }

    /// Waits until the gateway's spool is empty, if it has one.
    pub(crate) async fn uploaded(&self) -> Result<()> {
        if !self.recorded {
            return Ok(());
        }
        let pod = self.gateway.pods().await?.pop().context("a gateway pod")?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("its address")?;
        wait::until("the records to be uploaded", UPLOAD_DEADLINE, || async {
            let output =
                Command::new("curl").args(["-sf", &format!("http://{ip}:7000/status")]).output().await?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            ensure!(status["spool"]["records"] == 0, "{status}");
            Ok(())
        })
        .await
    }

    /// Removes it.
    pub(crate) async fn clear(self) -> Result<()> {
        self.namespace.discard().await
    }
}
