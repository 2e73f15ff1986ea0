//! The policy that most tests record under.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{Cluster, gateway};

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
    gateway::merge(&mut enforce, extra);
    let policy = json!({
        "apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy",
        "metadata": {"name": namespace},
        "spec": {"namespaces": [namespace], "enforce": enforce},
    });
    cluster.apply_object(&serde_json::from_value(policy)?).await.map(drop)
}
