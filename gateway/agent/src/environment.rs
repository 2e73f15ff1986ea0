//! The environment that a program starts with, as users of sshd expect it. Pure.

use containerssh_backend::ProgramSpec;

/// What `PATH` is where nothing says otherwise: sshd's of Debian, for root and for others.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";

/// Who the program runs as, for its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    /// Login name; empty if the user database has none for the user id.
    pub(crate) user: &'a str,
    pub(crate) uid: u32,
    /// Absolute.
    pub(crate) home: &'a str,
    /// Absolute.
    pub(crate) shell: &'a str,
}

/// Variables in order, each once: `base`, then what the client asked for, then what is the host's to say.
///
/// Where `base` already names a home, a path or a shell it keeps them (a container's settings); nothing that the client
/// sends changes who it is.
pub(crate) fn build(
    base: &[(String, String)],
    spec: &ProgramSpec,
    identity: &Identity<'_>,
    terminal: Option<&str>,
) -> Vec<(String, String)> {
    let mut variables = Variables(base.to_vec());
    for (name, value) in &spec.env {
        if is_variable(name) && !value.contains('\0') {
            variables.set(name, value);
        }
    }
    if !identity.user.is_empty() {
        variables.set("USER", identity.user);
        variables.set("LOGNAME", identity.user);
    }
    for (name, value) in [("HOME", identity.home), ("SHELL", identity.shell)] {
        variables.settle(base, name, value);
    }
    variables.settle(base, "PATH", if identity.uid == 0 { ROOT_PATH } else { USER_PATH });
    // A terminal of the gateway's own is none of the program's.
    variables.remove("SSH_TTY");
    if let Some(terminal) = terminal {
        variables.set("SSH_TTY", terminal);
    }
    match &spec.pty {
        Some(pty) if !pty.term.is_empty() => variables.set("TERM", &pty.term),
        _ => {}
    }
    variables.0
}

struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// The base's value if it has one, else `value`; never the client's.
    fn settle(&mut self, base: &[(String, String)], name: &str, value: &str) {
        let settled = base.iter().find(|(known, _)| known == name).map_or(value, |(_, value)| value.as_str());
        self.set(name, settled);
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use containerssh_backend::{Command, Pty, WindowSize};

    fn spec(env: &[(&str, &str)], term: Option<&str>) -> ProgramSpec {
        ProgramSpec {
            channel: 0,
            command: Command::Shell,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            pty: term.map(|term| Pty {
                term: term.to_owned(),
                size: WindowSize::default(),
                modes: Bytes::new(),
            }),
            x11: None,
            auth_agent: false,
        }
    }

    const ALICE: Identity<'static> =
        Identity { user: "alice", uid: 1000, home: "/home/alice", shell: "/bin/bash" };

    fn get<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut found = variables.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert_eq!(found.next(), None, "{name} stands there twice");
        value
    }

    #[test]
    fn a_client_chooses_its_language_and_not_who_it_is() {
        let asked = spec(
            &[
                ("LANG", "C"),
                ("LANG", "C.UTF-8"),
                ("USER", "root"),
                ("HOME", "/root"),
                ("SHELL", "/tmp/x"),
                ("PATH", "/tmp"),
                ("SSH_TTY", "/dev/null"),
                ("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22"),
                ("BAD=NAME", "x"),
                ("NUL", "\0"),
            ],
            Some("xterm"),
        );
        let variables = build(&[], &asked, &ALICE, Some("/dev/pts/3"));
        for (name, value) in [
            ("LANG", Some("C.UTF-8")),
            ("USER", Some("alice")),
            ("LOGNAME", Some("alice")),
            ("HOME", Some("/home/alice")),
            ("SHELL", Some("/bin/bash")),
            ("PATH", Some(USER_PATH)),
            ("SSH_TTY", Some("/dev/pts/3")),
            ("SSH_CONNECTION", Some("192.0.2.1 1 192.0.2.2 22")),
            ("TERM", Some("xterm")),
            ("BAD=NAME", None),
            ("NUL", None),
        ] {
            assert_eq!(get(&variables, name), value, "{name}");
        }
        assert_eq!(get(&build(&[], &spec(&[("SSH_TTY", "/x")], None), &ALICE, None), "SSH_TTY"), None);
    }

    #[test]
    fn a_containers_own_settings_stand_against_both() {
        let base = [("PATH", "/opt/bin"), ("HOME", "/work"), ("APP", "1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let identity = Identity { user: "", ..ALICE };
        let variables =
            build(&base, &spec(&[("PATH", "/tmp"), ("HOME", "/x"), ("APP", "2")], None), &identity, None);
        for (name, value) in
            [("PATH", Some("/opt/bin")), ("HOME", Some("/work")), ("APP", Some("2")), ("USER", None)]
        {
            assert_eq!(get(&variables, name), value, "{name}");
        }
    }
}
