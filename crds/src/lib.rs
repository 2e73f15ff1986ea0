//! The API: `SSHGateway` and `AuditPolicy`, and the pure merge of policies.
//!
//! This crate holds what the API server stores and what it means, and nothing that talks to one: no client,
//! no runtime. Three rules shape it:
//!
//! * **A field in the schema works.** A key that would be stored and ignored is worse than one that is
//!   refused, above all where it says what to record. New features add optional fields.
//! * **The API server refuses what it can.** Types, patterns and bounds first, then CEL rules (the bounds
//!   keep their cost estimate low). What takes another object's state to decide is the operator's, and ends
//!   in a condition.
//! * **No default hides in an optional object or a list item.** Such defaults make GitOps tools see a
//!   difference for ever. They live in [`defaults`] and are applied when a value is read; field docs name
//!   them.
//!
//! [`merge()`](merge::merge) turns the policies that cover a gateway, and the gateway's own wish, into the one [`EffectiveAudit`]
//! that its gateways obey.

// `KubeSchema` copies each type, with its visibility, into a function body, where nothing can reach it.
#![allow(unreachable_pub)]

#[macro_use]
mod choice;

pub mod conditions;
pub mod crd;
pub mod defaults;
mod duration;
mod gateway;
pub mod merge;
mod policy;
mod reference;
mod schema;
mod size;

pub use duration::{DurationError, Span};
pub use gateway::{
    Agent, AgentInjection, AgentTransport, AlgorithmProfile, Algorithms, Authentication,
    AuthenticationMethod, Authorization, AuthorizedKeysSource, Backend, CONSENT_ANNOTATION,
    CertificateAuthorities, CommandRule, ConfigServer, ConnectionLimits, ConnectionMode, DisruptionBudget,
    Drain, EnvironmentVariable, ExcludedFrom, ExternalTrafficPolicy, ExtraMount, GatewaySpool,
    HostKeyAlgorithm, HostKeys, KeepAlive, KeyboardInteractiveAuthentication, KubernetesBackend, ListRule,
    Log, LogFormat, LogLevel, NetworkPolicySwitch, OidcFlow, OpenIDConnect, ParentRef,
    PasswordAuthentication, Penalties, PersistentPods, PodSpecDocument, PodTemplate, ProxyProtocol,
    PublicKeyAuthentication, PullPolicy, ReplicaStatus, Retention, RevokedKeysSource, SSHGateway,
    SSHGatewaySpec, SSHGatewayStatus, Security, SecurityMode, Service, ServiceMonitor, ServiceType, Ssh,
    StatusAudit, SwitchRule, TcpRoute, TemplateMetadata, Timeouts, VolumeDocument, VolumeRetention, WarmPool,
    Webhook, WorkloadTemplate, namespace_consents,
};
pub use merge::{EffectiveAudit, merge};
pub use policy::{
    Allow, AuditFormat, AuditPolicy, AuditPolicySpec, AuditPolicyStatus, AuditTier, CannedAcl,
    CredentialsType, Demand, Durability, EVENT_TYPES, EncryptionType, EventBatch, EventCompression,
    EventEncoding, EventSyslog, EventTarget, EventWebhook, Exclusion, Forwarding, Intercept, LockMode,
    ObjectLock, OnFailure, OnFull, S3Credentials, S3Storage, ServerSideEncryption, SessionLimits, Signing,
    SpoolDemand, SpoolMedium, Storage, SyslogProtocol, matches,
};
pub use reference::{DataKeyRef, KeyRef, NameRef};
pub use size::{Size, SizeError};

/// API group of both kinds.
pub const GROUP: &str = "containerssh.io";
/// Version of both kinds.
pub const VERSION: &str = "v1alpha1";
