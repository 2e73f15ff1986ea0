//! The part of the configuration that one connection's pod needs, in the shape in which it is used.

use std::collections::BTreeMap;
use std::time::Duration;

use containerssh_config::{AgentInjection, AgentTransport, Kubernetes, Pod, PodMode, WarmPool};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use containerssh_config::Timeouts;

use crate::agent::manifest;

/// What the configuration fails to say. [`containerssh_config::Config::validate`] says it first; this holds for callers
/// that fill the types themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is no console container of that number.
    #[error(
        "kubernetes.pod.consoleContainerNumber is {number}, but kubernetes.pod.spec.containers has {count}, counted from 0"
    )]
    NoConsole {
        /// The configured number.
        number: usize,
        /// How many containers there are.
        count: usize,
    },
    /// Pods need a namespace.
    #[error("kubernetes.pod.metadata.namespace is missing")]
    NoNamespace,
    /// A command without a program.
    #[error("kubernetes.pod.{0} must not be empty")]
    NoCommand(&'static str),
    /// A persistent pod is found by its name.
    #[error("kubernetes.pod.metadata.name is missing")]
    NoName,
}

/// Validated settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: PodSpec,
    /// Index of the container that runs the sessions' programs; within `spec.containers`.
    pub(crate) console: usize,
    /// Its name; empty if the pods are not of our making.
    pub(crate) console_name: String,
    pub(crate) idle_command: Vec<String>,
    pub(crate) shell_command: Vec<String>,
    pub(crate) subsystems: BTreeMap<String, String>,
    pub(crate) expose: Expose,
    pub(crate) deadline: Option<Duration>,
    pub(crate) mode: PodMode,
    /// Mode `persistent`: the pod is made if it is not there.
    pub(crate) create_missing: bool,
    /// Mode `persistent`: how long a pod that was made stays without a user.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) warm: WarmPool,
    pub(crate) timeouts: Timeouts,
    /// `None` for an exec per program.
    pub(crate) agent: Option<AgentSettings>,
}

/// The agent in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentSettings {
    /// In the console container.
    pub(crate) path: String,
    /// Injected from there; `None` if the console container's image has it.
    pub(crate) image: Option<String>,
    pub(crate) transport: AgentTransport,
    /// If it is not the default, which finds a login shell as the agent does by itself.
    pub(crate) shell_command: Option<Vec<String>>,
}

impl AgentSettings {
    fn new(pod: &Pod) -> Option<Self> {
        if pod.disable_agent {
            return None;
        }
        let (path, image) = match pod.agent.injection {
            AgentInjection::Auto => (manifest::INJECTED.to_owned(), Some(pod.agent.image.clone())),
            AgentInjection::Image => (pod.agent_path.clone(), None),
        };
        let configured = pod.shell_command != Pod::default().shell_command;
        let shell_command = configured.then(|| pod.shell_command.clone());
        Some(Self { path, image, transport: pod.agent.transport, shell_command })
    }

    /// What waits in the console container. The default needs a shell, which an image with an agent need not have.
    fn idle_command(&self, pod: &Pod) -> Vec<String> {
        if pod.idle_command == Pod::default().idle_command {
            vec![self.path.clone(), "idle".to_owned()]
        } else {
            pod.idle_command.clone()
        }
    }
}

/// Where metadata of authentication goes: key to name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expose {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn new(config: &Kubernetes) -> Result<Self, SettingsError> {
        let pod = &config.pod;
        let namespace = pod.metadata.namespace.clone().filter(|namespace| !namespace.is_empty());
        let console = pod.console_container_number;
        let console_name = match pod.spec.containers.get(console) {
            Some(Container { name, .. }) => name.clone(),
            None if !pod.creates_pods() => String::new(),
            None => {
                return Err(SettingsError::NoConsole { number: console, count: pod.spec.containers.len() });
            }
        };
        if pod.mode == PodMode::Persistent && pod.metadata.name.is_none() {
            return Err(SettingsError::NoName);
        }
        if pod.creates_pods() && pod.idle_command.is_empty() {
            return Err(SettingsError::NoCommand("idleCommand"));
        }
        if pod.shell_command.is_empty() {
            return Err(SettingsError::NoCommand("shellCommand"));
        }
        let agent = AgentSettings::new(pod);
        let idle_command =
            agent.as_ref().map_or_else(|| pod.idle_command.clone(), |agent| agent.idle_command(pod));
        Ok(Self {
            namespace: namespace.ok_or(SettingsError::NoNamespace)?,
            metadata: pod.metadata.clone(),
            console,
            console_name,
            spec: pod.spec.clone(),
            idle_command,
            shell_command: pod.shell_command.clone(),
            subsystems: pod.subsystems.clone(),
            expose: Expose {
                env: pod.expose_auth_metadata_as_env.clone(),
                labels: pod.expose_auth_metadata_as_labels.clone(),
                annotations: pod.expose_auth_metadata_as_annotations.clone(),
            },
            deadline: (!pod.deadline.is_zero()).then_some(pod.deadline),
            mode: pod.mode,
            create_missing: pod.create_missing_pods,
            idle_timeout: (!pod.idle_timeout.is_zero()).then_some(pod.idle_timeout),
            warm: pod.warm_pool.clone(),
            timeouts: config.timeouts.clone(),
            agent,
        })
    }

    /// The console container's image, for messages.
    pub(crate) fn image(&self) -> &str {
        self.spec
            .containers
            .get(self.console)
            .and_then(|container| container.image.as_deref())
            .unwrap_or("(unnamed)")
    }
}
