//! What a credential itself forbids or forces: options of an `authorized_keys` line (sshd(8)), critical options and extensions
//! of a certificate (OpenSSH's PROTOCOL.certkeys).

/// What a credential forbids or forces. They only ever take away from what the configuration allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Runs instead of whatever the client asks for.
    pub force_command: Option<String>,
    /// No terminal.
    pub no_pty: bool,
    /// No forwarding of ports and sockets, in either direction.
    pub no_port_forwarding: bool,
    /// No forwarding of the agent.
    pub no_agent_forwarding: bool,
    /// No X11 forwarding.
    pub no_x11_forwarding: bool,
    /// Where `direct-tcpip` may go, as `host:port`. `None`: anywhere.
    pub permit_open: Option<Vec<String>>,
    /// Where `tcpip-forward` may listen, as `[host:]port`. `None`: anywhere.
    pub permit_listen: Option<Vec<String>>,
}

impl Restrictions {
    /// Both at once: of two forced commands that differ neither may run, so that nothing does.
    #[must_use]
    pub fn and(self, other: Restrictions) -> Restrictions {
        let force_command = match (self.force_command, other.force_command) {
            (Some(one), Some(two)) if one != two => Some("false".to_owned()),
            (one, two) => one.or(two),
        };
        let both = |one: Option<Vec<String>>, two: Option<Vec<String>>| match (one, two) {
            (Some(one), Some(two)) => Some(one.into_iter().filter(|place| two.contains(place)).collect()),
            (one, two) => one.or(two),
        };
        Restrictions {
            force_command,
            no_pty: self.no_pty || other.no_pty,
            no_port_forwarding: self.no_port_forwarding || other.no_port_forwarding,
            no_agent_forwarding: self.no_agent_forwarding || other.no_agent_forwarding,
            no_x11_forwarding: self.no_x11_forwarding || other.no_x11_forwarding,
            permit_open: both(self.permit_open, other.permit_open),
            permit_listen: both(self.permit_listen, other.permit_listen),
        }
    }

    /// Whether `direct-tcpip` may go there.
    #[must_use]
    pub fn may_open(&self, host: &str, port: u16) -> bool {
        !self.no_port_forwarding
            && self
                .permit_open
                .as_ref()
                .is_none_or(|places| places.iter().any(|place| is_place(place, host, port)))
    }

    /// Whether `tcpip-forward` may listen there.
    #[must_use]
    pub fn may_listen(&self, host: &str, port: u16) -> bool {
        let permits = |place: &String| is_place(place, host, port) || is_port(place, port);
        !self.no_port_forwarding
            && self.permit_listen.as_ref().is_none_or(|places| places.iter().any(permits))
    }
}

/// `host:port` as `permitopen` has it: an IPv6 address in brackets, `*` for any port. Patterns are taken literally, and so
/// permit nothing.
fn is_place(place: &str, host: &str, port: u16) -> bool {
    place.rsplit_once(':').is_some_and(|(name, number)| {
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case(host) && is_port(number, port)
    })
}

fn is_port(number: &str, port: u16) -> bool {
    number == "*" || number.parse() == Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_go_where_they_are_permitted_and_nowhere_else() {
        let places = |places: &[&str]| Some(places.iter().map(|place| (*place).to_owned()).collect());
        let restrictions = Restrictions {
            permit_open: places(&["db:5432", "[::1]:*"]),
            permit_listen: places(&["8080", "localhost:9090"]),
            ..Restrictions::default()
        };
        assert!(restrictions.may_open("DB", 5432) && restrictions.may_open("::1", 1));
        assert!(!restrictions.may_open("db", 22) && !restrictions.may_open("other", 5432));
        assert!(restrictions.may_listen("anything", 8080) && restrictions.may_listen("localhost", 9090));
        assert!(!restrictions.may_listen("0.0.0.0", 9090) && !restrictions.may_listen("localhost", 22));
        let none = Restrictions { permit_open: places(&["none"]), ..Restrictions::default() };
        assert!(!none.may_open("none", 1));
        let closed = Restrictions { no_port_forwarding: true, ..restrictions };
        assert!(!closed.may_open("db", 5432) && !closed.may_listen("localhost", 8080));
        assert!(Restrictions::default().may_open("h", 1) && Restrictions::default().may_listen("", 0));
    }
}
