//! One `SSHGateway` of a test.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ApiResource, DeleteParams, DynamicObject};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::{Namespace, wait};

/// Enough for two replicas on a busy two-core machine: image start, lease, host keys, probes.
const READY_DEADLINE: Duration = Duration::from_secs(180);
/// A guest's deletion: its grace period and the kubelet's own time.
const GONE_DEADLINE: Duration = Duration::from_secs(60);

/// A gateway that a test applied.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Where it is.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

impl Gateway {
    /// A gateway with one authorized key for `user`, guests from the Debian image, and `extra` merged into its spec.
    pub async fn with_key(
        namespace: &Namespace,
        name: &str,
        user: &str,
        public_key: &str,
        extra: Value,
    ) -> Result<Self> {
        namespace.secret(&format!("{name}-keys"), json!({user: public_key})).await?;
        let mut spec = json!({
            "replicas": 1,
            "authentication": {"publicKey": {"authorizedKeysFrom": [{"secretRef": {"name": format!("{name}-keys")}}]}},
            "backend": {"kubernetes": {"podTemplate": guest_template(&namespace.cluster.environment.debian_image)}},
        });
        merge(&mut spec, extra);
        Self::apply(namespace, name, spec).await
    }

    /// Applies a gateway with this spec.
    pub async fn apply(namespace: &Namespace, name: &str, spec: Value) -> Result<Self> {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "containerssh.io/v1alpha1", "kind": "SSHGateway",
            "metadata": {"name": name, "namespace": namespace.name},
            "spec": spec,
        }))?;
        namespace.cluster.apply_object(&object).await?;
        Ok(Self { namespace: namespace.clone(), name: name.to_owned() })
    }

    fn api(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "containerssh.io".into(),
            version: "v1alpha1".into(),
            api_version: "containerssh.io/v1alpha1".into(),
            kind: "SSHGateway".into(),
            plural: "sshgateways".into(),
        };
        Api::namespaced_with(self.namespace.cluster.client.clone(), &self.namespace.name, &resource)
    }

    /// The object as it stands.
    pub async fn get(&self) -> Result<DynamicObject> {
        Ok(self.api().get(&self.name).await?)
    }

    /// The status of a condition: `True`, `False` or `Unknown`, with its message.
    pub async fn condition(&self, kind: &str) -> Result<(String, String)> {
        let object = self.get().await?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions
            .iter()
            .find(|condition| condition["type"] == kind)
            .with_context(|| format!("no condition {kind} in {conditions:?}"))?;
        ensure!(
            condition["observedGeneration"].as_i64() == object.metadata.generation,
            "condition {kind} speaks of another generation: {condition}"
        );
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("message")))
    }

    /// Waits for a condition to have this status, and gives its message.
    pub async fn wait_condition(&self, kind: &str, status: &str) -> Result<String> {
        let what = format!("{}/{} to have {kind}={status}", self.namespace.name, self.name);
        wait::until(&what, READY_DEADLINE, || async {
            let (current, message) = self.condition(kind).await?;
            ensure!(current == status, "{kind}={current}: {message}");
            Ok(message)
        })
        .await
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<&Self> {
        self.wait_condition("Ready", "True").await?;
        Ok(self)
    }

    /// Host and port to connect to: the Service's cluster IP, which a node reaches.
    pub async fn address(&self) -> Result<(String, u16)> {
        let services: Api<Service> =
            Api::namespaced(self.namespace.cluster.client.clone(), &self.namespace.name);
        let spec = services.get(&self.name).await?.spec.context("the Service has no spec")?;
        let ip = spec.cluster_ip.context("the Service has no cluster IP")?;
        let port = spec.ports.unwrap_or_default().first().map_or(22, |port| port.port);
        Ok((ip, u16::try_from(port)?))
    }

    /// The guest pods that live now.
    pub async fn guests(&self) -> Result<Vec<Pod>> {
        self.namespace
            .pods(&format!("containerssh.io/gateway={},containerssh_connection_id", self.name))
            .await
    }

    /// Waits until no guest pod is left.
    pub async fn no_guests(&self) -> Result<()> {
        wait::until("no guest pod to be left", GONE_DEADLINE, || async {
            let names: Vec<_> = self.guests().await?.iter().map(ResourceExt::name_any).collect();
            ensure!(names.is_empty(), "still there: {names:?}");
            Ok(())
        })
        .await
    }

    /// Waits until exactly one guest pod is running and gives it.
    pub async fn one_guest(&self) -> Result<Pod> {
        wait::until("one guest pod to run", READY_DEADLINE, || async {
            let mut guests = self.guests().await?;
            ensure!(guests.len() == 1, "{} guests", guests.len());
            let guest = guests.swap_remove(0);
            let phase = guest.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            ensure!(phase == "Running", "it is {phase}");
            Ok(guest)
        })
        .await
    }

    /// The pods that run the gateway itself.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let selector =
            format!("app.kubernetes.io/name=containerssh-gateway,app.kubernetes.io/instance={}", self.name);
        self.namespace.pods(&selector).await
    }

    /// Deletes it and waits until it is gone.
    pub async fn delete(&self) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::default()).await?;
        wait::until("the gateway to be gone", READY_DEADLINE, || async {
            ensure!(self.api().get_opt(&self.name).await?.is_none(), "it is still there");
            Ok(())
        })
        .await
    }
}

/// A pod template with one shell container from `image`, which nodes hold already.
pub fn guest_template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "shell", "image": image, "imagePullPolicy": "Never"}]}})
}

/// Merges `extra` into `base`, maps key by key, anything else replaced.
pub fn merge(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra,
    }
}
