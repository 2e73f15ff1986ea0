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
//! - **Secrets are a type.** [`Secret`] and [`PemOrFile`] hide their contents from `Debug` and from [`Config::dump`];
//!   serialising shows them, because the operator renders the file.

mod audit;
mod auth;
mod config;
mod kubernetes;
mod log;
mod models;
mod parse;
mod security;
mod servers;
mod session;
mod ssh;
mod value;

pub use audit::{
    Audit, AuditFormat, AuditPolicyInfo, AuditStorage, Durability, Encryption, EventBatch, EventCompression,
    EventEncoding, EventKind, EventLimits, EventSyslog, EventTarget, EventWebhook, FileStorage,
    FormatVersion, Intercept, LockMode, ObjectLock, OnFailure, OnFull, S3, S3Metadata, ServerSideEncryption,
    Signing, Spool, SseType, SyslogProtocol,
};
pub use auth::{Auth, AuthMethod, AuthorizedKeys, PasswordAuth, PublicKeyAuth, TlsVersion, Webhook};
pub use config::{BackendKind, Config};
pub use kubernetes::{Connection, Kubernetes, Pod, Timeouts};
pub use log::{Log, LogDestination};
pub use models::{PodMode, USERNAME_PLACEHOLDER, WarmPool};
pub use parse::{ConfigError, MAX_CONFIG_BYTES, Problem, Syntax};
pub use security::{
    CommandRule, Forwarding, ForwardingMode, ListRule, Security, SecurityMode, SwitchRule,
    whole as whole_command,
};
pub use servers::{Health, Metrics};
pub use session::{Drain, Session};
pub use ssh::{Cipher, Kex, Limits, Mac, Penalties, Ssh};
pub use value::{ByteSize, KeyPrefix, PemError, PemOrFile, PrefixPart, Secret, duration, keyword};

pub use containerssh_log::{Format as LogFormat, Level as LogLevel};
