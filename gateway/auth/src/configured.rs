//! The authenticator that a configuration asks for.

use std::sync::Arc;

use async_trait::async_trait;
use containerssh_config::{Auth, AuthMethod, KeyboardInteractiveMethod, PemError};
use russh::keys::{Certificate, PublicKey};

use crate::certificates::{Certificates, Refusal, Revoked, report_refused};
use crate::keys::AuthorizedKeys;
use crate::oauth2::OAuth2;
use crate::webhook::Webhook;
use crate::{Attempt, Authenticator, Dialogue, Identity, Methods, Metrics, Verdict, code};

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

/// Makes the authenticator that `config` asks for, counting in `metrics`. Reads certificate files, so it blocks for a moment.
///
/// # Errors
/// When a certificate, key or URL is no use.
pub fn authenticator(config: &Auth, metrics: &Metrics) -> Result<Arc<dyn Authenticator>, AuthConfigError> {
    let webhook = |method, settings, option| match method {
        AuthMethod::Webhook => Webhook::new(settings, option).map(|hook| Some(hook.with_metrics(metrics))),
        AuthMethod::None => Ok(None),
    };
    let paths = &config.public_key.authorized_keys.paths;
    Ok(Arc::new(Configured {
        password: webhook(config.password.method, &config.password.webhook, "auth.password.webhook")?,
        oauth2: match config.keyboard_interactive.method {
            KeyboardInteractiveMethod::None => None,
            KeyboardInteractiveMethod::OAuth2 => Some(OAuth2::new(&config.keyboard_interactive.oauth2)?),
        },
        certificates: (!config.public_key.certificates.authorities.is_empty())
            .then(|| Certificates::new(&config.public_key.certificates)),
        revoked: Revoked::new(&config.public_key.revoked_keys),
        keys: (!paths.is_empty()).then(|| AuthorizedKeys::new(paths.clone())),
        public_key: webhook(config.public_key.method, &config.public_key.webhook, "auth.publicKey.webhook")?,
        authorization: webhook(config.authz.method, &config.authz.webhook, "auth.authz.webhook")?,
    }))
}

#[derive(Debug)]
struct Configured {
    password: Option<Webhook>,
    keys: Option<AuthorizedKeys>,
    certificates: Option<Certificates>,
    oauth2: Option<OAuth2>,
    revoked: Revoked,
    public_key: Option<Webhook>,
    authorization: Option<Webhook>,
}

impl Configured {
    /// The verdict on a key that is revoked, or of which nobody can say whether it is.
    async fn revoked_key(&self, attempt: &Attempt, authorized_key: &str) -> Option<Verdict> {
        if self.revoked.is_empty() {
            return None;
        }
        match PublicKey::from_openssh(authorized_key) {
            Ok(key) => denied(attempt, self.revoked.key(key.key_data()).await),
            Err(_) => Some(Verdict::Unavailable("the offered public key cannot be read".to_owned())),
        }
    }
}

fn denied(attempt: &Attempt, revoked: Result<bool, String>) -> Option<Verdict> {
    let (id, username) = (&attempt.connection_id, &attempt.username);
    match revoked {
        Ok(false) => None,
        Ok(true) => {
            tracing::warn!(
                code = code::AUTH_REVOKED,
                connectionId = id,
                username,
                "The key or certificate is revoked"
            );
            Some(Verdict::Rejected)
        }
        Err(reason) => {
            tracing::error!(
                code = code::AUTH_REVOKED_FILE_FAILED,
                connectionId = id,
                username,
                error = reason,
                "What is revoked cannot be read: no key and no certificate is accepted"
            );
            Some(Verdict::Unavailable(format!("revoked keys: {reason}")))
        }
    }
}

#[async_trait]
impl Authenticator for Configured {
    fn methods(&self) -> Methods {
        Methods {
            password: self.password.is_some(),
            public_key: self.keys.is_some() || self.public_key.is_some() || self.certificates.is_some(),
            keyboard_interactive: self.oauth2.is_some(),
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
        if let Some(denied) = self.revoked_key(attempt, authorized_key).await {
            return denied;
        }
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

    fn keyboard_interactive(&self, attempt: &Attempt) -> Option<Box<dyn Dialogue>> {
        self.oauth2.as_ref().map(|oauth2| oauth2.dialogue(attempt))
    }

    async fn may_have_certificate(&self, attempt: &Attempt) -> bool {
        match &self.keys {
            _ if self.certificates.is_some() => true,
            Some(keys) => keys.has_authority(&attempt.username).await,
            None => false,
        }
    }

    async fn certificate(&self, attempt: &Attempt, certificate: &Certificate) -> Verdict {
        if let Some(denied) = denied(attempt, self.revoked.certificate(certificate).await) {
            report_refused(attempt, certificate, &Refusal::Revoked);
            return denied;
        }
        let by_authority = match &self.certificates {
            Some(certificates) => certificates.certificate(attempt, certificate).await,
            None => Verdict::Rejected,
        };
        match (&self.keys, by_authority) {
            (_, accepted @ Verdict::Accepted(_)) => accepted,
            (None, other) => other,
            (Some(keys), other) => match keys.certificate(attempt, certificate).await {
                // A file nobody could read may have trusted the authority: that is the answer to log.
                Verdict::Rejected => other,
                answer => answer,
            },
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
