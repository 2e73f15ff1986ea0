//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

/// Reads ContainerSSH audit logs (FORMAT 1 and 2), whole or damaged.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 everything was read; 1 wrong usage, or a file that cannot be opened, read or \
                  written; 2 the log is damaged, what could be read has been printed.\n\n\
                  As ContainerSSH's containerssh-auditlog-decoder: -file FILE prints JSON to standard output."
)]
pub(super) struct Args {
    /// The log to read; - for standard input
    #[arg(long, short, value_name = "FILE", required_unless_present = "file")]
    input: Option<PathBuf>,

    /// The log to read (the reference decoder's name for --input)
    #[arg(long, value_name = "FILE", conflicts_with = "input", hide = true)]
    file: Option<PathBuf>,

    /// Where to write; - or nothing for standard output. An existing file is replaced
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,

    /// asciicast: the channel to export, if there is more than one with a terminal
    #[arg(long, value_name = "N")]
    pub(super) channel: Option<u64>,

    /// asciicast: also what the user typed, passwords included
    #[arg(long)]
    pub(super) with_input: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object per record and line, as ContainerSSH's decoder prints them
    #[default]
    Json,
    /// A transcript for people, control characters made visible
    Text,
    /// One terminal session for players such as asciinema (version 2)
    Asciicast,
}

impl Args {
    pub(super) fn input(&self) -> &Path {
        // clap requires one of the two; an empty name cannot be opened.
        self.input.as_deref().or(self.file.as_deref()).unwrap_or(Path::new(""))
    }
}

/// The reference decoder takes long options with one dash, as Go programs do: `-file F`, `-file=F`.
pub(super) fn reference_style(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| match argument.to_str() {
        Some(text) if text == "-file" || text.starts_with("-file=") => format!("-{text}").into(),
        _ => argument,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(reference_style(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_reference_decoders_option_works_in_each_of_its_spellings() {
        for line in ["tool -file log", "tool -file=log", "tool --file log", "tool --input log", "tool -i log"]
        {
            assert_eq!(parse(line).unwrap().input(), Path::new("log"), "{line}");
        }
    }

    #[test]
    fn a_log_must_be_named_exactly_once() {
        assert!(parse("tool --format json").is_err());
        assert!(parse("tool -file a --input b").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }
}
