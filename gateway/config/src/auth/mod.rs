//! `auth`: how clients prove who they are.

mod certificates;
mod github;
mod methods;
mod oauth2;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use certificates::Certificates;
pub use github::GitHub;
pub use methods::{AuthenticationMethod, MethodList};
pub use oauth2::{
    KeyboardInteractiveAuth, KeyboardInteractiveMethod, OAuth2, OAuth2Provider, Oidc, Redirect,
};

use crate::Webhook;
use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

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

/// `auth`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Auth {
    /// Passwords (RFC 4252 section 8).
    pub password: PasswordAuth,
    /// Public keys (RFC 4252 section 7).
    pub public_key: PublicKeyAuth,
    /// Questions and answers (RFC 4256): a login at an identity provider.
    #[serde(skip_serializing_if = "KeyboardInteractiveAuth::is_default")]
    pub keyboard_interactive: KeyboardInteractiveAuth,
    /// A last word about everybody who has logged in by one of the other methods.
    #[serde(skip_serializing_if = "AuthzAuth::is_default")]
    pub authz: AuthzAuth,
    /// Who is told when a connection has ended.
    #[serde(skip_serializing_if = "TeardownAuth::is_default")]
    pub teardown: TeardownAuth,
    /// Methods that have to succeed one after the other, such as `publickey,keyboard-interactive`; of several lists, one. Empty: any
    /// one method that is configured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authentication_methods: Vec<MethodList>,
}

/// `auth.password`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PasswordAuth {
    /// Who decides.
    pub method: AuthMethod,
    /// The server for method `webhook`.
    pub webhook: Webhook,
}

/// `auth.publicKey`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PublicKeyAuth {
    /// Who decides about keys that no file lists.
    pub method: AuthMethod,
    /// The server for method `webhook`.
    pub webhook: Webhook,
    /// Files that list keys; asked first.
    pub authorized_keys: AuthorizedKeys,
    /// OpenSSH user certificates.
    #[serde(skip_serializing_if = "Certificates::is_default")]
    pub certificates: Certificates,
    /// Files of keys and certificates that let nobody in any more: key revocation lists (`ssh-keygen -k`), or a public key per
    /// line. Read at each login; one that cannot be read lets no key in. Absolute paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

/// `auth.authz`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuthzAuth {
    /// Who decides. Empty for nobody: whoever is authenticated is let in.
    pub method: AuthMethod,
    /// The server for method `webhook`.
    pub webhook: Webhook,
}

impl AuthzAuth {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `auth.teardown`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TeardownAuth {
    /// Who is told. Empty for nobody.
    pub method: AuthMethod,
    /// The server for method `webhook`. It is told until it answers, or `authTimeout` after the connection's end.
    pub webhook: Webhook,
}

impl TeardownAuth {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `auth.publicKey.authorizedKeys`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuthorizedKeys {
    /// Files in `authorized_keys` format (sshd(8)); `%u` is the user name, which must be a plain file name, and `%%` a
    /// percent sign. Read at each login. Absolute paths.
    pub paths: Vec<String>,
}

impl Auth {
    /// Whether anybody could log in at all.
    #[must_use]
    pub fn has_method(&self) -> bool {
        AuthenticationMethod::ALL.iter().any(|method| self.offers(*method))
    }

    /// Whether a method is configured.
    #[must_use]
    pub fn offers(&self, method: AuthenticationMethod) -> bool {
        match method {
            AuthenticationMethod::PublicKey => {
                self.public_key.method == AuthMethod::Webhook
                    || !self.public_key.authorized_keys.paths.is_empty()
                    || !self.public_key.certificates.authorities.is_empty()
            }
            AuthenticationMethod::Password => self.password.method == AuthMethod::Webhook,
            AuthenticationMethod::KeyboardInteractive => {
                self.keyboard_interactive.method == KeyboardInteractiveMethod::OAuth2
            }
        }
    }

    fn check_methods(&self, problems: &mut Problems) {
        for (index, list) in self.authentication_methods.iter().enumerate() {
            for method in list.methods() {
                if !self.offers(*method) {
                    problems.invalid(
                        format!("auth.authenticationMethods[{index}]"),
                        format!(
                            "names \"{method}\", which is not configured: nobody could go through this list"
                        ),
                    );
                }
            }
        }
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        self.check_methods(problems);
        if !self.has_method() {
            problems.invalid(
                "auth",
                "no way to authenticate is configured, nobody could log in: set auth.password.method or \
                 auth.publicKey.method to \"webhook\", or list files in auth.publicKey.authorizedKeys.paths or authorities in auth.publicKey.certificates.authorities",
            );
        }
        for (path, method, webhook) in [
            ("auth.password", self.password.method, &self.password.webhook),
            ("auth.publicKey", self.public_key.method, &self.public_key.webhook),
            ("auth.authz", self.authz.method, &self.authz.webhook),
            ("auth.teardown", self.teardown.method, &self.teardown.webhook),
        ] {
            check_webhook(path, method, webhook, problems);
        }
        if !self.teardown.webhook.circuit_breaker.is_default() {
            problems.invalid(
                "auth.teardown.webhook.circuitBreaker",
                "has no effect: nobody waits for this server, and it is told until authTimeout is over",
            );
        }
        self.keyboard_interactive.check(problems);
        self.public_key.certificates.check(problems);
        for (index, path) in self.public_key.revoked_keys.iter().enumerate() {
            if !path.starts_with('/') {
                problems.invalid(format!("auth.publicKey.revokedKeys[{index}]"), "must be an absolute path");
            }
        }
        for (index, path) in self.public_key.authorized_keys.paths.iter().enumerate() {
            if let Err(message) = check_path(path) {
                problems.invalid(format!("auth.publicKey.authorizedKeys.paths[{index}]"), message);
            }
        }
    }
}

fn check_webhook(path: &str, method: AuthMethod, webhook: &Webhook, problems: &mut Problems) {
    match method {
        AuthMethod::None if *webhook != Webhook::default() => problems.invalid(
            format!("{path}.method"),
            format!("must be \"webhook\" for {path}.webhook to have an effect"),
        ),
        AuthMethod::None => {}
        AuthMethod::Webhook => {
            webhook.check(&format!("{path}.webhook"), problems);
            if webhook.url.contains(['?', '#']) {
                problems.invalid(
                    format!("{path}.webhook.url"),
                    "must not have a query or fragment: /password, /pubkey, /authz or /teardown is appended",
                );
            }
        }
    }
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
