//! Where sessions run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::workload::TemplateMetadata;
use crate::{Span, schema};

/// Annotation of a namespace whose owner lets gateways of other namespaces place pods in it: a
/// comma-separated list of namespaces, or `*`.
///
/// Without it a team could have the operator create pods, and the role to run commands in them, in a
/// namespace in which it may do neither.
pub const CONSENT_ANNOTATION: &str = "containerssh.io/allow-gateways-from";

/// Whether a gateway in `gateway_namespace` may place pods in `target` with these annotations.
#[must_use]
pub fn namespace_consents(
    target: &str,
    annotations: &BTreeMap<String, String>,
    gateway_namespace: &str,
) -> bool {
    target == gateway_namespace
        || annotations.get(CONSENT_ANNOTATION).is_some_and(|allowed| {
            allowed.split(',').map(str::trim).any(|name| name == "*" || name == gateway_namespace)
        })
}

/// Where sessions run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// A pod in this cluster.
    pub kubernetes: KubernetesBackend,
}

/// A pod in this cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.consoleContainer) || self.podTemplate.spec.containers.exists(c, c.name == self.consoleContainer)")
    .message("consoleContainer must name one of podTemplate.spec.containers"))]
#[x_kube(validation = Rule::new("(has(self.mode) && self.mode == 'Persistent') == has(self.persistent)")
    .message("mode Persistent needs persistent, and no other mode may have it"))]
#[x_kube(validation = Rule::new("!has(self.warmPool) || !has(self.persistent)")
    .message("mode Persistent has no warmPool: its pods are used again"))]
pub struct KubernetesBackend {
    /// Namespace of the pods. One other than the gateway's own must consent: its annotation
    /// containerssh.io/allow-gateways-from lists the gateway's namespace. Default: the gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,

    /// What gets a pod. Connection: one for each SSH connection; all its sessions run in it, and it goes
    /// with it. Session: one for each session of a connection. Persistent: a pod that is there already, or
    /// that stays; see persistent. Default: Connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ConnectionMode>,

    /// Mode Persistent: which pod, and for how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<PersistentPods>,

    /// Pods that are started before anybody asks for one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_pool: Option<WarmPool>,

    /// The pod that each connection gets.
    pub pod_template: PodTemplate,

    /// Container in which sessions run. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub console_container: Option<String>,

    /// Command of a session that asks for a shell. Default: the image's login shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub shell_command: Vec<String>,

    /// Command that keeps the console container running. Default: a shell that waits; an image without
    /// /bin/sh needs its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub idle_command: Vec<String>,

    /// Subsystems by name, each with the path of its program in the image. Default: sftp with
    /// /usr/lib/openssh/sftp-server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::subsystems")]
    pub subsystems: Option<BTreeMap<String, String>>,

    /// A program of ours in each pod that runs its sessions: forwarding, SFTP and signals in any image, exit statuses
    /// that do not depend on the cluster, and bytes that bypass the API server. Default: none, each program is started
    /// by an exec of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,

    /// Age at which a pod is ended whatever happens, as a last resort against leaks; 0s for never.
    /// Default: 168h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,

    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

choice! {
    /// What gets a pod.
    #[derive(Default, PartialOrd, Ord)]
    pub enum ConnectionMode {
        /// Each SSH connection.
        #[default]
        Connection,
        /// Each session of a connection.
        Session,
        /// Nothing: connections share what is there.
        Persistent,
    }
}

/// The program in the pod that runs sessions.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.image) || !has(self.injection) || self.injection == 'Auto'")
    .message("image goes with injection: Auto, and has no effect in another"))]
pub struct Agent {
    /// How it gets into the pod. Auto adds an init container that copies it into a volume. Image takes it from the
    /// console container's own image, where it is /usr/bin/containerssh-agent. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<AgentInjection>,

    /// How the gateway reaches it. Direct is TCP to the pod, Exec goes through the API server, Auto prefers the first
    /// and takes the second where the pod network does not let the gateway in. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<AgentTransport>,

    /// Image that it is taken from. Default: the operator's own release.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
}

choice! {
    /// How the agent gets into the pod.
    #[derive(Default)]
    pub enum AgentInjection {
        /// By an init container.
        #[default]
        Auto,
        /// It is in the image.
        Image,
    }
}

choice! {
    /// How the gateway reaches the agent.
    #[derive(Default)]
    pub enum AgentTransport {
        /// Directly, or by exec.
        #[default]
        Auto,
        /// TCP to the pod.
        Direct,
        /// Through the API server.
        Exec,
    }
}

/// Pods that outlive connections.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.idleTimeout) || (has(self.createMissing) && self.createMissing)")
    .message("idleTimeout needs createMissing: only pods that the gateway made are removed"))]
pub struct PersistentPods {
    /// Name of the pod. {username} in it stands for the user: a pod for each. Pods that are found by a
    /// user's name must bear the label containerssh.io/mode: persistent, as those that the gateway makes do.
    #[schemars(
        length(min = 1, max = 63),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|([a-z0-9][-a-z0-9]*)?\{username\}([-a-z0-9]*[a-z0-9])?)$"
        )
    )]
    pub pod_name: String,

    /// Whether a pod that is not there is made from podTemplate. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_missing: Option<bool>,

    /// A pod that the gateway made and that nobody has used for so long is removed; 0s for never. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) == duration('0s') || duration(self) >= duration('1m')").message("must be at least 1m, or 0s for never"))]
    pub idle_timeout: Option<Span>,
}

/// Pods that wait for connections.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmPool {
    /// How many each gateway pod keeps ready, so that a login need not wait for a pod to start. Each is used
    /// once. kubectl get pods -l containerssh.io/pool=warm shows them.
    #[schemars(range(min = 0, max = 1000))]
    pub size: i32,

    /// A pod that has waited for so long is replaced. Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("must be at least 1m"))]
    pub max_age: Option<Span>,
}

/// A pod template.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the pods. Keys under containerssh.io are the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,

    /// A complete pod spec; see kubectl explain pod.spec. The operator has the API server check it by a dry
    /// run and reports what that finds in the condition Accepted. restartPolicy is always Never.
    #[schemars(schema_with = "schema::pod_spec")]
    pub spec: PodSpecDocument,
}

/// A pod spec, kept as written.
///
/// Its schema admits fields that this release has never heard of. A copy of one Kubernetes version's `PodSpec`
/// in the definition would freeze it: the API server would silently prune what newer clusters add, so that a
/// security setting, say, would be dropped where its author believes it in force. Validation is the cluster's
/// own job, by a dry run against the very API server that will be asked to create the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodSpecDocument(pub Map<String, Value>);

impl PodSpecDocument {
    /// The part of it that this release knows.
    ///
    /// # Errors
    /// Where a known field has a value of the wrong type; the message has the field's name.
    pub fn typed(&self) -> Result<PodSpec, serde_json::Error> {
        PodSpec::deserialize(Value::Object(self.0.clone()))
    }
}

/// How long things may take.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// For a pod to start, image pull included. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub pod_start: Option<Span>,

    /// For a pod to stop. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub pod_stop: Option<Span>,

    /// For a command to start in a running pod. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub command_start: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_target_namespace_can_let_strangers_in() {
        let with = |value: &str| BTreeMap::from([(CONSENT_ANNOTATION.to_owned(), value.to_owned())]);
        assert!(namespace_consents("a", &BTreeMap::new(), "a"));
        assert!(!namespace_consents("b", &BTreeMap::new(), "a"));
        assert!(namespace_consents("b", &with("x, a"), "a"));
        assert!(namespace_consents("b", &with("*"), "a"));
        assert!(!namespace_consents("b", &with("aa,"), "a"));
    }

    #[test]
    fn a_pod_spec_keeps_fields_of_newer_clusters() {
        let text = r#"{"containers":[{"image":"x","name":"shell"}],"fieldOfTheFuture":{"on":true}}"#;
        let document: PodSpecDocument = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&document).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(document.typed().unwrap().containers[0].name, "shell");
    }
}
