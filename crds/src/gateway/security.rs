//! What users may do over a connection that they were let in on: ContainerSSH's `security` section.
//!
//! A list says in which mode it is meant, beside it: a list that has no effect would be worse than one that is refused,
//! since whoever wrote it believes in it. Where an `AuditPolicy` allows less, that counts.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Forwarding;

/// What users may do.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.signal) || ((!has(self.signal.allow) || self.signal.allow.all(s, !s.startsWith('SIG'))) && (!has(self.signal.deny) || self.signal.deny.all(s, !s.startsWith('SIG'))))")
    .message("signal: name signals without SIG, such as TERM"))]
pub struct Security {
    /// What holds where a rule has no mode of its own: Enable allows, Filter allows only what the rule's allow
    /// lists, Disable forbids. Default: Enable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<SecurityMode>,

    /// Runs instead of whatever program a user asks for, which it finds in SSH_ORIGINAL_COMMAND. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub force_command: Option<String>,

    /// Environment variables that users may set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<ListRule>,

    /// Commands that users may run, as in ssh host command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandRule>,

    /// Whether users may have a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<SwitchRule>,

    /// Subsystems that users may start, such as sftp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<ListRule>,

    /// Whether users may have a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<SwitchRule>,

    /// Signals that users may send, named without SIG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<ListRule>,

    /// Kinds of forwarding that users may ask for: Direct is ssh -L and -D, Reverse is ssh -R, DirectSocket and
    /// ReverseSocket are the same with Unix sockets in the pod, X11 is ssh -X, Agent is ssh -A. defaultMode says nothing
    /// of these. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 6))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub forwarding: Vec<Forwarding>,

    /// Sessions at a time over one connection. Default: as many as ssh.limits.sessionsPerConnection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_sessions: Option<i32>,
}

choice! {
    /// How a rule is meant.
    pub enum SecurityMode {
        /// Allowed, but for what deny lists.
        Enable,
        /// Only what allow lists.
        Filter,
        /// Never.
        Disable,
    }
}

/// A rule about things that have names.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.allow) || (has(self.mode) && self.mode == 'Filter')")
    .message("allow goes with mode: Filter, and has no effect in another"))]
#[x_kube(validation = Rule::new("!has(self.deny) || (has(self.mode) && self.mode == 'Enable')")
    .message("deny goes with mode: Enable, and has no effect in another"))]
pub struct ListRule {
    /// Enable allows all but what deny lists, Filter only what allow lists, Disable nothing. Default: that of
    /// defaultMode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SecurityMode>,

    /// What is allowed in mode Filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow: Vec<String>,

    /// What is not allowed in mode Enable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub deny: Vec<String>,
}

/// A rule about commands.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.allow) || has(self.allowPatterns)) || (has(self.mode) && self.mode == 'Filter')")
    .message("allow and allowPatterns go with mode: Filter, and have no effect in another"))]
pub struct CommandRule {
    /// Enable allows every command, Filter only those that allow or allowPatterns list, Disable none. Default: that
    /// of defaultMode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SecurityMode>,

    /// Commands that are allowed in mode Filter, as they are sent, character by character.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow: Vec<String>,

    /// Regular expressions (RE2, without look-around) of whole commands that are allowed in mode Filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow_patterns: Vec<String>,
}

/// A rule about something that has no names.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchRule {
    /// Enable allows it; Filter and Disable do not, as there is nothing to list. Default: that of defaultMode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SecurityMode>,
}
