//! One gateway that the tests of a file share: its namespace, key and policy are made by whichever test comes first.

use anyhow::Result;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::policy::record_everything;
use crate::ssh::Key;
use crate::{Cluster, Gateway, Login, Namespace, record};

/// The user that every key of the tests belongs to.
pub const USER: &str = "dev";

/// Files of a test live as long as its process.
static KEY: OnceCell<Key> = OnceCell::const_new();
static MADE: OnceCell<()> = OnceCell::const_new();

/// The key pair of this test binary.
pub async fn key() -> Result<&'static Key> {
    KEY.get_or_try_init(Key::generate).await
}

/// A gateway that its tests share.
#[derive(Debug)]
pub struct Shared {
    /// Where it is.
    pub cluster: Cluster,
    /// The namespace it is in, `e2e-<name>`.
    pub namespace: Namespace,
    /// Itself.
    pub gateway: Gateway,
    /// How its one user logs in.
    pub login: Login,
}

/// The shared gateway `name` in the namespace `e2e-<name>`, recording everything.
pub async fn shared(name: &'static str, extra: Value) -> Result<Shared> {
    let cluster = Cluster::connect().await?;
    let key = key().await?;
    let namespace_name = format!("e2e-{name}");
    MADE.get_or_try_init(|| async {
        record_everything(&cluster, &namespace_name, json!({})).await?;
        let namespace = cluster.namespace(&namespace_name).await?;
        let gateway = Gateway::with_key(&namespace, name, USER, &key.public, extra).await?;
        gateway.ready().await.map(drop)
    })
    .await?;
    let namespace = Namespace { cluster: cluster.clone(), name: namespace_name };
    let gateway = Gateway { namespace: namespace.clone(), name: name.to_owned() };
    let login = Login::with_key(&gateway, USER, key).await?;
    Ok(Shared { cluster, namespace, gateway, login })
}

impl Shared {
    /// The record of the one connection in which `marker` was executed or typed.
    pub async fn record_of(&self, marker: &str) -> Result<record::Record> {
        record::find(&self.cluster, &format!("{}/{}/", self.namespace.name, self.gateway.name), marker).await
    }
}
