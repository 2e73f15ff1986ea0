//! Every watch of the operator, and what each marks.
//!
//! | Watched | Marks |
//! |---|---|
//! | SSHGateway | itself; every policy, when what it obeys has changed |
//! | AuditPolicy | itself, every gateway and every policy: what it covered before is not known any more |
//! | Namespace | the gateways in it, those whose pods run in it, every policy |
//! | children, by label | their gateway |
//! | Secret, ConfigMap (metadata) | the gateways that refer to it; if a policy does, every gateway and policy |

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex},
};

use containerssh_crds::{SSHGateway, conditions::{AUDIT_POLICY_RESOLVED, is_true}};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::PartialObjectMeta,
    core::NamespaceResourceScope,
    runtime::{
        reflector::{self, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::Applier,
    args::Settings,
    backoff::{Backoff, lock},
    children::{self, ChildKind, Children, Owner, SELECTOR, Seen},
    context::{Context, GuardedGateway, Shard},
    events::Events,
    gather::{
        audit::{self, GuardedPolicy},
        pod_check::PodChecks,
        pods,
        refs::{self, Reader},
    },
    index::{Dirty, Kind, Name, References},
    metrics::Metrics,
    watch::{Touched, follow},
};

/// A running watch; ends with the operator.
pub type Watch = BoxFuture<'static, ()>;

/// Who is to be looked at again.
#[derive(Clone)]
struct Marks {
    shards: Vec<Shard>,
    policies: Store<GuardedPolicy>,
    policies_dirty: Arc<Dirty>,
}

impl Marks {
    fn gateway(&self, name: Name) {
        let responsible =
            |shard: &&Shard| shard.namespace.is_none() || shard.namespace.as_deref() == name.namespace.as_deref();
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
    let marks = Marks { shards: shards.clone(), policies: policies.clone(), policies_dirty: Arc::default() };

    let mut watches: Vec<Watch> = vec![
        watch_policies(&client, policy_writer, stop, marks.clone()),
        watch_namespaces(&client, namespace_writer, stop, marks.clone()),
    ];
    for (shard, writer) in shards.iter().zip(gateway_writers) {
        watches.push(watch_gateways(&client, shard, writer, stop, marks.clone(), Arc::clone(&references)));
    }
    let mut children = Children::default();
    for scope in &scopes {
        for kind in ChildKind::ALL {
            let (store, watch) = watch_children(&client, scope.as_deref(), kind, stop, marks.clone());
            children.add(kind, store);
            watches.push(watch);
        }
    }
    // Secrets in the operator's namespace matter to policies even where gateways of that namespace do not.
    let mut secret_scopes = scopes;
    if !secret_scopes.contains(&None) && !secret_scopes.contains(&Some(operator_namespace.clone())) {
        secret_scopes.push(Some(operator_namespace.clone()));
    }
    for scope in secret_scopes {
        let about = Referred {
            marks: marks.clone(),
            references: Arc::clone(&references),
            operator_namespace: operator_namespace.clone(),
        };
        watches.push(watch_referred::<Secret>(&client, scope.as_deref(), Kind::Secret, stop, about.clone()));
        watches.push(watch_referred::<ConfigMap>(&client, scope.as_deref(), Kind::ConfigMap, stop, about));
    }
    let context = Context {
        applier: Applier::new(client.clone(), Arc::new(children), Arc::clone(&metrics)),
        reader: Reader::new(client.clone()),
        events: Events::new(client.clone(), &settings.identity.instance),
        http: pods::http_client()?,
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
    let obeyed = Obeyed::default();
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
            shard.dirty.mark(Name::of(gateway));
            if obeyed.changed(gateway) {
                marks.policies();
            }
        }
        Touched::Deleted(gateway) => {
            let name = Name::of(gateway);
            references.set(&name, HashSet::new());
            obeyed.forget(&name);
            marks.policies();
        }
        Touched::Relisted => {
            for gateway in shard.gateways.state() {
                refer(&references, &gateway);
                obeyed.changed(&gateway);
            }
            marks.everything();
        }
    };
    Box::pin(follow(api, watcher::Config::default(), writer, "SSHGateway".to_owned(), stop.clone(), on_touched))
}

/// What each gateway said last about the audit it obeys: its status changes with every session, the policies need to
/// look only when this part does.
#[derive(Debug, Default)]
struct Obeyed(Mutex<HashMap<Name, Obeys>>);

/// Generation, hash of the settings, whether every pod applies them.
type Obeys = (Option<i64>, Option<String>, bool);

impl Obeyed {
    fn changed(&self, gateway: &GuardedGateway) -> bool {
        let status = gateway.0.as_ref().ok().and_then(|decoded| decoded.status.as_ref());
        let hash = status.and_then(|status| Some(status.audit.as_ref()?.hash.clone()));
        let resolved = status.is_some_and(|status| is_true(&status.conditions, AUDIT_POLICY_RESOLVED));
        let new = (gateway.meta().generation, hash, resolved);
        lock(&self.0).insert(Name::of(gateway), new.clone()) != Some(new)
    }

    fn forget(&self, name: &Name) {
        lock(&self.0).remove(name);
    }
}

fn watch_policies(client: &Client, writer: Writer<GuardedPolicy>, stop: &CancellationToken, marks: Marks) -> Watch {
    let on_touched = move |touched: Touched<'_, GuardedPolicy>| match touched {
        Touched::Changed(policy) => {
            marks.policies_dirty.mark(Name { namespace: None, name: audit::name_of(policy) });
            marks.everything();
        }
        Touched::Deleted(_) | Touched::Relisted => marks.everything(),
    };
    let api: Api<GuardedPolicy> = Api::all(client.clone());
    Box::pin(follow(api, watcher::Config::default(), writer, "AuditPolicy".to_owned(), stop.clone(), on_touched))
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
            marks.gateways(|gateway| gateway.namespace().as_deref() == Some(&name) || places_pods_in(gateway, &name));
            marks.policies();
        }
        Touched::Relisted => marks.everything(),
    };
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    Box::pin(follow(api, watcher::Config::default(), writer, "Namespace".to_owned(), stop.clone(), on_touched))
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
    marks: Marks,
) -> (Store<Seen>, Watch) {
    let resource = kind.resource();
    let api: Api<Seen> = match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let writer = Writer::new(resource);
    let store = writer.as_reader();
    let on_touched = move |touched: Touched<'_, Seen>| match touched {
        Touched::Changed(child) | Touched::Deleted(child) => {
            if let Some(gateway) = children::parent(&child.metadata) {
                marks.gateway(gateway);
            }
        }
        Touched::Relisted => marks.gateways(|_| true),
    };
    let config = watcher::Config::default().labels(SELECTOR);
    (store, Box::pin(follow(api, config, writer, kind.as_str().to_owned(), stop.clone(), on_touched)))
}

/// What a watch of Secrets or ConfigMaps needs to find those that are concerned.
#[derive(Clone)]
struct Referred {
    marks: Marks,
    references: Arc<References>,
    operator_namespace: String,
}

impl Referred {
    fn touched(&self, kind: Kind, name: Name) {
        let concerns_policies = kind == Kind::Secret
            && name.namespace.as_deref() == Some(self.operator_namespace.as_str())
            && self.marks.policies.state().iter().any(|policy| {
                policy.0.as_ref().is_ok_and(|policy| audit::secrets_of(policy).any(|secret| secret == name.name))
            });
        if concerns_policies {
            self.marks.everything();
        }
        for gateway in self.references.referrers(&(kind, name)) {
            self.marks.gateway(gateway);
        }
    }
}

/// Metadata only, and not kept: who refers to it is what counts.
fn watch_referred<K>(client: &Client, scope: Option<&str>, kind: Kind, stop: &CancellationToken, about: Referred) -> Watch
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api: Api<PartialObjectMeta<K>> = api_in(client, scope);
    let on_touched = move |touched: Touched<'_, PartialObjectMeta<K>>| match touched {
        Touched::Changed(object) | Touched::Deleted(object) => about.touched(kind, Name::of(object)),
        // Something may have changed or gone while the watch was broken.
        Touched::Relisted => about.marks.everything(),
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
