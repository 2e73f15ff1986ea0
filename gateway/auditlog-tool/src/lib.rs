//! The command line program that reads audit logs.
//!
//! It is installed under two names: ours, and `containerssh-auditlog-decoder`, as in ContainerSSH, whose `-file FILE` it
//! understands and whose output it prints.
//!
//! One module per subcommand, each with its arguments (`…Args`) and a `run`; what several share stands beside them:
//!
//! - [`input`]: where a log comes from. [`output`]: where the result goes.
//! - [`error`]: why a subcommand gives up. [`outcome`]: how it ended, as an exit status.
//!
//! Input and output pass through: memory does not grow with the log.

mod args;
mod convert;
mod error;
mod extract;
mod files;
mod html;
mod identity;
mod input;
mod manual;
mod outcome;
mod output;
mod play;
mod progress;
mod screen;
mod search;
mod session;
mod stats;
mod store;
mod time;
mod verify;
mod walk;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use error::ToolError;
use outcome::Outcome;
use output::Output;

/// Runs the program with the process's arguments and standard streams.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = args::reference_style(std::env::args_os()).collect();
    let command = match Args::try_parse_from(&arguments) {
        Ok(args) => args.into_command(),
        Err(error) => {
            // Help and version go to stdout with status 0, errors to stderr.
            let _ = error.print();
            let status = if error.use_stderr() { args::usage_status(&arguments) } else { 0 };
            return ExitCode::from(status);
        }
    };
    let mut output = Output::stdout();
    let ended = run(&command, &mut output).and_then(|outcome| output.flush().map(|()| outcome));
    match ended {
        Ok(outcome) => {
            if let Some(remark) = outcome.remark() {
                complain(&remark);
            }
            ExitCode::from(outcome.status())
        }
        // Whoever read our output has seen enough.
        Err(ToolError::Write { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(command.trouble_status())
        }
    }
}

fn run(command: &Command, output: &mut Output) -> Result<Outcome, ToolError> {
    match command {
        Command::Convert(args) => convert::run(args, output),
        Command::Play(args) => play::run(args, output),
        Command::Html(args) => html::run(args, output),
        Command::Search(args) => search::run(args, output),
        Command::Stats(args) => stats::run(args, output),
        Command::Ls(args) => store::ls(args, output),
        Command::Fetch(args) => store::fetch(args, output),
        Command::Extract(args) => extract::run(args, output),
        Command::Verify(args) => verify::run(args, output),
        Command::Completions(args) => manual::completions(args, output),
        Command::Man(args) => manual::man(args, output),
    }
}

fn complain(message: &dyn std::fmt::Display) {
    // Without stderr there is nobody to tell; the status still does.
    let _ = writeln!(io::stderr().lock(), "{}: {message}", env!("CARGO_PKG_NAME"));
}
