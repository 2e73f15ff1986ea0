//! One running program and its two halves.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BackendError, X11};

/// Terminal size: columns and rows in characters, width and height in pixels (RFC 4254 section 6.2). Zero means
/// unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters per line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
    /// Pixels across; 0 if unknown.
    pub width: u32,
    /// Pixels down; 0 if unknown.
    pub height: u32,
}

/// A requested pseudo-terminal (RFC 4254 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// The client's `TERM`.
    pub term: String,
    /// Its size when the program starts.
    pub size: WindowSize,
    /// Encoded terminal modes (RFC 4254 section 8), as received.
    pub modes: Bytes,
}

/// What to run (RFC 4254 section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The user's login shell.
    Shell,
    /// A command line for the shell, exactly as the client sent it.
    Exec(String),
    /// A subsystem by name, such as `sftp`.
    Subsystem(String),
}

/// A program to start.
#[derive(Debug, Clone)]
pub struct ProgramSpec {
    /// Names the program in logs and on the guest: unique within the connection, the SSH channel's number.
    pub channel: u64,
    /// What to run.
    pub command: Command,
    /// Environment from the client's `env` requests, in order, already filtered.
    pub env: Vec<(String, String)>,
    /// A terminal, if one was requested.
    pub pty: Option<Pty>,
    /// Its X11 display is the client's; connections to it come from [`Guest::accept`](crate::Guest::accept).
    pub x11: Option<X11>,
    /// Its authentication agent is the client's (`auth-agent-req@openssh.com`); likewise.
    pub auth_agent: bool,
}

/// A signal by its RFC 4254 section 6.10 name, without `SIG`. Only known names exist, so it can be put on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(&'static str);

impl Signal {
    const KNOWN: [&str; 13] =
        ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"];

    /// What a terminal's end sends.
    pub const HUP: Self = Self("HUP");
    /// What cannot be ignored.
    pub const KILL: Self = Self("KILL");

    /// The signal of that name, with or without `SIG`, or `None` if RFC 4254 does not know it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        Self::KNOWN.iter().find(|known| **known == name).map(|known| Self(known))
    }

    /// The name without `SIG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A message from a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output (of its terminal, if it has one).
    Stdout(Bytes),
    /// Bytes of its standard error; never with a terminal.
    Stderr(Bytes),
    /// It ended with this status. The last message.
    Exit(u32),
    /// It was ended by a signal. The last message.
    ExitSignal {
        /// Name without `SIG`.
        signal: String,
        /// Whether it left a core dump.
        core_dumped: bool,
        /// Human-readable reason; may be empty.
        message: String,
    },
}

/// A started program: two halves, for two tasks.
#[derive(Debug)]
pub struct Program {
    /// Towards the program.
    pub input: Box<dyn ProgramInput>,
    /// From the program.
    pub output: Box<dyn ProgramOutput>,
}

/// Towards a program. Calls wait while the guest does not take more: that wait is the back-pressure.
#[async_trait]
pub trait ProgramInput: Send + std::fmt::Debug {
    /// Bytes for its standard input.
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError>;
    /// The end of its standard input; its output goes on.
    async fn eof(&mut self) -> Result<(), BackendError>;
    /// The terminal has a new size.
    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError>;
    /// Delivers a signal to the program's process group.
    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError>;
}

/// From a program.
#[async_trait]
pub trait ProgramOutput: Send + std::fmt::Debug {
    /// The next message. After [`Output::Exit`], [`Output::ExitSignal`] or an error there is none: do not call again.
    /// Cancel-safe: a dropped future loses no message.
    async fn next(&mut self) -> Result<Output, BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_with_and_without_their_prefix() {
        assert_eq!(Signal::parse("TERM").map(Signal::name), Some("TERM"));
        assert_eq!(Signal::parse("SIGTERM").map(Signal::name), Some("TERM"));
        assert_eq!(Signal::parse("TERM; rm -rf /"), None);
        assert_eq!(Signal::parse(""), None);
    }
}
