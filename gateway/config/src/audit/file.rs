//! `audit.file`: records as files of a directory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::KeyPrefix;

/// `audit.file`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FileStorage {
    /// One file per connection, named by its id.
    pub directory: String,
    /// What the files' names below the directory begin with, such as `{year}/{month}/`. Empty as in ContainerSSH.
    #[serde(skip_serializing_if = "KeyPrefix::is_empty")]
    pub prefix: KeyPrefix,
}

impl Default for FileStorage {
    fn default() -> Self {
        Self { directory: "/var/log/audit".to_owned(), prefix: KeyPrefix::default() }
    }
}

impl FileStorage {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !self.directory.starts_with('/') {
            problems.invalid("audit.file.directory", "must be an absolute path");
        }
        // Text of the template is the administrator's; what fills it can never leave its segment.
        if self.prefix.as_str().split('/').any(|part| [".", ".."].contains(&part)) {
            problems
                .invalid("audit.file.prefix", "must not hold \".\" or \"..\": it would leave the directory");
        }
        if self.prefix.as_str().starts_with('.') {
            problems
                .invalid("audit.file.prefix", "must not begin with '.': the spool lies beside the records");
        }
    }
}
