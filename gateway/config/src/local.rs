//! `local`: programs on the gateway's own host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `local.runAs`
    #[derive(Default)]
    pub enum RunAs {
        /// As the user who logged in, if the gateway is root: there must be an account of that name in `/etc/passwd`. As the gateway's
        /// own user otherwise, whoever logged in.
        #[default]
        Login = "login",
        /// As the gateway's own user, whoever logged in.
        Gateway = "gateway",
    }
}

/// `local`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Local {
    /// Whom programs run as.
    pub run_as: RunAs,
    /// Whether users with user id 0 may log in; only means something for a gateway that is root.
    pub permit_root: bool,
    /// Runs instead of the login shell for a shell request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell_command: Option<Vec<String>>,
    /// Command of each subsystem: one program without arguments. `sftp` always exists: the host's sftp-server, or the gateway's own.
    pub subsystems: BTreeMap<String, String>,
}

impl Local {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.shell_command.as_ref().is_some_and(Vec::is_empty) {
            problems.invalid("local.shellCommand".to_owned(), "must name a program");
        }
        for (name, program) in &self.subsystems {
            if !program.starts_with('/') {
                problems.invalid(format!("local.subsystems.{name}"), "must be an absolute path");
            }
        }
    }
}
