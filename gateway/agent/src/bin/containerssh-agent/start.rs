//! What the gateway execs: leaves an agent behind that outlives the exec.
//!
//! A process of its own serves, because a runtime may kill what it executed when the exec's stream breaks, and a
//! session need not end with the API server's.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Longest line of either side: keys and the commands of subsystems.
pub(crate) const MAX_LINE: u64 = 256 * 1024;

/// Starts `serve` with the greeting on standard input and passes its answer on.
pub(crate) fn run() -> io::Result<()> {
    let greeting = line(io::stdin().lock())?;
    let mut serving = Command::new("/proc/self/exe")
        .arg0("containerssh-agent")
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    if let Some(mut stdin) = serving.stdin.take() {
        // If it does not take it, it says why below.
        let _ = stdin.write_all(greeting.as_bytes());
    }
    let answer = match serving.stdout.take() {
        Some(stdout) => line(BufReader::new(stdout))?,
        None => String::new(),
    };
    if answer.is_empty() {
        // It has said why on standard error.
        let status = serving.wait()?;
        return Err(io::Error::other(format!("the agent did not start: {status}")));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(answer.as_bytes())?;
    stdout.flush()
}

/// One line with its end; empty if there is none.
pub(crate) fn line(from: impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}
