//! `kubectl containerssh`: what `kubectl get` cannot show in one go.
//!
//! It has the rights of whoever runs it and no others, and asks nobody but the API server: sessions are the users' pods, a
//! policy's effect is the same pure merge that the operator runs.

mod policy;
mod sessions;
mod status;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Gateways, their sessions, and what a policy would change.
#[derive(Debug, Parser)]
#[command(name = "kubectl-containerssh", bin_name = "kubectl containerssh", version, about)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where to look.
#[derive(Debug, Args)]
struct Place {
    /// The namespace of the gateways. Default: that of the kubeconfig's context.
    #[arg(long, short, global = true)]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(long, short = 'A', global = true, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The kubeconfig's context. Default: its current one.
    #[arg(long, global = true)]
    context: Option<String>,
}

impl Place {
    /// None = all.
    fn namespace(&self, client: &Client) -> Option<String> {
        if self.all_namespaces {
            return None;
        }
        Some(self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How gateways are: ready or why not, pods that roll out or drain, sessions, policies.
    Status,
    /// Sessions at this time: who, from where, since when, in which pod.
    Sessions {
        /// Only those of this gateway.
        gateway: Option<String>,
    },
    /// Ends a session by deleting its pod; the record says so.
    Kill {
        /// The connection's id, as `sessions` shows it.
        connection: String,
    },
    /// What the gateways' logs say of a session.
    Logs {
        /// The connection's id, as `sessions` and records show it.
        connection: String,
    },
    /// What policies demand of gateways, and what they would.
    #[command(subcommand)]
    Policy(Policy),
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// The settings of a gateway, each with who decided it.
    Explain {
        /// The gateway.
        gateway: String,
    },
    /// What would change, gateway by gateway, if these policies were applied or deleted. Nothing is written.
    WhatIf {
        /// Manifests of AuditPolicies as they would be.
        #[arg(long, short)]
        filename: Vec<PathBuf>,
        /// Names of AuditPolicies that would be deleted.
        #[arg(long)]
        delete: Vec<String>,
        /// The operator's baseline, where it has one of its own (the chart's value `baseline`).
        #[arg(long)]
        baseline: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Another provider can only be there already if a library has installed the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = client(&arguments.place).await?;
    let namespace = arguments.place.namespace(&client);
    let text = match &arguments.command {
        Command::Status => status::status(&client, namespace.as_deref()).await?,
        Command::Sessions { gateway } => {
            sessions::sessions(&client, namespace.as_deref(), gateway.as_deref()).await?
        }
        Command::Kill { connection } => sessions::kill(&client, connection).await?,
        Command::Logs { connection } => sessions::logs(&client, connection).await?,
        Command::Policy(Policy::Explain { gateway }) => {
            let namespace = namespace.context("a gateway has one namespace: leave --all-namespaces out")?;
            status::explain(&client, &namespace, gateway).await?
        }
        Command::Policy(Policy::WhatIf { filename, delete, baseline }) => {
            policy::what_if(&client, filename, delete, baseline.as_deref()).await?
        }
    };
    #[allow(clippy::print_stdout, reason = "this is what the program is for")]
    {
        print!("{text}");
    }
    Ok(())
}

async fn client(place: &Place) -> Result<Client> {
    let config = match &place.context {
        None => Config::infer().await.context("no cluster: set KUBECONFIG")?,
        Some(context) => {
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(Kubeconfig::read()?, &options).await?
        }
    };
    Ok(Client::try_from(config)?)
}
