//! The SSH protocol's settings.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{NameRef, Span};

/// The SSH protocol's settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// Text that clients show before the login. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub banner: Option<String>,

    /// Secret in the gateway's namespace with private host keys, one to each data key (OpenSSH or PEM, not
    /// encrypted). Default: keys that the operator makes once and keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_keys_secret_ref: Option<NameRef>,

    /// How long a client may take to log in. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub login_grace_time: Option<Span>,

    /// How clients that went away without a word are found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,

    /// How much clients may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ConnectionLimits>,
}

/// Requests that clients must answer.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeepAlive {
    /// Interval of the requests; 0s sends none. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,

    /// How many may stay unanswered before the connection is closed. Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub count_max: Option<i32>,
}

/// How much clients may use.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionLimits {
    /// Connections at a time to one gateway pod. Default: 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: Option<i32>,

    /// Connections at a time from one address to one gateway pod; 0 for no limit. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub per_source: Option<i32>,

    /// Sessions at a time over one connection. Default: 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub sessions_per_connection: Option<i32>,
}
