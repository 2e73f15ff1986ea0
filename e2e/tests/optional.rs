//! Objects of kinds that a cluster may lack: the gateway does without, says so, and makes them when the kinds come.

use anyhow::{Result, ensure};
use containerssh_e2e::fixture::{USER, key};
use containerssh_e2e::{Cluster, Gateway, Login, wait};
use serde_json::json;
use std::time::Duration;
use tokio::process::Command;

/// The operator asks every minute, and CRDs take some seconds to be served.
const NOTICED: Duration = Duration::from_secs(120);

/// A definition that takes any object, in place of the real one, whose validation is not what is tried here.
fn definition(group: &str, version: &str, kind: &str, plural: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata:\n  name: {plural}.{group}\n  annotations: {{api-approved.kubernetes.io: unapproved, for a test}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n\
         \x20 names: {{kind: {kind}, plural: {plural}, singular: {singular}}}\n\
         \x20 versions:\n  - name: {version}\n    served: true\n    storage: true\n\
         \x20   schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
    )
    .replace("unapproved, for a test", "\"unapproved, for a test\"")
}

async fn get(namespace: &str, what: &str) -> Result<serde_json::Value> {
    let output = Command::new("kubectl").args(["-n", namespace, "get", what, "-o", "json"]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn a_gateway_does_without_a_kind_until_the_cluster_has_it() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("e2e-optional").await?;
    let kinds = definition("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
        + "---\n"
        + &definition("gateway.networking.k8s.io", "v1alpha2", "TCPRoute", "tcproutes");
    let wanted = json!({
        "metrics": {"serviceMonitor": {"labels": {"release": "prometheus"}}},
        "service": {"tcpRoute": {"parentRefs": [{"name": "edge"}]}},
    });
    let key = key().await?;
    let gateway = Gateway::with_key(&namespace, "watched", USER, &key.public, wanted).await?;
    let message = gateway.wait_condition("Integrated", "False").await?;
    ensure!(message.contains("metrics.serviceMonitor") && message.contains("service.tcpRoute"), "{message}");
    gateway.ready().await?;
    Login::with_key(&gateway, USER, key).await?.run("true").await?.expect_code(0)?;

    cluster.apply(&kinds).await?;
    wait::until("the objects to be made", NOTICED, || async {
        let monitor = get(&namespace.name, "servicemonitors.monitoring.coreos.com/watched").await?;
        ensure!(monitor["metadata"]["labels"]["release"] == "prometheus", "{monitor}");
        let route = get(&namespace.name, "tcproutes.gateway.networking.k8s.io/watched").await?;
        ensure!(route["spec"]["rules"][0]["backendRefs"][0]["name"] == "watched", "{route}");
        get(&namespace.name, "service/watched-metrics").await.map(drop)
    })
    .await?;
    gateway.wait_condition("Integrated", "True").await?;

    // What is not asked for any more goes.
    let less = json!({"metrics": {"serviceMonitor": {"labels": {"release": "prometheus"}}}});
    Gateway::with_key(&namespace, "watched", USER, &key.public, less).await?;
    wait::until("the route to be gone", NOTICED, || async {
        let route = get(&namespace.name, "tcproutes.gateway.networking.k8s.io/watched").await;
        ensure!(route.is_err(), "it is still there");
        Ok(())
    })
    .await?;
    gateway.delete().await?;
    cluster.delete(&kinds).await?;
    namespace.discard().await
}
