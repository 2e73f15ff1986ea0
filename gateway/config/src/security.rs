//! `security`: what clients may do. ContainerSSH's keys and defaults; a rule that would have no effect is an error, since
//! whoever wrote it believes that it has one.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `security.defaultMode` and the `mode` of each rule.
    #[derive(Default)]
    pub enum SecurityMode {
        /// As `security.defaultMode`; there, as `enable`.
        #[default]
        Unset = "",
        /// Allowed, but for what `deny` lists.
        Enable = "enable",
        /// Only what `allow` lists. Where a rule has no list: nothing.
        Filter = "filter",
        /// Never.
        Disable = "disable",
    }
}

keyword_enum! {
    /// Whether a kind of forwarding is allowed.
    #[derive(Default)]
    pub enum ForwardingMode {
        /// It is not.
        #[default]
        Disable = "disable",
        /// It is.
        Enable = "enable",
    }
    aliases { "filter" => Disable }
    refused {
        "" => "would be read as \"disable\": say so",
    }
}

keyword_enum! {
    /// A kind of forwarding.
    pub enum ForwardingKind {
        /// `ssh -L` and `-D`
        Direct = "direct",
        /// `ssh -R`
        Reverse = "reverse",
        /// `ssh -L` to a Unix socket in the pod.
        DirectSocket = "directSocket",
        /// `ssh -R` from a Unix socket in the pod.
        ReverseSocket = "reverseSocket",
        /// `ssh -X`
        X11 = "x11",
        /// `ssh -A`
        Agent = "agent",
    }
}

impl ForwardingKind {
    /// Its key in `security.forwarding`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Direct => "forwardingMode",
            Self::Reverse => "reverseForwardingMode",
            Self::DirectSocket => "socketForwardingMode",
            Self::ReverseSocket => "socketListenMode",
            Self::X11 => "x11ForwardingMode",
            Self::Agent => "agentForwardingMode",
        }
    }
}

/// `security`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Security {
    /// What holds where a rule has no mode of its own.
    pub default_mode: SecurityMode,
    /// Runs instead of whatever program a client asks for, which it finds in `SSH_ORIGINAL_COMMAND`. Empty for none.
    pub force_command: String,
    /// Environment variables.
    pub env: ListRule,
    /// Commands (`ssh host command`).
    pub command: CommandRule,
    /// Shells.
    pub shell: SwitchRule,
    /// Subsystems, such as `sftp`.
    pub subsystem: ListRule,
    /// Terminals.
    pub tty: SwitchRule,
    /// Signals, named without `SIG`.
    pub signal: ListRule,
    /// Port, socket, X11 and agent forwarding: all off unless switched on, whatever `defaultMode` says.
    pub forwarding: Forwarding,
    /// Sessions at once over one connection; -1 for no limit but `ssh.limits.sessionsPerConnection`.
    pub max_sessions: i64,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            default_mode: SecurityMode::default(),
            force_command: String::new(),
            env: ListRule::default(),
            command: CommandRule::default(),
            shell: SwitchRule::default(),
            subsystem: ListRule::default(),
            tty: SwitchRule::default(),
            signal: ListRule::default(),
            forwarding: Forwarding::default(),
            max_sessions: -1,
        }
    }
}

/// A rule about things that have names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListRule {
    /// How the lists are meant.
    pub mode: SecurityMode,
    /// In mode `filter`: what is allowed.
    pub allow: Vec<String>,
    /// In mode `enable`: what is not.
    pub deny: Vec<String>,
}

/// `security.command`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CommandRule {
    /// How the lists are meant.
    pub mode: SecurityMode,
    /// In mode `filter`: commands that are allowed, as they are sent, character by character.
    pub allow: Vec<String>,
    /// In mode `filter`: regular expressions (syntax of the Rust crate `regex`) of commands that are allowed. Each stands for the
    /// whole command.
    pub allow_patterns: Vec<String>,
}

/// A rule about something that has no names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SwitchRule {
    /// Whether it is allowed. `filter` is `disable`, as there is nothing to list.
    pub mode: SecurityMode,
}

/// `security.forwarding`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Forwarding {
    /// `ssh -R`
    pub reverse_forwarding_mode: ForwardingMode,
    /// `ssh -L` and `-D`
    pub forwarding_mode: ForwardingMode,
    /// `ssh -L` to a Unix socket in the pod.
    pub socket_forwarding_mode: ForwardingMode,
    /// `ssh -R` from a Unix socket in the pod.
    pub socket_listen_mode: ForwardingMode,
    /// `ssh -X`
    #[serde(rename = "x11ForwardingMode")]
    pub x11_forwarding_mode: ForwardingMode,
    /// `ssh -A`. Not in ContainerSSH, which has no agent forwarding.
    #[serde(skip_serializing_if = "ForwardingMode::is_default")]
    pub agent_forwarding_mode: ForwardingMode,
}

impl Forwarding {
    /// Whether a kind is allowed.
    #[must_use]
    pub fn allows(&self, kind: ForwardingKind) -> bool {
        let mode = match kind {
            ForwardingKind::Direct => self.forwarding_mode,
            ForwardingKind::Reverse => self.reverse_forwarding_mode,
            ForwardingKind::DirectSocket => self.socket_forwarding_mode,
            ForwardingKind::ReverseSocket => self.socket_listen_mode,
            ForwardingKind::X11 => self.x11_forwarding_mode,
            ForwardingKind::Agent => self.agent_forwarding_mode,
        };
        mode == ForwardingMode::Enable
    }

    /// Allows a kind, or forbids it.
    pub fn set(&mut self, kind: ForwardingKind, mode: ForwardingMode) {
        *match kind {
            ForwardingKind::Direct => &mut self.forwarding_mode,
            ForwardingKind::Reverse => &mut self.reverse_forwarding_mode,
            ForwardingKind::DirectSocket => &mut self.socket_forwarding_mode,
            ForwardingKind::ReverseSocket => &mut self.socket_listen_mode,
            ForwardingKind::X11 => &mut self.x11_forwarding_mode,
            ForwardingKind::Agent => &mut self.agent_forwarding_mode,
        } = mode;
    }
}

impl ForwardingMode {
    /// What files written before there was such a key mean.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Security {
    /// The mode of a rule, with `defaultMode` where it has none.
    #[must_use]
    pub fn mode(&self, rule: SecurityMode) -> SecurityMode {
        match (rule, self.default_mode) {
            (SecurityMode::Unset, SecurityMode::Unset) => SecurityMode::Enable,
            (SecurityMode::Unset, default) => default,
            (mode, _) => mode,
        }
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        for (name, rule) in [("env", &self.env), ("subsystem", &self.subsystem), ("signal", &self.signal)] {
            self.check_lists(problems, name, rule.mode, "allow", &rule.allow, SecurityMode::Filter);
            self.check_lists(problems, name, rule.mode, "deny", &rule.deny, SecurityMode::Enable);
        }
        let command = &self.command;
        self.check_lists(problems, "command", command.mode, "allow", &command.allow, SecurityMode::Filter);
        let patterns = &command.allow_patterns;
        self.check_lists(problems, "command", command.mode, "allowPatterns", patterns, SecurityMode::Filter);
        for (index, pattern) in patterns.iter().enumerate() {
            if let Err(error) = whole(pattern) {
                // The library draws the place of the error over several lines.
                let error = error.to_string();
                let cause =
                    error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
                let key = format!("security.command.allowPatterns[{index}]");
                problems.invalid(key, format!("is not a regular expression: {cause}"));
            }
        }
        for (index, signal) in self.signal.allow.iter().chain(&self.signal.deny).enumerate() {
            if signal.starts_with("SIG") {
                problems.invalid(
                    format!("security.signal[{index}]"),
                    format!("{signal:?} would never match: signals are named without SIG"),
                );
            }
        }
        if self.force_command.contains('\0') {
            problems.invalid("security.forceCommand", "holds a NUL byte");
        }
        if self.max_sessions < -1 {
            problems.invalid("security.maxSessions", "must be -1 (no limit) or more");
        }
    }

    fn check_lists(
        &self,
        problems: &mut Problems,
        rule: &str,
        mode: SecurityMode,
        list: &str,
        entries: &[String],
        counts_in: SecurityMode,
    ) {
        let mode = self.mode(mode);
        if !entries.is_empty() && mode != counts_in {
            problems.invalid(
                format!("security.{rule}.{list}"),
                format!(
                    "has no effect in mode \"{mode}\": set security.{rule}.mode to \"{counts_in}\", or remove the list"
                ),
            );
        }
    }
}

/// `pattern` for the whole of a command, line breaks and all.
///
/// # Errors
/// When it is no regular expression.
pub fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: a stray parenthesis must not reach around what encloses it.
    Regex::new(pattern)?;
    Regex::new(&format!(r"\A(?s:{pattern})\z"))
}
