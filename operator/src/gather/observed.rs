//! What has become of the objects: counts of the workload, address of the Service.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Mutex,
};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Service,
};
use kube::{Api, Client};

use crate::{
    apply::{Applier, CALL_TIMEOUT},
    backoff::lock,
    children::{ChildKind, Owner},
    error::{Error, within},
    index::Name,
};

/// Counts of one workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replicas {
    pub desired: i32,
    pub ready: i32,
    pub updated: i32,
    /// Pods of every revision.
    pub existing: i32,
    /// The controller has seen the newest template.
    pub current: bool,
}

impl Replicas {
    /// Nothing is being replaced or scaled.
    pub const fn settled(&self) -> bool {
        self.current
            && self.updated == self.desired
            && self.ready == self.desired
            && self.existing == self.desired
    }
}

/// Something that was read, with the version of the object it was read from.
type Versioned<T> = (String, Option<T>);

/// What was read of objects that are still at that version.
#[derive(Debug, Default)]
pub struct Observations {
    replicas: Mutex<HashMap<(ChildKind, Name), Versioned<Replicas>>>,
    addresses: Mutex<HashMap<Name, Versioned<String>>>,
}

impl Observations {
    /// As [`replicas()`], without asking again while the workload is at the same version.
    pub async fn replicas(
        &self,
        client: &Client,
        applier: &Applier,
        owner: &Owner,
        kind: ChildKind,
    ) -> Result<Option<Replicas>, Error> {
        let version = applier.current_version(kind, &owner.name);
        let key = (kind, owner.name.clone());
        if let Some(known) = same(&self.replicas, &key, version.as_ref()) {
            return Ok(known);
        }
        let found = replicas(client, owner, kind).await?;
        // What was read may be newer than the version, whose successor then comes as an event.
        if let Some(version) = version {
            lock(&self.replicas).insert(key, (version, found));
        }
        Ok(found)
    }

    /// As [`address()`], likewise.
    pub async fn address(
        &self,
        client: &Client,
        applier: &Applier,
        owner: &Owner,
    ) -> Result<Option<String>, Error> {
        let version = applier.current_version(ChildKind::Service, &owner.name);
        if let Some(known) = same(&self.addresses, &owner.name, version.as_ref()) {
            return Ok(known);
        }
        let found = address(client, owner).await?;
        if let Some(version) = version {
            lock(&self.addresses).insert(owner.name.clone(), (version, found.clone()));
        }
        Ok(found)
    }

    /// Forgets every gateway but these.
    pub fn retain(&self, names: &HashSet<Name>) {
        lock(&self.replicas).retain(|(_, name), _| names.contains(name));
        lock(&self.addresses).retain(|name, _| names.contains(name));
    }
}

fn same<K: Eq + Hash, T: Clone>(
    known: &Mutex<HashMap<K, Versioned<T>>>,
    key: &K,
    version: Option<&String>,
) -> Option<Option<T>> {
    let known = lock(known);
    let (at, value) = known.get(key)?;
    (Some(at) == version).then(|| value.clone())
}

/// None = there is no such workload.
pub async fn replicas(client: &Client, owner: &Owner, kind: ChildKind) -> Result<Option<Replicas>, Error> {
    let (namespace, name) = (owner.namespace(), owner.name.name.as_str());
    let what = || format!("read {} {namespace}/{name}", kind.as_str());
    if kind == ChildKind::StatefulSet {
        let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        let found = within(CALL_TIMEOUT, what, api.get_opt(name)).await?;
        return Ok(found.map(|set| {
            let status = set.status.unwrap_or_default();
            Replicas {
                desired: set.spec.and_then(|spec| spec.replicas).unwrap_or(1),
                ready: status.ready_replicas.unwrap_or_default(),
                updated: status.updated_replicas.unwrap_or_default(),
                existing: status.replicas,
                current: status.observed_generation == set.metadata.generation,
            }
        }));
    }
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = within(CALL_TIMEOUT, what, api.get_opt(name)).await?;
    Ok(found.map(|deployment| {
        let status = deployment.status.unwrap_or_default();
        Replicas {
            desired: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            ready: status.ready_replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            existing: status.replicas.unwrap_or_default(),
            current: status.observed_generation == deployment.metadata.generation,
        }
    }))
}

/// Where users connect to, as `host:port`; None until there is an address.
pub async fn address(client: &Client, owner: &Owner) -> Result<Option<String>, Error> {
    let (namespace, name) = (owner.namespace(), owner.name.name.as_str());
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let what = || format!("read Service {namespace}/{name}");
    Ok(within(CALL_TIMEOUT, what, api.get_opt(name)).await?.as_ref().and_then(address_of))
}

fn address_of(service: &Service) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let port = spec.ports.as_ref()?.first()?.port;
    let host = if spec.type_.as_deref() == Some("LoadBalancer") {
        let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
        let ingress = balancer.ingress.as_ref()?.first()?;
        // A name moves with the balancer, an address may not.
        ingress.hostname.clone().or_else(|| ingress.ip.clone())?
    } else {
        spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?
    };
    Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_address_is_the_balancers_once_it_has_one() {
        let waiting = r#"{"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1","ports":[{"port":22}]},"status":{"loadBalancer":{}}}"#;
        assert_eq!(address_of(&service(waiting)), None);
        let ready = r#"{"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1","ports":[{"port":2222}]},
                        "status":{"loadBalancer":{"ingress":[{"hostname":"lb.example.net","ip":"192.0.2.1"}]}}}"#;
        assert_eq!(address_of(&service(ready)).as_deref(), Some("lb.example.net:2222"));
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let ipv6 = r#"{"spec":{"type":"ClusterIP","clusterIP":"2001:db8::1","ports":[{"port":22}]}}"#;
        assert_eq!(address_of(&service(ipv6)).as_deref(), Some("[2001:db8::1]:22"));
    }

    #[test]
    fn a_rollout_has_settled_only_when_the_old_pods_are_gone_too() {
        let settled = Replicas { desired: 2, ready: 2, updated: 2, existing: 2, current: true };
        assert!(settled.settled());
        assert!(!Replicas { existing: 3, ..settled }.settled());
        assert!(!Replicas { current: false, ..settled }.settled());
    }
}
