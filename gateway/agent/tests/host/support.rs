//! A guest on this host, and programs in it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use containerssh_agent::{Accounts, Base, HostGuest, HostSettings};
use containerssh_backend::{
    Command, Guest as _, Output, Program, ProgramInput, ProgramOutput, ProgramSpec, Pty, WindowSize,
};

/// Longer than anything takes on the slowest machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails a test that would hang.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for: {what}"),
    }
}

pub(crate) fn settings(base: Base) -> HostSettings {
    HostSettings {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_containerssh-agent")),
        ..HostSettings::of(base)
    }
}

pub(crate) fn guest() -> HostGuest {
    HostGuest::new("here".into(), settings(Base::Container), &Accounts::of_host())
}

pub(crate) fn spec(command: &str) -> ProgramSpec {
    ProgramSpec {
        channel: 0,
        command: Command::Exec(command.into()),
        env: Vec::new(),
        pty: None,
        x11: None,
        auth_agent: false,
    }
}

pub(crate) fn pty(modes: &'static [u8]) -> Option<Pty> {
    let size = WindowSize { columns: 91, rows: 17, width: 910, height: 340 };
    Some(Pty { term: "xterm-test".into(), size, modes: Bytes::from_static(modes) })
}

/// What a program wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) last: Output,
}

impl Finished {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

pub(crate) async fn collect(output: &mut dyn ProgramOutput) -> Finished {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    within("the program's end", async {
        loop {
            match output.next().await.unwrap() {
                Output::Stdout(data) => stdout.extend_from_slice(&data),
                Output::Stderr(data) => stderr.extend_from_slice(&data),
                last => return Finished { stdout, stderr, last },
            }
        }
    })
    .await
}

/// Reads until `wanted` is in the output.
pub(crate) async fn read_until(output: &mut dyn ProgramOutput, wanted: &str) -> String {
    let mut seen = String::new();
    within(wanted, async {
        while !seen.contains(wanted) {
            match output.next().await.unwrap() {
                Output::Stdout(data) => seen.push_str(&String::from_utf8_lossy(&data)),
                other => panic!("{other:?} before {wanted:?}; seen: {seen:?}"),
            }
        }
    })
    .await;
    seen
}

/// Starts a program in a guest of its own and leaves its input open.
pub(crate) async fn start(spec: ProgramSpec) -> (HostGuest, Box<dyn ProgramInput>, Box<dyn ProgramOutput>) {
    let guest = guest();
    let Program { input, output } = guest.start(spec).await.unwrap();
    (guest, input, output)
}

/// Runs a program to its end with `stdin`.
pub(crate) async fn run_with(spec: ProgramSpec, stdin: &[u8]) -> Finished {
    let (guest, mut input, mut output) = start(spec).await;
    let sending = async {
        // Fails if the program ends without reading all of it.
        if input.stdin(Bytes::copy_from_slice(stdin)).await.is_ok() {
            input.eof().await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let finished = tokio::select! {
        () = sending => unreachable!(),
        finished = collect(output.as_mut()) => finished,
    };
    guest.close().await;
    finished
}

pub(crate) async fn run(command: &str) -> Finished {
    run_with(spec(command), b"").await
}

/// Waits until a process is gone or a zombie.
pub(crate) async fn ended(pid: &str) {
    let stat = format!("/proc/{}/stat", pid.trim());
    within("the end of a process", async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
