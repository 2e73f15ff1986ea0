//! Keys and certificates that let nobody in any more, whoever lists them: files as sshd's `RevokedKeys` reads them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};

use super::krl::{Krl, MAGIC};
use crate::keys::files;

/// Largest file. A list of a million serial numbers that have nothing to do with each other is 8 MiB.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Time for reading them: they are local, but a network file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Files of revoked keys, read at each login.
#[derive(Debug, Clone)]
pub struct Revoked {
    paths: Vec<PathBuf>,
}

/// One file.
#[derive(Debug)]
enum List {
    Krl(Krl),
    Keys(Vec<PublicKey>),
}

impl Revoked {
    /// Files that are key revocation lists or list a public key on each line.
    #[must_use]
    pub fn new(paths: &[String]) -> Self {
        Self { paths: paths.iter().map(PathBuf::from).collect() }
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether a plain key is revoked.
    ///
    /// # Errors
    /// When a file cannot be read: then nobody can say.
    pub async fn key(&self, key: &KeyData) -> Result<bool, String> {
        Ok(self.read().await?.iter().any(|list| list.revokes_key(key)))
    }

    /// Whether a certificate is revoked: itself, its key, or its authority's.
    ///
    /// # Errors
    /// When a file cannot be read: then nobody can say.
    pub async fn certificate(&self, certificate: &Certificate) -> Result<bool, String> {
        let revokes = |list: &List| match list {
            List::Krl(krl) => krl.revokes(certificate),
            List::Keys(_) => {
                list.revokes_key(certificate.public_key()) || list.revokes_key(certificate.signature_key())
            }
        };
        Ok(self.read().await?.iter().any(revokes))
    }

    async fn read(&self) -> Result<Vec<List>, String> {
        if self.paths.is_empty() {
            return Ok(Vec::new());
        }
        let paths = self.paths.clone();
        let reading = tokio::task::spawn_blocking(move || paths.iter().map(|path| read(path)).collect());
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(lists)) => lists,
            Ok(Err(_)) | Err(_) => Err("reading the files of revoked keys took too long".to_owned()),
        }
    }
}

fn read(path: &Path) -> Result<List, String> {
    let shown = path.display();
    let bytes = files::read_bytes(path, MAX_FILE)
        .ok_or_else(|| format!("{shown} is not there"))?
        .map_err(|error| error.to_string())?;
    if bytes.starts_with(MAGIC) {
        return Krl::parse(&bytes).map(List::Krl).map_err(|error| format!("{shown}: {error}"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| format!("{shown} is neither a key revocation list nor a list of public keys"))?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = PublicKey::from_openssh(line).map_err(|_| {
            format!("{shown}:{}: it is not a public key of the form \"type base64\"", index + 1)
        })?;
        keys.push(key);
    }
    Ok(List::Keys(keys))
}

impl List {
    fn revokes_key(&self, key: &KeyData) -> bool {
        match self {
            List::Krl(krl) => krl.revokes_key(key),
            List::Keys(keys) => keys.iter().any(|revoked| revoked.key_data() == key),
        }
    }
}
