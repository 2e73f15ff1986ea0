//! `auth`: how clients prove who they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;
use crate::value::{PemOrFile, duration};

keyword_enum! {
    /// `auth.password.method`, `auth.publicKey.method`
    #[derive(Default)]
    pub enum AuthMethod {
        /// Not by a server of ours.
        #[default]
        None = "",
        /// By an HTTP server that is asked.
        Webhook = "webhook",
    }
    refused {
        "kerberos" => "is not supported by this version: use \"webhook\"",
        "oauth2" => "is not supported by this version: use \"webhook\"",
    }
}

keyword_enum! {
    /// The lowest TLS version that is accepted.
    #[derive(Default)]
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        V1_2 = "1.2",
        /// TLS 1.3 (RFC 8446).
        #[default]
        V1_3 = "1.3",
    }
    refused {
        "1.0" => "is broken (RFC 8996): use \"1.2\" or \"1.3\"",
        "1.1" => "is broken (RFC 8996): use \"1.2\" or \"1.3\"",
    }
}

/// `auth`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Auth {
    /// Passwords (RFC 4252 section 8).
    pub password: PasswordAuth,
    /// Public keys (RFC 4252 section 7).
    pub public_key: PublicKeyAuth,
}

/// `auth.password`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PasswordAuth {
    /// Who decides.
    pub method: AuthMethod,
    /// The server for method `webhook`.
    pub webhook: Webhook,
}

/// `auth.publicKey`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PublicKeyAuth {
    /// Who decides about keys that no file lists.
    pub method: AuthMethod,
    /// The server for method `webhook`.
    pub webhook: Webhook,
    /// Files that list keys; asked first.
    pub authorized_keys: AuthorizedKeys,
}

/// `auth.publicKey.authorizedKeys`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuthorizedKeys {
    /// Files in `authorized_keys` format (sshd(8)); `%u` is the user name, which must be a plain file name, and `%%` a
    /// percent sign. Read at each login. Absolute paths.
    pub paths: Vec<String>,
}

/// A webhook of authentication: an HTTP client with a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Webhook {
    /// Where to ask: `/password` or `/pubkey` is appended.
    pub url: String,
    /// Whether a redirect is followed.
    pub allow_redirects: bool,
    /// Time for one request, from connect to the last byte of the answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Time for all requests about one attempt, retries included.
    #[serde(with = "duration")]
    pub auth_timeout: Duration,
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
    #[serde(deserialize_with = "tls_version")]
    pub tls_version: TlsVersion,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            url: String::new(),
            allow_redirects: false,
            timeout: Duration::from_secs(2),
            auth_timeout: Duration::from_secs(60),
            cacert: None,
            cert: None,
            key: None,
            tls_version: TlsVersion::default(),
        }
    }
}

/// `tlsVersion: 1.3` without quotes is a number in YAML, and everybody writes it like that.
fn tls_version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TlsVersion, D::Error> {
    struct TlsVisitor;
    impl serde::de::Visitor<'_> for TlsVisitor {
        type Value = TlsVersion;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("\"1.2\" or \"1.3\"")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TlsVersion, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<TlsVersion, E> {
            format!("{number:?}").parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(TlsVisitor)
}

/// The reference's lower bound for one request.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

impl Auth {
    /// Whether anybody could log in at all.
    #[must_use]
    pub fn has_method(&self) -> bool {
        self.password.method == AuthMethod::Webhook
            || self.public_key.method == AuthMethod::Webhook
            || !self.public_key.authorized_keys.paths.is_empty()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if !self.has_method() {
            problems.invalid(
                "auth",
                "no way to authenticate is configured, nobody could log in: set auth.password.method or \
                 auth.publicKey.method to \"webhook\", or list files in auth.publicKey.authorizedKeys.paths",
            );
        }
        self.password.webhook.check("auth.password", self.password.method, problems);
        self.public_key.webhook.check("auth.publicKey", self.public_key.method, problems);
        for (index, path) in self.public_key.authorized_keys.paths.iter().enumerate() {
            if let Err(message) = check_path(path) {
                problems.invalid(format!("auth.publicKey.authorizedKeys.paths[{index}]"), message);
            }
        }
    }
}

fn check_url(url: &str, method: AuthMethod) -> Result<(), &'static str> {
    if url.is_empty() {
        return if method == AuthMethod::Webhook { Err("is missing") } else { Ok(()) };
    }
    let Some(rest) = ["http://", "https://"].into_iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return Err("must begin with http:// or https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err("names no host");
    }
    if host.contains('@') {
        return Err("must not hold a user name or password, which would show in logs: use cert and key");
    }
    if rest.contains(['?', '#']) {
        return Err("must not have a query or fragment: /password or /pubkey is appended");
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("must be an absolute path");
    }
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        match character {
            '\0' => return Err("must not hold a NUL character"),
            '%' if !matches!(rest.next(), Some('u' | '%')) => {
                return Err(
                    "has a placeholder that does not exist: there are %u (user name) and %% (percent sign)",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

impl Webhook {
    fn check(&self, path: &str, method: AuthMethod, problems: &mut Problems) {
        let key = |name: &str| format!("{path}.webhook.{name}");
        match method {
            AuthMethod::None if *self != Webhook::default() => problems.invalid(
                format!("{path}.method"),
                format!("must be \"webhook\" for {path}.webhook to have an effect"),
            ),
            AuthMethod::None => return,
            AuthMethod::Webhook => {}
        }
        if let Err(message) = check_url(&self.url, method) {
            problems.invalid(key("url"), message);
        }
        if self.timeout < MIN_TIMEOUT {
            problems.invalid(key("timeout"), "must be at least 100ms");
        }
        if self.auth_timeout < self.timeout {
            problems.invalid(key("authTimeout"), "must not be shorter than timeout");
        }
        if self.cert.is_some() != self.key.is_some() {
            let (missing, present) = if self.cert.is_none() { ("cert", "key") } else { ("key", "cert") };
            problems.invalid(key(missing), format!("is missing: {present} is set, and they belong together"));
        }
        let files = [("cacert", &self.cacert), ("cert", &self.cert), ("key", &self.key)];
        for (name, pem) in files {
            if pem.as_ref().is_some_and(PemOrFile::is_empty) {
                problems.invalid(key(name), "is empty: give PEM text or a file name, or leave it out");
            }
        }
    }
}
