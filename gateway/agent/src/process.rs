//! A program that runs: who waits for it, and the two halves that its channel's tasks hold.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{BackendError, Output, Program, ProgramInput, ProgramOutput, Signal, WindowSize};
use containerssh_forward::Attached;
use rustix::io::Errno;
use rustix::process::{Pid, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::io::{Descriptor, Now, pipe};
use crate::launch::{self, LaunchOrder};
use crate::signals;
use crate::terminal::{self, Terminal};

/// Between `SIGHUP` and `SIGKILL` for a program that nobody is connected to any more: time to write a file, not to linger.
pub const KILL_GRACE: Duration = Duration::from_secs(5);
/// For the launcher to read its order. It does nothing else, so only a machine without memory or processes takes longer.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);
/// Signals that wait to be delivered; each takes one system call.
const SIGNALS: usize = 8;

/// What is started, and with what.
pub(crate) struct Launch<'a> {
    pub(crate) launcher: &'a Path,
    pub(crate) order: LaunchOrder,
    /// Pipes if there is none.
    pub(crate) terminal: Option<Terminal>,
    /// Taken away when the program's output is dropped.
    pub(crate) attached: Vec<Attached>,
}

/// Starts a program.
pub(crate) async fn start(
    launch: Launch<'_>,
    tasks: &TaskTracker,
    closing: &CancellationToken,
) -> Result<Program, BackendError> {
    let failed =
        |error: io::Error| BackendError::ProgramFailed(format!("The program could not be started: {error}"));
    let Launch { launcher, order, terminal, attached } = launch;
    let text = order.encode().map_err(failed)?;
    let (child, streams) = spawn(launcher, terminal).map_err(failed)?;
    let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
        return Err(failed(io::ErrorKind::NotFound.into()));
    };
    let (signals, receiver) = mpsc::channel(SIGNALS);
    let (sender, ended) = oneshot::channel();
    // From here on somebody ends it, whatever becomes of the start.
    let target = Target { group, terminal: order.terminal.then(|| Arc::downgrade(&streams.stdout)) };
    tasks.spawn(supervise(child, target, receiver, sender, closing.clone()));
    let written = timeout(LAUNCH_LIMIT, streams.order.write_all(&text)).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    let output = HostOutput {
        stdout: Some(Arc::clone(&streams.stdout)),
        stderr: streams.stderr,
        terminal: order.terminal,
        ended: Some(ended),
        last: None,
        _alive: signals.clone(),
        _attached: attached,
    };
    let sink = if order.terminal { streams.stdout } else { streams.order };
    let input = HostInput { sink: Some(sink), terminal: order.terminal, signals };
    Ok(Program { input: Box::new(input), output: Box::new(output) })
}

/// Our ends.
struct Streams {
    /// Takes the order, and then, without a terminal, the program's input.
    order: Arc<Descriptor>,
    /// The program's output, or its terminal.
    stdout: Arc<Descriptor>,
    stderr: Option<Descriptor>,
}

fn spawn(launcher: &Path, terminal: Option<Terminal>) -> io::Result<(Child, Streams)> {
    let (order_reader, order) = pipe()?;
    let order = Arc::new(Descriptor::new(order)?);
    let mut command = Command::new(launcher);
    // The program's environment stands in the order; what loads code by its environment must not see it.
    command.arg(launch::ARGUMENT).env_clear().stdin(Stdio::from(order_reader));
    let streams = match terminal {
        Some(Terminal { master, slave, .. }) => {
            command.stdout(Stdio::from(slave.try_clone()?)).stderr(Stdio::from(slave));
            Streams { order, stdout: Arc::new(Descriptor::new(master)?), stderr: None }
        }
        None => {
            let ((stdout, stdout_writer), (stderr, stderr_writer)) = (pipe()?, pipe()?);
            command.stdout(Stdio::from(stdout_writer)).stderr(Stdio::from(stderr_writer));
            let open = |fd: OwnedFd| Descriptor::new(fd);
            Streams { order, stdout: Arc::new(open(stdout)?), stderr: Some(open(stderr)?) }
        }
    };
    // Dropping `command` closes our copies of the program's ends.
    Ok((command.spawn()?, streams))
}

/// Waits for the program, delivers signals, and ends it once nobody holds a half of it or the guest closes.
///
/// Only this task reaps the child, so its process id is the program's whenever a signal is sent here.
async fn supervise(
    mut child: Child,
    target: Target,
    mut signals: mpsc::Receiver<Signal>,
    ended: oneshot::Sender<io::Result<ExitStatus>>,
    closing: CancellationToken,
) {
    loop {
        tokio::select! {
            status = child.wait() => {
                let _ = ended.send(status);
                return;
            }
            signal = signals.recv() => match signal.and_then(signals::number) {
                Some(signal) => target.signal(signal),
                None => break,
            },
            () = closing.cancelled() => break,
        }
    }
    target.end(rustix::process::Signal::HUP);
    // A stopped program would not notice.
    target.end(rustix::process::Signal::CONT);
    let status = match timeout(KILL_GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            target.end(rustix::process::Signal::KILL);
            child.wait().await
        }
    };
    let _ = ended.send(status);
}

/// Whom signals reach.
struct Target {
    /// The program's process id, which is its process group's and its session's as well.
    group: Pid,
    /// Its terminal while somebody is connected to it.
    terminal: Option<Weak<Descriptor>>,
}

impl Target {
    /// A signal from the user: what a terminal's key would reach, else the program's group.
    fn signal(&self, signal: rustix::process::Signal) {
        let terminal = self.terminal.as_ref().and_then(Weak::upgrade);
        match terminal.and_then(|terminal| tcgetpgrp(terminal.fd()).ok()) {
            // Group 1 would be everybody's.
            Some(foreground) if foreground != Pid::INIT => {
                let _ = kill_process_group(foreground, signal);
            }
            _ => self.end(signal),
        }
    }

    fn end(&self, signal: rustix::process::Signal) {
        // Before the launcher has made its session there is no such group yet.
        if kill_process_group(self.group, signal) == Err(Errno::SRCH) {
            let _ = kill_process(self.group, signal);
        }
    }
}

/// Towards a program on this host.
#[derive(Debug)]
struct HostInput {
    /// `None` once it is closed.
    sink: Option<Arc<Descriptor>>,
    terminal: bool,
    signals: mpsc::Sender<Signal>,
}

#[async_trait]
impl ProgramInput for HostInput {
    async fn stdin(&mut self, data: Bytes) -> Result<(), BackendError> {
        let closed = || BackendError::StreamBroken("The program has closed its input.".to_owned());
        let sink = self.sink.as_ref().ok_or_else(closed)?;
        sink.write_all(&data).await.map_err(|_| closed())
    }

    async fn eof(&mut self) -> Result<(), BackendError> {
        // A terminal's input has no end: its program reads on after the key that stands for one. sshd ignores it too.
        if !self.terminal {
            self.sink = None;
        }
        Ok(())
    }

    async fn resize(&mut self, size: WindowSize) -> Result<(), BackendError> {
        match &self.sink {
            Some(sink) if self.terminal => terminal::resize(sink.fd().as_fd(), size)
                .map_err(|error| BackendError::StreamBroken(format!("The terminal is gone: {error}"))),
            _ => Err(BackendError::Unsupported("The program has no terminal.".to_owned())),
        }
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), BackendError> {
        let sent = self.signals.send(signal).await;
        sent.map_err(|_| BackendError::Unsupported("The program has ended.".to_owned()))
    }
}

/// From a program on this host.
///
/// # When it has ended
/// As sshd does it. Without a terminal the output ends when everybody who holds it has closed it: a program that leaves
/// children with its output behind keeps the channel open for them. With a terminal it ends with the program: what
/// stands in the terminal is still read, and children that hold the terminal are hung up with it.
#[derive(Debug)]
struct HostOutput {
    /// `None` once it has ended.
    stdout: Option<Arc<Descriptor>>,
    stderr: Option<Descriptor>,
    terminal: bool,
    ended: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
    /// How the program ended, once it has.
    last: Option<Result<Output, BackendError>>,
    /// The program is ended when all halves are gone.
    _alive: mpsc::Sender<Signal>,
    _attached: Vec<Attached>,
}

/// What came first.
enum Event {
    Stdout(io::Result<Option<Bytes>>),
    Stderr(io::Result<Option<Bytes>>),
    Ended(Result<Output, BackendError>),
}

#[async_trait]
impl ProgramOutput for HostOutput {
    async fn next(&mut self) -> Result<Output, BackendError> {
        loop {
            if self.terminal && self.last.is_some() {
                let rest = self.stdout.as_ref().map(|terminal| terminal.read_now());
                if let Some(Ok(Now::Data(data))) = rest {
                    return Ok(Output::Stdout(data));
                }
                self.stdout = None;
            }
            if self.stdout.is_none()
                && self.stderr.is_none()
                && let Some(last) = self.last.take()
            {
                return last;
            }
            match self.event().await {
                Event::Stdout(Ok(Some(data))) => return Ok(Output::Stdout(data)),
                Event::Stderr(Ok(Some(data))) => return Ok(Output::Stderr(data)),
                // An error of a pipe or a terminal is its end: there is no other.
                Event::Stdout(_) => self.stdout = None,
                Event::Stderr(_) => self.stderr = None,
                Event::Ended(last) => {
                    self.ended = None;
                    self.last = Some(last);
                }
            }
        }
    }
}

impl HostOutput {
    async fn event(&mut self) -> Event {
        tokio::select! {
            data = read(self.stdout.as_deref()) => Event::Stdout(data),
            data = read(self.stderr.as_ref()) => Event::Stderr(data),
            last = last(self.ended.as_mut()) => Event::Ended(last),
        }
    }
}

async fn read(from: Option<&Descriptor>) -> io::Result<Option<Bytes>> {
    match from {
        Some(from) => from.read().await,
        None => std::future::pending().await,
    }
}

async fn last(ended: Option<&mut oneshot::Receiver<io::Result<ExitStatus>>>) -> Result<Output, BackendError> {
    match ended {
        Some(ended) => match ended.await {
            Ok(Ok(status)) => Ok(verdict(status)),
            Ok(Err(error)) => Err(BackendError::StreamBroken(format!("The program is lost: {error}"))),
            Err(_) => Err(BackendError::StreamBroken("The program is lost.".to_owned())),
        },
        None => std::future::pending().await,
    }
}

fn verdict(status: ExitStatus) -> Output {
    match (status.code(), status.signal()) {
        (None, Some(signal)) => Output::ExitSignal {
            signal: signals::name(signal).to_owned(),
            core_dumped: status.core_dumped(),
            message: String::new(),
        },
        // Eight bits, so never negative.
        (code, _) => Output::Exit(code.map_or(255, i32::unsigned_abs)),
    }
}
