//! `audit.file`: records as files of a directory.

use serde::{Deserialize, Serialize};

use crate::parse::Problems;

/// `audit.file`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FileStorage {
    /// One file per connection, named by its id.
    pub directory: String,
}

impl Default for FileStorage {
    fn default() -> Self {
        Self { directory: "/var/log/audit".to_owned() }
    }
}

impl FileStorage {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !self.directory.starts_with('/') {
            problems.invalid("audit.file.directory", "must be an absolute path");
        }
    }
}
