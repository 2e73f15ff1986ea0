//! Where the log goes, as the configuration says.

use containerssh_config::{Log, LogDestination};
use containerssh_log::syslog::{Datagrams, Header, HeaderForm};
use containerssh_log::{Handle, LogSettings, Output, code};
use containerssh_siem::SyslogLines;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

/// Sets the process's log up, in the runtime that this is called in.
///
/// # Errors
/// When the file cannot be opened, a local daemon is not there, or a setting is no use.
pub(crate) fn start(log: &Log) -> anyhow::Result<Handle> {
    let settings = LogSettings { level: log.level, format: log.format };
    Ok(containerssh_log::init_with(&settings, output(log)?, [])?)
}

fn output(log: &Log) -> anyhow::Result<Output> {
    let syslog = &log.syslog;
    let header = |form| Header {
        form,
        facility: syslog.facility.number(),
        tag: syslog.tag.clone(),
        pid: syslog.pid.then(std::process::id),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    Ok(match log.destination {
        LogDestination::Stdout => Output::Stdout,
        LogDestination::File => Output::File(log.file.clone().into()),
        LogDestination::Syslog if syslog.is_local() => {
            Output::Syslog(Datagrams::Local(syslog.destination.clone().into()), header(HeaderForm::Local))
        }
        LogDestination::Syslog => match syslog.connection() {
            Some(connection) => {
                let lines = SyslogLines::start(&connection, "log.syslog")?;
                Output::Lines(Box::new(lines), header(HeaderForm::Ietf))
            }
            None => Output::Syslog(Datagrams::Udp(syslog.destination.clone()), header(HeaderForm::Bsd)),
        },
    })
}

/// Opens the log's file anew at each `SIGHUP`, until `stopped`.
pub(crate) async fn reopen_at(mut hangup: Signal, log: Handle, stopped: CancellationToken) {
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            received = hangup.recv() => if received.is_none() { return },
        }
        if let Err(error) = log.reopen() {
            tracing::error!(
                code = code::LOG_ROTATE_FAILED,
                module = "core",
                error = %error,
                "The log's file cannot be opened anew"
            );
        }
    }
}

/// `containerssh_log_lines_lost_total`
#[derive(Debug)]
pub(crate) struct LostLines(pub(crate) Handle);

impl Collector for LostLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lost = ConstCounter::new(self.0.lost());
        let help = "Log lines that could not be written";
        lost.encode(encoder.encode_descriptor(
            "containerssh_log_lines_lost",
            help,
            None,
            lost.metric_type(),
        )?)
    }
}
