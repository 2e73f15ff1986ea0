//! The whole configuration.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::parse::Warning;
use crate::parse::{self, ConfigError, Problems, Syntax};
use crate::value::{keyword::keyword_enum, masked};
use crate::{
    Audit, Auth, ConfigServer, Drain, GeoIp, Health, Kubernetes, Local, Log, Metrics, Security, Session, Ssh,
};

keyword_enum! {
    /// `backend`
    #[derive(Default)]
    pub enum BackendKind {
        /// A pod per connection.
        #[default]
        Kubernetes = "kubernetes",
        /// Programs on the gateway's own host, as under sshd.
        Local = "local",
    }
    refused {
        "docker" => "is not supported by this version: use \"kubernetes\" or \"local\"",
        "sshproxy" => "is not supported by this version: use \"kubernetes\" or \"local\"",
    }
}

/// The gateway's configuration. [`Config::default`] holds the defaults; it lacks a way to authenticate, so it does not
/// validate as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Config {
    /// The SSH server.
    pub ssh: Ssh,
    /// How clients prove who they are.
    pub auth: Auth,
    /// Who has settings for each connection's user.
    #[serde(skip_serializing_if = "ConfigServer::is_default")]
    pub configserver: ConfigServer,
    /// What serves a connection.
    pub backend: BackendKind,
    /// The cluster, for backend `kubernetes`.
    pub kubernetes: Kubernetes,
    /// The gateway's own host, for backend `local`.
    #[serde(skip_serializing_if = "Local::is_default")]
    pub local: Local,
    /// What is recorded.
    pub audit: Audit,
    /// What clients may do.
    pub security: Security,
    /// What is said, and how.
    pub log: Log,
    /// OpenMetrics.
    pub metrics: Metrics,
    /// Health.
    pub health: Health,
    /// From which countries clients come.
    #[serde(skip_serializing_if = "GeoIp::is_default")]
    pub geoip: GeoIp,
    /// How long a session may last.
    pub session: Session,
    /// How the gateway lets sessions end.
    pub drain: Drain,
}

impl Config {
    /// Reads a file: JSON if its name ends in `.json`, YAML otherwise.
    ///
    /// # Errors
    /// All that is wrong with it, each with file, line and key.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigError> {
        parse::load(path.as_ref()).map(|(config, _)| config)
    }

    /// Reads a text; `source_name` stands in errors.
    ///
    /// # Errors
    /// All that is wrong with it, each with source, line and key.
    pub fn parse(text: &str, source_name: &str, syntax: Syntax) -> Result<Config, ConfigError> {
        Self::parse_with_warnings(text, source_name, syntax).map(|(config, _)| config)
    }

    /// The same, with what is read all the same but should be written otherwise.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_with_warnings(
        text: &str,
        source_name: &str,
        syntax: Syntax,
    ) -> Result<(Config, Vec<Warning>), ConfigError> {
        parse::parse(text, source_name, syntax)
    }

    /// The JSON schema (draft 2020-12) of a configuration file.
    #[must_use]
    pub fn json_schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Config);
        schema.insert("title".to_owned(), "Configuration of containerssh-gateway".into());
        schema.to_value()
    }

    /// Checks what types cannot express. Reading a file includes it.
    ///
    /// # Errors
    /// All that is wrong, each with its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.check(&mut problems);
        problems.into_result("configuration")
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        self.ssh.check(problems);
        self.auth.check(problems);
        self.configserver.check(problems);
        self.kubernetes.check(problems);
        self.local.check(problems);
        self.security.check(problems);
        self.audit.check(problems);
        self.metrics.check(problems);
        self.log.check(problems);
        self.geoip.check(problems);
    }

    /// The configuration as the YAML file that [`Config::load`] reads back to the same value. **Holds secrets.**
    ///
    /// # Errors
    /// When a value has no form in YAML, which no field's type allows.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }

    /// The effective configuration as YAML, for a person: secrets are `***`.
    ///
    /// # Errors
    /// As [`Config::to_yaml`].
    pub fn dump(&self) -> Result<String, serde_saphyr::ser::Error> {
        masked(|| self.to_yaml())
    }

    /// Sha256 over the settings that only a restart changes, as 64 hexadecimal digits: `ssh.listen`, `ssh.hostkeys`,
    /// the directories records are kept in, where the log goes, and the listeners of health, metrics and the identity provider's redirect. Everything else takes effect for
    /// new connections once the file changes. Host keys given as files count by name.
    #[must_use]
    pub fn static_fingerprint(&self) -> String {
        // A tuple rather than the sections: a field added to a section must not restart every gateway.
        let fixed = (
            ("ssh", self.ssh.listen, &self.ssh.hostkeys),
            ("audit", &self.audit.s3.local, &self.audit.file.directory, self.audit.spool.size),
            ("health", self.health.enable, self.health.listen),
            ("metrics", self.metrics.enable, self.metrics.listen, &self.metrics.path),
        );
        let redirect = self.auth.keyboard_interactive.redirect();
        // Strings, numbers and lists of them always have a JSON form.
        // What is not there does not count, so that gateways of earlier releases are not restarted for it.
        let text = match (redirect, self.log.fixed()) {
            (None, None) => serde_json::to_vec(&fixed),
            (redirect, None) => serde_json::to_vec(&(fixed, redirect)),
            (redirect, log) => serde_json::to_vec(&(fixed, redirect, log)),
        }
        .unwrap_or_default();
        hex::encode(Sha256::digest(&text))
    }
}
