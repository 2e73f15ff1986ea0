//! Public keys listed in files of `authorized_keys` format (sshd(8)).
//!
//! The operator mounts Secrets whose data keys are user names, hence one file per user (`%u`), read at each login: a rotated
//! Secret counts at once. A missing file lists no keys; a file that cannot be read is [`Verdict::Unavailable`].
//!
//! A line's options may only ever take away. `from`, `expiry-time` and the switches for what this version never grants are
//! honoured; a line with any other option grants **nothing**, because its key may do more here than the line says.

mod conditions;
mod line;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use russh::keys::PublicKey;

use crate::{Attempt, Identity, Verdict, code};
use line::Line;

/// Largest file: about ten thousand ed25519 keys.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Longest user name: Linux's longest file name.
const MAX_USERNAME: usize = 255;

/// Time for reading all files: they are local, but a network file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Files that list public keys.
#[derive(Debug, Clone)]
pub struct AuthorizedKeys {
    paths: Vec<String>,
    now: fn() -> Timestamp,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is larger than {MAX_FILE} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("reading the files of authorized keys took longer than {}s", READ_TIMEOUT.as_secs())]
    Timeout,
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
        let id = attempt.connection_id.as_str();
        if !is_plain(&attempt.username) {
            tracing::info!(
                code = code::AUTH_KEYS_USERNAME_REFUSED,
                connectionId = id,
                username = attempt.username,
                "The user name is not a plain file name: no file of authorized keys can belong to it"
            );
            return Verdict::Rejected;
        }
        let Ok(offered) = PublicKey::from_openssh(authorized_key) else {
            return Verdict::Unavailable("the offered public key cannot be read".to_owned());
        };
        let mut unreadable = None;
        for (path, text) in self.read(&attempt.username).await {
            match text {
                Ok(text) if self.lists(&path, &text, &offered, attempt) => {
                    let authenticated_username = attempt.username.clone();
                    return Verdict::Accepted(Box::new(Identity {
                        authenticated_username,
                        ..Identity::default()
                    }));
                }
                Ok(_) => {}
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
        let paths: Vec<PathBuf> = self.paths.iter().map(|template| fill(template, username)).collect();
        let reading = tokio::task::spawn_blocking(move || {
            paths.into_iter().filter_map(|path| Some((path.clone(), read(&path)?))).collect()
        });
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(files)) => files,
            // Reading does not panic, so what is left is a runtime that shuts down.
            Ok(Err(_)) | Err(_) => vec![(PathBuf::new(), Err(ReadError::Timeout))],
        }
    }

    /// Whether a line grants the key. Lines that would, but for an option, are logged: somebody wonders why they
    /// cannot log in.
    fn lists(&self, path: &Path, text: &str, offered: &PublicKey, attempt: &Attempt) -> bool {
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
            if line.key.key_data() != offered.key_data() {
                continue;
            }
            match line.conditions.check(attempt.remote_addr.ip(), (self.now)()) {
                Ok(()) => return true,
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
        false
    }
}

/// Whether a user name may stand in a path. It comes from a stranger, so: no separator, nothing that leads elsewhere,
/// and no leading dot, which is also how Kubernetes marks the bookkeeping in its mounts (`..data`).
fn is_plain(username: &str) -> bool {
    !username.is_empty()
        && username.len() <= MAX_USERNAME
        && !username.starts_with('.')
        && !username.chars().any(|character| character == '/' || character.is_control())
}

fn fill(template: &str, username: &str) -> PathBuf {
    let mut path = String::new();
    let mut characters = template.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some('u') => path.push_str(username),
                // The configuration allows "%%" only.
                Some(other) => path.push(other),
                None => {}
            },
            other => path.push(other),
        }
    }
    PathBuf::from(path)
}

/// A file's text; `None` when there is no such file.
fn read(path: &Path) -> Option<Result<String, ReadError>> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => None,
        _ => Some(Err(ReadError::Io { path: path.to_owned(), source })),
    };
    match std::fs::metadata(path) {
        Err(error) => return failed(error),
        // Opening a pipe would wait for its writer.
        Ok(metadata) if !metadata.is_file() => {
            return Some(Err(ReadError::NotAFile { path: path.to_owned() }));
        }
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Err(error) => failed(error),
        Ok(_) if bytes.len() as u64 > MAX_FILE => Some(Err(ReadError::TooLarge { path: path.to_owned() })),
        // Comments may be in any encoding; keys and options are ASCII and survive.
        Ok(_) => Some(Ok(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_are_user_names() {
        for name in ["a", "alice", "a.b", "a-b_c", "Zoë", "a b", "%u", "~root", "-rf", &"x".repeat(255)] {
            assert!(is_plain(name), "{name}");
        }
        for name in
            ["", ".", "..", "..data", ".ssh", "a/b", "/etc/passwd", "../x", "a\0", "a\n", &"x".repeat(256)]
        {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn a_user_name_is_put_in_as_it_is() {
        assert_eq!(fill("/k/%u/%%u/%u.pub", "%u"), Path::new("/k/%u/%u/%u.pub"));
    }
}
