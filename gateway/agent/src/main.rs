//! `containerssh-agent`: runs a connection's programs inside its pod.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = containerssh_agent::launch::main_if_asked() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        Some("sftp-server") => containerssh_agent::sftp::serve(),
        _ => usage(),
    }
}

#[allow(clippy::print_stderr, reason = "for whoever starts it by hand")]
fn usage() -> ExitCode {
    eprintln!("usage: containerssh-agent sftp-server   an SFTP server on standard input and output");
    ExitCode::from(64)
}
