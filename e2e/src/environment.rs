//! What the scripts tell the tests about the cluster, through environment variables.

use anyhow::{Context, Result};

/// Where the cluster's parts are. `eval "$(e2e/cluster env)"` sets what is needed for a cluster of ours.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The namespace the operator runs in: Secrets that policies name live there.
    pub operator_namespace: String,
    /// Image of the gateway, as the cluster's nodes know it.
    pub gateway_image: String,
    /// Image of the guest agent, likewise.
    pub agent_image: String,
    /// A guest with a shell, coreutils and an sftp server.
    pub debian_image: String,
    /// A guest that is nothing but busybox.
    pub busybox_image: String,
    /// A guest without any shell.
    pub noshell_image: String,
    /// The webhook server of the tests.
    pub webhook_image: String,
    /// S3 as the pods reach it.
    pub s3_endpoint_in_cluster: String,
    /// S3 as the tests reach it.
    pub s3_endpoint: String,
    /// Access key of S3.
    pub s3_access_key: String,
    /// Secret key of S3.
    pub s3_secret_key: String,
    /// The bucket, with object lock.
    pub s3_bucket: String,
}

impl Environment {
    /// Reads the variables; an unset one without a default is an error that says how to set it.
    pub fn load() -> Result<Self> {
        Ok(Self {
            operator_namespace: or("E2E_OPERATOR_NAMESPACE", "containerssh-system"),
            gateway_image: or("E2E_GATEWAY_IMAGE", "localhost/containerssh-gateway:dev"),
            agent_image: or("E2E_AGENT_IMAGE", "localhost/containerssh-agent:dev"),
            debian_image: or("E2E_GUEST_DEBIAN_IMAGE", "localhost/containerssh-guest-debian:dev"),
            busybox_image: or("E2E_GUEST_BUSYBOX_IMAGE", "localhost/containerssh-guest-busybox:dev"),
            noshell_image: or("E2E_GUEST_NOSHELL_IMAGE", "localhost/containerssh-guest-noshell:dev"),
            webhook_image: or("E2E_WEBHOOK_IMAGE", "localhost/containerssh-e2e-webhook:dev"),
            s3_endpoint_in_cluster: or("E2E_S3_ENDPOINT_IN_CLUSTER", "http://minio.minio.svc:9000"),
            s3_endpoint: required("E2E_S3_ENDPOINT")?,
            s3_access_key: required("E2E_S3_ACCESS_KEY")?,
            s3_secret_key: required("E2E_S3_SECRET_KEY")?,
            s3_bucket: or("E2E_S3_BUCKET", "audit"),
        })
    }
}

fn or(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn required(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!("{name} is not set: run e2e/test, or `eval \"$(e2e/cluster env)\"` for a cluster that is up")
    })
}
