//! The backend itself: what is shared by all connections, and how one of them gets its pod.

use std::sync::Arc;

use async_trait::async_trait;
use containerssh_backend::{Backend, BackendError, ConnectionInfo, Guest, ProgressSender};
use containerssh_config::{Connection, Kubernetes};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{self, AgentGuest};
use crate::client::{self, ClientError};
use crate::codes::code;
use crate::exec::Target;
use crate::guest::PodGuest;
use crate::identity::Identity;
use crate::limit::Limit;
use crate::metrics::{Metrics, Outcome};
use crate::pod::lease::Leases;
use crate::pod::watch::PodWatch;
use crate::pod::{create, manifest, wait};
use crate::settings::{Settings, SettingsError};
use crate::sweep::Sweep;

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The cluster cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The pod's settings make no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// One pod per connection in a Kubernetes cluster. Clones share everything.
#[derive(Debug, Clone)]
pub struct KubernetesBackend {
    process: Arc<Process>,
    cluster: Arc<Cluster>,
    settings: Arc<Settings>,
}

/// What lives as long as the process, across changes of the configuration.
#[derive(Debug)]
struct Process {
    identity: Identity,
    leases: Arc<Leases>,
    metrics: Metrics,
}

/// One namespace of one cluster, and what watches over it while a connection or the current configuration uses it.
struct Cluster {
    connection: Connection,
    namespace: String,
    client: Client,
    limit: Arc<Limit>,
    watch: Arc<PodWatch>,
    _sweep: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl KubernetesBackend {
    /// Connects to the cluster, watches this run's pods and sweeps leftovers, now and from time to time. Must be called
    /// within a tokio runtime, once per process: see [`KubernetesBackend::reconfigured`].
    ///
    /// No request has been answered when this returns: a cluster that is out of reach shows in the log and in each
    /// connection's error.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub async fn start(
        config: &Kubernetes,
        identity: Identity,
        registry: &mut Registry,
    ) -> Result<Self, SetupError> {
        let metrics = Metrics::register(registry);
        let process = Arc::new(Process { identity, leases: Leases::new(metrics.clone()), metrics });
        let settings = Settings::new(config)?;
        let cluster = Cluster::new(config, &settings, &process).await?;
        Ok(Self { process, cluster: Arc::new(cluster), settings: Arc::new(settings) })
    }

    /// The same backend with other settings, for new connections; those of the old one keep theirs.
    ///
    /// # Errors
    /// When the configuration cannot be used; this backend goes on as it is.
    pub async fn reconfigured(&self, config: &Kubernetes) -> Result<Self, SetupError> {
        let settings = Settings::new(config)?;
        let process = Arc::clone(&self.process);
        let same =
            self.cluster.connection == config.connection && self.cluster.namespace == settings.namespace;
        let cluster = if same {
            Arc::clone(&self.cluster)
        } else {
            Arc::new(Cluster::new(config, &settings, &process).await?)
        };
        Ok(Self { process, cluster, settings: Arc::new(settings) })
    }

    /// Waits until every removal of a pod that is under way is done, at most until `deadline`; returns how many are not.
    /// For the end of the process, after all connections are closed.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.process.leases.drain(deadline).await
    }
}

impl Cluster {
    async fn new(config: &Kubernetes, settings: &Settings, process: &Process) -> Result<Self, ClientError> {
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
            connection: config.connection.clone(),
            namespace: settings.namespace.clone(),
            client,
            limit: Arc::new(Limit::new(&config.connection)),
            watch,
            _sweep: AbortOnDropHandle::new(tokio::spawn(sweep.run())),
        })
    }
}

#[async_trait]
impl Backend for KubernetesBackend {
    async fn connect(
        &self,
        connection: Arc<ConnectionInfo>,
        progress: ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let begun = Instant::now();
        let result = self.guest(&connection, &progress, begun).await;
        let outcome = if result.is_ok() { Outcome::success } else { Outcome::failure };
        self.process.metrics.pod_started(outcome, begun.elapsed());
        result
    }
}

impl KubernetesBackend {
    async fn guest(
        &self,
        connection: &ConnectionInfo,
        progress: &ProgressSender,
        begun: Instant,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let (settings, process) = (&self.settings, &self.process);
        let timeouts = &settings.timeouts;
        let deadline = begun + timeouts.pod_start;
        let pod = manifest::build(settings, &process.identity, connection);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let id = &connection.connection_id;

        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &settings.namespace);
        // Before the pod exists: from here on, whatever happens, it is removed.
        let limit = Arc::clone(&self.cluster.limit);
        let lease = process.leases.take(api.clone(), limit, &settings.namespace, &name, timeouts.clone());
        let subscription = self.cluster.watch.subscribe(&name, &settings.console_name);

        tracing::debug!(code = code::KUBERNETES_POD_CREATE, connectionId = %id, podName = %name, "Creating the pod");
        progress.report("creating the pod");
        let created = create::create(&api, &pod, &self.cluster.limit, deadline, timeouts.http).await.inspect_err(|error| {
            tracing::error!(code = code::KUBERNETES_POD_CREATE_FAILED, connectionId = %id, podName = %name, %error, "No pod");
        })?;
        lease.confirm(created);

        let ready = wait::ready(subscription.receiver(), progress, deadline).await;
        ready.map_err(|reason| reason.into_error(&name, timeouts.pod_start, subscription.trouble())).inspect_err(|error| {
            tracing::error!(code = code::KUBERNETES_POD_WAIT_FAILED, connectionId = %id, podName = %name, %error, "No pod");
        })?;
        tracing::info!(
            code = code::KUBERNETES_POD_READY,
            connectionId = %id,
            podName = %name,
            seconds = begun.elapsed().as_secs_f64(),
            "The pod is ready"
        );

        let target = Target {
            client: self.cluster.client.clone(),
            namespace: settings.namespace.clone(),
            pod: name,
            container: settings.console_name.clone(),
        };
        let guest =
            PodGuest::new(target.clone(), Arc::clone(settings), subscription, lease, process.metrics.clone());
        if !connection.files.is_empty() {
            progress.report("writing files");
            guest.write_files(&connection.files).await?;
        }
        let Some(agent) = &settings.agent else { return Ok(Arc::new(guest)) };
        progress.report("connecting to the agent in the pod");
        let connected = agent::connect(&target, settings, agent, &process.metrics).await.inspect_err(|error| {
            tracing::error!(code = code::KUBERNETES_AGENT_FAILED, connectionId = %id, podName = %target.pod, %error, "No agent");
        })?;
        Ok(Arc::new(AgentGuest {
            pod: guest,
            agent: connected,
            settings: Arc::clone(settings),
            metrics: process.metrics.clone(),
        }))
    }
}
