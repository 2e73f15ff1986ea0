//! `auth.keyboardInteractive`: logging in at an identity provider, in a browser beside the terminal.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GitHub;
use crate::http::{names, tls_version};
use crate::parse::Problems;
use crate::value::keyword::keyword_enum;
use crate::value::{PemOrFile, Secret, duration, listen};
use crate::{CipherSuite, Curve, TlsVersion, Webhook};

keyword_enum! {
    /// `auth.keyboardInteractive.method`
    #[derive(Default)]
    pub enum KeyboardInteractiveMethod {
        /// Not offered.
        #[default]
        None = "",
        /// At an identity provider.
        OAuth2 = "oauth2",
    }
}

keyword_enum! {
    /// `auth.keyboardInteractive.oauth2.provider`
    #[derive(Default)]
    pub enum OAuth2Provider {
        /// OpenID Connect, by discovery.
        #[default]
        Oidc = "oidc",
        /// GitHub, or a GitHub Enterprise server.
        GitHub = "github",
    }
    refused {
        "generic" => "is not supported by this version, since it does not say who the user is: use \"oidc\"",
    }
}

/// `auth.keyboardInteractive`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KeyboardInteractiveAuth {
    /// Who decides.
    pub method: KeyboardInteractiveMethod,
    /// The identity provider for method `oauth2`.
    pub oauth2: OAuth2,
}

/// `auth.keyboardInteractive.oauth2`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct OAuth2 {
    /// As what the gateway is registered at the provider.
    pub client_id: String,
    /// Its secret. Absent: it is a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// What kind of provider it is.
    pub provider: OAuth2Provider,
    /// The page that shows a code after a login by the authorization code flow.
    pub redirect: Redirect,
    /// Clients that are shown a QR code, by how their identification begins, such as `SSH-2.0-OpenSSH`: those on terminals that
    /// show UTF-8.
    pub qr_code_clients: Vec<String>,
    /// Clients for which the device flow is used where both flows are on, by how their identification begins. Empty: all.
    pub device_flow_clients: Vec<String>,
    /// Time for the whole login, the user's in the browser included. Keep `ssh.loginGraceTime` longer.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
    /// The provider, if it is one of OpenID Connect.
    pub oidc: Oidc,
    /// The provider, if it is GitHub.
    #[serde(skip_serializing_if = "GitHub::is_default")]
    pub github: GitHub,
}

/// `auth.keyboardInteractive.oauth2.redirect`: an HTTP server without TLS, for an ingress that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Redirect {
    /// Where it listens.
    #[schemars(with = "crate::schema::Listen")]
    #[serde(with = "listen")]
    pub listen: SocketAddr,
}

/// `auth.keyboardInteractive.oauth2.oidc`: an OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Oidc {
    /// The issuer: `/.well-known/openid-configuration` is appended, and what is found there has to name the same issuer.
    pub url: String,
    /// Whether a redirect is followed.
    pub allow_redirects: bool,
    /// Time for one request, from connect to the last byte of the answer.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Certificate authorities of the server: PEM text or a file name. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert: Option<PemOrFile>,
    /// Client certificate: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PemOrFile>,
    /// Its key: PEM text or a file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// The lowest TLS version that is accepted.
    #[schemars(with = "crate::schema::TlsVersion")]
    #[serde(deserialize_with = "tls_version")]
    pub tls_version: TlsVersion,
    /// Groups for TLS' key exchange, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<Curve>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
    /// TLS cipher suites, best first: a list, or names with colons between. Empty for the TLS library's choice.
    #[schemars(with = "crate::schema::Names<CipherSuite>")]
    #[serde(deserialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub cipher: Vec<CipherSuite>,
    /// Whether the device flow (RFC 8628) is used: the user opens a page and enters a short code there.
    pub device_flow: bool,
    /// Whether the authorization code flow (RFC 6749 section 4.1, with PKCE) is used: the user opens a page and brings a code back.
    pub authorization_code_flow: bool,
    /// Claim that becomes the authenticated user name.
    pub username_field: String,
    /// Whether that has to be the name the user typed.
    pub enforce_username: bool,
    /// Where the provider sends the browser back to in the authorization code flow: the address of `redirect`, as browsers reach it.
    #[serde(rename = "redirectURI")]
    pub redirect_uri: String,
    /// Scopes to ask for besides `openid`.
    pub extra_scopes: Vec<String>,
    /// Scopes that the provider has to grant.
    pub enforce_scopes: Vec<String>,
}

impl Default for OAuth2 {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_secret: None,
            provider: OAuth2Provider::default(),
            redirect: Redirect::default(),
            qr_code_clients: Vec::new(),
            device_flow_clients: Vec::new(),
            auth_timeout: Duration::from_secs(120),
            oidc: Oidc::default(),
            github: GitHub::default(),
        }
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)) }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        let http = Webhook::default();
        Self {
            url: http.url,
            allow_redirects: http.allow_redirects,
            timeout: http.timeout,
            cacert: None,
            cert: None,
            key: None,
            tls_version: http.tls_version,
            curves: Vec::new(),
            cipher: Vec::new(),
            device_flow: false,
            authorization_code_flow: false,
            username_field: "sub".to_owned(),
            enforce_username: false,
            redirect_uri: String::new(),
            extra_scopes: Vec::new(),
            enforce_scopes: Vec::new(),
        }
    }
}

impl Oidc {
    /// The client that asks the provider.
    #[must_use]
    pub fn client(&self) -> Webhook {
        Webhook {
            url: self.url.clone(),
            allow_redirects: self.allow_redirects,
            timeout: self.timeout,
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            tls_version: self.tls_version,
            curves: self.curves.clone(),
            cipher: self.cipher.clone(),
            auth_timeout: self.timeout,
            ..Webhook::default()
        }
    }
}

impl KeyboardInteractiveAuth {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Where the page of the authorization code flow is served, if it is.
    #[must_use]
    pub fn redirect(&self) -> Option<SocketAddr> {
        let on = self.method == KeyboardInteractiveMethod::OAuth2 && self.oauth2.has_code_flow();
        on.then_some(self.oauth2.redirect.listen)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        const AT: &str = "auth.keyboardInteractive";
        if self.method == KeyboardInteractiveMethod::None {
            if !self.is_default() {
                problems.invalid(
                    format!("{AT}.method"),
                    format!("must be \"oauth2\" for {AT}.oauth2 to have an effect"),
                );
            }
            return;
        }
        let oauth2 = &self.oauth2;
        let mut wrong = |key: &str, message: &str| problems.invalid(format!("{AT}.oauth2.{key}"), message);
        if oauth2.client_id.is_empty() {
            wrong("clientId", "is missing");
        }
        if oauth2.auth_timeout.is_zero() {
            wrong("authTimeout", "must be longer than 0");
        }
        match oauth2.provider {
            OAuth2Provider::Oidc => {
                if !oauth2.github.is_default() {
                    wrong("provider", "must be \"github\" for oauth2.github to have an effect");
                }
                oauth2.oidc.check(&format!("{AT}.oauth2.oidc"), problems);
            }
            OAuth2Provider::GitHub => {
                if oauth2.oidc != Oidc::default() {
                    wrong("provider", "must be \"oidc\" for oauth2.oidc to have an effect");
                }
                if oauth2.has_code_flow() && oauth2.client_secret.is_none() {
                    wrong(
                        "clientSecret",
                        "is missing: GitHub wants it of clients that are not in deviceFlowClients",
                    );
                }
                oauth2.github.check(&format!("{AT}.oauth2.github"), problems);
            }
        }
    }
}

impl OAuth2 {
    /// Whether some clients are sent through the authorization code flow. GitHub has both flows always.
    #[must_use]
    pub fn has_code_flow(&self) -> bool {
        match self.provider {
            OAuth2Provider::Oidc => self.oidc.authorization_code_flow,
            OAuth2Provider::GitHub => !self.device_flow_clients.is_empty(),
        }
    }

    /// Whether some clients are sent through the device flow.
    #[must_use]
    pub fn has_device_flow(&self) -> bool {
        match self.provider {
            OAuth2Provider::Oidc => self.oidc.device_flow,
            OAuth2Provider::GitHub => true,
        }
    }
}

impl Oidc {
    fn check(&self, at: &str, problems: &mut Problems) {
        self.client().check(at, problems);
        let mut wrong = |key: &str, message: &str| problems.invalid(format!("{at}.{key}"), message);
        if self.url.contains(['?', '#']) {
            wrong("url", "must not have a query or fragment: it is the issuer's name");
        }
        if !self.device_flow && !self.authorization_code_flow {
            wrong("deviceFlow", "must be true, or authorizationCodeFlow: there would be no way to log in");
        }
        if self.authorization_code_flow && self.redirect_uri.is_empty() {
            wrong("redirectURI", "is missing: the authorization code flow needs it");
        }
        if self.username_field.is_empty() {
            wrong("usernameField", "is empty");
        }
    }
}
