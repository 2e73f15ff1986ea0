//! `kubernetes`: the cluster, and the pod that serves a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{self, Agent, AgentInjection};
use crate::models::{PodMode, WarmPool};
use crate::parse::Problems;
use crate::value::{PemOrFile, Secret, duration};

/// `kubernetes`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Kubernetes {
    /// How to reach the API server.
    pub connection: Connection,
    /// What to start.
    pub pod: Pod,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// `kubernetes.connection`. With neither `host`, certificate authority nor token, the gateway uses what it finds: the
/// service account of its own pod, or `KUBECONFIG`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Connection {
    /// Host name or URL of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path of the API. Only `/api` is supported.
    pub path: String,
    /// User for basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Name in the server's certificate, when it differs from the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// File with the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// File with the client key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// File with the certificate authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert_file: Option<String>,
    /// The client certificate as PEM text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// The client key as PEM text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The certificate authority as PEM text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// File with the token; read again as it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// Requests per second that create and remove pods, over all connections. Ten times ContainerSSH's default, which lets
    /// in two to three users a second.
    pub qps: f64,
    /// So many requests at once before `qps` counts.
    pub burst: u32,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            host: None,
            path: "/api".to_owned(),
            username: None,
            password: None,
            server_name: None,
            cert_file: None,
            key_file: None,
            cacert_file: None,
            cert: None,
            key: None,
            cacert: None,
            bearer_token: None,
            bearer_token_file: None,
            qps: 50.0,
            burst: 100,
        }
    }
}

impl Connection {
    /// Whether the gateway finds the API server by itself.
    #[must_use]
    pub fn is_inferred(&self) -> bool {
        self.host.is_none() && self.cacert_file.is_none() && self.bearer_token_file.is_none()
    }
}

/// `kubernetes.pod`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Pod {
    /// The pod's metadata. The name derives from the connection id, except in mode `persistent`; the namespace is
    /// `default` unless given.
    #[schemars(with = "crate::schema::ObjectMeta")]
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// The pod's specification, whole.
    #[schemars(with = "crate::schema::PodSpec")]
    pub spec: PodSpec,
    /// Which container serves the sessions, from 0.
    pub console_container_number: usize,
    /// What a pod belongs to.
    pub mode: PodMode,
    /// Mode `persistent`: a pod that is not there is made, and stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_missing_pods: bool,
    /// Mode `persistent` with `createMissingPods`: a pod that the gateway made and that nobody has used for so long is
    /// removed. 0 for never.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub idle_timeout: Duration,
    /// Pods that wait for connections.
    #[serde(skip_serializing_if = "WarmPool::is_default")]
    pub warm_pool: WarmPool,
    /// Command of the console container: lives until it is told to end.
    pub idle_command: Vec<String>,
    /// Command of a shell request.
    pub shell_command: Vec<String>,
    /// Command of each subsystem: one program without arguments.
    pub subsystems: BTreeMap<String, String>,
    /// Metadata of authentication that becomes environment variables: key to name.
    pub expose_auth_metadata_as_env: BTreeMap<String, String>,
    /// Metadata of authentication that becomes labels: key to name.
    pub expose_auth_metadata_as_labels: BTreeMap<String, String>,
    /// Metadata of authentication that becomes annotations: key to name.
    pub expose_auth_metadata_as_annotations: BTreeMap<String, String>,
    /// The pod ends by itself after this time, whatever happens to the gateway. 0 for never. Not for pods of mode
    /// `persistent`, which stay.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// Whether to do without the agent: each program is then started by an exec of its own.
    pub disable_agent: bool,
    /// Where the console container's image has the agent, with `agent.injection: image`.
    #[serde(skip_serializing_if = "is_default_path")]
    pub agent_path: String,
    /// The agent, unless `disableAgent` is true.
    #[serde(skip_serializing_if = "Agent::is_default")]
    pub agent: Agent,
}

fn metadata<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    metadata.namespace.get_or_insert_with(default_namespace);
    Ok(metadata)
}

fn is_default_path(path: &str) -> bool {
    path == agent::DEFAULT_PATH
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// The default image's container name, as in ContainerSSH.
const DEFAULT_CONTAINER: &str = "shell";
/// The default image, as in ContainerSSH.
const DEFAULT_IMAGE: &str = "containerssh/containerssh-guest-image";

/// Lives until TERM or INT in any image that has a shell: `sleep` in the background, so that the shell's trap runs at
/// once and not after the sleep. A day at a time, because not every `sleep` knows `infinity`.
const IDLE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done";

/// The login shell of whatever image it is: what the image names, or the first that is there.
const SHELL_SCRIPT: &str = "if [ -n \"${SHELL:-}\" ] && [ -x \"$SHELL\" ]; then exec \"$SHELL\" -l; fi; \
                            if command -v bash >/dev/null 2>&1; then exec bash -l; fi; exec sh -l";

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

impl Default for Pod {
    fn default() -> Self {
        Self {
            metadata: ObjectMeta { namespace: Some(default_namespace()), ..ObjectMeta::default() },
            spec: PodSpec {
                containers: vec![Container {
                    name: DEFAULT_CONTAINER.to_owned(),
                    image: Some(DEFAULT_IMAGE.to_owned()),
                    ..Container::default()
                }],
                ..PodSpec::default()
            },
            console_container_number: 0,
            mode: PodMode::default(),
            create_missing_pods: false,
            idle_timeout: Duration::ZERO,
            warm_pool: WarmPool::default(),
            idle_command: shell(IDLE_SCRIPT),
            shell_command: shell(SHELL_SCRIPT),
            subsystems: BTreeMap::from([("sftp".to_owned(), "/usr/lib/openssh/sftp-server".to_owned())]),
            expose_auth_metadata_as_env: BTreeMap::new(),
            expose_auth_metadata_as_labels: BTreeMap::new(),
            expose_auth_metadata_as_annotations: BTreeMap::new(),
            deadline: Duration::from_secs(168 * 3600),
            disable_agent: true,
            agent_path: agent::DEFAULT_PATH.to_owned(),
            agent: Agent::default(),
        }
    }
}

/// `kubernetes.timeouts`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Timeouts {
    /// From create to ready.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub pod_start: Duration,
    /// For the removal of a pod, retries included.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub pod_stop: Duration,
    /// For a program to start.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub command_start: Duration,
    /// For a signal to be delivered.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub signal: Duration,
    /// For a window change to be delivered.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub window: Duration,
    /// For one HTTP request to the API server.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub http: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            pod_start: minute,
            pod_stop: minute,
            command_start: minute,
            signal: minute,
            window: minute,
            http: Duration::from_secs(15),
        }
    }
}

impl Kubernetes {
    pub(crate) fn check(&self, problems: &mut Problems) {
        self.connection.check(problems);
        self.pod.check(problems);
        let timeouts = [
            ("podStart", self.timeouts.pod_start),
            ("podStop", self.timeouts.pod_stop),
            ("commandStart", self.timeouts.command_start),
            ("signal", self.timeouts.signal),
            ("window", self.timeouts.window),
            ("http", self.timeouts.http),
        ];
        for (name, timeout) in timeouts {
            if timeout.is_zero() {
                problems.invalid(format!("kubernetes.timeouts.{name}"), "must be longer than 0");
            }
        }
    }
}

impl Connection {
    fn check(&self, problems: &mut Problems) {
        let mut wrong =
            |name: &str, message: &str| problems.invalid(format!("kubernetes.connection.{name}"), message);
        if self.path != "/api" {
            wrong("path", "must be \"/api\": other paths are not supported by this version");
        }
        if !(self.qps.is_finite() && self.qps > 0.0) {
            wrong("qps", "must be greater than 0");
        }
        if self.burst == 0 {
            wrong("burst", "must be at least 1");
        }
        if self.username.is_some() != self.password.is_some() {
            wrong("password", "username and password belong together");
        }
        let both = |a: bool, b: bool| a && b;
        if both(self.cert.is_some(), self.cert_file.is_some()) {
            wrong("certFile", "cert is set as well: give one of them");
        }
        if both(self.key.is_some(), self.key_file.is_some()) {
            wrong("keyFile", "key is set as well: give one of them");
        }
        if both(self.cacert.is_some(), self.cacert_file.is_some()) {
            wrong("cacertFile", "cacert is set as well: give one of them");
        }
        if both(self.bearer_token.is_some(), self.bearer_token_file.is_some()) {
            wrong("bearerTokenFile", "bearerToken is set as well: give one of them");
        }
        if (self.cert.is_some() || self.cert_file.is_some())
            != (self.key.is_some() || self.key_file.is_some())
        {
            wrong("key", "client certificate and key belong together");
        }
        if self.cert.as_ref().is_some_and(|pem| !pem.is_inline()) {
            wrong("cert", "must be PEM text; use certFile for a file name");
        }
        if self.cacert.as_ref().is_some_and(|pem| !pem.is_inline()) {
            wrong("cacert", "must be PEM text; use cacertFile for a file name");
        }
    }
}

impl Pod {
    fn check(&self, problems: &mut Problems) {
        let mut wrong =
            |name: &str, message: String| problems.invalid(format!("kubernetes.pod.{name}"), message);
        if self.metadata.namespace.as_deref().is_none_or(str::is_empty) {
            wrong("metadata.namespace", "is missing: pods need a namespace".to_owned());
        }
        if self.spec.containers.is_empty() {
            wrong("spec.containers", "must have at least one container".to_owned());
        }
        let init = self.spec.init_containers.as_deref().unwrap_or_default();
        let all = [("containers", self.spec.containers.as_slice()), ("initContainers", init)];
        for (list, containers) in all {
            for (index, container) in containers.iter().enumerate() {
                if container.image.as_deref().is_none_or(str::is_empty) {
                    wrong(&format!("spec.{list}[{index}].image"), "is missing".to_owned());
                }
                if container.name.is_empty() {
                    wrong(&format!("spec.{list}[{index}].name"), "is missing".to_owned());
                }
            }
        }
        let count = self.spec.containers.len();
        // A pod that is there already has containers of its own.
        if count > 0 && self.creates_pods() && self.console_container_number >= count {
            let number = self.console_container_number;
            wrong(
                "consoleContainerNumber",
                format!("is {number}, but spec.containers has {count}, counted from 0"),
            );
        }
        for (name, command, needed) in [
            ("idleCommand", &self.idle_command, self.creates_pods()),
            ("shellCommand", &self.shell_command, true),
        ] {
            if needed && command.first().is_none_or(String::is_empty) {
                wrong(name, "must not be empty".to_owned());
            }
        }
        for (subsystem, program) in &self.subsystems {
            if program.is_empty() {
                wrong(
                    &format!("subsystems.{subsystem}"),
                    "must not be empty: leave the subsystem out".to_owned(),
                );
            }
        }
        if self.disable_agent && !self.agent.is_default() {
            wrong("agent", "has no effect: set disableAgent to false".to_owned());
        }
        if !self.disable_agent && self.agent.injection == AgentInjection::Auto && self.agent.image.is_empty()
        {
            let how =
                "is missing: the agent's image, or agent.injection \"image\" if the pod's own image has it";
            wrong("agent.image", how.to_owned());
        }
        if !self.disable_agent && self.agent.injection == AgentInjection::Auto && !self.creates_pods() {
            let how = "must be \"image\": the gateway makes no pods, so it cannot put an agent into them";
            wrong("agent.injection", how.to_owned());
        }
        if !self.agent_path.starts_with('/') {
            wrong("agentPath", "must be an absolute path".to_owned());
        }
        if !self.deadline.is_zero() && self.deadline < Duration::from_secs(1) {
            wrong("deadline", "must be at least 1s, or 0 for none".to_owned());
        }
        self.check_model(problems);
    }
}
