//! `audit.signing`: the key that manifests are signed with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::{PemError, PemOrFile};

/// `audit.signing`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Signing {
    /// An Ed25519 private key: PKCS#8 in PEM, or the name of a file that holds it. Absent, with no `keyFile` either:
    /// manifests are not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PemOrFile>,
    /// File with the key; read again as it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

impl Signing {
    /// Whether manifests are signed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.key.is_some() || self.key_file.is_some()
    }

    /// The key's PEM text, read from its file if it is in one; `None` if there is to be no signature. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read or holds no PEM.
    pub fn load(&self) -> Result<Option<String>, PemError> {
        match (&self.key, &self.key_file) {
            (Some(key), _) => key.load().map(Some),
            (None, Some(file)) => PemOrFile::new(file).load().map(Some),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.key.is_some() && self.key_file.is_some() {
            problems.invalid("audit.signing.keyFile", "key is set as well: give one of them");
        }
        if self.key.as_ref().is_some_and(PemOrFile::is_empty) {
            problems.invalid("audit.signing.key", "is empty");
        }
        if let Some(file) = self.key.as_ref().and_then(PemOrFile::file)
            && !file.is_absolute()
        {
            problems.invalid("audit.signing.key", "must be a private key in PEM, or an absolute path");
        }
        if self.key_file.as_ref().is_some_and(|file| !file.starts_with('/')) {
            problems.invalid("audit.signing.keyFile", "must be an absolute path");
        }
    }
}
