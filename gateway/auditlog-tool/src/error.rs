//! Why a subcommand gives up.

use std::io;

use containerssh_auditlog::{DecodeError, HeaderError};

/// Nothing more can be done. Each message names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("cannot open {name}: {error}")]
    Open { name: String, error: io::Error },
    #[error("cannot write {name}: {error}")]
    Write { name: String, error: io::Error },
    #[error("cannot keep the input for a second reading: {0}")]
    Spool(io::Error),
    #[error("cannot use the terminal: {0}")]
    Terminal(io::Error),
    #[error("{name}: {error}")]
    Log { name: String, error: HeaderError },
    #[error("{name}: {error}")]
    Read { name: String, error: DecodeError },
    #[error("{0} is the log itself; give another file to write to")]
    OutputIsInput(String),
    #[error(transparent)]
    Page(#[from] crate::manual::NoSuchPage),
    #[error(transparent)]
    Pattern(#[from] crate::search::PatternError),
    #[error(transparent)]
    Store(Box<crate::store::StoreError>),
    #[error(transparent)]
    Extract(#[from] crate::extract::ExtractError),
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    #[error(transparent)]
    Verify(#[from] crate::verify::VerifyError),
    #[error(transparent)]
    Channel(#[from] crate::convert::ChannelError),
}
