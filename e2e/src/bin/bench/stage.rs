//! The gateway that is measured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, policy, wait};
use serde_json::json;
use tokio::process::Command;

const NAMESPACE: &str = "e2e-bench";
const USER: &str = "bench";
/// Gigabytes, to a store on the same machine.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);

/// A gateway that records everything, and who logs in to it.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
    pub(crate) gateway: Gateway,
    pub(crate) login: Login,
    _key: Key,
}

impl Stage {
    /// Makes it and waits until it is ready.
    pub(crate) async fn set() -> Result<Self> {
        let cluster = Cluster::connect().await?;
        policy::record_everything(&cluster, NAMESPACE, json!({})).await?;
        let namespace = cluster.namespace(NAMESPACE).await?;
        let key = Key::generate().await?;
        let gateway =
            Gateway::with_key(&namespace, "bench", USER, &key.public, json!({"spool": {"size": "16Gi"}}))
                .await?;
        gateway.ready().await?;
        let login = Login::with_key(&gateway, USER, &key).await?;
        Ok(Self { cluster, namespace, gateway, login, _key: key })
    }

    /// Waits until the gateway's spool is empty.
    pub(crate) async fn uploaded(&self) -> Result<()> {
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
