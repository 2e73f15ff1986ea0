//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A ContainerSSH-compatible SSH gateway: one pod per connection, every byte recorded.
#[derive(Debug, Parser)]
#[command(name = "containerssh-gateway", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The configuration file: ContainerSSH's keys, as YAML or (named *.json) as JSON
    #[arg(long, value_name = "FILE", env = "CONTAINERSSH_CONFIG", default_value = "config.yaml")]
    pub config: PathBuf,

    /// Print the effective configuration, secrets left out, and exit
    #[arg(long, group = "task")]
    pub dump_config: bool,

    /// Check the configuration file and exit: 0 if it is valid, 64 if not
    #[arg(long, group = "task")]
    pub check: bool,

    /// Ask the gateway that runs with this configuration whether it is ready, and exit: 0 if it is, 1 if not
    #[arg(long, group = "task")]
    pub healthcheck: bool,

    /// Print every message code with its explanation, as Markdown, and exit
    #[arg(long, group = "task")]
    pub codes: bool,

    /// Print the JSON schema of the configuration file, and exit
    #[arg(long, group = "task")]
    pub schema: bool,

    /// Print the reference of all configuration keys, as Markdown, and exit
    #[arg(long, group = "task")]
    pub keys: bool,

    /// Print the OpenAPI document of the webhooks, and exit
    #[arg(long, group = "task")]
    pub openapi: bool,

    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it out: a recording gateway on 127.0.0.1 whose programs run on this machine
    Demo(Demo),

    /// Print a configuration as SSHGateway, AuditPolicy and Secrets, after comments that say what has no counterpart. Holds the secrets that the configuration holds
    Convert {
        /// The configuration file, of ContainerSSH or of this gateway
        file: PathBuf,

        /// Name of the gateway
        #[arg(long, default_value = "ssh")]
        name: String,

        /// Namespace of the gateway
        #[arg(long, default_value = "default")]
        namespace: String,
    },
}

/// `containerssh-gateway demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// The first port to try; the next ones if it is taken
    #[arg(long, default_value_t = 2222)]
    pub port: u16,

    /// Keeps the key and the records here instead of in a new directory; it must not exist or be empty
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}
