//! Logging in: attempts, their limits, and what is recorded of them.
//!
//! - A public key counts as authenticated only when its possession is proven; what a client merely offers is recorded as
//!   an attempt.
//! - The answer about a key is kept for the connection: the offer and the proof that follows it cost one question.
//! - Where several methods are asked for, each success but the last is partial (RFC 4252 section 5.1), and all of them are one
//!   user's: see [`steps`].
//! - Every doubt rejects. So does a record that cannot be written, if recording is mandatory.

mod admit;
mod interactive;
mod report;
mod steps;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use containerssh_auditlog::Payload;
use containerssh_auth::{Attempt, Dialogue, Verdict};
use containerssh_config::AuthenticationMethod as Method;
use russh::keys::{Certificate, PublicKey};
use tokio::time::Instant;

pub(crate) use admit::Own;
pub(crate) use interactive::Reply;

use super::connection::{Connection, NotRecorded};
use crate::admin::AuthType;
use admit::{Admission, admission, admit};
use report::report;
use steps::{Progress, Steps, Turn};

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
    /// Good, and another method has to succeed too.
    Partial,
    /// No more attempts: the connection ends.
    Abort,
}

/// One connection's attempts so far.
pub(crate) struct Login {
    failures: u32,
    probes: u32,
    /// Answers by user and key; at most [`MAX_PROBES`].
    verdicts: Vec<(String, String, Verdict)>,
    steps: Steps,
    /// Keyboard-interactive logins begun.
    questions: u32,
    /// A keyboard-interactive login that waits for answers, and whose it is.
    dialogue: Option<(String, Box<dyn Dialogue>)>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("failures", &self.failures)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// What a verdict about a credential leads to.
enum Judged {
    Complete(Box<Admission>),
    Partial,
    Rejected,
    Unavailable(String),
}

impl Login {
    /// At the beginning of a connection, with the lists of methods one of which has to be gone through.
    pub(crate) fn new(lists: &[Vec<Method>]) -> Self {
        Self {
            failures: 0,
            probes: 0,
            verdicts: Vec::new(),
            steps: Steps::new(lists),
            questions: 0,
            dialogue: None,
        }
    }

    /// The methods that may be tried now.
    pub(crate) fn offered_methods(&self) -> Vec<Method> {
        self.steps.offered()
    }

    /// Whether there is no use in going on.
    fn is_over(&self, user: &str, method: Method) -> bool {
        self.failures >= MAX_FAILURES || self.steps.turn(user, method) == Turn::OtherUser
    }

    /// A credential was judged; if it is good, what comes next is.
    async fn judge(
        &mut self,
        connection: &Connection,
        user: &str,
        method: Method,
        verdict: Verdict,
    ) -> Judged {
        let verdict = match verdict {
            Verdict::Accepted(identity) => match self.steps.succeeded(user, method, *identity) {
                Progress::SomebodyElse => {
                    Verdict::Unavailable("the methods of one login name different people".to_owned())
                }
                Progress::More => return Judged::Partial,
                Progress::Complete(identity) => match admission(connection, user, *identity).await {
                    Ok(admission) => return Judged::Complete(Box::new(admission)),
                    Err(denied) => denied,
                },
            },
            denied => denied,
        };
        match verdict {
            Verdict::Unavailable(reason) => {
                connection.login_tries.undecided.store(true, Ordering::Relaxed);
                Judged::Unavailable(reason)
            }
            _ => {
                connection.login_tries.rejected.store(true, Ordering::Relaxed);
                Judged::Rejected
            }
        }
    }

    /// A password (RFC 4252 section 8).
    pub(crate) async fn password(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        password: &str,
    ) -> Answer {
        if self.is_over(user, Method::Password) {
            return Answer::Abort;
        }
        let verdict = self.ask_password(connection, user, password).await;
        self.settle(verdict)
    }

    async fn ask_password(
        &mut self,
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
        let wrong_turn = self.steps.turn(user, Method::Password) != Turn::Yes;
        let verdict = if wrong_turn || user.len() > MAX_USERNAME || password.len() > MAX_PASSWORD {
            Verdict::Rejected
        } else {
            let authenticator = &connection.snapshot.services.authenticator;
            let attempt = connection.attempt(user);
            unless_gone(connection, authenticator.password(&attempt, password.as_bytes())).await
        };
        report(connection, user, AuthType::password, &verdict, begun);
        match self.judge(connection, user, Method::Password, verdict).await {
            Judged::Complete(admission) => {
                record(Payload::AuthPasswordSuccessful { username, password: kept }).await?;
                admit(connection, user, *admission).await?;
                Ok(Answer::Accept)
            }
            Judged::Partial => {
                record(Payload::AuthPasswordSuccessful { username, password: kept }).await?;
                Ok(Answer::Partial)
            }
            Judged::Rejected => {
                record(Payload::AuthPasswordFailed { username, password: kept }).await?;
                Ok(Answer::Reject)
            }
            Judged::Unavailable(reason) => {
                record(Payload::AuthPasswordBackendError { username, password: kept, reason }).await?;
                Ok(Answer::Reject)
            }
        }
    }

    /// A key that the client may or may not possess (RFC 4252 section 7): whether it is worth a proof. Where a certificate
    /// may let the user in, every key is: russh shows the key that a certificate is for and not the certificate, until it is proven.
    pub(crate) async fn offered(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        key: &PublicKey,
    ) -> Answer {
        self.probes += 1;
        if self.is_over(user, Method::PublicKey) || self.probes > MAX_PROBES {
            return Answer::Abort;
        }
        // A certificate where a plain key belongs would be taken for one that nobody has looked into.
        let is_key = !key.key_data().is_certificate() && user.len() <= MAX_USERNAME;
        if is_key && self.steps.turn(user, Method::PublicKey) == Turn::Yes {
            let authenticator = &connection.snapshot.services.authenticator;
            let attempt = connection.attempt(user);
            // It reads local files, in bounded time.
            if authenticator.may_have_certificate(&attempt).await {
                return Answer::Accept;
            }
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
        let parsed = key;
        let (username, key) = (recorded_name(user), authorized_form(key));
        connection.record(Payload::AuthPubKey { username: username.clone(), key: key.clone() }).await?;
        let verdict = match self.known(user, &key) {
            Some(verdict) => verdict.clone(),
            None => {
                let begun = Instant::now();
                let wrong_turn = self.steps.turn(user, Method::PublicKey) != Turn::Yes;
                let verdict = if wrong_turn || user.len() > MAX_USERNAME || parsed.key_data().is_certificate()
                {
                    Verdict::Rejected
                } else {
                    let authenticator = &connection.snapshot.services.authenticator;
                    let attempt = connection.attempt(user);
                    unless_gone(connection, authenticator.public_key(&attempt, &key)).await
                };
                if !matches!(verdict, Verdict::Accepted(_)) {
                    report(connection, user, AuthType::pubkey, &verdict, begun);
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
        if self.is_over(user, Method::PublicKey) {
            return Answer::Abort;
        }
        let text = authorized_form(key);
        if self.known(user, &text).is_none() {
            let asked = self.ask_key(connection, user, key).await;
            if !matches!(asked, Ok(Answer::Accept)) {
                return self.settle(asked);
            }
        }
        let key = text;
        let verdict = match self.known(user, &key).cloned() {
            Some(verdict) if self.steps.turn(user, Method::PublicKey) == Turn::Yes => verdict,
            _ => Verdict::Rejected,
        };
        report(connection, user, AuthType::pubkey, &verdict, Instant::now());
        let answer = self.decide_key(connection, user, key, verdict).await;
        self.settle(answer)
    }

    /// A certificate (OpenSSH's PROTOCOL.certkeys) that is signed by whoever it names, and whose key's possession is proven.
    pub(crate) async fn certificate(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        certificate: &Certificate,
    ) -> Answer {
        if self.is_over(user, Method::PublicKey) {
            return Answer::Abort;
        }
        let answer = self.ask_certificate(connection, user, certificate).await;
        self.settle(answer)
    }

    async fn ask_certificate(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Answer, NotRecorded> {
        let key = without_comment(&certificate.to_openssh().unwrap_or_default());
        connection.record(Payload::AuthPubKey { username: recorded_name(user), key: key.clone() }).await?;
        let begun = Instant::now();
        let verdict = if user.len() > MAX_USERNAME || self.steps.turn(user, Method::PublicKey) != Turn::Yes {
            Verdict::Rejected
        } else {
            let authenticator = &connection.snapshot.services.authenticator;
            let attempt = connection.attempt(user);
            unless_gone(connection, authenticator.certificate(&attempt, certificate)).await
        };
        report(connection, user, AuthType::pubkey, &verdict, begun);
        self.decide_key(connection, user, key, verdict).await
    }

    async fn decide_key(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        key: String,
        verdict: Verdict,
    ) -> Result<Answer, NotRecorded> {
        let username = recorded_name(user);
        match self.judge(connection, user, Method::PublicKey, verdict).await {
            Judged::Complete(admission) => {
                connection.record(Payload::AuthPubKeySuccessful { username, key }).await?;
                admit(connection, user, *admission).await?;
                Ok(Answer::Accept)
            }
            Judged::Partial => {
                connection.record(Payload::AuthPubKeySuccessful { username, key }).await?;
                Ok(Answer::Partial)
            }
            Judged::Rejected => {
                connection.record(Payload::AuthPubKeyFailed { username, key }).await?;
                Ok(Answer::Reject)
            }
            Judged::Unavailable(reason) => {
                connection.record(Payload::AuthPubKeyBackendError { username, key, reason }).await?;
                Ok(Answer::Reject)
            }
        }
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

/// The name as recorded: a name that is too long is cut, not left out.
fn recorded_name(user: &str) -> String {
    user.chars().take(MAX_USERNAME).collect()
}

/// `ssh-ed25519 AAAA...`, as in authorized_keys, without the comment.
fn authorized_form(key: &PublicKey) -> String {
    without_comment(&key.to_openssh().unwrap_or_default())
}

fn without_comment(text: &str) -> String {
    text.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")
}

impl Connection {
    pub(super) fn attempt(&self, user: &str) -> Attempt {
        Attempt {
            connection_id: self.id.clone(),
            remote_addr: self.peer,
            client_version: self.client_version.get().cloned().unwrap_or_default(),
            username: user.to_owned(),
        }
    }
}
