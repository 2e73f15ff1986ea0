//! What clients ask of a channel, as it is recorded (FORMAT types 400 to 409).

use bytes::Bytes;
use containerssh_auditlog::Payload;
use containerssh_backend::{Command, X11};
use russh::Sig;

use super::setup::{Asked, Decision};

/// RFC 4254 section 6.10, without `SIG`. russh keeps the names to itself.
pub(super) fn signal_name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}

/// What a request asked for, as a record (FORMAT types 400 to 409).
pub(super) fn request_record(decision: &Decision) -> Payload {
    let request_id = decision.request;
    match decision.asked.clone() {
        Asked::Env { name, value } => Payload::ChannelRequestSetEnv { request_id, name, value },
        Asked::Pty(pty) => Payload::ChannelRequestPty {
            request_id,
            term: pty.term,
            columns: pty.size.columns,
            rows: pty.size.rows,
            width: pty.size.width,
            height: pty.size.height,
            mode_list: Some(pty.modes),
        },
        Asked::Program(Command::Shell) => Payload::ChannelRequestShell { request_id },
        Asked::Program(Command::Exec(program)) => Payload::ChannelRequestExec { request_id, program },
        Asked::Program(Command::Subsystem(subsystem)) => {
            Payload::ChannelRequestSubsystem { request_id, subsystem }
        }
        Asked::Window(size) => Payload::ChannelRequestWindow {
            request_id,
            columns: size.columns,
            rows: size.rows,
            width: size.width,
            height: size.height,
        },
        Asked::Signal(signal) => Payload::ChannelRequestSignal { request_id, signal },
        Asked::X11(X11 { single_connection, protocol, cookie, screen }) => Payload::ChannelRequestX11 {
            request_id,
            single_connection,
            auth_protocol: protocol,
            cookie,
            screen,
        },
        Asked::Agent => Payload::ChannelRequestUnknownType {
            request_id,
            request_type: "auth-agent-req@openssh.com".to_owned(),
            payload: Some(Bytes::new()),
        },
    }
}
