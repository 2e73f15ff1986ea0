//! `health` and `metrics`: the gateway's HTTP servers.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::listen;

/// `health`: `/livez`, `/readyz` and `/status`; any other path answers like ContainerSSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Health {
    /// Whether it is served at all.
    pub enable: bool,
    /// Where.
    #[schemars(with = "crate::schema::Listen")]
    #[serde(with = "listen")]
    pub listen: SocketAddr,
}

/// `metrics`: OpenMetrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether they are served at all.
    pub enable: bool,
    /// Where.
    #[schemars(with = "crate::schema::Listen")]
    #[serde(with = "listen")]
    pub listen: SocketAddr,
    /// Under which path.
    pub path: String,
}

impl Default for Health {
    fn default() -> Self {
        Self { enable: false, listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7000)) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enable: false,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9100)),
            path: "/metrics".to_owned(),
        }
    }
}

impl Metrics {
    pub(crate) fn check(&self, problems: &mut Problems) {
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ', '{', '}']) {
            problems.invalid("metrics.path", "must begin with '/' and be a plain path");
        }
    }
}
