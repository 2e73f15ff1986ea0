//! Objects that belong to a gateway: their kinds, how they are marked, and what the cluster shows of them.
//!
//! Marks are labels, not only owner references: an owner reference cannot cross namespaces, and labels let one
//! selector find every child. The UID label tells a gateway from an earlier one of the same name.

use std::collections::{BTreeMap, HashMap};

use containerssh_crds::SSHGateway;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    api::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta},
    core::Resource,
    runtime::reflector::{ObjectRef, Store},
};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use crate::{error::Error, index::Name};

/// Label with the UID of the gateway that a child belongs to.
pub const UID_LABEL: &str = "containerssh.io/gateway-uid";
/// Label with the namespace of that gateway: children may stand in another one.
pub const NAMESPACE_LABEL: &str = "containerssh.io/gateway-namespace";
/// Label with the name of that gateway.
pub const NAME_LABEL: &str = "containerssh.io/gateway";
/// What finds every child of every gateway.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=containerssh-operator";

/// The kinds of children, each watched by label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    ServiceAccount,
    Role,
    RoleBinding,
    Secret,
    NetworkPolicy,
    Service,
    PodDisruptionBudget,
    ServiceMonitor,
    TcpRoute,
    Deployment,
    StatefulSet,
}

impl ChildKind {
    /// What a pod needs stands before the pods.
    pub const ALL: [Self; 11] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Secret,
        Self::NetworkPolicy,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::ServiceMonitor,
        Self::TcpRoute,
        Self::Deployment,
        Self::StatefulSet,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Secret => "Secret",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::ServiceMonitor => "ServiceMonitor",
            Self::TcpRoute => "TCPRoute",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// True for the kinds that run pods.
    pub const fn is_workload(self) -> bool {
        matches!(self, Self::Deployment | Self::StatefulSet)
    }

    /// True for the kinds that a cluster may lack: see [`served`](crate::served).
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::ServiceMonitor | Self::TcpRoute)
    }

    pub fn resource(self) -> ApiResource {
        let third = |group: &str, version: &str, plural: &str| ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: self.as_str().to_owned(),
            plural: plural.to_owned(),
        };
        match self {
            Self::ServiceMonitor => third("monitoring.coreos.com", "v1", "servicemonitors"),
            Self::TcpRoute => third("gateway.networking.k8s.io", "v1alpha2", "tcproutes"),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }
}

/// The gateway that children belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: Name,
    pub uid: String,
}

impl Owner {
    pub fn namespace(&self) -> &str {
        self.name.namespace.as_deref().unwrap_or_default()
    }

    /// What makes the garbage collector delete an object of the gateway's namespace with it.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: SSHGateway::api_version(&()).into_owned(),
            kind: SSHGateway::kind(&()).into_owned(),
            name: self.name.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Labels that never change while the gateway lives; they also select its pods.
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/name", "containerssh-gateway"), ("app.kubernetes.io/instance", &self.name.name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Labels of the pods: without the operator's version, whose change would restart them and end sessions.
    pub fn pod_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector_labels();
        labels.extend(
            [
                ("app.kubernetes.io/component", "gateway"),
                ("app.kubernetes.io/part-of", "containerssh"),
                ("app.kubernetes.io/managed-by", crate::MANAGER),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        labels
    }

    /// Labels of every child.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.pod_labels();
        labels.extend(
            [
                ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
                (UID_LABEL, &self.uid),
                (NAMESPACE_LABEL, self.namespace()),
                (NAME_LABEL, &self.name.name),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        labels
    }
}

/// One object as it should be. `manifest` holds only the fields that the operator owns.
#[derive(Clone, PartialEq)]
pub struct Child {
    pub kind: ChildKind,
    pub namespace: String,
    pub name: String,
    pub manifest: Value,
}

/// Manifests of Secrets must not reach a log by `{:?}`.
impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

impl Child {
    /// Wraps a typed object, whose metadata must hold its name and namespace.
    pub fn new<K: Resource<DynamicType = ()> + Serialize>(
        kind: ChildKind,
        object: &K,
    ) -> Result<Self, Error> {
        let meta = object.meta();
        Ok(Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            manifest: serde_json::to_value(object).map_err(|error| Error::render(kind.as_str(), error))?,
        })
    }

    /// Wraps an object of a kind that has no type here; what identifies it comes from `metadata`.
    pub fn untyped(kind: ChildKind, metadata: &ObjectMeta, spec: &Value) -> Result<Self, Error> {
        let resource = kind.resource();
        let metadata_value =
            serde_json::to_value(metadata).map_err(|error| Error::render(kind.as_str(), error))?;
        Ok(Self {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            manifest: json!({
                "apiVersion": resource.api_version, "kind": resource.kind,
                "metadata": metadata_value, "spec": spec,
            }),
        })
    }

    pub fn place(&self) -> Name {
        Name::within(&self.namespace, &self.name)
    }

    /// Digest of the manifest; serde_json keeps maps sorted, so equal objects have equal digests.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.manifest.to_string().as_bytes()).into()
    }
}

/// Metadata of one object, as watched.
pub type Seen = PartialObjectMeta<DynamicObject>;

/// Metadata of every child, by kind and by watched scope.
#[derive(Debug, Clone, Default)]
pub struct Children {
    stores: HashMap<ChildKind, Vec<Store<Seen>>>,
}

impl Children {
    pub fn add(&mut self, kind: ChildKind, store: Store<Seen>) {
        self.stores.entry(kind).or_default().push(store);
    }

    pub fn get(&self, kind: ChildKind, place: &Name) -> Option<Arc<Seen>> {
        let reference = ObjectRef::new_with(&place.name, kind.resource())
            .within(place.namespace.as_deref().unwrap_or_default());
        self.stores.get(&kind)?.iter().find_map(|store| store.get(&reference))
    }

    /// Waits for every list but those of kinds that the cluster may lack: what is missing in these is looked for before
    /// it is written.
    pub async fn wait_until_ready(&self) {
        let always = self.stores.iter().filter(|(kind, _)| !kind.is_optional());
        for store in always.flat_map(|(_, stores)| stores) {
            // An error means that the watch has ended, which ends the operator anyway.
            let _ = store.wait_until_ready().await;
        }
    }

    /// Every child that carries the gateway's UID.
    pub fn of(&self, uid: &str) -> Vec<(ChildKind, Arc<Seen>)> {
        let mut found = Vec::new();
        for kind in ChildKind::ALL {
            for store in self.stores.get(&kind).into_iter().flatten() {
                let mine = store.state_filter(|seen| label(&seen.metadata, UID_LABEL) == Some(uid));
                found.extend(mine.into_iter().map(|seen| (kind, seen)));
            }
        }
        found
    }
}

/// The gateway whose child this is, as its labels say.
pub fn parent(meta: &ObjectMeta) -> Option<Name> {
    Some(Name::within(label(meta, NAMESPACE_LABEL)?, label(meta, NAME_LABEL)?))
}

pub fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}
