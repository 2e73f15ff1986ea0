//! `kubernetes.pod.agent`: the program that serves a connection inside its pod.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::keyword::keyword_enum;

/// Where ContainerSSH's images have theirs.
pub(crate) const DEFAULT_PATH: &str = "/usr/bin/containerssh-agent";

keyword_enum! {
    /// `kubernetes.pod.agent.injection`
    #[derive(Default)]
    pub enum AgentInjection {
        /// From `image`, by an init container and a volume.
        #[default]
        Auto = "auto",
        /// Not at all: the console container's own image has it, at `kubernetes.pod.agentPath`.
        Image = "image",
    }
    refused {
        "off" => "is what kubernetes.pod.disableAgent: true says"
    }
}

keyword_enum! {
    /// `kubernetes.pod.agent.transport`
    #[derive(Default)]
    pub enum AgentTransport {
        /// Directly, or by exec where the pod network does not let the gateway in.
        #[default]
        Auto = "auto",
        /// TCP from the gateway to the pod.
        Direct = "direct",
        /// Through the API server.
        Exec = "exec",
    }
}

/// `kubernetes.pod.agent`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Agent {
    /// How it gets into the pod.
    pub injection: AgentInjection,
    /// How the gateway reaches it.
    pub transport: AgentTransport,
    /// The image that it is taken from; of the gateway's own release.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
}

impl Agent {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
