//! `search`: a pattern through many logs, in what users saw, typed and ran.
//!
//! What is searched are lines as people know them, not bytes as they were sent: [`seen`] says when a line on a terminal counts as seen,
//! [`typed`] what is made of keys, [`lines`] how streams without a terminal are read. Where nothing can match nothing is rendered;
//! see [`pattern`] and [`seen`] for how, and why nothing is missed.

mod batch;
mod hit;
mod lines;
mod log;
mod pattern;
mod seen;
mod typed;

use std::ffi::OsString;

use clap::ValueEnum;
use containerssh_auditlog::{DecodeError, HeaderError};

use crate::complain;
use crate::error::ToolError;
use crate::input::{Input, SourceArgs};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::progress::Progress;
use crate::walk;

use batch::Sink;
use hit::Kind;
use log::Log;
use pattern::Pattern;

pub(crate) use pattern::PatternError;

/// The arguments of `search`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What was seen: on a terminal, lines as they stood on the screen, even if only until the next moment; without \
                  one, lines of output without colours. What was typed: lines as corrected with backspace, and as they came. A password \
                  that was typed into a program is among them.\n\n\
                  Exit status: 0 found; 1 not found; 2 wrong usage, or a log could not be read as a whole (what could be read has \
                  been searched)."
)]
pub(crate) struct SearchArgs {
    /// What to look for: a regular expression (the syntax of Rust's regex crate)
    pattern: String,

    /// Logs, or directories with logs; - for standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<OsString>,

    /// Where to look
    #[arg(long = "in", value_enum, default_value_t, value_name = "WHERE")]
    scope: Scope,

    /// Upper and lower case are the same
    #[arg(long, short)]
    ignore_case: bool,

    /// The pattern is plain text
    #[arg(long, short = 'F')]
    fixed_strings: bool,

    /// Print only the names of logs with a match
    #[arg(long, short = 'l')]
    files_with_matches: bool,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// What was shown to users
    Seen,
    /// What users typed or sent
    Typed,
    /// What clients asked to run: commands, subsystems
    Commands,
    /// All of these
    #[default]
    All,
}

impl Scope {
    fn covers(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Seen => kind == Kind::Seen,
            Self::Typed => kind == Kind::Typed,
            Self::Commands => kind == Kind::Command,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line per match: file, time, user, connection, channel, how, the line
    #[default]
    Text,
    /// One JSON object per match and line
    Json,
}

/// What is looked for, and who wants to know.
struct Search<'s> {
    pattern: &'s Pattern,
    sink: &'s mut dyn Sink,
}

/// Runs the subcommand.
pub(crate) fn run(args: &SearchArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let pattern = Pattern::new(&args.pattern, args.fixed_strings, args.ignore_case)?;
    let (mut found, mut trouble) = (false, false);
    let progress = Progress::start(&args.logs);
    for target in walk::targets(&args.logs) {
        let searched = target.and_then(|target| {
            let input = Input::open(&target.spec, &args.source)?;
            match search(args, &pattern, input, &progress, output) {
                // Other files may be where logs are.
                Err(ToolError::Log { error: HeaderError::NotAnAuditLog, .. }) if !target.named => {
                    Ok(Searched::default())
                }
                other => other,
            }
        });
        match searched {
            Ok(searched) => {
                found |= searched.found;
                trouble |= searched.damaged;
            }
            Err(error @ ToolError::Write { .. }) => return Err(error),
            Err(error) => {
                trouble = true;
                progress.suspend(|| complain(&error));
            }
        }
    }
    Ok(match (trouble, found) {
        (true, _) => Outcome::Trouble,
        (false, true) => Outcome::Done,
        (false, false) => Outcome::NotFound,
    })
}

/// How one log went.
#[derive(Clone, Copy, Debug, Default)]
struct Searched {
    found: bool,
    damaged: bool,
}

fn search(
    args: &SearchArgs,
    pattern: &Pattern,
    mut input: Input,
    progress: &Progress,
    output: &mut Output,
) -> Result<Searched, ToolError> {
    input.watch(progress);
    let decoder = input.decoder()?;
    let (mut searched, mut places) = (Searched::default(), 0);
    let mut log = Log::new(pattern, args.scope);
    let mut failed = None;
    {
        let name = input.name();
        let mut flush = |log: &mut Log<'_>| print(args, name, log, progress, output, &mut searched);
        for item in decoder {
            match item {
                Ok(message) => log.push(&message, &mut flush)?,
                Err(error @ DecodeError::Io(_)) => failed = Some(error),
                Err(_) => places += 1,
            }
            if args.files_with_matches && !log.hits.is_empty() {
                break;
            }
        }
        log.finish();
        flush(&mut log)?;
    }
    searched.damaged = places > 0;
    if let Some(damage) = Outcome::of_places(places).remark() {
        progress.suspend(|| complain(&format_args!("{}: {damage}", input.name())));
    }
    match failed {
        Some(error) => Err(ToolError::Read { name: input.name().to_owned(), error }),
        None => Ok(searched),
    }
}

/// Prints the hits that have been collected, in the order of their times.
fn print(
    args: &SearchArgs,
    file: &str,
    log: &mut Log<'_>,
    progress: &Progress,
    output: &mut Output,
    searched: &mut Searched,
) -> Result<(), ToolError> {
    let mut hits = std::mem::take(&mut log.hits);
    if hits.is_empty() {
        return Ok(());
    }
    hits.sort_by_key(|hit| hit.time);
    let session = hit::Session {
        file,
        connection: log.session.connection.as_deref().unwrap_or_default(),
        user: log.session.user.as_deref(),
    };
    progress.suspend(|| {
        if args.files_with_matches {
            if !searched.found {
                output.write(format!("{file}\n").as_bytes())?;
            }
        } else {
            for hit in &hits {
                let line = match args.format {
                    Format::Text => hit::text(session, hit),
                    Format::Json => hit::json(session, hit),
                };
                output.write(line.as_bytes())?;
            }
        }
        output.flush()
    })?;
    searched.found = true;
    Ok(())
}
