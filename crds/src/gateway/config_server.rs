//! The configuration server: settings of each connection's own.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyRef, NameRef, Span};

/// ContainerSSH's configuration server, which is asked about each connection whose user is known.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.caSecretRef) && has(self.caConfigMapRef))")
    .message("set at most one of caSecretRef and caConfigMapRef"))]
#[x_kube(validation = Rule::new("self.url.startsWith('https://') || !(has(self.caSecretRef) || has(self.caConfigMapRef) || has(self.clientCertificateSecretRef))")
    .message("certificates need a url that begins with https://"))]
pub struct ConfigServer {
    /// Address of the server, such as https://config.example.com/ssh; nothing is appended. Plain http sends what
    /// is known of users in the clear: use it within a trusted network only.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+([/?][^\s#]*)?$"))]
    pub url: String,

    /// How long one request may take. All requests of one login have a minute together, or this if it is longer.
    /// Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms')").message("must be at least 100ms"))]
    pub timeout: Option<Span>,

    /// Whether the server is told what authentication marked as sensitive, such as an identity provider's
    /// access token. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transmit_sensitive_metadata: Option<bool>,

    /// Secret in the gateway's namespace with the certificates (PEM) of the authorities that may vouch for
    /// the server. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<KeyRef>,

    /// ConfigMap in the gateway's namespace with the certificates (PEM) of the authorities that may vouch
    /// for the server. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<KeyRef>,

    /// Secret of type kubernetes.io/tls in the gateway's namespace that the gateway shows to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<NameRef>,
}
