//! From nothing to a finished command, against the start of such a pod alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use containerssh_e2e::{gateway, wait};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::stage::Stage;
use crate::{Figure, median};

const ROUNDS: usize = 7;

/// Connect, `true`, disconnect; the peer is a pod from apply to Ready. Seconds.
pub(crate) async fn cold(stage: &Stage) -> Result<Figure> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        stage.login.run("true").await?.expect_code(0)?;
        ours.push(start.elapsed().as_secs_f64());
        stage.gateway.no_guests().await?;
        peer.push(pod_start(stage, round).await?);
    }
    Ok(Figure { name: "cold-connect", ours: median(ours), peer: median(peer), unit: "s" })
}

async fn pod_start(stage: &Stage, round: usize) -> Result<f64> {
    let mut template = gateway::guest_template(&stage.cluster.environment.debian_image);
    gateway::merge(
        &mut template,
        json!({
            "metadata": {"name": format!("peer-{round}")},
            "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false},
        }),
    );
    template["spec"]["containers"][0]["command"] = json!(["sleep", "600"]);
    let pod: Pod = serde_json::from_value(template)?;
    let name = pod.name_any();
    let pods: Api<Pod> = Api::namespaced(stage.cluster.client.clone(), &stage.namespace.name);
    let start = Instant::now();
    let created = pods.create(&Default::default(), &pod).await?;
    let version = created.resource_version().context("a resource version")?;
    let only = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(60);
    let mut events = Box::pin(pods.watch(&only, &version).await?);
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Modified(pod) = event
            && is_ready(&pod)
        {
            break;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    pods.delete(&name, &DeleteParams::default()).await?;
    wait::until("the peer's pod to be gone", Duration::from_secs(60), || async {
        ensure!(pods.get_opt(&name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    Ok(elapsed)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|each| each.type_ == "Ready" && each.status == "True"))
}
