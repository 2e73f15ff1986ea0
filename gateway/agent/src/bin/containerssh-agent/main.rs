//! `containerssh-agent`: runs a connection's programs inside its pod.
//!
//! ```text
//! install DIR   copies itself into a volume that the container shares (init container)
//! idle          what the container runs when its image has nothing that waits: reaps what users leave behind
//! start         by exec: reads the gateway's greeting, leaves `serve` behind, prints its answer, ends
//! serve         listens, serves the one gateway that has the key, ends with it
//! relay PORT    by exec, where the pod network is closed: standard input and output to `serve`
//! sftp-server   an SFTP server on standard input and output
//! ```
//! It needs no privileges, no file of the image, and nothing to write to.

mod idle;
mod install;
mod relay;
mod serve;
mod start;

use std::io;
use std::process::ExitCode;

const USAGE: &str = "usage: containerssh-agent install DIRECTORY | idle | start | serve | relay PORT | sftp-server\n\
                     The gateway runs it inside a pod; by hand only sftp-server is of use.";
/// sysexits.h, `EX_USAGE`.
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    if let Some(code) = containerssh_agent::launch::main_if_asked() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["install", directory] => install::run(directory.as_ref()),
        ["idle"] => idle::run(),
        ["start"] => start::run(),
        ["serve"] => {
            containerssh_agent::open_files::raise();
            serve::run()
        }
        ["relay", port] => match port.parse() {
            Ok(port) => relay::run(port),
            Err(_) => return usage(),
        },
        ["sftp-server"] => return containerssh_agent::sftp::serve(),
        _ => return usage(),
    };
    done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

#[allow(clippy::print_stderr, reason = "for whoever starts it by hand, and for the gateway's log")]
fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(BAD_USAGE)
}

#[allow(clippy::print_stderr, reason = "for the gateway's log")]
fn fail(error: &io::Error) -> ExitCode {
    eprintln!("containerssh-agent: {error}");
    ExitCode::FAILURE
}
