//! `session` and `drain`: how long a session may last, and how the gateway lets sessions end.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::duration;

/// `session`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Session {
    /// A connection ends after this time. 0 for never.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub max_duration: Duration,
    /// A connection on which nothing moves ends after this time. 0 for never.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

/// `drain`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Drain {
    /// How long sessions may go on once the gateway is told to end.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60) }
    }
}
