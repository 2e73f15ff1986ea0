//! What can be wrong with a configured target.

use containerssh_config::PemError;

/// A target of `audit.events` that is no use.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// A certificate or key could not be had.
    #[error("{option}: {source}")]
    Pem {
        /// The key in the configuration.
        option: String,
        /// Why.
        source: PemError,
    },
    /// A setting that cannot be used.
    #[error("{option}: {message}")]
    Invalid {
        /// The key in the configuration.
        option: String,
        /// Why.
        message: String,
    },
}

impl EventsError {
    pub(crate) fn invalid(option: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { option: option.into(), message: message.into() }
    }
}

/// Why a batch was not taken. Holds nothing of what was sent or answered.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The target may take the same batch later.
    Passing {
        reason: Reason,
        message: String,
        /// How long it wants to be left alone.
        after: Option<std::time::Duration>,
    },
    /// The target does not take this batch, for what is in it.
    Refused(String),
}

impl Failure {
    pub(crate) fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self::Passing { reason, message: message.into(), after: None }
    }
}

/// Why events are sent again: a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// No connection, or a broken one.
    Connection,
    /// No answer in time.
    Timeout,
    /// A token, certificate or key could not be read.
    Credentials,
    /// The target says that we may not (401, 403).
    Denied,
    /// The target is asked too much (408, 425, 429, 503 with `Retry-After`).
    Throttled,
    /// A fault of the target (5xx).
    Server,
    /// Anything else: most likely a wrong URL.
    Unexpected,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Unexpected => "unexpected",
        }
    }
}
