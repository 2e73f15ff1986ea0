//! What the log and the metrics say of a credential.

use containerssh_auth::Verdict;
use tokio::time::Instant;

use crate::admin::AuthType;
use crate::codes;
use crate::ssh::connection::Connection;

pub(super) fn report(
    connection: &Connection,
    user: &str,
    method: AuthType,
    verdict: &Verdict,
    begun: Instant,
) {
    connection.metrics.auth(
        connection.country,
        method,
        matches!(verdict, Verdict::Accepted(_)),
        begun.elapsed(),
    );
    let (id, remote) = (&connection.id, connection.peer);
    match verdict {
        Verdict::Accepted(identity) => tracing::info!(
            code = codes::ssh::SSH_AUTH_SUCCESSFUL,
            module = "ssh",
            connectionId = id,
            remoteAddr = %remote,
            username = user,
            authenticatedUsername = identity.authenticated_username,
            authtype = ?method,
            "Authentication successful"
        ),
        Verdict::Rejected => tracing::info!(
            code = codes::ssh::SSH_AUTH_FAILED,
            module = "ssh",
            connectionId = id,
            remoteAddr = %remote,
            username = user,
            authtype = ?method,
            "Authentication failed"
        ),
        Verdict::Unavailable(reason) => tracing::error!(
            code = codes::ssh::SSH_AUTH_UNAVAILABLE,
            module = "ssh",
            connectionId = id,
            remoteAddr = %remote,
            username = user,
            authtype = ?method,
            reason = reason,
            "Nobody could say whether the credential is good"
        ),
    }
}
