//! The command line.
//!
//! Without a subcommand the program converts, as it did before it had any, and as ContainerSSH's decoder does.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::convert::ConvertArgs;
use crate::extract::ExtractArgs;
use crate::html::HtmlArgs;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::play::PlayArgs;
use crate::search::SearchArgs;
use crate::stats::StatsArgs;
use crate::store::{FetchArgs, LsArgs};
use crate::verify::VerifyArgs;

/// Reads ContainerSSH audit logs (FORMAT 1 and 2), whole or damaged.
#[derive(Debug, Parser)]
#[command(
    name = "containerssh-auditlog-tool",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit status: 0 everything was read; 1 wrong usage, or a file that cannot be opened, read or \
                  written; 2 the log is damaged, what could be read has been printed.\n\n\
                  As ContainerSSH's containerssh-auditlog-decoder: -file FILE prints JSON to standard output."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    convert: ConvertArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a log as JSON, as a transcript, or as a terminal session for players (the default)
    Convert(ConvertArgs),
    /// Replay a session in the terminal
    Play(PlayArgs),
    /// Write a session as one file that replays in a browser
    Html(HtmlArgs),
    /// Find a pattern in what users saw, typed and ran, through many logs
    Search(SearchArgs),
    /// Sum up logs: who, when, how much, with what outcome
    Stats(StatsArgs),
    /// List the records in a bucket, by user, gateway and time
    Ls(LsArgs),
    /// Copy a record out of a bucket, whole and verified
    Fetch(FetchArgs),
    /// Get transferred files back out of a log
    Extract(ExtractArgs),
    /// Say whether records are what was written, and if not, where
    Verify(VerifyArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or that of a subcommand
    Man(ManArgs),
}

impl Args {
    pub(crate) fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Convert(self.convert))
    }
}

impl Command {
    /// The exit status if the subcommand gives up.
    pub(crate) fn trouble_status(&self) -> u8 {
        match self {
            // As grep: 1 means that nothing was found.
            Self::Search(_) => 2,
            _ => 1,
        }
    }
}

/// The exit status for arguments that cannot be understood.
pub(crate) fn usage_status(arguments: &[OsString]) -> u8 {
    // As grep: 1 means that nothing was found.
    if arguments.get(1).is_some_and(|subcommand| subcommand == "search") { 2 } else { 1 }
}

/// The reference decoder takes long options with one dash, as Go programs do: `-file F`, `-file=F`.
pub(crate) fn reference_style(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| match argument.to_str() {
        Some(text) if text == "-file" || text.starts_with("-file=") => format!("-{text}").into(),
        _ => argument,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(reference_style(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn a_log_can_be_named_in_each_of_the_ways_there_are() {
        for line in [
            "tool -file log",
            "tool -file=log",
            "tool --file log",
            "tool --input log",
            "tool -i log",
            "tool log",
            "tool convert log",
        ] {
            let Command::Convert(convert) = parse(line).unwrap().into_command() else { panic!("{line}") };
            assert_eq!(convert.input(), OsStr::new("log"), "{line}");
        }
    }

    #[test]
    fn converting_can_be_named() {
        let Command::Convert(convert) = parse("tool convert -i log").unwrap().into_command() else {
            panic!()
        };
        assert_eq!(convert.input(), OsStr::new("log"));
        assert!(parse("tool convert").is_err());
        assert!(parse("tool -i log convert -i log").is_err());
    }

    #[test]
    fn a_log_must_be_named_exactly_once() {
        assert!(parse("tool").is_err());
        assert!(parse("tool --format json").is_err());
        assert!(parse("tool -file a --input b").is_err());
        assert!(parse("tool a --input b").is_err());
        assert!(parse("tool a b").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
