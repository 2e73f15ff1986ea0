//! The keys that read encrypted logs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use containerssh_auditlog::encrypted::{
    Decrypted, Identities, MAGIC, TAIL_START, UnreadableError, is_encrypted,
};

use crate::error::ToolError;

/// The options that name keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct IdentityArgs {
    /// File with age identities (as age-keygen writes it) that encrypted logs are read with
    #[arg(short = 'I', long, value_name = "FILE", help_heading = "For encrypted logs")]
    identity: Vec<PathBuf>,
    /// Read for the first log, and used for all of them.
    #[arg(skip)]
    read: Arc<OnceLock<Arc<Identities>>>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("cannot read the identities in {path}: {error}")]
    File { path: String, error: io::Error },
    #[error("{name}: {error}{}", hint(error))]
    Log { name: String, error: UnreadableError },
}

fn hint(error: &UnreadableError) -> &'static str {
    match error {
        UnreadableError::NoKeys => " with --identity FILE",
        _ => "",
    }
}

impl IdentityArgs {
    /// Whether there is any.
    pub(crate) fn is_given(&self) -> bool {
        !self.identity.is_empty()
    }

    /// Reads the files.
    pub(crate) fn identities(&self) -> Result<Arc<Identities>, ToolError> {
        if let Some(read) = self.read.get() {
            return Ok(read.clone());
        }
        let mut identities = Identities::default();
        for path in &self.identity {
            let added = File::open(path).and_then(|file| identities.add(BufReader::new(file)));
            added.map_err(|error| IdentityError::File { path: path.display().to_string(), error })?;
        }
        Ok(self.read.get_or_init(|| Arc::new(identities)).clone())
    }
}

/// Undoes encryption, if there is any.
pub(crate) fn decrypt(
    mut reader: Box<dyn BufRead>,
    name: &str,
    identities: &Arc<Identities>,
) -> Result<Box<dyn BufRead>, ToolError> {
    let unreadable = |error| IdentityError::Log { name: name.to_owned(), error };
    let start = reader.fill_buf().map_err(|error| unreadable(error.into()))?;
    if start.len() < TAIL_START.len() {
        // A pipe may give its first bytes one by one.
        let mut start = Vec::with_capacity(TAIL_START.len());
        reader
            .by_ref()
            .take(TAIL_START.len() as u64)
            .read_to_end(&mut start)
            .map_err(|error| unreadable(error.into()))?;
        reader = Box::new(Cursor::new(start).chain(reader));
    }
    let start = reader.fill_buf().map_err(|error| unreadable(error.into()))?;
    if start.len() < MAGIC.len() || !is_encrypted(start) {
        return Ok(reader);
    }
    let decrypted = Decrypted::new(reader, identities).map_err(unreadable)?;
    Ok(Box::new(BufReader::new(decrypted)))
}
