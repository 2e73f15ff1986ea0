//! What can go wrong, by who is told.

use std::io;
use std::path::PathBuf;

pub(crate) use containerssh_s3::Reason;

/// Why the recorder cannot start. For whoever runs the gateway.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The spool's directory cannot be used.
    #[error(
        "cannot use {path} as the audit spool: {source}; it must be a directory that the gateway may write to"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "{path} is the audit spool of another running gateway: give each gateway a directory of its own, for one would \
         upload what the other is still writing"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
    },
}

/// Why a session can no longer be recorded under `onFailure: deny`. Fit to be shown to the user whose session ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// The record cannot be written.
    #[error("this session must be recorded, and the audit record cannot be written: {0}")]
    Write(String),
    /// The spool is full.
    #[error(
        "this session must be recorded, and the gateway has no space left for audit records; try again later"
    )]
    Full,
    /// The session was closed already.
    #[error("this session's audit record is closed")]
    Closed,
}

/// Why one attempt at a delivery failed. For the log; the record stays in the spool and is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The record or its sidecar cannot be read.
    #[error("cannot read the record: {0}")]
    Read(#[source] io::Error),
    /// It cannot be stored in the directory it belongs to.
    #[error("cannot store the record in {path}: {source}")]
    Store { path: PathBuf, source: io::Error },
    /// Nobody knows where the record belongs.
    #[error(
        "the record's destination is not known: its sidecar is damaged, and the configuration names no storage; \
         configure audit.storage, and it is uploaded there"
    )]
    NoDestination,
    /// Credentials or certificates cannot be had.
    #[error("{0}")]
    Settings(String),
    /// S3 refused or could not be asked.
    #[error("{operation} failed: {cause}")]
    S3 { operation: &'static str, reason: Reason, cause: String },
    /// S3 did not answer in time.
    #[error("{operation} did not finish within {seconds} seconds")]
    Timeout { operation: &'static str, seconds: u64 },
    /// S3 says that it holds something else than what was sent.
    #[error("{operation}: the store answered with checksum {answered}, but {sent} was sent")]
    Checksum { operation: &'static str, sent: String, answered: String },
}

impl UploadError {
    /// The metric's label.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Read(_) | Self::Store { .. } | Self::NoDestination | Self::Settings(_) => Reason::Local,
            Self::S3 { reason, .. } => *reason,
            Self::Timeout { .. } => Reason::Timeout,
            Self::Checksum { .. } => Reason::Checksum,
        }
    }
}
