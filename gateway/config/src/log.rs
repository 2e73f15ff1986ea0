//! `log`: what is said, and how.

use containerssh_log::{Format, Level};
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Log {
    /// Events below are not shown.
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
    /// Where lines go.
    pub destination: LogDestination,
}
