//! After the last credential: whether the user may come in, and with which settings.

use std::sync::Arc;

use containerssh_auditlog::Payload;
use containerssh_auth::webhook::Subject;
use containerssh_auth::{Identity, Restrictions, Verdict};
use containerssh_backend::{Backend, ConnectionInfo};
use containerssh_log::OwnLevel;

use super::unless_gone;
use crate::ssh::Security;
use crate::ssh::connection::{Connection, NotRecorded};
use crate::ssh::guest::GuestSlot;

/// What of a connection's settings is its own.
#[derive(Debug)]
pub(crate) struct Own {
    /// What the user may do: the configuration, narrowed by the credential.
    pub(crate) security: Arc<Security>,
    /// What serves the connection.
    pub(crate) backend: Arc<dyn Backend>,
    /// Its log's level, while the connection lasts.
    _level: Option<OwnLevel>,
}

/// Somebody who may come in.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) identity: Identity,
    pub(super) own: Own,
}

/// Asks those who have the last word: the authorization webhook, then the configuration server.
pub(super) async fn admission(
    connection: &Connection,
    user: &str,
    identity: Identity,
) -> Result<Admission, Verdict> {
    let services = &connection.snapshot.services;
    let attempt = connection.attempt(user);
    connection.is_of(|| Subject::of(&attempt, &identity));
    let identity = match unless_gone(connection, services.authenticator.authorize(&attempt, identity)).await {
        Verdict::Accepted(identity) => *identity,
        denied => return Err(denied),
    };
    let (identity, security, backend, level) = match &services.tailor {
        None => (identity, Arc::clone(&connection.snapshot.security), Arc::clone(&services.backend), None),
        Some(tailor) => {
            let tailored = tokio::select! {
                tailored = tailor.tailor(&attempt, identity) => tailored,
                () = connection.wire.kill.cancelled() => Err("the client left".to_owned()),
            };
            let tailored = tailored.map_err(Verdict::Unavailable)?;
            (tailored.identity, tailored.security, tailored.backend, tailored.level)
        }
    };
    connection.is_of(|| Subject::of(&attempt, &identity));
    let security = if identity.restrictions == Restrictions::default() {
        security
    } else {
        Arc::new(security.restricted(identity.restrictions.clone()))
    };
    Ok(Admission { identity, own: Own { security, backend, _level: level } })
}

/// The user is in: from here on the connection holds its place, and its guest starts.
pub(super) async fn admit(
    connection: &Arc<Connection>,
    user: &str,
    admission: Admission,
) -> Result<(), NotRecorded> {
    let Admission { identity, own } = admission;
    connection.record(Payload::HandshakeSuccessful { username: user.to_owned() }).await?;
    connection.tap.authenticated(user, &identity.authenticated_username);
    let authenticated = identity.authenticated_username.clone();
    let info = ConnectionInfo {
        connection_id: connection.id.clone(),
        remote_addr: connection.peer,
        username: user.to_owned(),
        authenticated_username: identity.authenticated_username,
        metadata: identity.metadata,
        environment: identity.environment,
        files: identity.files,
    };
    connection.settle(own);
    connection.logged_in(user, &authenticated, |connection| GuestSlot::start(connection, info));
    Ok(())
}
