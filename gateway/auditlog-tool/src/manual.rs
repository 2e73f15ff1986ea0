//! `completions` and `man`: what an installer puts where shells and `man` look, made from the command line itself.

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Args;
use crate::error::ToolError;
use crate::outcome::Outcome;
use crate::output::Output;

/// The name that completions and the manual page are for.
const NAME: &str = "containerssh-auditlog-tool";

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The subcommand whose page to print; the program's own if there is none
    subcommand: Option<String>,
}

/// There is no such page.
#[derive(Debug, thiserror::Error)]
#[error("there is no subcommand {name}; there are {known}")]
pub(crate) struct NoSuchPage {
    name: String,
    known: String,
}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    output.write(&script)?;
    Ok(Outcome::Done)
}

/// Prints a manual page.
pub(crate) fn man(args: &ManArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut command = Args::command();
    command.build();
    let command = match &args.subcommand {
        None => command,
        Some(name) => {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let known = known.join(", ");
            let subcommand = command.find_subcommand(name).cloned();
            subcommand.ok_or_else(|| NoSuchPage { name: name.clone(), known })?
        }
    };
    let mut page = Vec::new();
    let rendered = Man::new(command).render(&mut page);
    rendered.map_err(|error| ToolError::Write { name: "the manual page".to_owned(), error })?;
    output.write(&page)?;
    Ok(Outcome::Done)
}
