//! What every reconcile has at hand: clients, the watched stores, and what is remembered between reconciles.
//!
//! Written by: the watches (stores, marks), the reconciles (everything else). All of it is a cache: a new leader
//! starts without and comes to the same result.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use containerssh_crds::SSHGateway;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    apply::Applier,
    args::Settings,
    backoff::Backoff,
    events::Events,
    gather::{
        audit::{self, GuardedPolicy},
        observed::Observations,
        pod_check::PodChecks,
        pods::Watched,
        refs::Reader,
    },
    index::{Dirty, Name},
    looks::Looks,
    metrics::Metrics,
    served::Served,
};

/// An SSHGateway as watched: decoded, or the reason why not. One undecodable object would otherwise end the watch of
/// all.
pub type GuardedGateway = DeserializeGuard<SSHGateway>;

/// One watched scope: a namespace, or all of them.
#[derive(Clone, Debug)]
pub struct Shard {
    /// None = all namespaces.
    pub namespace: Option<String>,
    pub gateways: Store<GuardedGateway>,
    pub dirty: Arc<Dirty>,
}

/// Shared by all reconciles.
pub struct Context {
    pub client: Client,
    pub settings: Settings,
    /// Where the operator runs, and where Secrets named by an AuditPolicy are.
    pub operator_namespace: String,
    pub shards: Vec<Shard>,
    pub policies: Store<GuardedPolicy>,
    pub policies_dirty: Arc<Dirty>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub applier: Applier,
    pub reader: Reader,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    /// For the gateways' `/status`.
    pub http: reqwest::Client,
    /// The gateways' own pods.
    pub pods: Watched,
    pub looks: Looks,
    /// Which optional kinds the cluster has.
    pub served: Served,
    pub observations: Observations,
    pub pod_checks: PodChecks,
    pub gateway_backoff: Backoff<Name>,
    pub policy_backoff: Backoff<Name>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Context {
    /// How often the gateway was marked: see [`Dirty::turn`].
    pub fn turn(&self, gateway: &Name) -> u64 {
        let responsible = |shard: &&Shard| {
            shard.namespace.is_none() || shard.namespace.as_deref() == gateway.namespace.as_deref()
        };
        self.shards.iter().find(responsible).map_or(0, |shard| shard.dirty.turn(gateway))
    }

    /// Metadata of a namespace; None = unknown, or no such namespace.
    pub fn namespace(&self, name: &str) -> Option<Arc<PartialObjectMeta<Namespace>>> {
        self.namespaces.get(&ObjectRef::new(name))
    }

    pub fn labels_of(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        Some(self.namespace(namespace)?.metadata.labels.clone().unwrap_or_default())
    }

    /// Whether this operator manages things in that namespace.
    pub fn watches(&self, namespace: &str) -> bool {
        self.shards.iter().any(|shard| shard.namespace.as_deref().is_none_or(|own| own == namespace))
    }

    /// Every gateway of every scope.
    pub fn gateways(&self) -> Vec<Arc<GuardedGateway>> {
        self.shards.iter().flat_map(|shard| shard.gateways.state()).collect()
    }

    /// Forgets what is remembered of objects that are gone. Not done where a deletion is seen, because a broken watch
    /// does not show every deletion.
    pub fn forget_gone(&self) {
        let gateways = self.gateways();
        let names: HashSet<Name> = gateways.iter().map(|gateway| Name::of(gateway.as_ref())).collect();
        let uids: HashSet<String> =
            gateways.iter().filter_map(|gateway| gateway.meta().uid.clone()).collect();
        self.applier.retain(&uids);
        self.pod_checks.retain(&names);
        self.looks.retain(&names);
        self.observations.retain(&names);
        for shard in &self.shards {
            shard.dirty.retain(|name| names.contains(name));
        }
        self.gateway_backoff.retain(&names);
        let policies = self.policies.state();
        self.policy_backoff.retain(
            &policies.iter().map(|policy| Name { namespace: None, name: audit::name_of(policy) }).collect(),
        );
    }
}
