//! What a client may ask of a session channel, and when: a pure state machine, one per channel.
//!
//! It answers each request with a [`Decision`] and does nothing else: the handler sends the reply that the decision
//! holds, the channel's task records and carries it out. Requests come in the order of RFC 4254 section 6: environment and
//! terminal, then one program, then window changes and signals.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use containerssh_backend::{Command, Pty, Signal, WindowSize};
use russh::Pty as Mode;

/// Environment variables per channel. sshd takes 1,000; nothing is known to send more than a few dozen.
const MAX_ENV: usize = 128;
/// Bytes of all names and values per channel: they travel on a command line, whose arguments are bounded by 128 KiB.
const MAX_ENV_BYTES: usize = 32 * 1024;
/// Bytes of `TERM`. The longest name in terminfo is shorter.
const MAX_TERM: usize = 64;

/// What was asked, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Env { name: String, value: String },
    Pty(Pty),
    Program(Command),
    Window(WindowSize),
    Signal(String),
    X11 { single_connection: bool, protocol: String, cookie: String, screen: u32 },
    Agent,
}

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Noted for the program to come.
    Noted,
    /// Starts the program.
    Start(Start),
    /// Goes to the running program.
    Resize(WindowSize),
    /// Goes to the running program.
    Deliver(Signal),
    /// Refused, with the reason for the record.
    Refused(Cow<'static, str>),
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) command: Command,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) pty: Option<Pty>,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Counts the channel's requests from 0, as the reference does.
    pub(crate) request: u64,
    pub(crate) asked: Asked,
    pub(crate) outcome: Outcome,
}

impl Decision {
    /// Whether the client is told that its request succeeded.
    pub(crate) fn granted(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused(_))
    }
}

/// A channel's requests so far.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    next_request: u64,
    env: Vec<(String, String)>,
    env_bytes: usize,
    pty: Option<Pty>,
    started: bool,
}

impl Setup {
    pub(crate) fn env(&mut self, name: &str, value: &str) -> Decision {
        let bytes = name.len() + value.len();
        let outcome = if self.started {
            refused("the program runs already")
        } else if !is_env_name(name) {
            refused("not a name for an environment variable: letters, digits and _ only")
        } else if value.contains('\0') {
            refused("the value holds a NUL byte")
        } else if self.env.len() >= MAX_ENV || self.env_bytes + bytes > MAX_ENV_BYTES {
            refused("too many environment variables")
        } else {
            self.env_bytes += bytes;
            self.env.push((name.to_owned(), value.to_owned()));
            Outcome::Noted
        };
        self.decide(Asked::Env { name: name.to_owned(), value: value.to_owned() }, outcome)
    }

    pub(crate) fn pty(&mut self, term: &str, size: WindowSize, modes: &[(Mode, u32)]) -> Decision {
        let pty = Pty { term: term.to_owned(), size, modes: encode_modes(modes) };
        let outcome = if self.started {
            refused("the program runs already")
        } else if self.pty.is_some() {
            refused("the session has a terminal already")
        } else if !is_term(term) {
            refused("not a terminal type")
        } else {
            self.pty = Some(pty.clone());
            Outcome::Noted
        };
        self.decide(Asked::Pty(pty), outcome)
    }

    pub(crate) fn shell(&mut self) -> Decision {
        self.program(Command::Shell, None)
    }

    /// `command` goes to the guest exactly as sent. What cannot be an argument there is refused, not mended: a command
    /// that differs from the one that was asked for may do something else.
    pub(crate) fn exec(&mut self, command: &[u8]) -> Decision {
        let problem = match std::str::from_utf8(command) {
            Err(_) => Some("the command is not valid UTF-8"),
            Ok(text) if text.contains('\0') => Some("the command holds a NUL byte"),
            Ok(_) => None,
        };
        self.program(Command::Exec(String::from_utf8_lossy(command).into_owned()), problem)
    }

    pub(crate) fn subsystem(&mut self, name: &str) -> Decision {
        let problem = name.contains('\0').then_some("the name holds a NUL byte");
        self.program(Command::Subsystem(name.to_owned()), problem)
    }

    pub(crate) fn window(&mut self, size: WindowSize) -> Decision {
        let outcome = match (&mut self.pty, self.started) {
            (None, false) => refused("the session has no terminal"),
            (Some(pty), false) => {
                pty.size = size;
                Outcome::Noted
            }
            (_, true) => Outcome::Resize(size),
        };
        self.decide(Asked::Window(size), outcome)
    }

    pub(crate) fn signal(&mut self, name: &str) -> Decision {
        let outcome = match Signal::parse(name) {
            None => refused("not a signal of RFC 4254"),
            Some(_) if !self.started => refused("no program runs"),
            Some(signal) => Outcome::Deliver(signal),
        };
        self.decide(Asked::Signal(name.to_owned()), outcome)
    }

    pub(crate) fn x11(
        &mut self,
        single_connection: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
    ) -> Decision {
        let asked = Asked::X11 {
            single_connection,
            protocol: protocol.to_owned(),
            cookie: cookie.to_owned(),
            screen,
        };
        self.decide(asked, refused("X11 forwarding is not available"))
    }

    pub(crate) fn agent(&mut self) -> Decision {
        self.decide(Asked::Agent, refused("agent forwarding is not available"))
    }

    fn program(&mut self, command: Command, problem: Option<&'static str>) -> Decision {
        let outcome = if self.started {
            refused("the channel has had its program already")
        } else if let Some(problem) = problem {
            refused(problem)
        } else {
            self.started = true;
            Outcome::Start(Start {
                command: command.clone(),
                env: std::mem::take(&mut self.env),
                pty: self.pty.take(),
            })
        };
        self.decide(Asked::Program(command), outcome)
    }

    fn decide(&mut self, asked: Asked, outcome: Outcome) -> Decision {
        let request = self.next_request;
        self.next_request += 1;
        Decision { request, asked, outcome }
    }
}

fn refused(reason: &'static str) -> Outcome {
    Outcome::Refused(Cow::Borrowed(reason))
}

fn is_env_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_term(term: &str) -> bool {
    term.len() <= MAX_TERM && term.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

/// Modes as on the wire (RFC 4254 section 8). russh shows modes it does not know as [`Mode::TTY_OP_END`]; they are left out.
fn encode_modes(modes: &[(Mode, u32)]) -> Bytes {
    let mut encoded = BytesMut::with_capacity(modes.len() * 5 + 1);
    for (mode, value) in modes.iter().filter(|(mode, _)| *mode != Mode::TTY_OP_END) {
        encoded.put_u8(*mode as u8);
        encoded.put_u32(*value);
    }
    encoded.put_u8(Mode::TTY_OP_END as u8);
    encoded.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WindowSize = WindowSize { columns: 80, rows: 24, width: 0, height: 0 };

    fn reason(decision: &Decision) -> &str {
        match &decision.outcome {
            Outcome::Refused(reason) => reason,
            other => panic!("granted: {other:?}"),
        }
    }

    #[test]
    fn a_program_gets_what_was_asked_before_it() {
        let mut setup = Setup::default();
        assert!(setup.env("LANG", "C.UTF-8").granted());
        assert!(
            setup.pty("xterm", SIZE, &[(Mode::ECHO, 1), (Mode::TTY_OP_END, 0), (Mode::VINTR, 3)]).granted()
        );
        assert!(setup.window(WindowSize { columns: 120, ..SIZE }).granted());
        let decision = setup.shell();
        assert_eq!(decision.request, 3);
        let Outcome::Start(start) = decision.outcome else { panic!("{decision:?}") };
        assert_eq!(start.env, [("LANG".to_owned(), "C.UTF-8".to_owned())]);
        let pty = start.pty.unwrap();
        assert_eq!((pty.size.columns, &pty.modes[..]), (120, &[53, 0, 0, 0, 1, 1, 0, 0, 0, 3, 0][..]));
    }

    #[test]
    fn commands_are_taken_as_they_are_or_not_at_all() {
        for command in ["", " ", "echo  $HOME; ls | wc", "\n", "caf\u{e9}"] {
            let decision = Setup::default().exec(command.as_bytes());
            let Outcome::Start(start) = decision.outcome else { panic!("{decision:?}") };
            assert_eq!(start.command, Command::Exec(command.to_owned()));
        }
        assert!(reason(&Setup::default().exec(b"echo \xff")).contains("UTF-8"));
        assert!(reason(&Setup::default().exec(b"echo \0")).contains("NUL"));
        assert!(reason(&Setup::default().subsystem("sf\0tp")).contains("NUL"));
    }

    #[test]
    fn a_channel_runs_one_program_and_a_refused_one_does_not_count() {
        let mut setup = Setup::default();
        assert!(!setup.exec(b"\xff").granted());
        assert!(setup.exec(b"true").granted());
        for again in [setup.exec(b"true"), setup.shell(), setup.subsystem("sftp")] {
            assert!(reason(&again).contains("already"));
        }
        assert!(reason(&setup.env("A", "b")).contains("already"));
        assert!(reason(&setup.pty("xterm", SIZE, &[])).contains("already"));
        assert_eq!(setup.window(SIZE).outcome, Outcome::Resize(SIZE));
        assert!(setup.signal("TERM").granted());
    }

    #[test]
    fn names_that_are_no_environment_variables_are_refused() {
        let mut setup = Setup::default();
        for name in ["", "1A", "A B", "A=B", "LD-X", "\u{e9}", "A\0"] {
            assert!(!setup.env(name, "x").granted(), "{name:?}");
        }
        assert!(reason(&setup.env("A", "x\0")).contains("NUL"));
        assert!(reason(&setup.env("A", &"x".repeat(MAX_ENV_BYTES))).contains("too many"));
        for number in 0..MAX_ENV {
            assert!(setup.env(&format!("A{number}"), "x").granted());
        }
        assert!(reason(&setup.env("ONE_MORE", "x")).contains("too many"));
    }

    #[test]
    fn what_there_is_not_is_refused_with_a_reason() {
        let mut setup = Setup::default();
        assert!(reason(&setup.signal("TERM")).contains("no program"));
        assert!(reason(&setup.signal("TERM; rm")).contains("RFC 4254"));
        assert!(reason(&setup.window(SIZE)).contains("terminal"));
        assert!(reason(&setup.pty("xterm\x1b[2J", SIZE, &[])).contains("terminal type"));
        assert!(!setup.x11(true, "MIT-MAGIC-COOKIE-1", "00", 0).granted());
        assert!(!setup.agent().granted());
        assert_eq!(setup.agent().request, 6);
    }
}
