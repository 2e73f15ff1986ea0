//! What the two sides say in words (JSON), and how it maps to the traits' types.

use std::collections::BTreeMap;

use bytes::Bytes;
use containerssh_backend as backend;
use containerssh_backend::{BackendError, DialError, Output};
use serde::{Deserialize, Serialize};

/// The version of all of this. Gateway and agent are of one release; an image that brings its own agent may be of another.
pub const PROTOCOL: u32 = 1;

/// The gateway's first words, on the standard input of the agent that it starts. One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The gateway's [`PublicKey`](crate::PublicKey) as text.
    pub key: String,
    /// Listen on the loopback address alone: connections are brought by exec.
    pub local: bool,
    /// Runs instead of the login shell for a shell request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell_command: Option<Vec<String>>,
    /// Programs of subsystems, by name.
    #[serde(default)]
    pub subsystems: BTreeMap<String, String>,
}

/// The agent's answer, on its standard output. One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The agent's [`PublicKey`](crate::PublicKey) as text.
    pub key: String,
    /// Where it listens.
    pub port: u16,
}

/// What a connection is for: its first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The guest lives for as long as this connection. What arrives in it is told here.
    Control,
    Start(Spec),
    Dial(Target),
    Listen(Target),
    Unlisten(Target),
    /// Takes what was told by this number.
    Take(u64),
}

/// The answer: the second frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// To [`Request::Listen`].
    Port(u16),
    /// To [`Request::Unlisten`].
    Found(bool),
    Failed(Failure),
}

/// Why not, by the variants of the errors it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Program(String),
    Gone(String),
    Broken(String),
    Unsupported(String),
    Connect(String),
    Exhausted(String),
}

/// A [`backend::ProgramSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    channel: u64,
    command: Command,
    env: Vec<(String, String)>,
    pty: Option<Pty>,
    x11: Option<X11>,
    auth_agent: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Command {
    Shell,
    Exec(String),
    Subsystem(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pty {
    term: String,
    size: [u32; 4],
    modes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct X11 {
    single_connection: bool,
    protocol: String,
    cookie: String,
    screen: u32,
}

/// A [`backend::Target`] or a [`backend::Bind`], which have the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Tcp { host: String, port: u16 },
    Unix { path: String },
}

/// Something has arrived and waits for [`Request::Take`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incoming {
    pub(crate) number: u64,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    Tcp { host: String, port: u16, originator_host: String, originator_port: u32 },
    Unix { path: String },
    X11 { originator_host: String, originator_port: u32 },
    AuthAgent,
}

/// A program's last message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Exit(u32),
    Signal { signal: String, core_dumped: bool, message: String },
    Lost(Failure),
}

/// A window size as four big-endian numbers: columns, rows, pixels across, pixels down.
pub(crate) fn encode_size(size: backend::WindowSize) -> Bytes {
    let numbers = [size.columns, size.rows, size.width, size.height].map(u32::to_be_bytes);
    Bytes::copy_from_slice(numbers.as_flattened())
}

pub(crate) fn decode_size(content: &[u8]) -> Option<backend::WindowSize> {
    let (numbers, []) = content.as_chunks::<4>() else { return None };
    let [columns, rows, width, height] = *<&[[u8; 4]; 4]>::try_from(numbers).ok()?;
    let [columns, rows, width, height] = [columns, rows, width, height].map(u32::from_be_bytes);
    Some(backend::WindowSize { columns, rows, width, height })
}

impl From<backend::ProgramSpec> for Spec {
    fn from(spec: backend::ProgramSpec) -> Self {
        Self {
            channel: spec.channel,
            command: match spec.command {
                backend::Command::Shell => Command::Shell,
                backend::Command::Exec(line) => Command::Exec(line),
                backend::Command::Subsystem(name) => Command::Subsystem(name),
            },
            env: spec.env,
            pty: spec.pty.map(|pty| Pty {
                term: pty.term,
                size: [pty.size.columns, pty.size.rows, pty.size.width, pty.size.height],
                modes: pty.modes.to_vec(),
            }),
            x11: spec.x11.map(|x11| X11 {
                single_connection: x11.single_connection,
                protocol: x11.protocol,
                cookie: x11.cookie,
                screen: x11.screen,
            }),
            auth_agent: spec.auth_agent,
        }
    }
}

impl From<Spec> for backend::ProgramSpec {
    fn from(spec: Spec) -> Self {
        Self {
            channel: spec.channel,
            command: match spec.command {
                Command::Shell => backend::Command::Shell,
                Command::Exec(line) => backend::Command::Exec(line),
                Command::Subsystem(name) => backend::Command::Subsystem(name),
            },
            env: spec.env,
            pty: spec.pty.map(|Pty { term, size: [columns, rows, width, height], modes }| backend::Pty {
                term,
                size: backend::WindowSize { columns, rows, width, height },
                modes: modes.into(),
            }),
            x11: spec.x11.map(|x11| backend::X11 {
                single_connection: x11.single_connection,
                protocol: x11.protocol,
                cookie: x11.cookie,
                screen: x11.screen,
            }),
            auth_agent: spec.auth_agent,
        }
    }
}

impl From<backend::Target> for Target {
    fn from(target: backend::Target) -> Self {
        match target {
            backend::Target::Tcp { host, port } => Self::Tcp { host, port },
            backend::Target::Unix { path } => Self::Unix { path },
        }
    }
}

impl From<Target> for backend::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::Tcp { host, port } => Self::Tcp { host, port },
            Target::Unix { path } => Self::Unix { path },
        }
    }
}

impl From<backend::Bind> for Target {
    fn from(bind: backend::Bind) -> Self {
        match bind {
            backend::Bind::Tcp { host, port } => Self::Tcp { host, port },
            backend::Bind::Unix { path } => Self::Unix { path },
        }
    }
}

impl From<Target> for backend::Bind {
    fn from(target: Target) -> Self {
        match target {
            Target::Tcp { host, port } => Self::Tcp { host, port },
            Target::Unix { path } => Self::Unix { path },
        }
    }
}

impl From<backend::Origin> for Origin {
    fn from(origin: backend::Origin) -> Self {
        match origin {
            backend::Origin::Tcp { host, port, originator_host, originator_port } => {
                Self::Tcp { host, port, originator_host, originator_port }
            }
            backend::Origin::Unix { path } => Self::Unix { path },
            backend::Origin::X11 { originator_host, originator_port } => {
                Self::X11 { originator_host, originator_port }
            }
            backend::Origin::AuthAgent => Self::AuthAgent,
        }
    }
}

impl From<Origin> for backend::Origin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Tcp { host, port, originator_host, originator_port } => {
                Self::Tcp { host, port, originator_host, originator_port }
            }
            Origin::Unix { path } => Self::Unix { path },
            Origin::X11 { originator_host, originator_port } => {
                Self::X11 { originator_host, originator_port }
            }
            Origin::AuthAgent => Self::AuthAgent,
        }
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        let text = error.to_string();
        match error {
            BackendError::StartFailed(_) | BackendError::StartTimeout(_) | BackendError::ProgramFailed(_) => {
                Self::Program(text)
            }
            BackendError::GuestGone(_) => Self::Gone(text),
            BackendError::StreamBroken(_) => Self::Broken(text),
            BackendError::Unsupported(_) => Self::Unsupported(text),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let text = error.to_string();
        match error {
            DialError::ConnectFailed(_) => Self::Connect(text),
            DialError::Unsupported(_) => Self::Unsupported(text),
            DialError::Exhausted(_) => Self::Exhausted(text),
        }
    }
}

/// Longest reason that is shown: a guest may say anything.
const MAX_REASON: usize = 500;

/// A guest's reason, fit to be shown: of a bounded length, without what controls a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect()
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Program(text) | Failure::Connect(text) | Failure::Exhausted(text) => {
                Self::ProgramFailed(shown(&text))
            }
            Failure::Gone(text) => Self::GuestGone(shown(&text)),
            Failure::Broken(text) => Self::StreamBroken(shown(&text)),
            Failure::Unsupported(text) => Self::Unsupported(shown(&text)),
        }
    }
}

impl From<Failure> for DialError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Program(text) | Failure::Connect(text) | Failure::Gone(text) | Failure::Broken(text) => {
                Self::ConnectFailed(shown(&text))
            }
            Failure::Unsupported(text) => Self::Unsupported(shown(&text)),
            Failure::Exhausted(text) => Self::Exhausted(shown(&text)),
        }
    }
}

impl From<End> for Result<Output, BackendError> {
    fn from(end: End) -> Self {
        match end {
            End::Exit(status) => Ok(Output::Exit(status)),
            End::Signal { signal, core_dumped, message } => {
                // Both go to the client, whose names are short (RFC 4254 section 6.10).
                Ok(Output::ExitSignal { signal: shown(&signal), core_dumped, message: shown(&message) })
            }
            End::Lost(failure) => Err(failure.into()),
        }
    }
}
