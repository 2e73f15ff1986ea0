//! Where events of a session are sent while it goes on: a SIEM, beside the record.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{NameRef, Size, Span, schema};

/// Words of `include`. The gateway's configuration has the same; a test of the operator compares the two.
pub const EVENT_TYPES: &[&str] = &[
    "connect",
    "handshakeFailed",
    "handshakeSuccessful",
    "authRequest",
    "authChallenge",
    "globalRequest",
    "forwardListen",
    "forwardUnlisten",
    "forwardOpen",
    "forwardClose",
    "channelOpen",
    "channelRefused",
    "channelClose",
    "env",
    "exec",
    "pty",
    "shell",
    "signal",
    "subsystem",
    "window",
    "x11",
    "requestRefused",
    "requestFailed",
    "stdin",
    "stdout",
    "stderr",
    "eof",
    "exit",
    "exitSignal",
    "disconnect",
    "sftp",
    "recordFailed",
    "recordGap",
    "recovered",
    "passwords",
];

/// One receiver of events.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.webhook) != has(self.syslog)")
    .message("set exactly one of webhook and syslog"))]
pub struct EventTarget {
    /// An HTTP server that takes JSON in batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<EventWebhook>,

    /// A syslog server (RFC 5424).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<EventSyslog>,
}

/// An HTTP server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.url.startsWith('https://') || !(has(self.caBundle) || has(self.clientCertificateSecretRef))")
    .message("certificates need a url that begins with https://"))]
pub struct EventWebhook {
    /// Where batches are POSTed.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/?#@]+([/?][!-~]*)?$"))]
    pub url: String,

    /// JSON sends an array, NDJSON an object a line. Default: JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<EventEncoding>,

    /// Whether requests are compressed. Default: None.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<EventCompression>,

    /// Secret with the data key token, sent as Authorization: Bearer: in the operator's namespace for an
    /// AuditPolicy, in the gateway's own for an SSHGateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_secret_ref: Option<NameRef>,

    /// Certificates (PEM) of the authorities that may vouch for the server. Default: those of the gateway's
    /// image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072), regex(pattern = "-----BEGIN CERTIFICATE-----"))]
    pub ca_bundle: Option<String>,

    /// Secret with tls.crt and tls.key, for servers that want a client certificate; where it is looked for,
    /// see bearerTokenSecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<NameRef>,

    /// Time for one request. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('5m')")
        .message("must be between 100ms and 5m"))]
    pub timeout: Option<Span>,

    /// How much goes into one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<EventBatch>,

    /// Which events, such as connect, authRequest, exec, sftp. Default: all, without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::event_types")]
    pub include: Option<Vec<String>>,
}

/// How much goes into one request.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBatch {
    /// Most events. Default: 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub events: Option<i32>,

    /// Most bytes before compression, from 1Ki to 16Mi; a single event may be larger. Default: 1Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,

    /// How long the first event waits for others. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('1m')").message("must be at most 1m"))]
    pub delay: Option<Span>,
}

/// A syslog server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.protocol) || self.protocol == 'TLS' || !(has(self.caBundle) || has(self.clientCertificateSecretRef))")
    .message("certificates need protocol: TLS"))]
pub struct EventSyslog {
    /// Where it listens, such as logs.example.net:6514.
    #[schemars(
        length(max = 300),
        regex(pattern = r"^([-a-zA-Z0-9._]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}$")
    )]
    pub address: String,

    /// TLS (RFC 5425) or TCP (RFC 6587). Default: TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<SyslogProtocol>,

    /// Certificates (PEM) of the authorities that may vouch for the server. Default: those of the gateway's
    /// image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072), regex(pattern = "-----BEGIN CERTIFICATE-----"))]
    pub ca_bundle: Option<String>,

    /// Secret with tls.crt and tls.key, for servers that want a client certificate: in the operator's
    /// namespace for an AuditPolicy, in the gateway's own for an SSHGateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<NameRef>,

    /// Facility of the messages (RFC 5424, section 6.2.1). Default: 13, log audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 23))]
    pub facility: Option<i32>,

    /// Which events, such as connect, authRequest, exec, sftp. Default: all, without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::event_types")]
    pub include: Option<Vec<String>>,
}

impl EventTarget {
    /// The Secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &NameRef> {
        let webhook = self.webhook.as_ref();
        let syslog = self.syslog.as_ref();
        [
            webhook.and_then(|webhook| webhook.bearer_token_secret_ref.as_ref()),
            webhook.and_then(|webhook| webhook.client_certificate_secret_ref.as_ref()),
            syslog.and_then(|syslog| syslog.client_certificate_secret_ref.as_ref()),
        ]
        .into_iter()
        .flatten()
    }

    /// The address, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        let webhook = self.webhook.as_ref().map(|webhook| webhook.url.as_str());
        webhook.or_else(|| self.syslog.as_ref().map(|syslog| syslog.address.as_str())).unwrap_or_default()
    }
}

choice! {
    /// Shape of a request.
    #[derive(Default)]
    pub enum EventEncoding {
        /// An array.
        #[default]
        JSON,
        /// An object a line.
        NDJSON,
    }
}

choice! {
    /// Compression of requests.
    #[derive(Default)]
    pub enum EventCompression {
        /// As they are.
        #[default]
        None,
        /// Content-Encoding: gzip.
        Gzip,
    }
}

choice! {
    /// How syslog is reached.
    #[derive(Default)]
    pub enum SyslogProtocol {
        /// RFC 6587.
        TCP,
        /// RFC 5425.
        #[default]
        TLS,
    }
}
