//! The backend that the configuration names: made once, taken along through changes of the configuration, drained at the end.

use std::sync::Arc;

use containerssh_agent::{Base, HostSettings, LocalBackend, RunAs};
use containerssh_backend::Backend;
use containerssh_config::{BackendKind, Config, Local};
use containerssh_kubernetes::{Identity, KubernetesBackend, SetupError};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendSetupError {
    #[error(transparent)]
    Kubernetes(#[from] SetupError),
    /// What serves connections holds what the other kind does not have: watches, pods.
    #[error("backend: changing it from {from} to {to} takes effect with a restart")]
    Changed { from: BackendKind, to: BackendKind },
}

/// What serves connections.
#[derive(Debug, Clone)]
pub(crate) enum Backends {
    Kubernetes(KubernetesBackend),
    Local(LocalBackend),
}

impl Backends {
    /// Starts the backend that `config` names. `identity` is asked for only where pods are made.
    pub(crate) async fn start(
        config: &Config,
        identity: impl FnOnce() -> Identity,
        registry: &mut Registry,
    ) -> Result<Self, BackendSetupError> {
        Ok(match config.backend {
            BackendKind::Kubernetes => {
                Self::Kubernetes(KubernetesBackend::start(&config.kubernetes, identity(), registry).await?)
            }
            BackendKind::Local => Self::Local(local(&config.local)),
        })
    }

    /// The same backend with other settings, for new connections.
    pub(crate) async fn reconfigured(&self, config: &Config) -> Result<Self, BackendSetupError> {
        Ok(match (self, config.backend) {
            (Self::Kubernetes(backend), BackendKind::Kubernetes) => {
                Self::Kubernetes(backend.reconfigured(&config.kubernetes).await?)
            }
            (Self::Local(_), BackendKind::Local) => Self::Local(local(&config.local)),
            (_, to) => return Err(BackendSetupError::Changed { from: self.kind(), to }),
        })
    }

    /// These settings are in force: a warm pool follows them from now on.
    pub(crate) fn activate(&self) {
        match self {
            Self::Kubernetes(backend) => backend.activate(),
            Self::Local(_) => {}
        }
    }

    fn kind(&self) -> BackendKind {
        match self {
            Self::Kubernetes(_) => BackendKind::Kubernetes,
            Self::Local(_) => BackendKind::Local,
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Backend> {
        match self {
            Self::Kubernetes(backend) => Arc::new(backend.clone()),
            Self::Local(backend) => Arc::new(backend.clone()),
        }
    }

    /// Waits for what is left to remove, at most until `deadline`; returns how many pods are left.
    pub(crate) async fn drain(&self, deadline: Instant) -> usize {
        match self {
            Self::Kubernetes(backend) => backend.drain(deadline).await,
            // A guest of the host ends its programs before its connection has ended.
            Self::Local(_) => 0,
        }
    }
}

fn local(config: &Local) -> LocalBackend {
    let run_as = match config.run_as {
        containerssh_config::RunAs::Login => RunAs::Login { root: config.permit_root },
        containerssh_config::RunAs::Gateway => RunAs::Gateway,
    };
    let settings = HostSettings {
        shell_command: config.shell_command.clone(),
        subsystems: config.subsystems.clone(),
        ..HostSettings::of(Base::Host)
    };
    LocalBackend::new(settings, run_as)
}
