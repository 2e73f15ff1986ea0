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
pub(crate) struct ManArgs {}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    output.write(&script)?;
    Ok(Outcome::Done)
}

/// Prints one manual page with all subcommands.
pub(crate) fn man(_: &ManArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let mut command = Args::command();
    command.build();
    let mut page = Vec::new();
    let written = Man::new(command.clone()).render(&mut page).and_then(|()| {
        for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
            let man = Man::new(subcommand.clone());
            man.render_synopsis_section(&mut page)?;
            man.render_description_section(&mut page)?;
            man.render_options_section(&mut page)?;
        }
        Ok(())
    });
    written.map_err(|error| ToolError::Write { name: "the manual page".to_owned(), error })?;
    output.write(&page)?;
    Ok(Outcome::Done)
}
