//! One gateway that the tests of a file share: its namespace, key and policy are made by whichever test comes first.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::OnceLock;

use anyhow::Result;
use containerssh_e2e::ssh::Key;
use containerssh_e2e::{Cluster, Gateway, Login, Namespace, record};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

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
pub struct Shared {
    pub cluster: Cluster,
    pub namespace: Namespace,
    pub gateway: Gateway,
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

/// A policy called like its namespace: everything is recorded, to the bucket, below `<namespace>/`. `extra` is merged
/// into its enforcing tier.
pub async fn record_everything(cluster: &Cluster, namespace: &str, extra: Value) -> Result<()> {
    let environment = &cluster.environment;
    let credentials = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "e2e-s3", "namespace": environment.operator_namespace},
        "stringData": {"accessKey": environment.s3_access_key, "secretKey": environment.s3_secret_key},
    });
    cluster.apply_object(&serde_json::from_value(credentials)?).await?;
    let mut enforce = json!({
        "format": "Binary",
        "intercept": {"stdin": "Require", "stdout": "Require", "stderr": "Require"},
        "storage": {"s3": {
            "bucket": environment.s3_bucket,
            "region": "us-east-1",
            "endpoint": environment.s3_endpoint_in_cluster,
            "pathStyleAccess": true,
            "prefix": "{namespace}/{gateway}/",
            "credentials": {"type": "Secret", "secretRef": {"name": "e2e-s3"}},
        }},
        "onFailure": "Deny",
    });
    containerssh_e2e::gateway::merge(&mut enforce, extra);
    let policy = json!({
        "apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy",
        "metadata": {"name": namespace},
        "spec": {"namespaces": [namespace], "enforce": enforce},
    });
    cluster.apply_object(&serde_json::from_value(policy)?).await.map(drop)
}

impl Shared {
    /// The record of the one connection in which `marker` was executed or typed.
    pub async fn record_of(&self, marker: &str) -> Result<record::Record> {
        record::find(&self.cluster, &format!("{}/{}/", self.namespace.name, self.gateway.name), marker).await
    }
}

/// Bytes that no compressor shortens, different in each call.
pub fn random_bytes(length: usize) -> Vec<u8> {
    use rand::Rng;
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A file of random bytes and its SHA-256 in hexadecimal digits.
pub fn random_file(length: usize) -> Result<(tempfile::NamedTempFile, String)> {
    use std::io::Write;
    let bytes = random_bytes(length);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&bytes)?;
    Ok((file, sha256(&bytes)))
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// A number that no other test of this run has.
pub fn unique() -> String {
    static START: OnceLock<String> = OnceLock::new();
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let start = START.get_or_init(|| hex::encode(random_bytes(6)));
    format!("{start}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
