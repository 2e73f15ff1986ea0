//! How a pod comes to be ready, whoever it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use containerssh_backend::{BackendError, ProgressSender};
use containerssh_config::{Connection, Kubernetes};
use containerssh_link::RemoteGuest;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::agent;
use crate::client::{self, ClientError};
use crate::exec::Target;
use crate::identity::Identity;
use crate::limit::Limit;
use crate::metrics::Metrics;
use crate::pod::lease::{Lease, Leases};
use crate::pod::observation::Observation;
use crate::pod::watch::{PodWatch, Subscription};
use crate::pod::{create, kinds, wait};
use crate::pool::Key;
use crate::settings::Settings;
use crate::sweep::Sweep;

/// What lives as long as the process, across changes of the configuration.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Metrics,
}

/// One namespace of one cluster, and what watches over it while a connection or the current configuration uses it.
pub(crate) struct Cluster {
    /// Tells it from any other of this process.
    pub(crate) id: u64,
    pub(crate) connection: Connection,
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) limit: Arc<Limit>,
    pub(crate) watch: Arc<PodWatch>,
    _sweep: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    pub(crate) async fn new(
        config: &Kubernetes,
        settings: &Settings,
        process: &Process,
    ) -> Result<Self, ClientError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let client = client::connect(&config.connection).await?;
        let api = Api::namespaced(client.clone(), &settings.namespace);
        let watch = PodWatch::start(api, &process.identity.run, process.metrics.clone());
        let sweep = Sweep {
            client: client.clone(),
            namespace: settings.namespace.clone(),
            identity: process.identity.clone(),
            leases: Arc::clone(&process.leases),
            metrics: process.metrics.clone(),
            attempt: settings.timeouts.http,
        };
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            connection: config.connection.clone(),
            namespace: settings.namespace.clone(),
            client,
            limit: Arc::new(Limit::new(&config.connection)),
            watch,
            _sweep: AbortOnDropHandle::new(tokio::spawn(sweep.run())),
        })
    }
}

/// Starts pods of one configuration. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) process: Arc<Process>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: Arc<Settings>,
    /// What its pods have in common with those of the pool, if there shall be one.
    pub(crate) key: Option<Key>,
}

/// A pod that is ready, and who answers for it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) name: String,
    pub(crate) subscription: Subscription,
    pub(crate) lease: Lease,
    /// Of a pod of the pool whose programs an agent runs: it runs before anybody waits for it.
    pub(crate) agent: Option<RemoteGuest>,
}

impl Started {
    /// The pod, and its agent if it has one yet, are there as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        *self.subscription.receiver().borrow() == Observation::Ready
            && self.agent.as_ref().is_none_or(|agent| !agent.is_gone())
    }

    /// Completes when [`Started::is_alive`] no longer holds for good.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let pod = wait::ended(self.subscription.receiver());
        let agent = self.agent.as_ref().map(RemoteGuest::lost);
        async move {
            let agent = async {
                match agent {
                    Some(lost) => lost.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = pod => {}
                _ = agent => {}
            }
        }
    }
}

/// Which step a start ended at.
#[derive(Debug)]
pub(crate) enum Unstarted {
    NotCreated(BackendError),
    NotReady(BackendError),
}

impl Unstarted {
    pub(crate) fn into_inner(self) -> BackendError {
        match self {
            Self::NotCreated(error) | Self::NotReady(error) => error,
        }
    }
}

impl Starter {
    pub(crate) fn new(process: Arc<Process>, cluster: Arc<Cluster>, settings: Settings) -> Self {
        let key = (settings.warm.size > 0).then(|| Key {
            cluster: cluster.id,
            template: kinds::digest(&settings, &process.identity),
            agent: agent::Terms::of(&settings),
        });
        Self { process, cluster, settings: Arc::new(settings), key }
    }

    /// The pods of its namespace.
    pub(crate) fn api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.settings.namespace)
    }

    /// Where programs of the pod `pod` run.
    pub(crate) fn target(&self, pod: String, container: String) -> Target {
        let namespace = self.settings.namespace.clone();
        Target { client: self.cluster.client.clone(), namespace, pod, container }
    }

    /// Starts the agent in the pod of `target` and reaches it, if agents run the programs.
    pub(crate) async fn agent(&self, target: &Target) -> Result<Option<RemoteGuest>, BackendError> {
        match &self.settings.agent {
            None => Ok(None),
            Some(agent) => {
                agent::connect(target, &self.settings, agent, &self.process.metrics).await.map(Some)
            }
        }
    }

    /// Creates `pod` and waits until it is ready, at most until `deadline`. However this ends, and if it is dropped midway,
    /// no pod stays that nobody answers for.
    pub(crate) async fn start(
        &self,
        pod: &Pod,
        progress: &ProgressSender,
        deadline: Instant,
    ) -> Result<Started, Unstarted> {
        let (settings, timeouts) = (&self.settings, &self.settings.timeouts);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let (api, limit) = (self.api(), Arc::clone(&self.cluster.limit));
        // Before the pod exists: from here on, whatever happens, it is removed.
        let lease =
            self.process.leases.take(api.clone(), limit, &settings.namespace, &name, timeouts.clone());
        let subscription = self.cluster.watch.subscribe(&name, &settings.console_name);
        let created = create::create(&api, pod, &self.cluster.limit, deadline, timeouts.http).await;
        lease.confirm(created.map_err(Unstarted::NotCreated)?);
        match wait::ready(subscription.receiver(), progress, deadline).await {
            Ok(()) => Ok(Started { name, subscription, lease, agent: None }),
            Err(reason) => {
                let error = reason.into_error(&name, timeouts.pod_start, subscription.trouble());
                Err(Unstarted::NotReady(error))
            }
        }
    }
}
