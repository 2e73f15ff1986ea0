//! `convert`: one log as JSON lines, as a transcript for people, or as a cast for players.

mod cast;
mod files;
mod json;
mod transcript;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ValueEnum;
use containerssh_auditlog::asciicast::{Cast, Version};
use containerssh_auditlog::{DecodeError, Decoder, Message};

use crate::error::ToolError;
use crate::input::{Input, Reader, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;

use files::{Lines as Files, Style};

pub(crate) use cast::{ChannelError, choose_to_watch};
pub(crate) use transcript::describe;

/// The arguments of `convert`, and those without a subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// The log to read; - for standard input
    #[arg(required_unless_present_any = ["input", "file"])]
    log: Option<OsString>,

    /// The log to read
    #[arg(long, short, value_name = "FILE", conflicts_with = "log")]
    input: Option<OsString>,

    /// The log to read (the reference decoder's name for --input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "log"], hide = true)]
    file: Option<OsString>,

    /// Where to write; - or nothing for standard output. An existing file is replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// asciicast: the channel to export, if there is more than one with a terminal
    #[arg(long, value_name = "N")]
    channel: Option<u64>,

    /// asciicast: also what the user typed, passwords included
    #[arg(long)]
    with_input: bool,

    /// asciicast: the version to write
    #[arg(long, value_enum, default_value_t, value_name = "N")]
    cast_version: CastVersion,

    /// json, text: only what happened to files over SFTP and scp
    #[arg(long)]
    files: bool,

    /// With --files: also requests that only look (stat, realpath)
    #[arg(long, requires = "files")]
    lookups: bool,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object per record and line, as ContainerSSH's decoder prints them
    #[default]
    Json,
    /// A transcript for people, control characters made visible
    Text,
    /// One terminal session for players such as asciinema
    Asciicast,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CastVersion {
    /// Every player reads it
    #[default]
    #[value(name = "2")]
    V2,
    /// For players of 2025 and later; has the exit status as well
    #[value(name = "3")]
    V3,
}

impl From<CastVersion> for Version {
    fn from(version: CastVersion) -> Self {
        match version {
            CastVersion::V2 => Self::V2,
            CastVersion::V3 => Self::V3,
        }
    }
}

impl ConvertArgs {
    /// The log that is named, in whichever way.
    pub(crate) fn input(&self) -> &OsStr {
        // clap requires one of them; an empty name cannot be opened.
        self.log.as_deref().or(self.input.as_deref()).or(self.file.as_deref()).unwrap_or_default()
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &ConvertArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let input = Input::open(args.input(), &args.source)?;
    match args.format {
        Format::Json if args.files => print(input, args, output, &mut Files::new(Style::Json, args.lookups)),
        Format::Text if args.files => print(input, args, output, &mut Files::new(Style::Text, args.lookups)),
        Format::Json => print(input, args, output, &mut json::Lines),
        Format::Text => print(input, args, output, &mut transcript::Transcript::default()),
        Format::Asciicast => {
            let mut input = input.seekable()?;
            let survey = cast::survey(&mut input)?;
            let channel = cast::choose(&survey, args.channel)?;
            let cast = Cast::new(channel, args.with_input).with_version(args.cast_version.into());
            print(input, args, output, &mut cast::Lines::new(cast))
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

fn print(
    mut input: Input,
    args: &ConvertArgs,
    output: &mut Output,
    view: &mut impl View,
) -> Result<Outcome, ToolError> {
    let decoder = input.decoder()?;
    // Opened only now: a wrong input must not cost an existing output.
    output.redirect(args.output.as_deref(), args.input())?;
    show(input.name(), decoder, view, output).map(Outcome::of_places)
}

/// Returns the number of damaged places.
fn show(
    name: &str,
    decoder: Decoder<Reader>,
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
        Some(error) => Err(ToolError::Read { name: name.to_owned(), error }),
        None => Ok(places),
    }
}
