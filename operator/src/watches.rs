//! Every watch of the operator, and what each marks.
//!
//! | Watched | Marks |
//! |---|---|
//! | SSHGateway | itself, unless only its status changed; every policy when its spec has changed, those that cover it when what it obeys has |
//! | AuditPolicy | itself, every gateway and every policy: what it covered before is not known any more |
//! | Namespace | the gateways in it, those whose pods run in it, every policy |
//! | children, by label | their gateway |
//! | gateway pods, by label | their gateway |
//! | Secret, ConfigMap (metadata) | the gateways that refer to it; if a policy does, every gateway and policy |

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex},
};

use containerssh_crds::{
    SSHGateway,
    conditions::{AUDIT_POLICY_RESOLVED, is_true},
    matches,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PartialObjectMeta},
    core::NamespaceResourceScope,
    runtime::{
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::{Applier, Ledger},
    args::Settings,
    backoff::{Backoff, lock},
    children::{self, ChildKind, Children, Owner, SELECTOR, Seen},
    context::{Context, GuardedGateway, Shard},
    events::Events,
    gather::{
        audit::{self, GuardedPolicy},
        audit_keys,
        known::Known,
        observed::Observations,
        pod_check::PodChecks,
        pods,
        refs::{self, Reader},
    },
    index::{Dirty, Kind, Name, References},
    looks::Looks,
    metrics::Metrics,
    served::{self, Kinds, Served},
    watch::{Touched, follow, follow_part},
};

/// A running watch; ends with the operator.
pub type Watch = BoxFuture<'static, ()>;

/// Who is to be looked at again.
#[derive(Clone)]
struct Marks {
    shards: Vec<Shard>,
    policies: Store<GuardedPolicy>,
    policies_dirty: Arc<Dirty>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
}

impl Marks {
    fn gateway(&self, name: Name) {
        let responsible = |shard: &&Shard| {
            shard.namespace.is_none() || shard.namespace.as_deref() == name.namespace.as_deref()
        };
        if let Some(shard) = self.shards.iter().find(responsible) {
            shard.dirty.mark(name);
        }
    }

    fn gateways(&self, which: impl Fn(&GuardedGateway) -> bool) {
        for shard in &self.shards {
            let names = shard.gateways.state_filter(|gateway| which(gateway));
            shard.dirty.mark_all(names.iter().map(|gateway| Name::of(gateway.as_ref())));
        }
    }

    fn policies(&self) {
        let names = self.policies.state();
        self.policies_dirty
            .mark_all(names.iter().map(|policy| Name { namespace: None, name: audit::name_of(policy) }));
    }

    /// The policies that a gateway's namespaces fall under: what others count does not change with it.
    fn policies_of(&self, gateway: &GuardedGateway) {
        let pods =
            gateway.0.as_ref().ok().and_then(|gateway| gateway.spec.backend.kubernetes.namespace.clone());
        let places: Vec<(String, BTreeMap<String, String>)> = (gateway.namespace().into_iter().chain(pods))
            .map(|name| {
                let known = self.namespaces.get(&ObjectRef::new(&name));
                let labels = known.and_then(|namespace| namespace.metadata.labels.clone());
                (name, labels.unwrap_or_default())
            })
            .collect();
        let concerned = self.policies.state_filter(|policy| {
            places.iter().any(|(name, labels)| match &policy.0 {
                Ok(policy) => matches(&policy.spec, name, labels),
                Err(invalid) => invalid.may_cover(name, labels),
            })
        });
        let names = concerned.iter().map(|policy| Name { namespace: None, name: audit::name_of(policy) });
        self.policies_dirty.mark_all(names);
    }

    fn everything(&self) {
        self.gateways(|_| true);
        self.policies();
    }
}

/// Opens every watch and builds the context around their stores. Nothing is asked before the watches are polled.
pub fn open(
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<(Context, Vec<Watch>), reqwest::Error> {
    let operator_namespace =
        settings.identity.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let scopes: Vec<Option<String>> = if settings.watch_namespaces.is_empty() {
        vec![None]
    } else {
        settings.watch_namespaces.iter().map(|namespace| Some(namespace.as_str().to_owned())).collect()
    };
    let references = Arc::new(References::default());
    let (policies, policy_writer) = reflector::store::<GuardedPolicy>();
    let (namespaces, namespace_writer) = reflector::store::<PartialObjectMeta<Namespace>>();
    let (shards, gateway_writers): (Vec<_>, Vec<_>) = scopes
        .iter()
        .map(|namespace| {
            let (gateways, writer) = reflector::store::<GuardedGateway>();
            (Shard { namespace: namespace.clone(), gateways, dirty: Arc::default() }, writer)
        })
        .unzip();
    let marks = Marks {
        shards: shards.clone(),
        policies: policies.clone(),
        policies_dirty: Arc::default(),
        namespaces: namespaces.clone(),
    };

    let mut watches: Vec<Watch> = vec![
        watch_policies(&client, policy_writer, stop, marks.clone()),
        watch_namespaces(&client, namespace_writer, stop, marks.clone()),
    ];
    for (shard, writer) in shards.iter().zip(gateway_writers) {
        watches.push(watch_gateways(&client, shard, writer, stop, marks.clone(), Arc::clone(&references)));
    }
    let mut children = Children::default();
    let served = Served::default();
    let ledger = Arc::new(Ledger::default());
    for scope in &scopes {
        for kind in ChildKind::ALL {
            let watched = (marks.clone(), Arc::clone(&ledger), served.clone());
            let (store, watch) = watch_children(&client, scope.as_deref(), kind, stop, watched);
            children.add(kind, store);
            watches.push(if kind.is_optional() {
                once_served(&client, kind, stop, (marks.clone(), served.clone()), watch)
            } else {
                watch
            });
        }
    }
    let mut gateway_pods = pods::Watched::default();
    for scope in &scopes {
        let (store, watch) = watch_pods(&client, scope.as_deref(), stop, marks.clone());
        gateway_pods.add(store);
        watches.push(watch);
    }
    let reader = Reader::new(client.clone());
    let about = Referred {
        marks: marks.clone(),
        known: Arc::clone(&reader.known),
        references: Arc::clone(&references),
        operator_namespace: operator_namespace.clone(),
        baseline_secrets: audit_keys::secrets_of(&settings.fallback.baseline)
            .map(|(_, name)| name.to_owned())
            .collect(),
    };
    for scope in &scopes {
        let scope = scope.as_deref();
        watches.push(watch_referred::<Secret>(&client, scope, Kind::Secret, stop, about.clone()));
        watches.push(watch_referred::<ConfigMap>(&client, scope, Kind::ConfigMap, stop, about.clone()));
    }
    // Policies name Secrets of the operator's namespace, also where it manages no gateways.
    if !scopes.contains(&None) && !scopes.contains(&Some(operator_namespace.clone())) {
        watches.push(watch_referred::<Secret>(&client, Some(&operator_namespace), Kind::Secret, stop, about));
    }
    let context = Context {
        applier: Applier::new(client.clone(), Arc::new(children), ledger, Arc::clone(&metrics)),
        observations: Observations::default(),
        reader,
        events: Events::new(client.clone(), &settings.identity.instance),
        http: pods::http_client()?,
        pods: gateway_pods,
        looks: Looks::default(),
        served,
        pod_checks: PodChecks::default(),
        gateway_backoff: Backoff::default(),
        policy_backoff: Backoff::default(),
        operator_namespace,
        shards,
        policies,
        policies_dirty: marks.policies_dirty,
        namespaces,
        metrics,
        settings,
        client,
    };
    Ok((context, watches))
}

fn watch_gateways(
    client: &Client,
    shard: &Shard,
    writer: Writer<GuardedGateway>,
    stop: &CancellationToken,
    marks: Marks,
    references: Arc<References>,
) -> Watch {
    let api: Api<GuardedGateway> = api_in(client, shard.namespace.as_deref());
    let shard = shard.clone();
    let (seen, obeyed) = (Last::default(), Last::default());
    let refer = |references: &References, gateway: &GuardedGateway| {
        let name = Name::of(gateway);
        let targets = match &gateway.0 {
            Ok(decoded) => {
                let owner = Owner { name: name.clone(), uid: decoded.uid().unwrap_or_default() };
                refs::references(decoded, &owner)
            }
            Err(_) => HashSet::new(),
        };
        references.set(&name, targets);
    };
    let on_touched = move |touched: Touched<'_, GuardedGateway>| match touched {
        Touched::Changed(gateway) => {
            refer(&references, gateway);
            let name = Name::of(gateway);
            let changed = seen.differs(name.clone(), wanted(gateway.meta()));
            if changed {
                shard.dirty.mark(name.clone());
            }
            if obeyed.differs(name, obeys(gateway)) {
                // A changed spec may have left a policy's namespaces.
                if changed { marks.policies() } else { marks.policies_of(gateway) }
            }
        }
        Touched::Deleted(gateway) => {
            let name = Name::of(gateway);
            references.set(&name, HashSet::new());
            seen.forget(&name);
            obeyed.forget(&name);
            marks.policies();
        }
        Touched::Relisted => {
            let known = shard.gateways.state();
            let names: HashSet<Name> = known.iter().map(|gateway| Name::of(gateway.as_ref())).collect();
            // What vanished while the watch was broken, as far as it is this scope's.
            let elsewhere = |name: &Name| shard.namespace.is_some() && shard.namespace != name.namespace;
            references.retain(|name| elsewhere(name) || names.contains(name));
            seen.retain(&names);
            obeyed.retain(&names);
            for gateway in &known {
                refer(&references, gateway);
            }
            marks.everything();
        }
    };
    Box::pin(follow(
        api,
        watcher::Config::default(),
        writer,
        "SSHGateway".to_owned(),
        stop.clone(),
        on_touched,
    ))
}

/// What was seen last of each object, as far as it matters: a status changes with every session, and must not set off
/// reconciles by itself.
#[derive(Debug)]
struct Last<V>(Mutex<HashMap<Name, V>>);

impl<V> Default for Last<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: PartialEq> Last<V> {
    /// Whether this differs from what was seen before.
    fn differs(&self, name: Name, value: V) -> bool
    where
        V: Clone,
    {
        lock(&self.0).insert(name, value.clone()) != Some(value)
    }

    fn forget(&self, name: &Name) {
        lock(&self.0).remove(name);
    }

    fn retain(&self, names: &HashSet<Name>) {
        lock(&self.0).retain(|name, _| names.contains(name));
    }
}

/// What a person or another controller changes: spec, metadata, deletion; and that nobody has looked at it yet.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    uid: Option<String>,
    generation: Option<i64>,
    deleting: bool,
    finalizers: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
}

fn wanted(meta: &ObjectMeta) -> Wanted {
    Wanted {
        uid: meta.uid.clone(),
        generation: meta.generation,
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.clone(),
        annotations: meta.annotations.clone(),
    }
}

/// What policies need to know of a gateway: generation, hash of its settings, whether every pod applies them.
type Obeys = (Option<i64>, Option<String>, bool);

fn obeys(gateway: &GuardedGateway) -> Obeys {
    let status = gateway.0.as_ref().ok().and_then(|decoded| decoded.status.as_ref());
    let hash = status.and_then(|status| Some(status.audit.as_ref()?.hash.clone()));
    let resolved = status.is_some_and(|status| is_true(&status.conditions, AUDIT_POLICY_RESOLVED));
    (gateway.meta().generation, hash, resolved)
}

fn watch_policies(
    client: &Client,
    writer: Writer<GuardedPolicy>,
    stop: &CancellationToken,
    marks: Marks,
) -> Watch {
    let seen = Last::default();
    let on_touched = move |touched: Touched<'_, GuardedPolicy>| match touched {
        Touched::Changed(policy) => {
            let name = Name { namespace: None, name: audit::name_of(policy) };
            if seen.differs(name, wanted(policy.meta())) {
                marks.everything();
            }
        }
        Touched::Deleted(policy) => {
            seen.forget(&Name { namespace: None, name: audit::name_of(policy) });
            marks.everything();
        }
        Touched::Relisted => marks.everything(),
    };
    let api: Api<GuardedPolicy> = Api::all(client.clone());
    Box::pin(follow(
        api,
        watcher::Config::default(),
        writer,
        "AuditPolicy".to_owned(),
        stop.clone(),
        on_touched,
    ))
}

fn watch_namespaces(
    client: &Client,
    writer: Writer<PartialObjectMeta<Namespace>>,
    stop: &CancellationToken,
    marks: Marks,
) -> Watch {
    let on_touched = move |touched: Touched<'_, PartialObjectMeta<Namespace>>| match touched {
        Touched::Changed(namespace) | Touched::Deleted(namespace) => {
            let name = namespace.name_any();
            marks.gateways(|gateway| {
                gateway.namespace().as_deref() == Some(&name) || places_pods_in(gateway, &name)
            });
            marks.policies();
        }
        Touched::Relisted => marks.everything(),
    };
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    Box::pin(follow(
        api,
        watcher::Config::default(),
        writer,
        "Namespace".to_owned(),
        stop.clone(),
        on_touched,
    ))
}

fn places_pods_in(gateway: &GuardedGateway, namespace: &str) -> bool {
    let decoded: Option<&SSHGateway> = gateway.0.as_ref().ok();
    decoded.is_some_and(|decoded| decoded.spec.backend.kubernetes.namespace.as_deref() == Some(namespace))
}

fn watch_children(
    client: &Client,
    scope: Option<&str>,
    kind: ChildKind,
    stop: &CancellationToken,
    (marks, ledger, served): (Marks, Arc<Ledger>, Served),
) -> (Store<Seen>, Watch) {
    let resource = kind.resource();
    let api: Api<Seen> = match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let writer = Writer::new(resource);
    let store = writer.as_reader();
    let on_touched = move |touched: Touched<'_, Seen>| match touched {
        // What we wrote ourselves is no news.
        Touched::Changed(child) if ledger.wrote(kind, &child.metadata) => {}
        Touched::Changed(child) | Touched::Deleted(child) => {
            if let Some(gateway) = children::parent(&child.metadata) {
                marks.gateway(gateway);
            }
        }
        Touched::Relisted => {
            // A list is an answer: a kind that was removed has come back.
            served.set(kind, true);
            marks.gateways(|gateway| !kind.is_optional() || asks_for(gateway, kind));
        }
    };
    let config = watcher::Config::default().labels(SELECTOR);
    (store, Box::pin(follow(api, config, writer, kind.as_str().to_owned(), stop.clone(), on_touched)))
}

/// Whether a gateway's spec asks for an optional kind.
fn asks_for(gateway: &GuardedGateway, kind: ChildKind) -> bool {
    gateway.0.as_ref().is_ok_and(|decoded| Kinds::wanted(&decoded.spec).has(kind))
}

/// The watch of a kind that the cluster may lack: it begins when the kind is there.
fn once_served(
    client: &Client,
    kind: ChildKind,
    stop: &CancellationToken,
    (marks, served): (Marks, Served),
    watch: Watch,
) -> Watch {
    let (client, stop) = (client.clone(), stop.clone());
    Box::pin(async move {
        let wanted = || {
            let shards = marks.shards.iter();
            shards.flat_map(|shard| shard.gateways.state()).any(|gateway| asks_for(&gateway, kind))
        };
        if served::wait_for(&client, kind, &served, wanted, &stop).await {
            served.set(kind, true);
            marks.gateways(|gateway| asks_for(gateway, kind));
            watch.await;
        }
    })
}

/// Pods change as they start, become ready and leave; each of these is news of their gateway.
fn watch_pods(
    client: &Client,
    scope: Option<&str>,
    stop: &CancellationToken,
    marks: Marks,
) -> (Store<Pod>, Watch) {
    let (store, writer) = reflector::store::<Pod>();
    let on_touched = move |touched: Touched<'_, Pod>| match touched {
        Touched::Changed(pod) | Touched::Deleted(pod) => {
            if let Some(gateway) = pods::parent(pod) {
                marks.gateway(gateway);
            }
        }
        Touched::Relisted => marks.gateways(|_| true),
    };
    let api: Api<Pod> = api_in(client, scope);
    let config = watcher::Config::default().labels(pods::SELECTOR);
    let watch = follow_part(api, config, writer, pods::slim, "Pod".to_owned(), stop.clone(), on_touched);
    (store, Box::pin(watch))
}

/// What a watch of Secrets or ConfigMaps needs to find those that are concerned.
#[derive(Clone)]
struct Referred {
    marks: Marks,
    known: Arc<Known>,
    references: Arc<References>,
    operator_namespace: String,
    /// Secrets that the operator's own baseline names.
    baseline_secrets: HashSet<String>,
}

impl Referred {
    fn touched(&self, kind: Kind, name: Name) {
        let target = (kind, name);
        self.known.forget(&target);
        let (kind, name) = target;
        let concerns_policies = kind == Kind::Secret
            && name.namespace.as_deref() == Some(self.operator_namespace.as_str())
            && self.marks.policies.state().iter().any(|policy| {
                policy.0.as_ref().is_ok_and(|policy| {
                    audit_keys::secrets_of_policy(policy).any(|(_, secret)| secret == name.name)
                })
            });
        let concerns_baseline = kind == Kind::Secret
            && name.namespace.as_deref() == Some(self.operator_namespace.as_str())
            && self.baseline_secrets.contains(&name.name);
        if concerns_policies || concerns_baseline {
            self.marks.everything();
        }
        for gateway in self.references.referrers(&(kind, name)) {
            self.marks.gateway(gateway);
        }
    }
}

/// Metadata only, and not kept: who refers to it is what counts.
fn watch_referred<K>(
    client: &Client,
    scope: Option<&str>,
    kind: Kind,
    stop: &CancellationToken,
    about: Referred,
) -> Watch
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = api_in(client, scope);
    let on_touched = move |touched: Touched<'_, PartialObjectMeta<K>>| match touched {
        Touched::Changed(object) | Touched::Deleted(object) => about.touched(kind, Name::of(object)),
        // Something may have changed or gone while the watch was broken.
        Touched::Relisted => {
            about.known.clear();
            about.marks.everything();
        }
    };
    Box::pin(crate::watch::overhear(api, kind.to_string(), stop.clone(), on_touched))
}

fn api_in<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
