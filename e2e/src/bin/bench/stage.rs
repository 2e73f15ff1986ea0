//! The gateway that is measured.

use anyhow::Result;
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, policy};
use serde_json::json;

const NAMESPACE: &str = "e2e-bench";
const USER: &str = "bench";

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

    /// Removes it.
    pub(crate) async fn clear(self) -> Result<()> {
        self.namespace.remove().await
    }
}
