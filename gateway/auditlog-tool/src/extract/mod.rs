//! `extract`: the files that were moved in a session, back out of its log.
//!
//! Uploads and downloads over SFTP and scp, by their paths or all of them; or what one stream of a channel held, for programs
//! whose protocol is not known here (`tar`, `rsync`).
//!
//! The names are chosen by the user whose session it was: [`names`] says why they lead nowhere else.

mod budget;
mod names;
mod run;
mod store;
mod stream;
mod transfer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use containerssh_auditlog::IoStream;

use crate::error::ToolError;
use crate::input::{Input, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;

use budget::Bytes;
use transfer::TransferId;

/// The arguments of `extract`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A file that did not pass whole is written as NAME.partial. Nothing that exists is replaced.\n\n\
                  extract LOG --list                               what there is\n\
                  extract LOG /home/alice/report.pdf -o evidence   one file, into a directory\n\
                  extract LOG --all -o evidence                    all of them\n\
                  extract LOG --transfer 2.0 -o -                  one transfer, to standard output\n\
                  extract LOG --channel 2 --stream stdin -o tar    what a program was sent"
)]
pub(crate) struct ExtractArgs {
    /// The log to read; - for standard input
    #[arg(value_name = "LOG")]
    log: OsString,

    /// Files to extract, named as in the log
    #[arg(value_name = "PATH", conflicts_with_all = ["all", "list", "stream"])]
    paths: Vec<OsString>,

    /// List the transfers
    #[arg(long)]
    list: bool,

    /// Extract every transfer
    #[arg(long, conflicts_with_all = ["list", "stream"])]
    all: bool,

    /// Extract one transfer, by its number in the list
    #[arg(long, value_name = "N.M", conflicts_with_all = ["paths", "all", "list", "stream"])]
    transfer: Option<TransferId>,

    /// With --stream: the channel
    #[arg(long, value_name = "N", requires = "stream")]
    channel: Option<u64>,

    /// Extract the raw bytes of a channel's stream
    #[arg(long, value_enum, requires = "channel", conflicts_with = "list")]
    stream: Option<Stream>,

    /// The directory to write to; with --stream the file; - for standard output, if it is one transfer
    #[arg(long, short, value_name = "DIR", required_unless_present = "list")]
    output: Option<PathBuf>,

    /// Write no more than this, holes in files included
    #[arg(long, value_name = "SIZE", default_value = "10GiB")]
    max_bytes: Bytes,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

impl From<Stream> for IoStream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdin => Self::Stdin,
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
        }
    }
}

/// Why `extract` gives up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtractError {
    #[error("name the files to extract, or give --all, --list, --transfer or --stream")]
    Nothing,
    #[error("no such transfer in the log; --list shows those that there are")]
    NotFound,
    #[error("{0} transfers fit, and standard output takes one; --list shows their numbers for --transfer")]
    Several(usize),
    #[error("--max-bytes was reached: what is missing is named above")]
    TooMuch,
}

/// What is wanted of a log's transfers.
#[derive(Clone, Debug)]
enum Wanted {
    All,
    Paths(Vec<OsString>),
    One(TransferId),
}

/// Runs the subcommand.
pub(crate) fn run(args: &ExtractArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let input = Input::open(&args.log, &args.source)?;
    if args.list {
        return run::list(input, output);
    }
    let to = args.output.as_deref().unwrap_or(Path::new("-"));
    if let (Some(channel), Some(stream)) = (args.channel, args.stream) {
        return stream::run(input, &args.log, (channel, stream.into()), to, args.max_bytes, output);
    }
    let wanted = match (args.all, args.transfer) {
        (true, _) => Wanted::All,
        (false, Some(transfer)) => Wanted::One(transfer),
        (false, None) if args.paths.is_empty() => return Err(ExtractError::Nothing.into()),
        (false, None) => Wanted::Paths(args.paths.clone()),
    };
    if to == Path::new("-") {
        run::to_stdout(input, wanted, args.max_bytes, output)
    } else {
        run::to_directory(input, wanted, to, args.max_bytes, output)
    }
}
