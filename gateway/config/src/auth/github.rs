//! `auth.keyboardInteractive.oauth2.github`: GitHub, or a GitHub Enterprise server.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{check_url, names, tls_version};
use crate::parse::Problems;
use crate::value::{PemOrFile, duration};
use crate::{CipherSuite, Curve, TlsVersion, Webhook};

/// `auth.keyboardInteractive.oauth2.github`: an OAuth app of GitHub, or of a GitHub Enterprise server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GitHub {
    /// Where users log in.
    pub url: String,
    /// Where it is asked who they are; of a GitHub Enterprise server, `https://HOST/api/v3`.
    pub apiurl: String,
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
    /// Whether the user's login at GitHub has to be the name that was typed.
    pub enforce_username: bool,
    /// The organisation whose active members may log in. Empty: anybody with an account.
    pub require_org_membership: String,
    /// Whether the account has to have two-factor authentication.
    #[serde(rename = "require2FA")]
    pub require_2fa: bool,
    /// Scopes to ask for besides those that the settings above need (`read:org`, `read:user`).
    pub extra_scopes: Vec<String>,
    /// Scopes that GitHub has to grant.
    pub enforce_scopes: Vec<String>,
}

impl Default for GitHub {
    fn default() -> Self {
        Self {
            url: "https://github.com".to_owned(),
            apiurl: "https://api.github.com".to_owned(),
            timeout: Duration::from_secs(10),
            cacert: None,
            cert: None,
            key: None,
            tls_version: TlsVersion::default(),
            curves: Vec::new(),
            cipher: Vec::new(),
            enforce_username: true,
            require_org_membership: String::new(),
            require_2fa: false,
            extra_scopes: Vec::new(),
            enforce_scopes: Vec::new(),
        }
    }
}

impl GitHub {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The client that asks both servers.
    #[must_use]
    pub fn client(&self) -> Webhook {
        Webhook {
            url: self.url.clone(),
            timeout: self.timeout,
            auth_timeout: self.timeout,
            cacert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            tls_version: self.tls_version,
            curves: self.curves.clone(),
            cipher: self.cipher.clone(),
            ..Webhook::default()
        }
    }

    pub(super) fn check(&self, at: &str, problems: &mut Problems) {
        self.client().check(at, problems);
        let mut wrong = |key: &str, message: &str| problems.invalid(format!("{at}.{key}"), message);
        if let Err(message) = check_url(&self.apiurl) {
            wrong("apiurl", message);
        }
        for (key, url) in [("url", &self.url), ("apiurl", &self.apiurl)] {
            if url.contains(['?', '#']) {
                wrong(key, "must not have a query or fragment: paths are appended");
            }
        }
        let plain =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !plain(&self.require_org_membership) {
            wrong(
                "requireOrgMembership",
                "must be one organisation's name, as it stands in GitHub's addresses",
            );
        }
        for (key, scopes) in [("extraScopes", &self.extra_scopes), ("enforceScopes", &self.enforce_scopes)] {
            if scopes.iter().any(|scope| scope.is_empty() || scope.contains([' ', ','])) {
                wrong(key, "must be a list with one scope in each entry");
            }
        }
    }
}
