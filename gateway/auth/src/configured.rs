//! The authenticator that a configuration asks for.

use std::sync::Arc;

use async_trait::async_trait;
use containerssh_config::{Auth, AuthMethod, PemError};

use crate::keys::AuthorizedKeys;
use crate::webhook::Webhook;
use crate::{Attempt, Authenticator, Identity, Methods, Verdict, code};

/// Why no authenticator can be made of a configuration. The message names the key.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    /// A certificate or key could not be read.
    #[error("invalid configuration option: {option} ({source})")]
    Pem {
        /// The configuration's key.
        option: String,
        /// Why.
        source: PemError,
    },
    /// A certificate, key or URL was read and is no use. Holds no secret.
    #[error("invalid configuration option: {option} ({message})")]
    Invalid {
        /// The configuration's key.
        option: String,
        /// Why.
        message: String,
    },
}

/// Makes the authenticator that `config` asks for. Reads certificate files, so it blocks for a moment.
///
/// # Errors
/// When a certificate, key or URL is no use.
pub fn authenticator(config: &Auth) -> Result<Arc<dyn Authenticator>, AuthConfigError> {
    let webhook = |method, settings, option| match method {
        AuthMethod::Webhook => Webhook::new(settings, option).map(Some),
        AuthMethod::None => Ok(None),
    };
    let paths = &config.public_key.authorized_keys.paths;
    Ok(Arc::new(Configured {
        password: webhook(config.password.method, &config.password.webhook, "auth.password.webhook")?,
        keys: (!paths.is_empty()).then(|| AuthorizedKeys::new(paths.clone())),
        public_key: webhook(config.public_key.method, &config.public_key.webhook, "auth.publicKey.webhook")?,
        authorization: webhook(config.authz.method, &config.authz.webhook, "auth.authz.webhook")?,
    }))
}

#[derive(Debug)]
struct Configured {
    password: Option<Webhook>,
    keys: Option<AuthorizedKeys>,
    public_key: Option<Webhook>,
    authorization: Option<Webhook>,
}

#[async_trait]
impl Authenticator for Configured {
    fn methods(&self) -> Methods {
        Methods {
            password: self.password.is_some(),
            public_key: self.keys.is_some() || self.public_key.is_some(),
            keyboard_interactive: false,
        }
    }

    async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict {
        match &self.password {
            Some(webhook) => webhook.password(attempt, password).await,
            // Not offered, tried all the same.
            None => Verdict::Rejected,
        }
    }

    async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict {
        let by_file = match &self.keys {
            Some(keys) => keys.public_key(attempt, authorized_key).await,
            None => Verdict::Rejected,
        };
        let Some(webhook) = &self.public_key else { return by_file };
        if matches!(by_file, Verdict::Accepted(_)) {
            return by_file;
        }
        match webhook.public_key(attempt, authorized_key).await {
            // A file nobody could read may have listed the key: that is the answer to log.
            Verdict::Rejected => by_file,
            answer => answer,
        }
    }

    async fn authorize(&self, attempt: &Attempt, identity: Identity) -> Verdict {
        let Some(webhook) = &self.authorization else { return Verdict::Accepted(Box::new(identity)) };
        let verdict = webhook.authorization(attempt, identity).await;
        if verdict == Verdict::Rejected {
            tracing::info!(
                code = code::AUTHZ_FAILED,
                connectionId = attempt.connection_id,
                username = attempt.username,
                "The user's credentials are good, but the authorization webhook does not let them in"
            );
        }
        verdict
    }
}
