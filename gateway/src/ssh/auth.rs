//! Logging in: attempts, their limits, and what is recorded of them.
//!
//! - A public key counts as authenticated only when its possession is proven; what a client merely offers is recorded as
//!   an attempt.
//! - The answer about a key is kept for the connection: the offer and the proof that follows it cost one question.
//! - Every doubt rejects. So does a record that cannot be written, if recording is mandatory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use containerssh_auditlog::Payload;
use containerssh_auth::{Attempt, Identity, Verdict};
use containerssh_backend::ConnectionInfo;
use russh::keys::PublicKey;
use tokio::time::Instant;

use super::connection::{Connection, NotRecorded};
use super::guest::GuestSlot;
use crate::admin::AuthType;
use crate::codes;

/// Rejected credentials per connection, as OpenSSH's `MaxAuthTries`.
const MAX_FAILURES: u32 = 6;
/// Questions about keys per connection. russh counts only rejections, so that a client could ask about a known key for
/// ever; agents with more keys than this would meet the limit of rejections first.
const MAX_PROBES: u32 = 16;
/// Bytes of a user name; Linux has 32, directories rarely more than 64.
const MAX_USERNAME: usize = 256;
/// Bytes of a password.
const MAX_PASSWORD: usize = 4096;

/// The answer to a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Reject,
    /// No more attempts: the connection ends.
    Abort,
}

/// One connection's attempts so far.
#[derive(Debug, Default)]
pub(crate) struct Login {
    failures: u32,
    probes: u32,
    /// Answers by user and key; at most [`MAX_PROBES`].
    verdicts: Vec<(String, String, Verdict)>,
}

impl Login {
    /// A password (RFC 4252 section 8).
    pub(crate) async fn password(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        password: &str,
    ) -> Answer {
        if self.failures >= MAX_FAILURES {
            return Answer::Abort;
        }
        let verdict = self.ask_password(connection, user, password).await;
        self.settle(verdict)
    }

    async fn ask_password(
        &self,
        connection: &Arc<Connection>,
        user: &str,
        password: &str,
    ) -> Result<Answer, NotRecorded> {
        let username = recorded_name(user);
        let kept = connection
            .tap
            .intercepts_passwords()
            .then(|| password.bytes().take(MAX_PASSWORD).collect::<Bytes>());
        let record = |payload| connection.record(payload);
        record(Payload::AuthPassword { username: username.clone(), password: kept.clone() }).await?;
        let begun = Instant::now();
        let verdict = if user.len() > MAX_USERNAME || password.len() > MAX_PASSWORD {
            Verdict::Rejected
        } else {
            let authenticator = &connection.snapshot.services.authenticator;
            let attempt = connection.attempt(user);
            unless_gone(connection, authenticator.password(&attempt, password.as_bytes())).await
        };
        log(connection, user, AuthType::password, &verdict, begun);
        match verdict {
            Verdict::Accepted(identity) => {
                record(Payload::AuthPasswordSuccessful { username, password: kept }).await?;
                succeed(connection, user, *identity).await?;
                Ok(Answer::Accept)
            }
            Verdict::Rejected => {
                connection.login_tries.rejected.store(true, Ordering::Relaxed);
                record(Payload::AuthPasswordFailed { username, password: kept }).await?;
                Ok(Answer::Reject)
            }
            Verdict::Unavailable(reason) => {
                connection.login_tries.undecided.store(true, Ordering::Relaxed);
                record(Payload::AuthPasswordBackendError { username, password: kept, reason }).await?;
                Ok(Answer::Reject)
            }
        }
    }

    /// A key that the client may or may not possess (RFC 4252 section 7): whether it is worth a proof.
    pub(crate) async fn offered(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        key: &PublicKey,
    ) -> Answer {
        self.probes += 1;
        if self.failures >= MAX_FAILURES || self.probes > MAX_PROBES {
            return Answer::Abort;
        }
        let answer = self.ask_key(connection, user, key).await;
        self.settle(answer)
    }

    async fn ask_key(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        key: &PublicKey,
    ) -> Result<Answer, NotRecorded> {
        let (username, key) = (recorded_name(user), authorized_form(key));
        connection.record(Payload::AuthPubKey { username: username.clone(), key: key.clone() }).await?;
        let verdict = match self.known(user, &key) {
            Some(verdict) => verdict.clone(),
            None => {
                let begun = Instant::now();
                let verdict = if user.len() > MAX_USERNAME {
                    Verdict::Rejected
                } else {
                    let authenticator = &connection.snapshot.services.authenticator;
                    let attempt = connection.attempt(user);
                    unless_gone(connection, authenticator.public_key(&attempt, &key)).await
                };
                if !matches!(verdict, Verdict::Accepted(_)) {
                    log(connection, user, AuthType::pubkey, &verdict, begun);
                }
                self.verdicts.push((user.to_owned(), key.clone(), verdict.clone()));
                verdict
            }
        };
        match verdict {
            Verdict::Accepted(_) => Ok(Answer::Accept),
            Verdict::Rejected => {
                connection.login_tries.rejected.store(true, Ordering::Relaxed);
                connection.record(Payload::AuthPubKeyFailed { username, key }).await?;
                Ok(Answer::Reject)
            }
            Verdict::Unavailable(reason) => {
                connection.login_tries.undecided.store(true, Ordering::Relaxed);
                connection.record(Payload::AuthPubKeyBackendError { username, key, reason }).await?;
                Ok(Answer::Reject)
            }
        }
    }

    /// A key whose possession is proven. russh has offered it before, in the same request or an earlier one.
    pub(crate) async fn proven(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        key: &PublicKey,
    ) -> Answer {
        let key = authorized_form(key);
        let answer = match self.known(user, &key).cloned() {
            Some(verdict @ Verdict::Accepted(_)) => {
                log(connection, user, AuthType::pubkey, &verdict, Instant::now());
                let Verdict::Accepted(identity) = verdict else { return Answer::Reject };
                self.accept_key(connection, user, key, *identity).await
            }
            _ => Ok(Answer::Reject),
        };
        self.settle(answer)
    }

    async fn accept_key(
        &self,
        connection: &Arc<Connection>,
        user: &str,
        key: String,
        identity: Identity,
    ) -> Result<Answer, NotRecorded> {
        connection.record(Payload::AuthPubKeySuccessful { username: recorded_name(user), key }).await?;
        succeed(connection, user, identity).await?;
        Ok(Answer::Accept)
    }

    fn known(&self, user: &str, key: &str) -> Option<&Verdict> {
        self.verdicts.iter().find(|(u, k, _)| u == user && k == key).map(|(_, _, verdict)| verdict)
    }

    fn settle(&mut self, answer: Result<Answer, NotRecorded>) -> Answer {
        // What cannot be recorded is not let in; the connection ends with the reason.
        let answer = answer.unwrap_or(Answer::Reject);
        if answer == Answer::Reject {
            self.failures += 1;
        }
        answer
    }
}

/// Nobody waits for an answer that nobody wants any more.
async fn unless_gone(connection: &Connection, verdict: impl Future<Output = Verdict>) -> Verdict {
    tokio::select! {
        verdict = verdict => verdict,
        () = connection.wire.kill.cancelled() => Verdict::Unavailable("the client left".into()),
    }
}

/// The user is in: from here on the connection holds its place, and its guest starts.
async fn succeed(connection: &Arc<Connection>, user: &str, identity: Identity) -> Result<(), NotRecorded> {
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
    connection.logged_in(user, &authenticated, |connection| GuestSlot::start(connection, info));
    Ok(())
}

fn log(connection: &Connection, user: &str, method: AuthType, verdict: &Verdict, begun: Instant) {
    connection.metrics.auth(method, matches!(verdict, Verdict::Accepted(_)), begun.elapsed());
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

/// The name as recorded: a name that is too long is cut, not left out.
fn recorded_name(user: &str) -> String {
    user.chars().take(MAX_USERNAME).collect()
}

/// `ssh-ed25519 AAAA...`, as in authorized_keys, without the comment.
fn authorized_form(key: &PublicKey) -> String {
    let text = key.to_openssh().unwrap_or_default();
    text.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")
}

impl Connection {
    fn attempt(&self, user: &str) -> Attempt {
        Attempt {
            connection_id: self.id.clone(),
            remote_addr: self.peer,
            client_version: self.client_version.get().cloned().unwrap_or_default(),
            username: user.to_owned(),
        }
    }
}
