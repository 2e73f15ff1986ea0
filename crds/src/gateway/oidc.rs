//! Logging in at an identity provider.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyRef, NameRef, Span};

/// An OpenID Connect provider, found by discovery.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.caSecretRef) && has(self.caConfigMapRef))")
    .message("set at most one of caSecretRef and caConfigMapRef"))]
#[x_kube(validation = Rule::new("self.issuer.startsWith('https://') || !(has(self.caSecretRef) || has(self.caConfigMapRef))")
    .message("certificates need an issuer that begins with https://"))]
#[x_kube(validation = Rule::new("(has(self.flows) && 'AuthorizationCode' in self.flows) == has(self.redirectURI)")
    .message("flow AuthorizationCode needs redirectURI, and no other flow has it"))]
#[x_kube(validation = Rule::new("!has(self.deviceFlowClients) || (has(self.flows) && self.flows.size() == 2)")
    .message("deviceFlowClients goes with flows: [Device, AuthorizationCode] only: with one flow there is nothing to choose"))]
pub struct OpenIDConnect {
    /// The issuer, as it names itself in its tokens: /.well-known/openid-configuration is appended.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub issuer: String,

    /// As what the gateway is registered there.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 1024))]
    pub client_id: String,

    /// Secret in the gateway's namespace whose data key clientSecret holds the client's secret. Default: none,
    /// for a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<NameRef>,

    /// Device (RFC 8628): the user opens a page on any device and enters the code that the terminal shows.
    /// AuthorizationCode (RFC 6749 section 4.1, with PKCE): the user opens a page and brings a code back to the
    /// terminal. Default: Device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub flows: Vec<OidcFlow>,

    /// Where the provider sends the browser back to in the AuthorizationCode flow: an address that leads to the
    /// Service <gateway>-redirect, by way of something that speaks TLS.
    #[serde(rename = "redirectURI", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"))]
    pub redirect_uri: Option<String>,

    /// Claim that becomes the authenticated user name. Default: sub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username_claim: Option<String>,

    /// Whether that has to be the name that the user typed. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforce_username: Option<bool>,

    /// Scopes to ask for besides openid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub extra_scopes: Vec<String>,

    /// Scopes that the provider has to grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253), regex(pattern = r"^\S+$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub enforce_scopes: Vec<String>,

    /// Clients that are shown a QR code, by how their identification begins, such as SSH-2.0-OpenSSH: those on
    /// terminals that show UTF-8. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub qr_code_clients: Vec<String>,

    /// Clients that get the Device flow where both are on, by how their identification begins. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub device_flow_clients: Vec<String>,

    /// How long one login may take, the user's part in the browser included; ssh.loginGraceTime ends it earlier
    /// where that is shorter. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub timeout: Option<Span>,

    /// Secret in the gateway's namespace with the certificates (PEM) of the authorities that may vouch for
    /// the provider. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<KeyRef>,

    /// ConfigMap in the gateway's namespace with the certificates (PEM) of the authorities that may vouch
    /// for the provider. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<KeyRef>,
}

choice! {
    /// How a user logs in at a provider.
    pub enum OidcFlow {
        /// A code is carried from the terminal to the browser.
        Device,
        /// A code is carried from the browser to the terminal.
        AuthorizationCode,
    }
}

impl OpenIDConnect {
    /// Whether a flow is on.
    #[must_use]
    pub fn has_flow(&self, flow: OidcFlow) -> bool {
        if self.flows.is_empty() { flow == OidcFlow::Device } else { self.flows.contains(&flow) }
    }
}
