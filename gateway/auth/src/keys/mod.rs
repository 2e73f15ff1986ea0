//! Public keys listed in files of `authorized_keys` format (sshd(8)).
//!
//! The operator mounts Secrets whose data keys are user names, hence one file per user (`%u`), read at each login: a rotated
//! Secret counts at once. A missing file lists no keys; a file that cannot be read is [`Verdict::Unavailable`].
//!
//! A line's options may only ever take away. `command`, `from`, `expiry-time`, `restrict`, the switches for terminals and
//! forwarding and their limits are honoured, and `cert-authority` with `principals`: such a line trusts certificates that its
//! key has signed, and never the key itself. A line with any other option grants **nothing**, because its key may do more here
//! than the line says. Among them is `verify-required`: the SSH library does not tell what a security key has checked, and
//! neither whether it was touched.

pub(crate) mod address;
mod conditions;
pub(crate) mod files;
mod line;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use russh::keys::{Certificate, PublicKey};

use crate::certificates::{self, Login, judge_for_authority};
use crate::{Attempt, Identity, Restrictions, Verdict, code};
use files::ReadError;
use line::Line;

/// Largest file: about ten thousand ed25519 keys.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Time for reading all files: they are local, but a network file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What a line of a file of authorized keys grants to a client at this address, who has its key or a certificate of its key's;
/// `None` for a blank line or a comment.
///
/// # Errors
/// Why it grants nothing, in one line.
pub fn read_line(raw: &str, client: IpAddr, now: Timestamp) -> Result<Option<Restrictions>, String> {
    Line::parse(raw)?.map(|line| line.conditions.check(client, now)).transpose()
}

/// Files that list public keys.
#[derive(Debug, Clone)]
pub struct AuthorizedKeys {
    paths: Vec<String>,
    now: fn() -> Timestamp,
}

impl AuthorizedKeys {
    /// Files by path; in each, `%u` is the user name and `%%` a percent sign.
    #[must_use]
    pub fn new(paths: Vec<String>) -> Self {
        Self { paths, now: Timestamp::now }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, now: fn() -> Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Whether a file lists the key for the user who tries. The user name becomes the authenticated one.
    pub async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict {
        let Ok(offered) = PublicKey::from_openssh(authorized_key) else {
            return Verdict::Unavailable("the offered public key cannot be read".to_owned());
        };
        let identity =
            || Identity { authenticated_username: attempt.username.clone(), ..Identity::default() };
        self.search(attempt, identity, |line| {
            (!line.conditions.is_authority() && line.key.key_data() == offered.key_data())
                .then(|| Ok(Restrictions::default()))
        })
        .await
    }

    /// Whether a file trusts who signed the certificate. Its holder has proven to have the key; whether it is revoked is asked
    /// elsewhere.
    pub async fn certificate(&self, attempt: &Attempt, certificate: &Certificate) -> Verdict {
        let identity = || certificates::identity(attempt, certificate);
        self.search(attempt, identity, |line| {
            if !line.conditions.is_authority() || line.key.key_data() != certificate.signature_key() {
                return None;
            }
            let login = Login {
                username: &attempt.username,
                client: attempt.remote_addr.ip(),
                now: (self.now)(),
                principals: line.conditions.principals(),
            };
            Some(judge_for_authority(certificate, &login).map_err(|refusal| refusal.to_string()))
        })
        .await
    }

    /// Whether a file of the user's trusts an authority at all.
    pub async fn has_authority(&self, username: &str) -> bool {
        if !files::is_plain(username) {
            return false;
        }
        let is_authority =
            |raw| Line::parse(raw).ok().flatten().is_some_and(|line| line.conditions.is_authority());
        self.read(username)
            .await
            .iter()
            .any(|(_, text)| text.as_ref().is_ok_and(|text| text.lines().any(is_authority)))
    }

    /// Looks for a line that grants. `grants` says nothing for a line that is about something else, and else what it
    /// restricts or why it grants nothing.
    async fn search(
        &self,
        attempt: &Attempt,
        identity: impl FnOnce() -> Identity,
        grants: impl Fn(&Line) -> Option<Result<Restrictions, String>>,
    ) -> Verdict {
        let id = attempt.connection_id.as_str();
        if !files::is_plain(&attempt.username) {
            tracing::info!(
                code = code::AUTH_KEYS_USERNAME_REFUSED,
                connectionId = id,
                username = attempt.username,
                "The user name is not a plain file name: no file of authorized keys can belong to it"
            );
            return Verdict::Rejected;
        }
        let mut unreadable = None;
        for (path, text) in self.read(&attempt.username).await {
            match text {
                Ok(text) => {
                    if let Some(restrictions) = self.granted(&path, &text, attempt, &grants) {
                        return Verdict::Accepted(Box::new(Identity { restrictions, ..identity() }));
                    }
                }
                Err(error) => {
                    tracing::error!(
                        code = code::AUTH_KEYS_READ_FAILED, connectionId = id, username = attempt.username,
                        error = %error, "A file of authorized keys could not be read"
                    );
                    unreadable.get_or_insert(error);
                }
            }
        }
        match unreadable {
            Some(error) => Verdict::Unavailable(format!("authorized keys: {error}")),
            None => Verdict::Rejected,
        }
    }

    /// The files that exist for a user, in order of configuration.
    async fn read(&self, username: &str) -> Vec<(PathBuf, Result<String, ReadError>)> {
        let paths: Vec<PathBuf> = self.paths.iter().map(|template| files::fill(template, username)).collect();
        let reading = tokio::task::spawn_blocking(move || {
            paths.into_iter().filter_map(|path| Some((path.clone(), files::read(&path, MAX_FILE)?))).collect()
        });
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(files)) => files,
            // Reading does not panic, so what is left is a runtime that shuts down.
            Ok(Err(_)) | Err(_) => vec![(PathBuf::new(), Err(ReadError::Timeout))],
        }
    }

    /// What the first line that grants restricts. Lines that would, but for an option, are logged: somebody wonders why they
    /// cannot log in.
    fn granted(
        &self,
        path: &Path,
        text: &str,
        attempt: &Attempt,
        grants: impl Fn(&Line) -> Option<Result<Restrictions, String>>,
    ) -> Option<Restrictions> {
        let file = path.display();
        let mut invalid = None;
        for (index, raw) in text.lines().enumerate() {
            let number = index + 1;
            let line = match Line::parse(raw) {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                Err(reason) => {
                    invalid.get_or_insert((number, reason));
                    continue;
                }
            };
            let Some(granted) = grants(&line) else { continue };
            let checked = line.conditions.check(attempt.remote_addr.ip(), (self.now)());
            match checked.and_then(|own| granted.map(|more| own.and(more))) {
                Ok(restrictions) => return Some(restrictions),
                Err(reason) => tracing::warn!(
                    code = code::AUTH_KEYS_LINE_REFUSED, connectionId = attempt.connection_id,
                    username = attempt.username, file = %format_args!("{file}:{number}"), reason = %reason,
                    "The line lists the offered key but grants nothing"
                ),
            }
        }
        if let Some((number, reason)) = invalid {
            tracing::warn!(
                code = code::AUTH_KEYS_LINE_INVALID, connectionId = attempt.connection_id,
                file = %format_args!("{file}:{number}"), reason = %reason,
                "The file has a line that is not a key"
            );
        }
        None
    }
}
