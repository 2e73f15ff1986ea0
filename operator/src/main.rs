//! The operator's process: crypto, flags, log, client, run, end.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use containerssh_log::LogSettings;
use containerssh_operator::{
    args::{Args, Command, Settings},
    code,
    metrics::Metrics,
    probe, run,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Lines that are still in the log's queue get this long to be written.
const LOG_FLUSH: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<ExitCode> {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider is installed already");
    }
    let args = Args::parse();
    if let Some(Command::Probe { url, timeout }) = &args.command {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(probe::probe(url, Duration::from_secs(*timeout)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::from(args);
    let log =
        containerssh_log::init(&LogSettings { level: settings.log_level, format: settings.log_format })?;
    let ended = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work(settings));
    let code = match ended {
        Ok(()) => {
            tracing::info!(code = code::OPERATOR_STOPPED, "The operator ends as it was told to");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(code = code::OPERATOR_FAILED, "{error:#}");
            ExitCode::FAILURE
        }
    };
    log.flush(LOG_FLUSH);
    Ok(code)
}

async fn work(settings: Settings) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        on_signal.cancel();
    });
    let metrics = Arc::new(Metrics::default());
    let client = run::client(Arc::clone(&metrics)).await?;
    tracing::info!(code = code::OPERATOR_STARTED, version = env!("CARGO_PKG_VERSION"), instance = %settings.identity.instance, "The operator starts");
    Ok(run::run(settings, client, metrics, stop).await?)
}
