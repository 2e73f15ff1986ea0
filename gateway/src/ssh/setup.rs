//! What a client may ask of a session channel, and when: a pure state machine, one per channel.
//!
//! It answers each request with a [`Decision`] and does nothing else: the handler sends the reply that the decision
//! holds, the channel's task records and carries it out. Requests come in the order of RFC 4254 section 6: environment and
//! terminal, then one program, then window changes and signals.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use containerssh_backend::{Command, Pty, Signal, WindowSize, X11};
use russh::Pty as Mode;

use super::security::Security;
use crate::codes;

/// Environment variables per channel. sshd takes 1,000; nothing is known to send more than a few dozen.
const MAX_ENV: usize = 128;
/// Bytes of all names and values per channel: they travel on a command line, whose arguments are bounded by 128 KiB.
const MAX_ENV_BYTES: usize = 32 * 1024;
/// Where a forced command finds what the client asked for, as with sshd's `ForceCommand`.
const ORIGINAL_COMMAND: &str = "SSH_ORIGINAL_COMMAND";
/// What programs trust to come from the server (sshd(8), "ENVIRONMENT").
const SERVER_ENV: [&str; 6] =
    ["SSH_CLIENT", "SSH_CONNECTION", ORIGINAL_COMMAND, "SSH_TTY", "SSH_AUTH_SOCK", "SSH_USER_AUTH"];
/// Bytes of the name of an X11 authentication protocol and of its cookie. The known ones are 18 and 32 bytes long.
const MAX_X11_WORD: usize = 512;
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
    X11(X11),
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
    /// Not done.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of the log message.
    pub(crate) code: &'static str,
    /// For the record.
    pub(crate) reason: &'static str,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) command: Command,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) pty: Option<Pty>,
    pub(crate) x11: Option<X11>,
    pub(crate) auth_agent: bool,
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
#[derive(Debug)]
pub(crate) struct Setup {
    security: Arc<Security>,
    next_request: u64,
    env: Vec<(String, String)>,
    env_bytes: usize,
    pty: Option<Pty>,
    x11: Option<X11>,
    auth_agent: bool,
    started: bool,
}

impl Setup {
    pub(crate) fn new(security: Arc<Security>) -> Self {
        Self {
            security,
            next_request: 0,
            env: Vec::new(),
            env_bytes: 0,
            pty: None,
            x11: None,
            auth_agent: false,
            started: false,
        }
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) -> Decision {
        let outcome = if self.started {
            refused("the program runs already")
        } else if !is_env_name(name) {
            refused("not a name for an environment variable: letters, digits and _ only")
        } else if SERVER_ENV.contains(&name) {
            refused("only the server sets this variable")
        } else if value.contains('\0') {
            refused("the value holds a NUL byte")
        } else if let Err(refusal) = self.security.env(name) {
            Outcome::Refused(refusal)
        } else if self.note(name, value) {
            Outcome::Noted
        } else {
            refused("too many environment variables")
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
        } else if let Err(refusal) = self.security.tty() {
            Outcome::Refused(refusal)
        } else {
            self.pty = Some(pty.clone());
            Outcome::Noted
        };
        self.decide(Asked::Pty(pty), outcome)
    }

    pub(crate) fn shell(&mut self) -> Decision {
        self.program(Command::Shell, self.security.shell())
    }

    /// `command` goes to the guest exactly as sent. What cannot be an argument there is refused, not mended: a command
    /// that differs from the one that was asked for may do something else.
    pub(crate) fn exec(&mut self, command: &[u8]) -> Decision {
        let allowed = match std::str::from_utf8(command) {
            Err(_) => Err(refusal("the command is not valid UTF-8")),
            Ok(text) if text.contains('\0') => Err(refusal("the command holds a NUL byte")),
            Ok(text) => self.security.exec(text),
        };
        self.program(Command::Exec(String::from_utf8_lossy(command).into_owned()), allowed)
    }

    pub(crate) fn subsystem(&mut self, name: &str) -> Decision {
        let allowed = if name.contains('\0') {
            Err(refusal("the name holds a NUL byte"))
        } else {
            self.security.subsystem(name)
        };
        self.program(Command::Subsystem(name.to_owned()), allowed)
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
            Some(signal) => match self.security.signal(name) {
                Ok(()) => Outcome::Deliver(signal),
                Err(refusal) => Outcome::Refused(refusal),
            },
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
        let asked =
            X11 { single_connection, protocol: protocol.to_owned(), cookie: cookie.to_owned(), screen };
        let outcome = if self.started {
            refused("the program runs already")
        } else if self.x11.is_some() {
            refused("the session has an X11 display already")
        } else if !is_x11_word(protocol) || !is_x11_word(cookie) {
            refused("not an X11 authentication protocol and cookie")
        } else if let Err(refusal) = self.security.x11() {
            Outcome::Refused(refusal)
        } else {
            self.x11 = Some(asked.clone());
            Outcome::Noted
        };
        self.decide(Asked::X11(asked), outcome)
    }

    /// Whether the program gets, or has got, an X11 display.
    pub(crate) fn wants_x11(&self) -> bool {
        self.x11.is_some()
    }

    pub(crate) fn agent(&mut self) -> Decision {
        let outcome = if self.started {
            refused("the program runs already")
        } else if let Err(refusal) = self.security.auth_agent() {
            Outcome::Refused(refusal)
        } else {
            self.auth_agent = true;
            Outcome::Noted
        };
        self.decide(Asked::Agent, outcome)
    }

    fn program(&mut self, asked: Command, allowed: Result<(), Refusal>) -> Decision {
        let outcome = if self.started {
            refused("the channel has had its program already")
        } else if let Err(refusal) = allowed {
            Outcome::Refused(refusal)
        } else if let Some(command) = self.forced(&asked) {
            self.started = true;
            Outcome::Start(Start {
                command,
                env: std::mem::take(&mut self.env),
                pty: self.pty.take(),
                x11: self.x11.clone(),
                auth_agent: self.auth_agent,
            })
        } else {
            refused("the command is too long to be handed to the one that runs here instead")
        };
        self.decide(Asked::Program(asked), outcome)
    }

    /// What runs instead of `asked`, which it finds in its environment as with sshd; `None` if it has no room there.
    fn forced(&mut self, asked: &Command) -> Option<Command> {
        let Some(forced) = self.security.force_command().map(str::to_owned) else {
            return Some(asked.clone());
        };
        let original = match asked {
            Command::Shell => None,
            Command::Exec(original) | Command::Subsystem(original) => Some(original),
        };
        original.is_none_or(|original| self.note(ORIGINAL_COMMAND, original)).then_some(Command::Exec(forced))
    }

    /// Keeps a variable for the program; `false` if there are too many.
    fn note(&mut self, name: &str, value: &str) -> bool {
        let bytes = self.env_bytes + name.len() + value.len();
        let room = self.env.len() < MAX_ENV && bytes <= MAX_ENV_BYTES;
        if room {
            self.env_bytes = bytes;
            self.env.push((name.to_owned(), value.to_owned()));
        }
        room
    }

    fn decide(&mut self, asked: Asked, outcome: Outcome) -> Decision {
        let request = self.next_request;
        self.next_request += 1;
        Decision { request, asked, outcome }
    }
}

fn refused(reason: &'static str) -> Outcome {
    Outcome::Refused(refusal(reason))
}

fn refusal(reason: &'static str) -> Refusal {
    Refusal { code: codes::ssh::SSH_CHANNEL_REQUEST_FAILED, reason }
}

fn is_env_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_term(term: &str) -> bool {
    term.len() <= MAX_TERM && term.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

/// Protocol names and cookies end up in a file that X clients read.
fn is_x11_word(word: &str) -> bool {
    (1..=MAX_X11_WORD).contains(&word.len())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(c))
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

    fn setup() -> Setup {
        Setup::new(Arc::new(Security::open()))
    }

    fn reason(decision: &Decision) -> &str {
        match &decision.outcome {
            Outcome::Refused(refusal) => refusal.reason,
            other => panic!("granted: {other:?}"),
        }
    }

    #[test]
    fn a_program_gets_what_was_asked_before_it() {
        let mut setup = setup();
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
            let decision = setup().exec(command.as_bytes());
            let Outcome::Start(start) = decision.outcome else { panic!("{decision:?}") };
            assert_eq!(start.command, Command::Exec(command.to_owned()));
        }
        assert!(reason(&setup().exec(b"echo \xff")).contains("UTF-8"));
        assert!(reason(&setup().exec(b"echo \0")).contains("NUL"));
        assert!(reason(&setup().subsystem("sf\0tp")).contains("NUL"));
    }

    #[test]
    fn a_channel_runs_one_program_and_a_refused_one_does_not_count() {
        let mut setup = setup();
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
        let mut setup = setup();
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

    fn forced(command: &str) -> Setup {
        let settings =
            containerssh_config::Security { force_command: command.to_owned(), ..Default::default() };
        Setup::new(Arc::new(Security::new(&settings).unwrap()))
    }

    #[test]
    fn a_forced_command_finds_what_was_asked_for_and_nothing_that_the_client_says_it_is() {
        let started = |decision: Decision| match decision.outcome {
            Outcome::Start(start) => (start.command, start.env),
            other => panic!("{other:?}"),
        };
        let original = |command: &str| vec![("SSH_ORIGINAL_COMMAND".to_owned(), command.to_owned())];
        let force = Command::Exec("/bin/gate".to_owned());
        let mut setup = forced("/bin/gate");
        assert!(!setup.env("SSH_ORIGINAL_COMMAND", "git-upload-pack other").granted());
        assert_eq!(started(setup.exec(b"rm -rf /")), (force.clone(), original("rm -rf /")));
        assert_eq!(started(forced("/bin/gate").subsystem("sftp")), (force.clone(), original("sftp")));
        assert_eq!(started(forced("/bin/gate").shell()), (force, vec![]));
        let long = "x".repeat(MAX_ENV_BYTES);
        assert!(reason(&forced("/bin/gate").exec(long.as_bytes())).contains("too long"));
    }

    #[test]
    fn what_the_configuration_does_not_allow_is_refused_with_its_code() {
        let settings = containerssh_config::Security {
            default_mode: containerssh_config::SecurityMode::Disable,
            ..Default::default()
        };
        let mut setup = Setup::new(Arc::new(Security::new(&settings).unwrap()));
        for (decision, code) in [
            (setup.env("LANG", "C"), codes::security::SECURITY_ENV_REJECTED),
            (setup.pty("xterm", SIZE, &[]), codes::security::SECURITY_TTY_REJECTED),
            (setup.shell(), codes::security::SECURITY_SHELL_REJECTED),
            (setup.exec(b"ls"), codes::security::SECURITY_EXEC_REJECTED),
            (setup.subsystem("sftp"), codes::security::SECURITY_SUBSYSTEM_REJECTED),
        ] {
            assert!(
                matches!(decision.outcome, Outcome::Refused(refusal) if refusal.code == code),
                "{decision:?}"
            );
        }
    }

    #[test]
    fn what_there_is_not_is_refused_with_a_reason() {
        let mut setup = setup();
        assert!(reason(&setup.signal("TERM")).contains("no program"));
        assert!(reason(&setup.signal("TERM; rm")).contains("RFC 4254"));
        assert!(reason(&setup.window(SIZE)).contains("terminal"));
        assert!(reason(&setup.pty("xterm\x1b[2J", SIZE, &[])).contains("terminal type"));
        assert!(!setup.x11(true, "MIT-MAGIC-COOKIE-1", "00", 0).granted());
        assert!(!setup.agent().granted());
        assert_eq!(setup.agent().request, 6);
    }
}
