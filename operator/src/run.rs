//! Wiring: watches on every replica, reconciles on the one that leads.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use kube::{
    Client, Resource,
    client::ClientBuilder,
    runtime::{
        applier,
        controller::{self, Action, ReconcileRequest},
        reflector::{ObjectRef, Store},
    },
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::{
    admin::{self, Readiness},
    args::Settings,
    code,
    context::Context,
    controller as reconcilers,
    error::Error,
    index::{self, Dirty},
    lease::{self, Candidate, Ended},
    metrics::{Health, Metrics},
    status, watches,
};

/// All that is under way when the operator is told to stop has to end within this; the kubelet gives 30 s.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(25);
/// For the apiserver; a SYN that is not answered in this time will not be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often gauges are read and what is gone is forgotten.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(15);

/// Why the operator ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {address} ({flag}): {source}")]
    Listen { address: std::net::SocketAddr, flag: &'static str, source: std::io::Error },
    #[error("cannot build the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    #[error("there is no cluster to talk to: set KUBECONFIG, or run in a pod ({0})")]
    NoCluster(#[from] Box<kube::config::InferConfigError>),
    #[error("cannot build the client of the cluster: {0}")]
    Client(#[from] kube::Error),
    #[error("cannot take part in the leader election: {0}")]
    Election(#[from] kube_lease_manager::LeaseManagerError),
    #[error("the lease was lost; ending, so that a standby may take over cleanly")]
    LeaseLost,
    #[error("a task that must never end has ended: {0}")]
    TaskEnded(&'static str),
}

/// A client for the cluster that `KUBECONFIG` names, or that this pod runs in; it counts what it asks.
pub async fn client(metrics: Arc<Metrics>) -> Result<Client, RunError> {
    let mut config = kube::Config::infer().await.map_err(Box::new)?;
    // kube would repeat a refused call fifteen times, up to 1000 s apart; here every object has a backoff of its own.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let counted = MapRequestLayer::new(move |request: http::Request<kube::client::Body>| {
        metrics.requested(request.method().as_str());
        request
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&counted).build())
}

/// Runs until `stop`, or until the lease is lost.
pub async fn run(
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let health = listen(settings.health_addr, "--health-addr").await?;
    let metrics_listener = listen(settings.metrics_addr, "--metrics-addr").await?;
    let ready = Readiness::default();

    // The servers outlive the reconciles: a probe that fails during the shutdown would only confuse.
    let servers_stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (health_ready, health_stop) = (ready.clone(), servers_stop.clone());
    tasks.spawn(async move {
        let _ = admin::serve_health(health, health_ready, health_stop).await;
        "health endpoint"
    });
    let (served, metrics_stop) = (Arc::clone(&metrics), servers_stop.clone());
    tasks.spawn(async move {
        let _ = admin::serve_metrics(metrics_listener, served, metrics_stop).await;
        "metrics endpoint"
    });

    let (context, watches) = watches::open(settings, client, Arc::clone(&metrics), &servers_stop)?;
    for watch in watches {
        tasks.spawn(async move {
            watch.await;
            "watch"
        });
    }
    let context = Arc::new(context);
    tasks.spawn(keep_house(Arc::clone(&context)));

    let work = lead(Arc::clone(&context), ready, stop.clone());
    let result = tokio::select! {
        result = work => result,
        Some(ended) = tasks.join_next() => Err(RunError::TaskEnded(ended.unwrap_or("panicked"))),
        () = overdue(&stop) => {
            tracing::warn!(code = code::OPERATOR_STOPPED, "Not everything under way could be finished in time");
            Ok(())
        }
    };
    servers_stop.cancel();
    result
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(SHUTDOWN_LIMIT).await;
}

async fn listen(address: std::net::SocketAddr, flag: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, flag, source })
}

/// Waits for the caches, takes part in the election, and reconciles while leading.
async fn lead(context: Arc<Context>, ready: Readiness, stop: CancellationToken) -> Result<(), RunError> {
    tokio::select! {
        () = synced(&context) => {}
        () = stop.cancelled() => return Ok(()),
    }
    ready.set(true);
    tracing::info!(
        code = code::OPERATOR_READY,
        gateways = context.gateways().len(),
        policies = context.policies.len(),
        "The operator knows what exists"
    );
    let settings = &context.settings;
    let namespace = settings.lease_namespace.as_deref().unwrap_or(&context.operator_namespace);
    let candidate = tokio::select! {
        candidate = Candidate::new(context.client.clone(), &settings.lease_name, namespace, &settings.identity.instance) => candidate?,
        () = stop.cancelled() => return Ok(()),
    };
    let term = |stop| {
        context.metrics.set_leader(true);
        reconcile_all(Arc::clone(&context), stop)
    };
    match lease::lead(candidate, stop.clone(), term).await {
        Ended::Stopped => Ok(()),
        Ended::Lost => {
            context.metrics.set_leader(false);
            Err(RunError::LeaseLost)
        }
    }
}

/// Every policy and namespace is known before the first gateway is touched: a gateway rendered without a policy that
/// exists would run unrecorded.
async fn synced(context: &Context) {
    let _ = context.policies.wait_until_ready().await;
    let _ = context.namespaces.wait_until_ready().await;
    for shard in &context.shards {
        let _ = shard.gateways.wait_until_ready().await;
    }
    context.applier.children().wait_until_ready().await;
    context.pods.wait_until_ready().await;
    context.served.wait_until_known().await;
}

async fn reconcile_all(context: Arc<Context>, stop: CancellationToken) {
    let mut controllers: Vec<BoxFuture<'static, ()>> = vec![control(
        context.policies.clone(),
        Arc::clone(&context.policies_dirty),
        Arc::clone(&context),
        stop.clone(),
        reconcilers::audit_policy::reconcile,
        reconcilers::audit_policy::after_failure,
    )];
    for shard in &context.shards {
        controllers.push(control(
            shard.gateways.clone(),
            Arc::clone(&shard.dirty),
            Arc::clone(&context),
            stop.clone(),
            reconcilers::gateway::reconcile,
            reconcilers::gateway::after_failure,
        ));
    }
    futures::future::join_all(controllers).await;
}

/// One controller: marks in, reconciles out. kube's applier does the scheduling: one reconcile per object at a time,
/// debounced, a bounded number at once. It ends when `stop` is cancelled and what runs has finished.
fn control<K, Fut>(
    store: Store<K>,
    dirty: Arc<Dirty>,
    context: Arc<Context>,
    stop: CancellationToken,
    reconcile: fn(Arc<K>, Arc<Context>) -> Fut,
    after_failure: fn(&K, &Context) -> Action,
) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let queue = index::marks(dirty)
        .map(|name| {
            let reference: ObjectRef<K> = name.to_ref();
            Ok::<ReconcileRequest<K>, Infallible>(reference.into())
        })
        .take_until(stop.cancelled_owned());
    let config =
        controller::Config::default().concurrency(reconcilers::CONCURRENCY).debounce(reconcilers::DEBOUNCE);
    let run = applier(
        move |object, context| Box::pin(reconcile(object, context)),
        move |object, _error: &Error, context| after_failure(&object, &context),
        context,
        store,
        Box::pin(queue),
        config,
    );
    // Errors are told by the reconcile itself; that an object was gone before its turn is none.
    Box::pin(run.for_each(|_| std::future::ready(())))
}

/// How gateways and policies are, for alerts. Every replica knows; an alert takes the highest of them.
fn measure(context: &Context) {
    let gateways = context.gateways();
    let gateways = Health::of(gateways.iter().map(|gateway| {
        let gateway = gateway.0.as_ref().ok()?;
        Some(gateway.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice()))
    }));
    context.metrics.set_health(reconcilers::gateway::KIND, gateways);
    let policies = context.policies.state();
    let now = status::now();
    let exclusions = policies.iter().filter_map(|policy| policy.0.as_ref().ok());
    let exclusions = exclusions.flat_map(|policy| &policy.spec.exclude).filter(|e| e.active(&now)).count();
    context.metrics.set_exclusions(exclusions);
    let policies = Health::of(policies.iter().map(|policy| {
        let policy = policy.0.as_ref().ok()?;
        Some(policy.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice()))
    }));
    context.metrics.set_health(reconcilers::audit_policy::KIND, policies);
}

/// Reads gauges, forgets what is gone.
async fn keep_house(context: Arc<Context>) -> &'static str {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_EVERY);
    loop {
        ticks.tick().await;
        let gateways = context.shards.iter().map(|shard| shard.dirty.len()).sum();
        context.metrics.set_waiting(reconcilers::gateway::KIND, gateways);
        context.metrics.set_waiting(reconcilers::audit_policy::KIND, context.policies_dirty.len());
        measure(&context);
        context.forget_gone();
    }
}
