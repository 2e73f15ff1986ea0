//! The gateway's configuration file: ContainerSSH's keys, strictly parsed into one validated type.
//!
//! A user of ContainerSSH brings their `config.yaml`; the operator renders the same file from custom resources. Both are
//! read by [`Config::load`] and end up as one [`Config`], which every part of the gateway takes its settings from.
//!
//! # Decisions
//! - **Nothing is ignored.** An unknown key is an error that names the file, the line, the full path of the key and the
//!   nearest known one. A key of ContainerSSH that this version does not implement is an error as well: a setting that
//!   has no effect would be worse than a gateway that does not start. That holds inside `kubernetes.pod` too.
//! - **Explicit values count.** `maxDuration: 0`, `[]` and `{}` are what they say; only an absent key (or `null`)
//!   takes its default. ContainerSSH replaces explicit zeros by defaults.
//! - **One type, not two.** The types are plain data with public fields and `Default`, so that the operator can fill
//!   them; [`Config::validate`] holds the rules that types cannot express, and parsing always ends with it.
//! - **Old spellings are understood.** What ContainerSSH 0.4 called otherwise becomes today's key before anything else is read, with a
//!   warning that says what to write.
//! - **Secrets are a type.** [`Secret`] and [`PemOrFile`] hide their contents from `Debug` and from [`Config::dump`];
//!   serialising shows them, because the operator renders the file.

mod agent;
mod audit;
mod auth;
mod config;
mod geoip;
mod http;
mod kubernetes;
mod local;
mod log;
mod models;
mod overlay;
mod parse;
mod reference_doc;
mod schema;
mod security;
mod servers;
mod session;
mod ssh;
mod value;

pub use agent::{Agent, AgentInjection, AgentTransport};
pub use audit::{
    Audit, AuditFormat, AuditPolicyInfo, AuditStorage, Durability, Encryption, EventBatch, EventCompression,
    EventEncoding, EventKind, EventLimits, EventSyslog, EventTarget, EventWebhook, FileStorage,
    FormatVersion, Intercept, LockMode, ObjectLock, OnFailure, OnFull, PolicyAllow, S3, S3Metadata,
    ServerSideEncryption, Signing, Spool, SseType, SyslogProtocol,
};
pub use auth::{
    Auth, AuthMethod, AuthenticationMethod, AuthorizedKeys, AuthzAuth, Certificates, GitHub,
    KeyboardInteractiveAuth, KeyboardInteractiveMethod, MethodList, OAuth2, OAuth2Provider, Oidc,
    PasswordAuth, PublicKeyAuth, Redirect, TeardownAuth,
};
pub use config::{BackendKind, Config};
pub use geoip::{GeoIp, GeoIpProvider};
pub use http::{CipherSuite, CircuitBreaker, ConfigServer, Curve, TlsVersion, Webhook};
pub use kubernetes::{Connection, Kubernetes, Pod, Timeouts};
pub use local::{Local, RunAs};
pub use log::{Log, LogDestination, LogProtocol, LogSyslog, SyslogFacility};
pub use models::{PodMode, USERNAME_PLACEHOLDER, WarmPool};
pub use parse::{ConfigError, MAX_CONFIG_BYTES, Problem, Syntax, Warning};
pub use reference_doc::markdown as reference_markdown;
pub use security::{
    CommandRule, Forwarding, ForwardingKind, ForwardingMode, ListRule, Security, SecurityMode, SwitchRule,
    whole as whole_command,
};
pub use servers::{Health, Metrics};
pub use session::{Drain, Session};
pub use ssh::{Cipher, Kex, Limits, Mac, Penalties, ProxyProtocol, Ssh};
pub use value::{ByteSize, KeyPrefix, PemError, PemOrFile, PrefixPart, Secret, duration, keyword};

containerssh_log::codes! {
    /// Codes of the configuration.
    pub mod code {
        CONFIG_AUTH_URL_DEPRECATED = "The configuration names the authentication server as ContainerSSH 0.4 did; it is understood, and the message says what to write instead.";
    }
}

pub use containerssh_log::{Format as LogFormat, Level as LogLevel};
