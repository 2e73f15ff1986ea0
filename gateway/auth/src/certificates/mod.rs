//! OpenSSH user certificates (OpenSSH's PROTOCOL.certkeys), as sshd judges them.
//!
//! A certificate is worth nothing by itself: russh has checked that its holder has the key and that somebody signed it. Here
//! it is decided whether that somebody is trusted, whether the certificate is for users, for now, for this user and for this
//! address, and whether it is revoked. What the rules leave open denies:
//! - no principals mean nobody (sshd has one case where they mean everybody);
//! - an unknown critical option, and `verify-required`, which the SSH library gives no way to check, refuse;
//! - a file of authorities, principals or revocations that cannot be read refuses every certificate.
//!
//! Files are read at each login, so that a changed one counts at once.

mod krl;
mod revoked;
mod rules;

use std::path::Path;
use std::time::Duration;

use containerssh_backend::MetadataValue;
use containerssh_config::Certificates as Settings;
use jiff::Timestamp;
use russh::keys::{Certificate, HashAlg, PublicKey};

use crate::keys::files;
use crate::{Attempt, Identity, Verdict, code};

pub use krl::{Krl, KrlError};
pub use revoked::Revoked;
pub use rules::Refusal;

/// Largest file of authorities or principals.
const MAX_FILE: u64 = 1024 * 1024;

/// Time for reading all files of one login: they are local, but a network file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may sign certificates, and for whom.
#[derive(Debug, Clone)]
pub struct Certificates {
    authorities: Vec<String>,
    principals_file: Option<String>,
    now: fn() -> Timestamp,
}

/// What the files say, as of one login.
struct Trusted {
    authorities: Vec<PublicKey>,
    /// `None`: the user name itself.
    principals: Option<Vec<String>>,
}

impl Certificates {
    /// The authorities and principals that `settings` name.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            authorities: settings.authorities.clone(),
            principals_file: settings.principals_file.clone(),
            now: Timestamp::now,
        }
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, now: fn() -> Timestamp) -> Self {
        Self { now, ..self }
    }

    /// Whether the certificate lets the user in. Its holder has proven to have the key; whether it is revoked is asked
    /// elsewhere.
    pub async fn certificate(&self, attempt: &Attempt, certificate: &Certificate) -> Verdict {
        let this = self.clone();
        let username = attempt.username.clone();
        let reading = tokio::task::spawn_blocking(move || this.read(&username));
        let trusted = match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(Ok(trusted))) => trusted,
            Ok(Ok(Err(reason))) => return unavailable(attempt, &reason),
            Ok(Err(_)) | Err(_) => return unavailable(attempt, "reading the files took too long"),
        };
        let login = rules::Login {
            username: &attempt.username,
            client: attempt.remote_addr.ip(),
            now: (self.now)(),
            principals: trusted.principals.as_deref(),
        };
        match rules::judge(certificate, &trusted.authorities, &login) {
            Ok(restrictions) => {
                Verdict::Accepted(Box::new(Identity { restrictions, ..identity(attempt, certificate) }))
            }
            Err(refusal) => {
                report_refused(attempt, certificate, &refusal);
                Verdict::Rejected
            }
        }
    }

    fn read(&self, username: &str) -> Result<Trusted, String> {
        let mut authorities = Vec::new();
        for source in &self.authorities {
            if source.starts_with('/') {
                let text = text(Path::new(source))?;
                for (index, line) in text.lines().enumerate() {
                    let line = line.trim();
                    if !line.is_empty() && !line.starts_with('#') {
                        let key =
                            authority(line).map_err(|reason| format!("{source}:{}: {reason}", index + 1))?;
                        authorities.push(key);
                    }
                }
            } else {
                authorities.push(authority(source)?);
            }
        }
        let principals = match &self.principals_file {
            None => None,
            // Whoever has no such name has no file.
            Some(_) if !files::is_plain(username) => Some(Vec::new()),
            Some(template) => {
                let path = files::fill(template, username);
                match files::read(&path, MAX_FILE) {
                    None => Some(Vec::new()),
                    Some(text) => Some(principals(&path, &text.map_err(|error| error.to_string())?)),
                }
            }
        };
        Ok(Trusted { authorities, principals })
    }
}

fn text(path: &Path) -> Result<String, String> {
    match files::read(path, MAX_FILE) {
        None => Err(format!("{} is not there", path.display())),
        Some(text) => text.map_err(|error| error.to_string()),
    }
}

/// A key that may sign.
fn authority(line: &str) -> Result<PublicKey, String> {
    let key =
        PublicKey::from_openssh(line).map_err(|_| "it is not a public key of the form \"type base64\"")?;
    if key.key_data().is_certificate() {
        return Err("it is a certificate, which cannot sign others".to_owned());
    }
    Ok(key)
}

/// One principal per line. A line with options (sshd(8) allows those of authorized_keys) grants nothing: it would grant more
/// than it says.
fn principals(path: &Path, text: &str) -> Vec<String> {
    let mut principals = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if line.contains(char::is_whitespace) {
            tracing::warn!(
                code = code::AUTH_CERTIFICATE_FILE_LINE,
                file = %format_args!("{}:{}", path.display(), index + 1),
                "The line is no plain principal; it grants nothing"
            );
            continue;
        }
        principals.push(line.to_owned());
    }
    principals
}

fn unavailable(attempt: &Attempt, reason: &str) -> Verdict {
    tracing::error!(
        code = code::AUTH_CERTIFICATE_FILE_FAILED,
        connectionId = attempt.connection_id,
        username = attempt.username,
        error = reason,
        "What certificates are judged by cannot be read: no certificate is accepted"
    );
    Verdict::Unavailable(format!("certificates: {reason}"))
}

/// Tells why a certificate lets nobody in: somebody wonders.
pub(crate) fn report_refused(attempt: &Attempt, certificate: &Certificate, refusal: &Refusal) {
    tracing::warn!(
        code = code::AUTH_CERTIFICATE_REFUSED,
        connectionId = attempt.connection_id,
        username = attempt.username,
        keyId = certificate.key_id(),
        serial = certificate.serial(),
        reason = %refusal,
        "The certificate does not let its holder in"
    );
}

/// Who the holder is: the user name that was typed, which a principal stands for, and what the certificate says of itself.
pub(crate) fn identity(attempt: &Attempt, certificate: &Certificate) -> Identity {
    let value = |value: String| MetadataValue { value, sensitive: false };
    let metadata = [
        ("SSH_CERTIFICATE_KEY_ID", certificate.key_id().to_owned()),
        ("SSH_CERTIFICATE_SERIAL", certificate.serial().to_string()),
        ("SSH_CERTIFICATE_PRINCIPALS", certificate.valid_principals().join(",")),
        ("SSH_CERTIFICATE_CA", certificate.signature_key().fingerprint(HashAlg::Sha256).to_string()),
    ];
    Identity {
        authenticated_username: attempt.username.clone(),
        metadata: metadata.into_iter().map(|(name, text)| (name.to_owned(), value(text))).collect(),
        ..Identity::default()
    }
}

pub(crate) use rules::{Login, judge_for_authority};
