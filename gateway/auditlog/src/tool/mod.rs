//! The command line program that reads audit logs.
//!
//! It is installed under two names: ours, and `containerssh-auditlog-decoder`, as in ContainerSSH, whose `-file FILE` it
//! understands and whose output it prints. Input and output pass through: memory does not grow with the log.
//!
//! Exit status: 0, everything was read; 1, wrong usage, or a file that could not be opened, read or written; 2, the log is
//! damaged, and what could be read has been printed.

mod args;
mod cast;
mod files;
mod json;
mod transcript;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::decode::{DecodeError, Decoder};
use crate::header::HeaderError;
use crate::message::Message;

use args::{Args, Format};
use files::{Input, Output};

/// Why the program stops with status 1.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("cannot open {name}: {error}")]
    Open { name: String, error: io::Error },
    #[error("cannot write {name}: {error}")]
    Write { name: String, error: io::Error },
    #[error("cannot keep the input for a second reading: {0}")]
    Spool(io::Error),
    #[error("{name}: {error}")]
    Log { name: String, error: HeaderError },
    #[error("{name}: {error}")]
    Read { name: String, error: DecodeError },
    #[error("{0} is the log itself; give another file to write to")]
    OutputIsInput(String),
    #[error("{0}")]
    Channel(#[from] cast::ChannelError),
}

/// What the log was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Sound,
    Damaged { places: u64 },
}

/// Runs the program with the process's arguments and standard streams.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse_from(args::reference_style(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to stdout with status 0, errors to stderr.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let complain = |message: &dyn std::fmt::Display| {
        // Without stderr there is nobody to tell; the status still does.
        let _ = writeln!(io::stderr().lock(), "{}: {message}", env!("CARGO_PKG_NAME"));
    };
    match run(&args) {
        Ok(Condition::Sound) => ExitCode::SUCCESS,
        Ok(Condition::Damaged { places }) => {
            let places = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
            complain(&format_args!("the log is damaged in {places}; what could be read has been printed"));
            ExitCode::from(2)
        }
        // Whoever read our output has seen enough.
        Err(ToolError::Write { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Condition, ToolError> {
    let input = Input::open(args.input())?;
    match args.format {
        Format::Json => print(input, args, &mut json::Lines),
        Format::Text => print(input, args, &mut transcript::Transcript::default()),
        Format::Asciicast => {
            let mut input = input.seekable()?;
            let survey = cast::survey(input.decoder()?)?;
            let channel = cast::choose(&survey, args.channel)?;
            print(input, args, &mut cast::Lines::new(channel, args.with_input))
        }
    }
}

/// How a log is shown.
trait View {
    fn message(&mut self, message: &Message, out: &mut Vec<u8>);
    /// Damage, in its place among the messages.
    fn damage(&mut self, error: &DecodeError, out: &mut Vec<u8>);
    fn finish(&mut self, out: &mut Vec<u8>);
}

fn print(mut input: Input, args: &Args, view: &mut impl View) -> Result<Condition, ToolError> {
    let decoder = input.decoder()?;
    // Opened only now: a wrong input must not cost an existing output.
    let mut output = Output::create(args.output.as_deref(), args.input())?;
    let places = show(decoder, view, &mut output)?;
    Ok(if places == 0 { Condition::Sound } else { Condition::Damaged { places } })
}

/// Returns the number of damaged places.
fn show(
    decoder: Decoder<files::Reader>,
    view: &mut impl View,
    output: &mut Output,
) -> Result<u64, ToolError> {
    let (mut places, mut shown, mut failed) = (0, Vec::new(), None);
    for item in decoder {
        match item {
            Ok(message) => view.message(&message, &mut shown),
            Err(error @ DecodeError::Io(_)) => failed = Some(error),
            Err(error) => {
                places += 1;
                view.damage(&error, &mut shown);
            }
        }
        output.write(&shown)?;
        shown.clear();
    }
    view.finish(&mut shown);
    output.write(&shown)?;
    output.flush()?;
    match failed {
        Some(error) => Err(ToolError::Read { name: "the log".to_owned(), error }),
        None => Ok(places),
    }
}
