//! PEM given inline or as a file, as ContainerSSH has it in many places.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::secret::{MASK, is_masked};

/// Largest PEM file: a bundle of every public certificate authority is about 250 KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// What every PEM text begins with (RFC 7468 section 2); anything else is a file name.
const BEGIN: &str = "-----BEGIN ";

/// PEM text, or the name of a file that holds it. Inline keys are hidden from `Debug` and dumps like a
/// [`Secret`](crate::Secret); file names and inline certificates are shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(transparent)]
pub struct PemOrFile(String);

/// A PEM text that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file could not be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any PEM bundle.
    #[error("{file} is larger than {MAX_PEM_BYTES} bytes")]
    TooLarge {
        /// Its name.
        file: String,
    },
    /// The file holds no PEM text.
    #[error("{file} holds no PEM text (it has no \"-----BEGIN\" line)")]
    NotPem {
        /// Its name.
        file: String,
    },
}

impl PemOrFile {
    /// Wraps PEM text or a file name.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The file, unless the text is inline.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        (!self.is_inline()).then(|| Path::new(&self.0))
    }

    /// Whether the text is PEM itself.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.0.trim_start().starts_with(BEGIN)
    }

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// The PEM text, read from the file if it is one. Blocks on the file system.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or holds no PEM text.
    pub fn load(&self) -> Result<String, PemError> {
        if self.is_inline() {
            return Ok(self.0.clone());
        }
        let file = || self.0.clone();
        let read = |source| PemError::Read { file: file(), source };
        let opened = std::fs::File::open(&self.0).map_err(read)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(opened, MAX_PEM_BYTES + 1), &mut text)
            .map_err(read)?;
        if text.len() as u64 > MAX_PEM_BYTES {
            return Err(PemError::TooLarge { file: file() });
        }
        if !text.contains(BEGIN) {
            return Err(PemError::NotPem { file: file() });
        }
        Ok(text)
    }

    /// The text when it may be shown: a file name or a certificate. Whatever else is inline may be a key.
    fn shown(&self) -> Option<&str> {
        let public =
            self.0.trim_start().starts_with("-----BEGIN CERTIFICATE-----") && !self.0.contains("PRIVATE KEY");
        // A file name has one line; several lines are PEM text gone wrong, which may be a key all the same.
        let file_name = !self.is_inline() && self.0.trim().lines().count() <= 1 && self.0.len() <= 4096;
        (public || file_name).then_some(&self.0)
    }
}

impl fmt::Debug for PemOrFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown() {
            Some(text) if !self.is_inline() => write!(f, "{text:?}"),
            Some(text) => write!(f, "(certificates, {} bytes)", text.len()),
            None => f.write_str(MASK),
        }
    }
}

impl Serialize for PemOrFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if is_masked() { self.shown().unwrap_or(MASK) } else { &self.0 })
    }
}
