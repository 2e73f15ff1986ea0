//! Settings of one connection's own: what the configuration server says of it, laid over the configuration in force.
//!
//! The result is a configuration like any other, checked like a file, and lives as long as the connection. Only what serves the
//! connection and what its user may do can differ: see [`Config::overlaid`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use containerssh_auth::webhook::{ConfigServer, Configured};
use containerssh_auth::{Attempt, AuthConfigError, Identity, Metrics};
use containerssh_backend::Backend;
use containerssh_config::Config;
use containerssh_log::OwnLevel;

use crate::codes;
use crate::ssh::Security;

/// Makes what serves connections under a configuration that differs from the one in force.
#[async_trait]
pub trait MakeBackend: Send + Sync + fmt::Debug + 'static {
    /// # Errors
    /// When the configuration cannot be served.
    async fn backend(&self, config: &Config) -> anyhow::Result<Arc<dyn Backend>>;
}

/// Asks the configuration server about each connection. One per configuration.
#[derive(Debug)]
pub struct Tailor {
    server: ConfigServer,
    base: Config,
    backend: Arc<dyn Backend>,
    make: Arc<dyn MakeBackend>,
}

/// A connection's own settings.
#[derive(Debug)]
pub(crate) struct Tailored {
    pub(crate) identity: Identity,
    pub(crate) security: Arc<Security>,
    pub(crate) backend: Arc<dyn Backend>,
    /// While it lives, the connection's lines are shown from its own level on.
    pub(crate) level: Option<OwnLevel>,
}

impl Tailor {
    /// For a configuration that names a server; `None` for one that does not. `backend` serves connections whose section
    /// `kubernetes` is that of `config`, `make` makes others.
    ///
    /// # Errors
    /// When the server's URL, a certificate or a key is no use.
    pub fn new(
        config: &Config,
        backend: Arc<dyn Backend>,
        make: Arc<dyn MakeBackend>,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Self>>, AuthConfigError> {
        if !config.configserver.is_set() {
            return Ok(None);
        }
        let server = ConfigServer::new(&config.configserver)?.with_metrics(metrics);
        Ok(Some(Arc::new(Self { server, base: config.clone(), backend, make })))
    }

    /// Asks about a connection whose user is known. The error is for the log and the record.
    pub(crate) async fn tailor(&self, attempt: &Attempt, identity: Identity) -> Result<Tailored, String> {
        let Configured { config, metadata, environment, files } = self.server.ask(attempt, &identity).await?;
        let refused = |error: String| {
            tracing::error!(
                code = codes::backend::BACKEND_CONFIG_ERROR,
                module = "backend",
                connectionId = attempt.connection_id,
                username = attempt.username,
                error = error,
                "The configuration server's answer is not valid, the login is denied"
            );
            format!("configuration server: {error}")
        };
        let config = self.base.overlaid(&config).map_err(|error| refused(error.to_string()))?;
        let security = Security::of(&config).map_err(|error| refused(error.to_string()))?;
        let backend = if config.kubernetes == self.base.kubernetes && config.backend == self.base.backend {
            Arc::clone(&self.backend)
        } else {
            self.make.backend(&config).await.map_err(|error| refused(format!("{error:#}")))?
        };
        let identity = identity.with(Identity { metadata, environment, files, ..Identity::default() });
        let level = (config.log.level != self.base.log.level)
            .then(|| OwnLevel::set(&attempt.connection_id, config.log.level));
        Ok(Tailored { identity, security: Arc::new(security), backend, level })
    }
}
