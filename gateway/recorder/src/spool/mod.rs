//! The spool: what stands between a session and S3 being there.
//!
//! One directory per gateway pod, never shared (a lock sees to it). For each record:
//!
//! | file | meaning |
//! |---|---|
//! | `<id>.open` | a session is writing it, or was when the process died |
//! | `<id>.ready` | complete, waits for its upload |
//! | `<id>.json` | the sidecar: destination and metadata, fixed when the session opened |
//! | `<id>.tail` | of an encrypted record: what its whole chunks do not hold yet |
//! | `<id>.manifest` | what the complete record is, to be delivered with it |
//! | `corrupt/` | what could not be read; never deleted by us |
//!
//! A record's file is complete gzip members after a 40-byte header at every moment that a crash can pick, except for
//! what was being written; that tail is cut off at the next start. A byte counts as acknowledged once the file, its
//! sidecar and the directory were synced after it was written.

pub(crate) mod budget;
pub(crate) mod dir;
pub(crate) mod encrypted_file;
pub(crate) mod record_file;
pub(crate) mod sidecar;
pub(crate) mod sync;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::upload::Uploads;

/// What all writers share.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) dir: dir::SpoolDir,
    pub(crate) budget: Arc<budget::Budget>,
    pub(crate) sync: sync::SyncGroup,
    /// One permit per thread that compresses or writes at a time. More would only fight over the processors; on a
    /// stalled disk, these and no more of the runtime's threads are stuck.
    pub(crate) threads: Semaphore,
    pub(crate) presses: Arc<record_file::Presses>,
    pub(crate) uploads: Uploads,
    pub(crate) shutdown: CancellationToken,
}

/// A connection id that is safe as a file name: 1 to 64 letters, digits, `-` or `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordId(Arc<str>);

impl RecordId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ((1..=64).contains(&text.len()) && text.bytes().all(legal)).then(|| Self(text.into()))
    }

    /// Stands for an id that is none. Nothing is stored under it.
    pub(crate) fn unusable() -> Self {
        Self("unusable".into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_ids() {
        assert!(RecordId::parse("0123456789abcdef0123456789abcdef").is_some());
        for bad in ["", "..", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(RecordId::parse(bad).is_none(), "{bad}");
        }
    }
}
