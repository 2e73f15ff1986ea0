//! The cluster, and a namespace for each test.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{Environment, wait};

/// Who owns the fields that tests apply.
const FIELD_MANAGER: &str = "e2e";

/// The namespace controller looks again after half of the longest grace period in it, more than once if need be.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(240);

/// Put on each namespace the tests make, so that what a killed run left can be found.
const NAMESPACE_LABEL: &str = "containerssh-e2e";

/// A connection to the cluster that `KUBECONFIG` names.
#[derive(Clone)]
pub struct Cluster {
    /// The client, with the rights of the kubeconfig's user.
    pub client: Client,
    /// Where the rest is.
    pub environment: Environment,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects. Fails, and never skips, where there is no cluster.
    pub async fn connect() -> Result<Self> {
        // Another test of the same process may have been first, which is just as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let environment = Environment::load()?;
        let client = Client::try_default().await.context("no cluster: set KUBECONFIG or run e2e/test")?;
        Ok(Self { client, environment })
    }

    /// Applies manifests (one or more YAML documents), as `kubectl apply --server-side` would.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        for document in manifests.split("\n---\n").filter(|text| !text.trim().is_empty()) {
            let object: DynamicObject =
                serde_saphyr::from_str(document).with_context(|| format!("not a manifest:\n{document}"))?;
            self.apply_object(&object).await?;
        }
        Ok(())
    }

    /// Applies one object.
    pub async fn apply_object(&self, object: &DynamicObject) -> Result<DynamicObject> {
        let (api, name) = self.api_of(object).await?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api
            .patch(&name, &parameters, &Patch::Apply(object))
            .await
            .with_context(|| format!("applying {name}"))?;
        Ok(applied)
    }

    /// Deletes what the manifests name; what is not there is not an error.
    pub async fn delete(&self, manifests: &str) -> Result<()> {
        for document in manifests.split("\n---\n").filter(|text| !text.trim().is_empty()) {
            let object: DynamicObject = serde_saphyr::from_str(document)?;
            let (api, name) = self.api_of(&object).await?;
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => drop(other.with_context(|| format!("deleting {name}"))?),
            }
        }
        Ok(())
    }

    async fn api_of(&self, object: &DynamicObject) -> Result<(Api<DynamicObject>, String)> {
        let types = object.types.clone().context("apiVersion and kind are missing")?;
        let kind = kube::core::GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &kind)
            .await
            .with_context(|| format!("{} {}", types.api_version, types.kind))?;
        let name = object.metadata.name.clone().context("metadata.name is missing")?;
        let api = match (&object.metadata.namespace, capabilities.scope) {
            (Some(namespace), discovery::Scope::Namespaced) => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            _ => Api::all_with(self.client.clone(), &resource),
        };
        Ok((api, name))
    }

    /// A fresh namespace called `name`; one that an earlier run left is removed first.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        self.namespace_labelled(name, json!({})).await
    }

    /// The same with labels of the test's own, for policies that select by label.
    pub async fn namespace_labelled(&self, name: &str, mut labels: Value) -> Result<Namespace> {
        let namespace = Namespace { cluster: self.clone(), name: name.to_owned() };
        namespace.remove().await?;
        labels[NAMESPACE_LABEL] = json!("true");
        let object: KubeNamespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        Api::all(self.client.clone()).create(&Default::default(), &object).await?;
        Ok(namespace)
    }
}

/// A namespace of one test.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// The cluster it is in.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes a Secret of text values.
    pub async fn secret(&self, name: &str, data: Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": self.name},
            "stringData": data,
        }))?;
        self.cluster.apply_object(&object).await.map(drop)
    }

    /// The pods that match a label selector.
    pub async fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.name);
        Ok(pods.list(&ListParams::default().labels(selector)).await?.items)
    }

    /// The Secrets' names.
    pub async fn secrets(&self) -> Result<Vec<String>> {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.name);
        let list = secrets.list(&ListParams::default()).await?;
        Ok(list.items.into_iter().filter_map(|secret| secret.metadata.name).collect())
    }

    /// Asks for its removal, which goes on after the test: the namespace controller takes its time over pods with a long
    /// grace period.
    pub async fn discard(&self) -> Result<()> {
        let namespaces: Api<KubeNamespace> = Api::all(self.cluster.client.clone());
        match namespaces.delete(&self.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 409 => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }

    /// Removes it and waits until it is gone.
    pub async fn remove(&self) -> Result<()> {
        let namespaces: Api<KubeNamespace> = Api::all(self.cluster.client.clone());
        if namespaces.get_opt(&self.name).await?.is_none() {
            return Ok(());
        }
        self.discard().await?;
        wait::until(&format!("namespace {} to be gone", self.name), REMOVAL_DEADLINE, || async {
            ensure!(namespaces.get_opt(&self.name).await?.is_none(), "it is still there");
            Ok(())
        })
        .await
    }
}
