//! `stats`: what logs come to, each and in total.

mod json;
mod summary;
mod text;

use std::collections::BTreeSet;
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

use summary::{Counts, Summary};

/// Users that are told apart in the total.
const MAX_USERS: usize = 100_000;

/// The arguments of `stats`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Columns: LOGIN is accepted/attempts; a user in brackets never got in; CMDS are shells, commands and subsystems; \
                        STATE is \"whole\" if the log has its end, no gap and no damage.\n\n\
                        Exit status: 0 everything was read; 1 wrong usage; 2 a log could not be read, or not as a whole."
)]
pub(crate) struct StatsArgs {
    /// Logs, or directories with logs; - for standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<OsString>,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table
    #[default]
    Text,
    /// One JSON object per log and line, with the first commands as well, then one with the total
    Json,
}

/// All logs together.
#[derive(Debug, Default)]
struct Total {
    logs: u64,
    /// Who logged in.
    users: BTreeSet<String>,
    /// Nanoseconds.
    duration: u64,
    counts: Counts,
    unended: u64,
}

impl Total {
    fn add(&mut self, summary: &Summary) {
        self.logs += 1;
        self.duration = self.duration.saturating_add(summary.duration());
        self.counts.add(&summary.counts);
        self.unended += u64::from(!summary.ended);
        if let Some(user) = summary.session.user.as_ref().filter(|_| summary.session.authenticated)
            && self.users.len() < MAX_USERS
        {
            self.users.insert(user.clone());
        }
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &StatsArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let progress = Progress::start(&args.logs);
    let (mut total, mut trouble) = (Total::default(), false);
    let mut print = |text: String| {
        progress.suspend(|| {
            output.write(text.as_bytes())?;
            output.flush()
        })
    };
    if args.format == Format::Text {
        print(text::head())?;
    }
    for target in walk::targets(&args.logs) {
        let read = target.and_then(|target| {
            let mut input = Input::open(&target.spec, &args.source)?;
            input.watch(&progress);
            match summarize(&mut input) {
                // Other files may be where logs are.
                Err(ToolError::Log { error: HeaderError::NotAnAuditLog, .. }) if !target.named => Ok(None),
                Err(error) => Err(error),
                Ok(summary) => Ok(Some((input.name().to_owned(), summary))),
            }
        });
        match read {
            Ok(None) => {}
            Ok(Some((file, summary))) => {
                trouble |= summary.counts.damaged > 0;
                total.add(&summary);
                print(match args.format {
                    Format::Text => text::line(&file, &summary),
                    Format::Json => json::line(&file, &summary),
                })?;
            }
            Err(error) => {
                trouble = true;
                progress.suspend(|| complain(&error));
            }
        }
    }
    print(match args.format {
        Format::Text => text::total(&total),
        Format::Json => json::total(&total),
    })?;
    Ok(if trouble { Outcome::Trouble } else { Outcome::Done })
}

fn summarize(input: &mut Input) -> Result<Summary, ToolError> {
    let mut summary = Summary::default();
    for item in input.decoder()? {
        match item {
            Ok(message) => summary.push(&message),
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            Err(error) => summary.damage(&error),
        }
    }
    Ok(summary)
}
