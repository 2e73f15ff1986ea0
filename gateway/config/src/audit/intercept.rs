//! `audit.intercept`: which contents are recorded.

use serde::{Deserialize, Serialize};

/// `audit.intercept`: contents that are recorded. That something happened is always recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Intercept {
    /// What the client types.
    pub stdin: bool,
    /// What programs print.
    pub stdout: bool,
    /// What programs print as errors.
    pub stderr: bool,
    /// Passwords clients log in with.
    pub passwords: bool,
    /// What forwarded streams carry, in either direction.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forwarding: bool,
}
