//! The backend itself: what is shared by all connections, and how one of them gets its pod.

use std::sync::Arc;

use async_trait::async_trait;
use containerssh_backend::{Backend, BackendError, ConnectionInfo, Guest, ProgressSender};
use containerssh_config::{Kubernetes, PodMode};
use containerssh_link::RemoteGuest;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::agent::AgentGuest;
use crate::client::ClientError;
use crate::codes::code;
use crate::guest::{PodGuest, Tenure};
use crate::identity::Identity;
use crate::metrics::{Metrics, Outcome};
use crate::persistent;
use crate::pod::lease::Leases;
use crate::pod::{kinds, manifest, meta};
use crate::pool::Pool;
use crate::session::SessionGuest;
use crate::settings::{Settings, SettingsError};
use crate::start::{Cluster, Process, Started, Starter, Unstarted};

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

/// Pods in a Kubernetes cluster, for connections or their sessions. Clones share everything.
#[derive(Debug, Clone)]
pub struct KubernetesBackend {
    starter: Starter,
    pool: Arc<Pool>,
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
        let pool = Pool::new(metrics.clone());
        let process = Arc::new(Process { identity, leases: Leases::new(metrics.clone()), metrics });
        let settings = Settings::new(config)?;
        let cluster = Arc::new(Cluster::new(config, &settings, &process).await?);
        Ok(Self { starter: Starter::new(process, cluster, settings), pool })
    }

    /// The same backend with other settings, for new connections; those of the old one keep theirs.
    ///
    /// # Errors
    /// When the configuration cannot be used; this backend goes on as it is.
    pub async fn reconfigured(&self, config: &Kubernetes) -> Result<Self, SetupError> {
        let settings = Settings::new(config)?;
        let (process, cluster) = (Arc::clone(&self.starter.process), &self.starter.cluster);
        let same = cluster.connection == config.connection && cluster.namespace == settings.namespace;
        let cluster = if same {
            Arc::clone(cluster)
        } else {
            Arc::new(Cluster::new(config, &settings, &process).await?)
        };
        Ok(Self { starter: Starter::new(process, cluster, settings), pool: Arc::clone(&self.pool) })
    }

    /// These settings are in force: the warm pool follows them from now on, and what it holds of others goes. A backend of
    /// which this is never said has no pool.
    pub fn activate(&self) {
        self.pool.keep(&self.starter);
    }

    /// Gives the warm pool up, then waits until every removal of a pod that is under way is done, at most until
    /// `deadline`; returns how many are not. For the end of the process, after all connections are closed.
    pub async fn drain(&self, deadline: Instant) -> usize {
        self.pool.close();
        self.starter.process.leases.drain(deadline).await
    }
}

#[async_trait]
impl Backend for KubernetesBackend {
    async fn connect(
        &self,
        connection: Arc<ConnectionInfo>,
        progress: ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        match self.starter.settings.mode {
            PodMode::Connection => self.guest(&connection, None, &progress).await,
            PodMode::Session => Ok(Arc::new(SessionGuest::new(self.clone(), connection, progress))),
            PodMode::Persistent => {
                let begun = Instant::now();
                let attached = self.attached(&connection, &progress).await;
                self.count(&attached, begun);
                attached
            }
        }
    }
}

impl KubernetesBackend {
    /// The pod of `connection`, or of one session of it: from the warm pool, or else started for it.
    pub(crate) async fn guest(
        &self,
        connection: &ConnectionInfo,
        channel: Option<u64>,
        progress: &ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let begun = Instant::now();
        let guest = self.prepared(connection, channel, progress, begun).await;
        self.count(&guest, begun);
        guest
    }

    /// What the names of the pods of `connection` begin with, with their namespace.
    pub(crate) fn name_of(&self, connection: &ConnectionInfo) -> String {
        let settings = &self.starter.settings;
        format!("{}/{}", settings.namespace, meta::name(&settings.metadata, &connection.connection_id))
    }

    /// The persistent pod of `connection`.
    async fn attached(
        &self,
        connection: &ConnectionInfo,
        progress: &ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let pod = persistent::attach(&self.starter, connection, progress).await?;
        self.served(pod, None, connection, progress).await
    }

    /// What runs programs in a pod that is ready: its agent, which may have been `reached` already, or else an exec for each.
    async fn served(
        &self,
        pod: PodGuest,
        reached: Option<RemoteGuest>,
        connection: &ConnectionInfo,
        progress: &ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let settings = &self.starter.settings;
        if settings.agent.is_some() && reached.is_none() {
            progress.report("connecting to the agent in the pod");
        }
        let agent = match reached {
            Some(agent) => Some(agent),
            None => self.starter.agent(pod.target()).await.inspect_err(|error| {
                let (id, name) = (&connection.connection_id, &pod.target().pod);
                tracing::error!(code = code::KUBERNETES_AGENT_FAILED, connectionId = %id, podName = %name, %error, "No agent");
            })?,
        };
        let Some(agent) = agent else { return Ok(Arc::new(pod)) };
        let (settings, metrics) = (Arc::clone(settings), self.starter.process.metrics.clone());
        Ok(Arc::new(AgentGuest { pod, agent, settings, metrics }))
    }

    fn count(&self, guest: &Result<Arc<dyn Guest>, BackendError>, begun: Instant) {
        let outcome = if guest.is_ok() { Outcome::success } else { Outcome::failure };
        self.starter.process.metrics.pod_started(outcome, begun.elapsed());
    }

    async fn prepared(
        &self,
        connection: &ConnectionInfo,
        channel: Option<u64>,
        progress: &ProgressSender,
        begun: Instant,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let settings = &self.starter.settings;
        let (started, env) = match self.pool.claim(&self.starter, connection, channel).await {
            // It was there before its user: their environment is given to each program.
            Some(started) => (started, manifest::environment(settings, connection)),
            None => (self.cold(connection, channel, progress, begun).await?, Default::default()),
        };
        let Started { name, subscription, lease, agent } = started;
        tracing::info!(
            code = code::KUBERNETES_POD_READY,
            connectionId = %connection.connection_id,
            podName = %name,
            seconds = begun.elapsed().as_secs_f64(),
            "The pod is ready"
        );
        let target = self.starter.target(name, settings.console_name.clone());
        let (settings, tenure) = (Arc::clone(settings), Tenure::Own(lease));
        let guest = PodGuest::new(target, settings, subscription, tenure, env, &self.starter.process);
        guest.prepare(connection, progress).await?;
        self.served(guest, agent, connection, progress).await
    }

    /// Starts a pod for `connection` or one session of it.
    async fn cold(
        &self,
        connection: &ConnectionInfo,
        channel: Option<u64>,
        progress: &ProgressSender,
        begun: Instant,
    ) -> Result<Started, BackendError> {
        let (settings, identity) = (&self.starter.settings, &self.starter.process.identity);
        let pod = match channel {
            None => manifest::build(settings, identity, connection),
            Some(channel) => kinds::of_session(settings, identity, connection, channel),
        };
        let (id, name) = (&connection.connection_id, pod.metadata.name.as_deref().unwrap_or_default());
        tracing::debug!(code = code::KUBERNETES_POD_CREATE, connectionId = %id, podName = %name, "Creating the pod");
        progress.report("creating the pod");
        let deadline = begun + settings.timeouts.pod_start;
        self.starter.start(&pod, progress, deadline).await.map_err(|unstarted| {
            let code = match unstarted {
                Unstarted::NotCreated(_) => code::KUBERNETES_POD_CREATE_FAILED,
                Unstarted::NotReady(_) => code::KUBERNETES_POD_WAIT_FAILED,
            };
            let error = unstarted.into_inner();
            tracing::error!(code = code, connectionId = %id, podName = %name, %error, "No pod");
            error
        })
    }
}
