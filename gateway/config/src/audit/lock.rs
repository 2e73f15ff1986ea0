//! `audit.s3.objectLock`: how long nobody, the gateway included, can delete or change an object.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `audit.s3.objectLock.mode`
    #[derive(Default)]
    pub enum LockMode {
        /// As the bucket says.
        #[default]
        None = "none",
        /// Whoever has a special permission may delete.
        Governance = "governance",
        /// Nobody may delete.
        Compliance = "compliance",
    }
}

/// `audit.s3.objectLock`: sent with each object. Without, the bucket's own default holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ObjectLock {
    /// How strict.
    pub mode: LockMode,
    /// For how long from the upload on.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub retention: Duration,
    /// Whether the object cannot be deleted until somebody lifts the hold, whatever the retention.
    pub legal_hold: bool,
}

/// Stores want a moment in the future by their own clock, which may run ahead of ours, and count in days.
const MIN_RETENTION: Duration = Duration::from_secs(3600);

impl ObjectLock {
    pub(super) fn check(&self, problems: &mut Problems) {
        const RETENTION: &str = "audit.s3.objectLock.retention";
        match (self.mode, self.retention.is_zero()) {
            (LockMode::None, true) => {}
            (LockMode::None, false) => problems.invalid(
                RETENTION,
                "needs audit.s3.objectLock.mode to be governance or compliance, but it is none: change one of them",
            ),
            (mode, true) => problems.invalid(
                RETENTION,
                format!("is missing, and audit.s3.objectLock.mode is {mode}: say for how long, such as \"8760h\""),
            ),
            (_, false) if self.retention < MIN_RETENTION => {
                problems.invalid(RETENTION, "must be at least 1h");
            }
            (_, false) => {}
        }
    }
}
