//! The SSH protocol's settings.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Retention;
use crate::{NameRef, Span};

/// The SSH protocol's settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.hostKeys) && has(self.hostKeysSecretRef))")
    .message("hostKeys is about keys that the operator makes: remove it, or hostKeysSecretRef"))]
pub struct Ssh {
    /// Text that clients show before the login. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub banner: Option<String>,

    /// Text that interactive shells begin with. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384))]
    pub motd: Option<String>,

    /// Load balancers in front of the gateway that say whose connections they pass on, by the PROXY protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,

    /// Secret in the gateway's namespace with private host keys, one to each data key (OpenSSH or PEM, not
    /// encrypted). Default: keys that the operator makes once and keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_keys_secret_ref: Option<NameRef>,

    /// The keys that the operator makes. They are never made anew: whoever wants that, has the Secret
    /// <gateway>-host-keys deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<HostKeys>,

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

    /// Ciphers, key exchanges and message authentication codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Algorithms>,

    /// Makes addresses wait whose logins keep failing, as OpenSSH's PerSourcePenalties does; {} takes all its
    /// defaults. Only where the gateway sees its users' own addresses: behind a balancer that hides them, one
    /// offender would lock everybody out. Default: nobody waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalties: Option<Penalties>,
}

/// Host keys that the operator makes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostKeys {
    /// Which keys clients are shown. One that is added is made; one that is removed stays in the Secret, and is the
    /// same if it is added again. Default: Ed25519 and ECDSAP256, and whatever else stands in the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub algorithms: Vec<HostKeyAlgorithm>,

    /// What becomes of the Secret when the gateway is deleted. With Retain, a gateway made again is the same host
    /// to its users. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

choice! {
    /// Algorithm of a host key.
    #[derive(PartialOrd, Ord)]
    pub enum HostKeyAlgorithm {
        /// ssh-ed25519
        Ed25519,
        /// ecdsa-sha2-nistp256
        ECDSAP256,
        /// ecdsa-sha2-nistp384
        ECDSAP384,
        /// ecdsa-sha2-nistp521
        ECDSAP521,
    }
}

/// Ciphers, key exchanges and message authentication codes.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Algorithms {
    /// Modern is what clients of the last ten years speak, safe against quantum computers where the client is.
    /// Compatible adds NIST's curves and older codes, for clients that know nothing else. NIST offers only
    /// algorithms that NIST approves. None has a known weakness. Default: Modern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<AlgorithmProfile>,
}

choice! {
    /// A choice of algorithms.
    #[derive(Default)]
    pub enum AlgorithmProfile {
        /// What clients of the last ten years speak.
        #[default]
        Modern,
        /// And what older ones do.
        Compatible,
        /// What NIST approves.
        NIST,
    }
}

/// Load balancers that say whose connections they pass on, by the PROXY protocol, version 1 or 2.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Their networks, such as 10.0.0.0/8. From there every connection must begin with a header; from anywhere else
    /// none may.
    #[serde(rename = "trustedCIDRs")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(network, isCIDR(network))")
        .message("write networks as in 10.0.0.0/8 or 2001:db8::/32"))]
    pub trusted_cidrs: Vec<String>,
}

/// How long addresses wait whose logins keep failing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Penalties {
    /// For a connection whose credentials were rejected. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_fail: Option<Span>,

    /// For a connection that nobody tried to log in on. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_auth: Option<Span>,

    /// For a connection that used up loginGraceTime. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_exceeded: Option<Span>,

    /// From this sum on an address waits. Default: 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Span>,

    /// The longest that an address waits. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,

    /// Networks that never wait, such as 10.0.0.0/8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(network, isCIDR(network))")
        .message("write networks as in 10.0.0.0/8 or 2001:db8::/32"))]
    pub exempt: Vec<String>,
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

    /// Connections at a time to one gateway pod that nobody has logged in on yet. Default: 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub unauthenticated: Option<i32>,

    /// Connections at a time from one address to one gateway pod; 0 for no limit. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub per_source: Option<i32>,

    /// Connections at a time of one user to one gateway pod; 0 for no limit. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub per_user: Option<i32>,

    /// Sessions at a time over one connection. Default: 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub sessions_per_connection: Option<i32>,
}
