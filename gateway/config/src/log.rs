//! `log`: what is said, and how.

use containerssh_log::{Format, Level};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `log.destination`
    #[derive(Default)]
    pub enum LogDestination {
        /// Standard output.
        #[default]
        Stdout = "stdout",
    }
    refused {
        "file" => "is not supported by this version: lines go to stdout, redirect them",
        "syslog" => "is not supported by this version: lines go to stdout, pipe them to logger(1)",
    }
}

/// `log`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Log {
    /// Events below are not shown.
    #[schemars(with = "crate::schema::Level")]
    pub level: Level,
    /// What a line looks like.
    #[schemars(with = "crate::schema::Format")]
    pub format: Format,
    /// Where lines go.
    pub destination: LogDestination,
}
