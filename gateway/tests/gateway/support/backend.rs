//! A backend that runs programs on this machine, each as a process with pipes, and forwards from there.
//!
//! It has no terminals: a program that gets one is told its size, and each change of it, as a line of output.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use containerssh_backend::{
    Backend, BackendError, Bind, Command, ConnectionInfo, DialError, Guest, Incoming, Output, Program,
    ProgramInput, ProgramOutput, ProgramSpec, ProgressSender, Signal, Stream, Target, WindowSize,
};
use containerssh_forward::{Attached, Forwards};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How guests start.
#[derive(Debug, Clone, Default)]
pub(crate) enum Start {
    #[default]
    Now,
    Fail(String),
    /// Says this, then waits until told.
    After(String, CancellationToken),
}

#[derive(Debug)]
pub(crate) struct LocalBackend {
    pub(crate) start: Mutex<Start>,
    pub(crate) connections: Mutex<Vec<Arc<ConnectionInfo>>>,
    /// Guests asked for, given up while they started, closed.
    pub(crate) asked: watch::Sender<usize>,
    pub(crate) given_up: watch::Sender<usize>,
    pub(crate) closed: watch::Sender<usize>,
    /// All guests are gone.
    pub(crate) gone: CancellationToken,
}

impl Default for LocalBackend {
    fn default() -> Self {
        Self {
            start: Mutex::default(),
            connections: Mutex::default(),
            asked: watch::Sender::new(0),
            given_up: watch::Sender::new(0),
            closed: watch::Sender::new(0),
            gone: CancellationToken::new(),
        }
    }
}

/// Waits until a count reaches `wanted`.
pub(crate) async fn reaches(count: &watch::Sender<usize>, wanted: usize) {
    super::within("a count of the backend", count.subscribe().wait_for(|count| *count >= wanted))
        .await
        .unwrap();
}

/// Counts a start that is dropped half-way.
struct Starting<'a>(Option<&'a watch::Sender<usize>>);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(given_up) = self.0 {
            given_up.send_modify(|count| *count += 1);
        }
    }
}

/// A handle on the backend that can be given to guests.
#[derive(Debug, Clone)]
pub(crate) struct Local(pub(crate) Arc<LocalBackend>);

#[async_trait]
impl Backend for Local {
    async fn connect(
        &self,
        connection: Arc<ConnectionInfo>,
        progress: ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        let mut starting = Starting(Some(&self.0.given_up));
        self.0.connections.lock().unwrap().push(connection);
        self.0.asked.send_modify(|count| *count += 1);
        let start = self.0.start.lock().unwrap().clone();
        match start {
            Start::Now => {}
            Start::Fail(cause) => {
                starting.0 = None;
                return Err(BackendError::StartFailed(cause));
            }
            Start::After(state, told) => {
                progress.report(state);
                told.cancelled().await;
            }
        }
        starting.0 = None;
        Ok(Arc::new(LocalGuest { backend: Arc::clone(&self.0), forwards: Forwards::new() }))
    }
}

#[derive(Debug)]
struct LocalGuest {
    backend: Arc<LocalBackend>,
    forwards: Forwards,
}

#[async_trait]
impl Guest for LocalGuest {
    fn name(&self) -> &'static str {
        "here/local"
    }

    async fn start(&self, spec: ProgramSpec) -> Result<Program, BackendError> {
        let mut command = match &spec.command {
            Command::Shell => tokio::process::Command::new("sh"),
            Command::Exec(line) => {
                let mut command = tokio::process::Command::new("sh");
                command.args(["-c", line]);
                command
            }
            Command::Subsystem(name) if name == "echo" => tokio::process::Command::new("cat"),
            Command::Subsystem(name) => {
                return Err(BackendError::ProgramFailed(format!("no subsystem {name}")));
            }
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(spec.env.iter().cloned());
        if let Some(pty) = &spec.pty {
            command.env("TERM", &pty.term);
        }
        let mut attached = Vec::new();
        if let Some(x11) = &spec.x11 {
            attached.push(self.forwards.x11(x11).await.unwrap());
        }
        if spec.auth_agent {
            attached.push(self.forwards.auth_agent().await.unwrap());
        }
        command.envs(attached.iter().flat_map(Attached::env));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| BackendError::ProgramFailed(error.to_string()))?;
        let (sender, receiver) = mpsc::channel(4);
        let input = Input { stdin: child.stdin.take(), pid: child.id().unwrap(), sender: sender.clone() };
        if let Some(pty) = &spec.pty {
            let _ = sender.send(Ok(Output::Stdout(size_line("start", pty.size)))).await;
        }
        tokio::spawn(async move {
            run(child, sender).await;
            drop(attached);
        });
        let gone = self.backend.gone.clone();
        Ok(Program { input: Box::new(input), output: Box::new(Receiver { receiver, gone }) })
    }

    async fn dial(&self, target: Target) -> Result<Stream, DialError> {
        self.forwards.dial(&target).await
    }

    async fn listen(&self, bind: Bind) -> Result<u16, DialError> {
        self.forwards.listen(&bind).await
    }

    async fn unlisten(&self, bind: Bind) -> bool {
        self.forwards.unlisten(&bind).await
    }

    async fn accept(&self) -> Incoming {
        self.forwards.accept().await
    }

    async fn gone(&self) -> BackendError {
        self.backend.gone.cancelled().await;
        BackendError::GuestGone("Evicted: the node was low on memory".into())
    }

    async fn close(&self) {
        self.forwards.close().await;
        self.backend.closed.send_modify(|count| *count += 1);
    }
}

fn size_line(what: &str, size: WindowSize) -> Bytes {
    Bytes::from(format!("[{what} {}x{}]\r\n", size.columns, size.rows))
}

type Sender = mpsc::Sender<Result<Output, BackendError>>;

async fn run(mut child: Child, sender: Sender) {
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let streams = async {
        tokio::join!(copy(stdout, &sender, Output::Stdout), copy(stderr, &sender, Output::Stderr));
        let status = child.wait().await.unwrap();
        let last = match (status.code(), status.signal()) {
            (Some(code), _) => Output::Exit(code.unsigned_abs()),
            (None, signal) => Output::ExitSignal {
                signal: if signal == Some(15) { "TERM" } else { "KILL" }.to_owned(),
                core_dumped: false,
                message: String::new(),
            },
        };
        let _ = sender.send(Ok(last)).await;
    };
    // Nobody listens any more: the child is dropped, and so killed.
    tokio::select! {
        () = streams => {}
        () = sender.closed() => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: &Sender, wrap: fn(Bytes) -> Output) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(32 * 1024);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send(Ok(wrap(buffer.split().freeze()))).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Input {
    stdin: Option<ChildStdin>,
    pid: u32,
    sender: Sender,
}

#[async_trait]
impl ProgramInput for Input {
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError> {
        let broken = || BackendError::StreamBroken("the program closed its input".into());
        let stdin = self.stdin.as_mut().ok_or_else(broken)?;
        stdin.write_all(&data).await.map_err(|_| broken())
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        self.stdin = None;
        Ok(())
    }

    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError> {
        let _ = self.sender.send(Ok(Output::Stdout(size_line("now", size)))).await;
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError> {
        let sent = tokio::process::Command::new("kill")
            .args([format!("-{}", signal.name()), self.pid.to_string()])
            .status()
            .await
            .map_err(|error| BackendError::Unsupported(error.to_string()))?;
        if sent.success() { Ok(()) } else { Err(BackendError::Unsupported("kill failed".into())) }
    }
}

#[derive(Debug)]
struct Receiver {
    receiver: mpsc::Receiver<Result<Output, BackendError>>,
    gone: CancellationToken,
}

#[async_trait]
impl ProgramOutput for Receiver {
    async fn next(&mut self) -> Result<Output, BackendError> {
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(BackendError::GuestGone("Evicted: the node was low on memory".into())),
            message = self.receiver.recv() => {
                message.unwrap_or_else(|| Err(BackendError::StreamBroken("the process is lost".into())))
            }
        }
    }
}
