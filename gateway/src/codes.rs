//! Codes of the gateway's log messages. Those of ContainerSSH stand where the event is the same.

containerssh_log::codes! {
    /// Codes of the SSH server.
    pub mod ssh {
        SSH_AVAILABLE = "The SSH server accepts connections.";
        SSH_START_FAILED = "The SSH server cannot listen on its address.";
        SSH_ACCEPT_FAILED = "A connection could not be accepted, usually because of a limit of the system (such as open files). The server goes on and tries again.";
        SSH_CONNECTION_REFUSED = "A connection was turned away because a limit of connections is reached (ssh.limits).";
        SSH_PROXY_HEADER = "A load balancer (ssh.proxyProtocol.trustedCIDRs) connected and sent no proper PROXY header. Have it send one, or take it off the list.";
        SSH_CONNECTED = "A client connected over TCP.";
        SSH_DISCONNECTED = "A client's connection ended. The labels say why, how long it lasted and how much it moved.";
        SSH_HANDSHAKE_FAILED = "A connection ended before anybody logged in.";
        SSH_HANDSHAKE_SUCCESSFUL = "A user logged in.";
        SSH_AUTH_SUCCESSFUL = "A credential was accepted.";
        SSH_AUTH_FAILED = "A credential was rejected.";
        SSH_AUTH_UNAVAILABLE = "Nobody could say whether a credential is good; the client was rejected. The reason says what to mend.";
        SSH_NEW_CHANNEL = "A session channel was opened.";
        SSH_NEW_CHANNEL_REJECTED = "A channel was refused: a limit is reached, or it is of a kind that is not served.";
        SSH_CHANNEL_REQUEST = "A request on a channel was granted.";
        SSH_CHANNEL_REQUEST_FAILED = "A request on a channel was refused.";
        SSH_GLOBAL_REQUEST_FAILED = "The pod could not listen where a client asked it to (ssh -R), or was to stop what it did not do.";
        SSH_FORWARD_OPENED = "A forwarded stream was opened.";
        SSH_FORWARD_CLOSED = "A forwarded stream ended, or one end of it broke.";
        SSH_FORWARD_FAILED = "A forwarded stream could not be opened; the reason was told to whoever wanted it.";
        SSH_FORWARD_STALLED = "The target of a forwarded stream took nothing for half a minute while the rest of its connection waited. The stream was closed.";
        SSH_EXIT = "A program ended with a status.";
        SSH_EXIT_SIGNAL = "A program was ended by a signal.";
        SSH_SESSION_FAILED = "A program could not be started or was lost. The user was told the same reason.";
        SSH_CONNECTION_ENDED = "The gateway ended a connection. The reason says why.";
        SSH_PANIC = "A connection hit a fault in the gateway and was ended; all others go on. Please report it.";
        SSH_DRAINING = "The gateway is told to end: it accepts no more connections and lets sessions finish.";
        SSH_DRAINED = "All connections have ended.";
    }
}

containerssh_log::codes! {
    /// Codes of the process.
    pub mod core {
        CORE_CONFIG_ERROR = "The configuration is not valid. At the start the gateway ends; later it keeps the configuration it has.";
        CORE_CONFIG_RELOADED = "A changed configuration is in force for new connections.";
        CORE_CONFIG_RESTART_NEEDED = "The changed configuration has settings that only a restart brings into force: listeners, host keys, directories.";
        CORE_FEW_FILES = "The process may open fewer files than ssh.limits.connections needs: each connection has a socket and a record. Raise the hard limit of open files (LimitNOFILE of the container runtime), or lower ssh.limits.connections.";
        CORE_NO_HOST_KEYS = "No host key is configured. One was generated that lives as long as the process: clients will see another one after a restart. Configure ssh.hostkeys.";
        CORE_START_FAILED = "The gateway cannot start.";
        CORE_STARTED = "The gateway runs.";
        CORE_STOPPED = "The gateway has ended.";
        AUTH_REDIRECT_AVAILABLE = "The page that shows the codes of logins at an identity provider is served.";
        GEOIP_READ_FAILED = "The GeoIP database has changed and cannot be read; countries are those of the one that was read before.";
        HEALTH_AVAILABLE = "The health server listens.";
        METRICS_AVAILABLE = "The metrics server listens.";
        HTTP_LISTEN_FAILED = "The health, metrics or redirect server cannot listen on its address.";
    }
}

containerssh_log::codes! {
    /// Codes of what the configuration does not allow (`security`).
    pub mod security {
        SECURITY_ENV_REJECTED = "A client set an environment variable that security.env does not allow. The program runs without it.";
        SECURITY_EXEC_REJECTED = "A client asked for a command that security.command does not allow.";
        SECURITY_EXEC_FORCING_COMMAND = "A program was replaced by security.forceCommand.";
        SECURITY_SHELL_REJECTED = "A client asked for a shell, which security.shell does not allow.";
        SECURITY_SUBSYSTEM_REJECTED = "A client asked for a subsystem that security.subsystem does not allow.";
        SECURITY_TTY_REJECTED = "A client asked for a terminal, which security.tty does not allow.";
        SECURITY_SIGNAL_REJECTED = "A client sent a signal that security.signal does not allow.";
        SECURITY_FORWARDING_REJECTED = "A client wanted to reach something through its pod (ssh -L, -D), which security.forwarding does not allow.";
        SECURITY_REVERSE_FORWARDING_REJECTED = "A client wanted its pod to listen (ssh -R), which security.forwarding does not allow.";
        SECURITY_X11_FORWARDING_REJECTED = "A client wanted X11 forwarding, which security.forwarding does not allow.";
        SECURITY_AGENT_FORWARDING_REJECTED = "A client wanted its authentication agent forwarded, which security.forwarding does not allow.";
        SECURITY_MAX_SESSIONS = "A client asked for more sessions at once than security.maxSessions allows on one connection.";
    }
}

containerssh_log::codes! {
    /// Codes of what serves a connection.
    pub mod backend {
        BACKEND_CONFIG_ERROR = "What the configuration server said of a connection is not a valid configuration; the login was denied.";
        BACKEND_START_FAILED = "What serves a connection (its pod) could not be started. The user was told the same reason.";
        BACKEND_READY = "What serves a connection (its pod) is ready.";
        BACKEND_GONE = "What serves a connection (its pod) vanished while it was in use.";
    }
}

/// This crate's tables with their titles.
pub const TABLES: &[(&str, containerssh_log::Table)] = &[
    ("SSH server", ssh::TABLE),
    ("Process", core::TABLE),
    ("Security", security::TABLE),
    ("Backend", backend::TABLE),
];

/// Every code of the gateway and the crates it is made of, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut sections = TABLES.to_vec();
    sections.extend([
        ("Authentication", containerssh_auth::code::TABLE),
        ("Configuration", containerssh_config::code::TABLE),
        ("Kubernetes", containerssh_kubernetes::code::TABLE),
        ("Audit log", containerssh_recorder::code::TABLE),
        ("Audit events", containerssh_siem::code::TABLE),
        ("Log", containerssh_log::code::TABLE),
    ]);
    containerssh_log::codes::markdown("Message codes", &sections)
}
