//! What the `security` section allows: pure, one per configuration, asked by [`super::setup`] for each request.
//!
//! ContainerSSH's rules, and its order: a request is judged by what the client asked for, then `forceCommand` replaces the
//! program. What is not on a list is refused and recorded; nothing is dropped silently.

use std::collections::HashSet;

use containerssh_auth::Restrictions;
use containerssh_backend::{Bind, Target};
use containerssh_config::{
    BackendKind, Config, Forwarding, ForwardingMode, ListRule, Security as Settings, SecurityMode,
    whole_command,
};
use regex::RegexSet;

use super::setup::Refusal;
use crate::codes::security as codes;

/// The section, compiled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    env: Rule,
    command: CommandRule,
    shell: bool,
    subsystem: Rule,
    tty: bool,
    signal: Rule,
    force_command: Option<String>,
    max_sessions: Option<usize>,
    forwarding: Forwarding,
    /// What the user's credential forbids or forces.
    restrictions: Restrictions,
}

/// A rule about names.
#[derive(Debug, Clone)]
enum Rule {
    AllBut(HashSet<String>),
    Only(HashSet<String>),
}

impl Default for Rule {
    fn default() -> Self {
        Self::AllBut(HashSet::new())
    }
}

impl Rule {
    fn new(settings: &Settings, rule: &ListRule) -> Self {
        match settings.mode(rule.mode) {
            SecurityMode::Unset | SecurityMode::Enable => Self::AllBut(rule.deny.iter().cloned().collect()),
            SecurityMode::Filter => Self::Only(rule.allow.iter().cloned().collect()),
            SecurityMode::Disable => Self::Only(HashSet::new()),
        }
    }

    fn allows(&self, name: &str) -> bool {
        match self {
            Self::AllBut(names) => !names.contains(name),
            Self::Only(names) => names.contains(name),
        }
    }
}

#[derive(Debug, Clone, Default)]
enum CommandRule {
    #[default]
    All,
    Only {
        exact: HashSet<String>,
        patterns: RegexSet,
    },
}

impl CommandRule {
    fn new(settings: &Settings) -> Result<Self, regex::Error> {
        let rule = &settings.command;
        let (exact, patterns) = match settings.mode(rule.mode) {
            SecurityMode::Unset | SecurityMode::Enable => return Ok(Self::All),
            SecurityMode::Filter => (rule.allow.as_slice(), rule.allow_patterns.as_slice()),
            SecurityMode::Disable => (&[][..], &[][..]),
        };
        let patterns: Vec<_> =
            patterns.iter().map(|pattern| whole_command(pattern)).collect::<Result<_, _>>()?;
        let patterns = RegexSet::new(patterns.iter().map(regex::Regex::as_str))?;
        Ok(Self::Only { exact: exact.iter().cloned().collect(), patterns })
    }

    fn allows(&self, command: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only { exact, patterns } => exact.contains(command) || patterns.is_match(command),
        }
    }
}

impl Security {
    /// # Errors
    /// When a pattern is no regular expression, which the configuration's own check has ruled out.
    pub(crate) fn new(settings: &Settings) -> Result<Self, regex::Error> {
        let switch = |mode| matches!(settings.mode(mode), SecurityMode::Unset | SecurityMode::Enable);
        Ok(Self {
            env: Rule::new(settings, &settings.env),
            command: CommandRule::new(settings)?,
            shell: switch(settings.shell.mode),
            subsystem: Rule::new(settings, &settings.subsystem),
            tty: switch(settings.tty.mode),
            signal: Rule::new(settings, &settings.signal),
            force_command: (!settings.force_command.is_empty()).then(|| settings.force_command.clone()),
            max_sessions: usize::try_from(settings.max_sessions).ok(),
            forwarding: settings.forwarding.clone(),
            restrictions: Restrictions::default(),
        })
    }

    /// What a configuration allows, as far as what serves its connections can do it: a display and an agent's socket need a
    /// program of ours beside the user's.
    ///
    /// # Errors
    /// As [`Security::new`].
    pub(crate) fn of(config: &Config) -> Result<Self, regex::Error> {
        let mut security = Self::new(&config.security)?;
        if config.backend == BackendKind::Kubernetes && config.kubernetes.pod.disable_agent {
            security.forwarding.x11_forwarding_mode = ForwardingMode::Disable;
            security.forwarding.agent_forwarding_mode = ForwardingMode::Disable;
        }
        Ok(security)
    }

    /// The same for somebody whose credential forbids or forces something.
    pub(crate) fn restricted(&self, restrictions: Restrictions) -> Self {
        Self { restrictions, ..self.clone() }
    }

    /// Everything, as the defaults are.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        Self { shell: true, tty: true, ..Self::default() }
    }

    pub(crate) fn env(&self, name: &str) -> Result<(), Refusal> {
        allow(
            self.env.allows(name),
            codes::SECURITY_ENV_REJECTED,
            "this environment variable is not allowed here",
        )
    }

    pub(crate) fn exec(&self, command: &str) -> Result<(), Refusal> {
        allow(self.command.allows(command), codes::SECURITY_EXEC_REJECTED, "this command is not allowed here")
    }

    pub(crate) fn shell(&self) -> Result<(), Refusal> {
        allow(self.shell, codes::SECURITY_SHELL_REJECTED, "shells are not allowed here")
    }

    pub(crate) fn subsystem(&self, name: &str) -> Result<(), Refusal> {
        allow(
            self.subsystem.allows(name),
            codes::SECURITY_SUBSYSTEM_REJECTED,
            "this subsystem is not allowed here",
        )
    }

    pub(crate) fn tty(&self) -> Result<(), Refusal> {
        let allowed = self.tty && !self.restrictions.no_pty;
        allow(allowed, codes::SECURITY_TTY_REJECTED, "terminals are not allowed here")
    }

    pub(crate) fn signal(&self, name: &str) -> Result<(), Refusal> {
        allow(self.signal.allows(name), codes::SECURITY_SIGNAL_REJECTED, "this signal is not allowed here")
    }

    /// Whether the client may reach this through the guest.
    pub(crate) fn dial(&self, target: &Target) -> Result<(), Refusal> {
        let own = &self.restrictions;
        let (mode, permitted) = match target {
            Target::Tcp { host, port } => (self.forwarding.forwarding_mode, own.may_open(host, *port)),
            Target::Unix { .. } => (self.forwarding.socket_forwarding_mode, !own.no_port_forwarding),
        };
        forward(mode, permitted, codes::SECURITY_FORWARDING_REJECTED, "forwarding is not allowed here")
    }

    /// Whether the client may have the guest listen there.
    pub(crate) fn listen(&self, bind: &Bind) -> Result<(), Refusal> {
        let own = &self.restrictions;
        let (mode, permitted) = match bind {
            Bind::Tcp { host, port } => {
                (self.forwarding.reverse_forwarding_mode, own.may_listen(host, *port))
            }
            Bind::Unix { .. } => (self.forwarding.socket_listen_mode, !own.no_port_forwarding),
        };
        let reason = "reverse forwarding is not allowed here";
        forward(mode, permitted, codes::SECURITY_REVERSE_FORWARDING_REJECTED, reason)
    }

    pub(crate) fn x11(&self) -> Result<(), Refusal> {
        let (mode, permitted) = (self.forwarding.x11_forwarding_mode, !self.restrictions.no_x11_forwarding);
        forward(
            mode,
            permitted,
            codes::SECURITY_X11_FORWARDING_REJECTED,
            "X11 forwarding is not allowed here",
        )
    }

    pub(crate) fn auth_agent(&self) -> Result<(), Refusal> {
        let (mode, permitted) =
            (self.forwarding.agent_forwarding_mode, !self.restrictions.no_agent_forwarding);
        forward(
            mode,
            permitted,
            codes::SECURITY_AGENT_FORWARDING_REJECTED,
            "agent forwarding is not allowed here",
        )
    }

    /// Whether a connection that has `live` sessions may have one more.
    pub(crate) fn session(&self, live: usize) -> Result<(), Refusal> {
        let allowed = self.max_sessions.is_none_or(|most| live < most);
        allow(allowed, codes::SECURITY_MAX_SESSIONS, "too many sessions on this connection")
    }

    /// The program that runs whatever was asked for. The configuration's goes first: a user's must not get around it.
    pub(crate) fn force_command(&self) -> Option<&str> {
        self.force_command.as_deref().or(self.restrictions.force_command.as_deref())
    }
}

fn allow(allowed: bool, code: &'static str, reason: &'static str) -> Result<(), Refusal> {
    if allowed { Ok(()) } else { Err(Refusal { code, reason }) }
}

fn forward(
    mode: ForwardingMode,
    permitted: bool,
    code: &'static str,
    reason: &'static str,
) -> Result<(), Refusal> {
    allow(mode == ForwardingMode::Enable && permitted, code, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(yaml: &str) -> Security {
        let config = containerssh_config::Config::parse(
            &format!("auth: {{publicKey: {{authorizedKeys: {{paths: [/keys]}}}}}}\nsecurity: {yaml}"),
            "c.yaml",
            containerssh_config::Syntax::Yaml,
        );
        Security::new(&config.unwrap().security).unwrap()
    }

    #[test]
    fn without_a_section_everything_is_allowed() {
        let security = security("{}");
        assert!(
            security.env("A").is_ok() && security.exec("ls").is_ok() && security.subsystem("sftp").is_ok()
        );
        assert!(security.shell().is_ok() && security.tty().is_ok() && security.signal("KILL").is_ok());
        assert!(security.session(1000).is_ok());
        assert_eq!(security.force_command(), None);
    }

    #[test]
    fn a_default_holds_where_a_rule_has_no_mode_of_its_own() {
        let security =
            security("{defaultMode: disable, shell: {mode: enable}, env: {mode: filter, allow: [LANG]}}");
        assert!(security.shell().is_ok() && security.env("LANG").is_ok());
        assert!(security.env("LC_ALL").is_err() && security.exec("").is_err() && security.tty().is_err());
        assert!(security.subsystem("sftp").is_err() && security.signal("TERM").is_err());
    }

    #[test]
    fn a_switch_has_nothing_to_filter() {
        let security = security("{shell: {mode: filter}, tty: {mode: filter}}");
        assert!(security.shell().is_err() && security.tty().is_err());
    }

    #[test]
    fn commands_match_as_a_whole() {
        let rule = "{command: {mode: filter, allow: [/bin/ls], allowPatterns: ['git-(upload|receive)-pack ''/?\\w+''', 'a|b']}}";
        let security = security(rule);
        for allowed in ["/bin/ls", "git-upload-pack 'repo'", "git-receive-pack '/repo'", "a", "b"] {
            assert!(security.exec(allowed).is_ok(), "{allowed}");
        }
        for denied in ["/bin/ls ", "/bin/ls; rm", "git-upload-pack 'repo'; rm", "a\n", "xa", "bc", "ab", ""] {
            assert!(security.exec(denied).is_err(), "{denied:?}");
        }
    }

    #[test]
    fn a_list_of_what_is_denied_leaves_the_rest() {
        let security =
            security("{env: {deny: [LD_PRELOAD]}, signal: {deny: [KILL]}, subsystem: {deny: [sftp]}}");
        assert!(security.env("LD_PRELOAD").is_err() && security.env("LANG").is_ok());
        assert!(security.signal("KILL").is_err() && security.signal("TERM").is_ok());
        assert_eq!(security.subsystem("sftp").unwrap_err().code, codes::SECURITY_SUBSYSTEM_REJECTED);
    }

    #[test]
    fn each_kind_of_forwarding_has_its_own_switch_and_all_are_off() {
        let tcp = Target::Tcp { host: "h".into(), port: 1 };
        let unix = Target::Unix { path: "/s".into() };
        let bind_tcp = Bind::Tcp { host: "h".into(), port: 1 };
        let bind_unix = Bind::Unix { path: "/s".into() };
        let allowed = |security: &Security| {
            [
                security.dial(&tcp).is_ok(),
                security.dial(&unix).is_ok(),
                security.listen(&bind_tcp).is_ok(),
                security.listen(&bind_unix).is_ok(),
                security.x11().is_ok(),
                security.auth_agent().is_ok(),
            ]
        };
        assert_eq!(allowed(&security("{}")), [false; 6]);
        assert_eq!(allowed(&security("{defaultMode: enable}")), [false; 6]);
        let keys = [
            "forwardingMode",
            "socketForwardingMode",
            "reverseForwardingMode",
            "socketListenMode",
            "x11ForwardingMode",
            "agentForwardingMode",
        ];
        for (index, key) in keys.iter().enumerate() {
            let mut expected = [false; 6];
            expected[index] = true;
            assert_eq!(allowed(&security(&format!("{{forwarding: {{{key}: enable}}}}"))), expected, "{key}");
            assert_eq!(allowed(&security(&format!("{{forwarding: {{{key}: filter}}}}"))), [false; 6]);
        }
        let refusal = security("{}").listen(&bind_unix).unwrap_err();
        assert_eq!(refusal.code, codes::SECURITY_REVERSE_FORWARDING_REJECTED);
    }

    #[test]
    fn what_needs_an_agent_in_the_pod_is_refused_without_one() {
        let security = |agent: &str| {
            let text = format!(
                "auth: {{publicKey: {{authorizedKeys: {{paths: [/keys]}}}}}}\n\
                 security: {{forwarding: {{x11ForwardingMode: enable, agentForwardingMode: enable}}}}\n{agent}"
            );
            let config = Config::parse(&text, "c.yaml", containerssh_config::Syntax::Yaml).unwrap();
            Security::of(&config).unwrap()
        };
        let without = security("");
        assert!(without.x11().is_err() && without.auth_agent().is_err());
        for with in ["kubernetes: {pod: {disableAgent: false, agent: {image: a}}}", "backend: local"] {
            let with = security(with);
            assert!(with.x11().is_ok() && with.auth_agent().is_ok());
        }
    }

    #[test]
    fn a_credential_only_takes_away() {
        let restrictions =
            Restrictions { force_command: Some("backup".into()), no_pty: true, ..Restrictions::default() };
        let narrower = security("{}").restricted(restrictions.clone());
        assert!(narrower.tty().is_err() && narrower.shell().is_ok());
        assert_eq!(narrower.force_command(), Some("backup"));
        let forced = security("{forceCommand: audit, tty: {mode: disable}}");
        assert_eq!(forced.restricted(restrictions).force_command(), Some("audit"));
        assert!(forced.restricted(Restrictions::default()).tty().is_err());
        let open = security(
            "{forwarding: {forwardingMode: enable, socketListenMode: enable, x11ForwardingMode: enable}}",
        );
        let streams = |security: &Security| {
            let target = Target::Tcp { host: "db".into(), port: 5432 };
            let socket = Bind::Unix { path: "/s".into() };
            [security.dial(&target).is_ok(), security.listen(&socket).is_ok(), security.x11().is_ok()]
        };
        assert_eq!(streams(&open), [true; 3]);
        let nothing =
            Restrictions { no_port_forwarding: true, no_x11_forwarding: true, ..Restrictions::default() };
        assert_eq!(streams(&open.restricted(nothing)), [false; 3]);
    }

    #[test]
    fn live_sessions_count() {
        let security = security("{maxSessions: 2}");
        assert!(security.session(1).is_ok() && security.session(2).is_err());
        assert!(self::security("{maxSessions: 0}").session(0).is_err());
    }
}
