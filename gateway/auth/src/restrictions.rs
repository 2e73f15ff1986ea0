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
}
