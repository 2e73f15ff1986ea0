//! The configuration server: asked once per login for settings of that connection's own.

use std::collections::BTreeMap;
use std::fmt;

use containerssh_backend::{FileValue, MetadataValue};
use containerssh_config::ConfigServer as Settings;
use reqwest::Url;
use serde_json::Value;

use super::hook::{Hook, NoAnswer, Question, parse_url};
use super::retry::Backoff;
use super::{answer, client, request};
use crate::metrics::{Metrics, Purpose};
use crate::{Attempt, AuthConfigError, Identity, code};

/// What the server said.
#[derive(Debug, Default, PartialEq)]
pub struct Configured {
    /// The part of a configuration that differs for this connection: an object.
    pub config: Value,
    /// Metadata to add.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Environment variables to add.
    pub environment: BTreeMap<String, MetadataValue>,
    /// Files to add.
    pub files: BTreeMap<String, FileValue>,
}

/// A configuration server.
pub struct ConfigServer {
    hook: Hook,
    url: Url,
    sensitive: bool,
}

impl fmt::Debug for ConfigServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold credentials, and the hook shows it without.
        f.debug_struct("ConfigServer").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl ConfigServer {
    /// Makes the client.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is no use.
    pub fn new(settings: &Settings) -> Result<Self, AuthConfigError> {
        Ok(Self {
            hook: Hook::new(&settings.client(), "configserver")?,
            url: parse_url(&settings.url, "configserver")?,
            sensitive: settings.transmit_sensitive_metadata,
        })
    }

    /// Waits otherwise between attempts.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { hook: self.hook.with_backoff(backoff), ..self }
    }

    /// Counts here.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { hook: self.hook.with_metrics(metrics), ..self }
    }

    /// Asks for the settings of a connection whose user is known.
    ///
    /// # Errors
    /// Why there is no usable answer, in words for the log and the record.
    pub async fn ask(&self, attempt: &Attempt, identity: &Identity) -> Result<Configured, String> {
        let id = attempt.connection_id.as_str();
        let question = Question {
            purpose: Purpose::config,
            connection_id: id,
            url: &self.url,
            body: request::configuration(attempt, identity, self.sensitive),
            parse: answer::configured,
            may_keep: |_| true,
        };
        self.hook.ask(&question).await.map_err(|NoAnswer { failure, tries }| {
            tracing::error!(
                code = code::CONFIG_BACKEND_ERROR, connectionId = id, username = attempt.username,
                url = %client::without_credentials(&self.url), tries, reason = failure.code(), error = %failure,
                "The configuration server gave no usable answer, the login is denied"
            );
            format!("configuration server: {failure}")
        })
    }
}
