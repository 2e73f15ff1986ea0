//! Who a client is: ContainerSSH's authentication webhooks, authorized_keys files, OpenSSH certificates.
//!
//! The SSH layer asks an [`Authenticator`] and gets a [`Verdict`]; it never learns how the answer came about. **Every
//! doubt denies**: an answer that cannot be read, a server that cannot be reached and a file that cannot be parsed are
//! [`Verdict::Unavailable`], which the client sees as a failed attempt and the record as a backend error.
//!
//! A public key verdict says whether the key *may* log in; it counts as authenticated only once the client has proven
//! possession (RFC 4252 section 7), which the SSH layer checks.

//!
//! [`authenticator`] makes the [`Authenticator`] that a configuration asks for: files of authorized keys ([`keys`]) are
//! asked first, then the webhook ([`webhook`]). Certificates ([`certificates`]) are judged by the authorities that the
//! configuration or a user's file of authorized keys trusts. What is revoked lets nobody in, whoever lists it.

pub mod certificates;
mod configured;
pub mod keys;
mod metrics;
pub mod oauth2;
mod restrictions;
pub mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use containerssh_backend::{FileValue, MetadataValue};
use russh::keys::Certificate;

pub use configured::{AuthConfigError, authenticator};
pub use metrics::Metrics;
pub use restrictions::Restrictions;

containerssh_log::codes! {
    /// Codes of authentication.
    pub mod code {
        AUTH_BACKEND_ERROR = "A webhook of authentication gave no usable answer within authTimeout, or one that is no use repeating; the attempt was denied.";
        AUTHZ_FAILED = "The authorization webhook did not let in a user whose credentials are good.";
        AUTH_CIRCUIT_OPEN = "A webhook gave no answers several times in a row (circuitBreaker.failures): whoever needs it is denied at once until it answers again.";
        AUTH_CIRCUIT_CLOSED = "A webhook that gave no answers answers again.";
        AUTH_TEARDOWN_FAILED = "The teardown webhook could not be told within authTimeout that a connection has ended, or refused to hear it.";
        AUTH_TEARDOWN_DROPPED = "Too many ends of connections wait for the teardown webhook; it is not told of this one.";
        AUTH_INVALID_STATUS = "A webhook of authentication answered with an HTTP status other than 200.";
        AUTH_CERTIFICATE_FILE_FAILED = "A file that certificates are judged by (authorities, principals) could not be read; no certificate is accepted.";
        AUTH_CERTIFICATE_FILE_LINE = "A line of a file of principals is no plain principal; it grants nothing.";
        AUTH_CERTIFICATE_REFUSED = "A certificate whose holder has its key does not let them in; the reason says why.";
        AUTH_OIDC_REJECTED = "A login at an identity provider did not succeed: the user refused, took too long, or is not who may log in.";
        AUTH_REVOKED = "A key or certificate was offered that is revoked.";
        AUTH_REVOKED_FILE_FAILED = "A file of revoked keys could not be read; no key and no certificate is accepted.";
        AUTH_KEYS_LINE_REFUSED = "A line of an authorized_keys file lists the offered key, but with an option that this version cannot honour or whose condition is not met; the line grants nothing.";
        AUTH_KEYS_LINE_INVALID = "A line of an authorized_keys file is not a key; it grants nothing.";
        AUTH_KEYS_READ_FAILED = "A file of authorized keys could not be read; it grants nothing.";
        AUTH_KEYS_USERNAME_REFUSED = "A user name is not a plain file name, so no file of authorized keys can belong to it.";
        CONFIG_BACKEND_ERROR = "The configuration server gave no usable answer; the login was denied.";
        GITHUB_ACCESS_TOKEN_FETCH_FAILED = "GitHub cannot be reached, or gave no token; the login was denied.";
        GITHUB_USER_REQUEST_FAILED = "GitHub does not say who has logged in; the login was denied.";
        GITHUB_USERNAME_DOES_NOT_MATCH = "The user at GitHub is not the one whose name was typed (enforceUsername).";
        GITHUB_REQUIRED_SCOPE_NOT_GRANTED = "GitHub did not grant a scope that is enforced (enforceScopes).";
        GITHUB_2FA_NOT_ENABLED = "The user's account at GitHub has no two-factor authentication (require2FA).";
        GITHUB_ORG_MEMBERSHIP_MISSING = "The user is no active member of the organisation at GitHub (requireOrgMembership).";
        HTTP_CLIENT_CONNECTION_FAILED = "An HTTP request could not be made or was not answered in time.";
        HTTP_CLIENT_DECODE_FAILED = "The answer to an HTTP request could not be understood.";
        HTTP_CLIENT_REDIRECTS_DISABLED = "An HTTP server answered with a redirect, which allowRedirects forbids.";
        HTTP_CLIENT_REQUEST = "An HTTP request is being made.";
        HTTP_CLIENT_RESPONSE = "An HTTP request was answered.";
        OIDC_ACCESS_TOKEN_FETCH_FAILED = "An identity provider cannot be reached, or what it says does not hold; the login was denied.";
    }
}

/// One client's attempt, as the webhooks learn of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// 32 lowercase hexadecimal digits.
    pub connection_id: String,
    /// The client's address and port.
    pub remote_addr: SocketAddr,
    /// The client's identification string (RFC 4253 section 4.2), such as `SSH-2.0-OpenSSH_9.2`.
    pub client_version: String,
    /// The user name the client typed.
    pub username: String,
}

/// What an accepted attempt brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name authentication settled on; empty when the webhook named none.
    pub authenticated_username: String,
    /// Metadata by key.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Environment variables by name.
    pub environment: BTreeMap<String, MetadataValue>,
    /// Files by absolute path.
    pub files: BTreeMap<String, FileValue>,
    /// What the credential itself forbids or forces.
    pub restrictions: Restrictions,
}

impl Identity {
    /// Adds what a later answer brings: entries of the same name are replaced, and so is the name, if it names one.
    #[must_use]
    pub fn with(mut self, later: Identity) -> Identity {
        if !later.authenticated_username.is_empty() {
            self.authenticated_username = later.authenticated_username;
        }
        self.metadata.extend(later.metadata);
        self.environment.extend(later.environment);
        self.files.extend(later.files);
        self.restrictions = self.restrictions.and(later.restrictions);
        self
    }
}

/// The answer to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The credential is good.
    Accepted(Box<Identity>),
    /// The credential is not good.
    Rejected,
    /// Nobody could say; the reason is for the log and the record, not for the client.
    Unavailable(String),
}

/// The methods that are configured: what a client is offered (RFC 4252 section 5.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Methods {
    /// `password`
    pub password: bool,
    /// `publickey`
    pub public_key: bool,
    /// `keyboard-interactive`
    pub keyboard_interactive: bool,
}

/// What a user is asked (RFC 4256 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Shown before the prompts.
    pub instructions: String,
    /// Each with whether what is typed is shown. May be none: then the client answers at once.
    pub prompts: Vec<(String, bool)>,
}

/// Where a dialogue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The user is asked.
    Ask(Question),
    /// There is a verdict; the dialogue is over.
    Done(Verdict),
}

/// A keyboard-interactive login (RFC 4256) of one connection.
#[async_trait]
pub trait Dialogue: Send + Sync {
    /// Takes the answers to the last question (none at the beginning). Bounded in time by the configuration; dropping it ends
    /// the login.
    async fn next(&mut self, answers: &[String]) -> Step;
}

/// Decides about attempts. One per configuration, shared by all connections; bounded in time by its configuration.
#[async_trait]
pub trait Authenticator: Send + Sync + std::fmt::Debug + 'static {
    /// Which methods are configured.
    fn methods(&self) -> Methods;
    /// A password attempt (RFC 4252 section 8).
    async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict;
    /// Whether this key, in authorized_keys form without comment, may log in. Asked before possession is proven.
    async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict;
    /// Begins a keyboard-interactive login; `None` if there is none.
    fn keyboard_interactive(&self, _attempt: &Attempt) -> Option<Box<dyn Dialogue>> {
        None
    }
    /// Whether a certificate could let this user in.
    async fn may_have_certificate(&self, _attempt: &Attempt) -> bool {
        false
    }
    /// A certificate whose holder has proven to have its key, and whose signature is valid.
    async fn certificate(&self, _attempt: &Attempt, _certificate: &Certificate) -> Verdict {
        Verdict::Rejected
    }
    /// The last word on somebody whose credentials are good. The verdict's identity replaces the one given.
    async fn authorize(&self, _attempt: &Attempt, identity: Identity) -> Verdict {
        Verdict::Accepted(Box::new(identity))
    }
}
