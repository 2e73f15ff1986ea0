//! The section `security`: what users may do, as the gateway's spec says it and as far as the policies allow.

use containerssh_config as file;
use containerssh_crds::{self as api, Allow, ConnectionMode, Forwarding, Security, SecurityMode};

/// The section, before any policy.
pub(super) fn section(wanted: &Security) -> file::Security {
    let command = wanted.command.clone().unwrap_or_default();
    file::Security {
        default_mode: mode(wanted.default_mode),
        force_command: wanted.force_command.clone().unwrap_or_default(),
        env: list(wanted.env.as_ref()),
        command: file::CommandRule {
            mode: mode(command.mode),
            allow: command.allow,
            allow_patterns: command.allow_patterns,
        },
        shell: switch(wanted.shell),
        subsystem: list(wanted.subsystem.as_ref()),
        tty: switch(wanted.tty),
        signal: list(wanted.signal.as_ref()),
        forwarding: forwarding(&wanted.forwarding),
        max_sessions: wanted.max_sessions.map_or(file::Security::default().max_sessions, i64::from),
    }
}

/// Each kind, in the words of both sides.
const KINDS: [(Forwarding, file::ForwardingKind); 6] = [
    (Forwarding::Direct, file::ForwardingKind::Direct),
    (Forwarding::Reverse, file::ForwardingKind::Reverse),
    (Forwarding::DirectSocket, file::ForwardingKind::DirectSocket),
    (Forwarding::ReverseSocket, file::ForwardingKind::ReverseSocket),
    (Forwarding::X11, file::ForwardingKind::X11),
    (Forwarding::Agent, file::ForwardingKind::Agent),
];

/// Those of a list.
fn kinds(list: &[Forwarding]) -> impl Iterator<Item = file::ForwardingKind> {
    KINDS.iter().filter(|(kind, _)| list.contains(kind)).map(|(_, kind)| *kind)
}

fn forwarding(wanted: &[Forwarding]) -> file::Forwarding {
    let mut forwarding = file::Forwarding::default();
    kinds(wanted).for_each(|kind| forwarding.set(kind, file::ForwardingMode::Enable));
    forwarding
}

/// What the policies leave to a configuration server.
pub(super) fn allowed(allow: &Allow) -> file::PolicyAllow {
    let modes = file::PodMode::ALL.iter().copied();
    file::PolicyAllow {
        forwarding: allow.forwarding.as_ref().map(|allowed| kinds(allowed).collect()),
        subsystems: allow.subsystems.clone(),
        modes: (allow.modes.as_ref())
            .map(|allowed| modes.filter(|mode| allowed.contains(&execution(*mode))).collect()),
    }
}

fn mode(wanted: Option<SecurityMode>) -> file::SecurityMode {
    match wanted {
        None => file::SecurityMode::Unset,
        Some(SecurityMode::Enable) => file::SecurityMode::Enable,
        Some(SecurityMode::Filter) => file::SecurityMode::Filter,
        Some(SecurityMode::Disable) => file::SecurityMode::Disable,
    }
}

fn list(wanted: Option<&api::ListRule>) -> file::ListRule {
    wanted.map_or_else(file::ListRule::default, |wanted| file::ListRule {
        mode: mode(wanted.mode),
        allow: wanted.allow.clone(),
        deny: wanted.deny.clone(),
    })
}

fn switch(wanted: Option<api::SwitchRule>) -> file::SwitchRule {
    file::SwitchRule { mode: mode(wanted.and_then(|wanted| wanted.mode)) }
}

/// Takes away what the policies do not allow; never gives.
pub(super) fn impose(config: &mut file::Config, allow: &Allow) {
    if let Some(allowed) = &allow.subsystems {
        config.kubernetes.pod.subsystems.retain(|name, _| allowed.contains(name));
    }
    if let Some(allowed) = &allow.forwarding {
        for (_, kind) in KINDS.iter().filter(|(kind, _)| !allowed.contains(kind)) {
            config.security.forwarding.set(*kind, file::ForwardingMode::Disable);
        }
    }
    if let Some(allowed) = &allow.modes
        && !allowed.contains(&execution(config.kubernetes.pod.mode))
    {
        nothing(&mut config.security);
    }
}

/// The execution model of a configuration, in the API's word.
const fn execution(mode: file::PodMode) -> ConnectionMode {
    match mode {
        file::PodMode::Connection => ConnectionMode::Connection,
        file::PodMode::Session => ConnectionMode::Session,
        file::PodMode::Persistent => ConnectionMode::Persistent,
    }
}

/// No program at all: what a gateway may do whose execution model is not allowed. Lists go as well, for a list without
/// its mode would make the file invalid.
fn nothing(security: &mut file::Security) {
    let never = file::SecurityMode::Disable;
    security.default_mode = never;
    security.env = file::ListRule { mode: never, ..file::ListRule::default() };
    security.command = file::CommandRule { mode: never, ..file::CommandRule::default() };
    security.shell = file::SwitchRule { mode: never };
    security.subsystem = file::ListRule { mode: never, ..file::ListRule::default() };
    security.tty = file::SwitchRule { mode: never };
    security.signal = file::ListRule { mode: never, ..file::ListRule::default() };
    security.force_command = String::new();
    security.forwarding = file::Forwarding::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &str) -> Allow {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn what_a_policy_does_not_speak_of_stays() {
        let mut config = file::Config::default();
        let before = config.clone();
        impose(&mut config, &Allow::default());
        assert_eq!(config, before);
        impose(&mut config, &allow("{subsystems: [sftp], forwarding: [Direct, X11], modes: [Connection]}"));
        assert_eq!(config.security, before.security);
    }

    #[test]
    fn a_gateway_of_a_mode_that_is_not_allowed_runs_nothing() {
        let mut config = file::Config::default();
        config.security.command.mode = file::SecurityMode::Filter;
        config.security.command.allow = vec!["id".to_owned()];
        config.security.force_command = "/bin/true".to_owned();
        impose(&mut config, &Allow { modes: Some(Vec::new()), ..Allow::default() });
        let security = &config.security;
        for rule in [
            security.command.mode,
            security.shell.mode,
            security.subsystem.mode,
            security.tty.mode,
            security.env.mode,
            security.signal.mode,
        ] {
            assert_eq!(security.mode(rule), file::SecurityMode::Disable);
        }
        assert!(security.command.allow.is_empty() && security.force_command.is_empty());
    }
}
