//! Records sessions by a gateway's configuration file, and delivers them: `containerssh-e2e-records CONFIG ID:BYTES...`
//!
//! What a gateway does with its records and nothing else, in a process of its own: credentials that come from the
//! environment can be tried, and its memory is its own. Prints what it delivered, how long the slowest session took to
//! end (milliseconds), and its peak memory (KiB), tab-separated.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::Config;
use containerssh_e2e::bytes::noise;
use containerssh_recorder::{GatewayIdentity, Recorder, SessionStart, SpoolSettings};

/// Longer than any delivery takes that works.
const PATIENCE: Duration = Duration::from_secs(100);
/// Bytes of one record: as much as an SSH packet.
const PIECE: usize = 32 * 1024;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let config =
        Config::load(arguments.next().context("usage: containerssh-e2e-records CONFIG ID:BYTES...")?)?;
    let audit = Arc::new(config.audit);
    let recorder = Recorder::start(
        SpoolSettings::from_audit(&audit),
        GatewayIdentity { namespace: "team-a".into(), gateway: "dev".into(), pod: "dev-0".into() },
        &mut prometheus_client::registry::Registry::default(),
        tokio_util::sync::CancellationToken::new(),
    )?;
    let mut taps = Vec::new();
    for argument in arguments {
        let (id, length) = argument.split_once(':').context("a session is ID:BYTES")?;
        let length: usize = length.parse()?;
        let start = SessionStart {
            connection_id: id.to_owned(),
            remote_addr: ([192, 0, 2, 7], 22).into(),
            country: String::new(),
            started: SystemTime::now(),
        };
        let tap = recorder.open(start, audit.clone());
        let remote_addr = "192.0.2.7".to_owned();
        tap.record(None, Payload::Connect { remote_addr, country: "XX".to_owned() }).await?;
        tap.authenticated("alice", "");
        tap.record(Some(0), Payload::ChannelRequestShell { request_id: 0 }).await?;
        let data = bytes::Bytes::from(noise(length, length as u64));
        for piece in data.chunks(PIECE) {
            tap.io(0, IoStream::Stdout, data.slice_ref(piece)).await?;
        }
        taps.push(tap);
    }
    let sessions = taps.len();
    let ends = taps.into_iter().map(|tap| async {
        let begun = Instant::now();
        tap.close().await;
        begun.elapsed()
    });
    let slowest = futures::future::join_all(ends).await.into_iter().max().unwrap_or_default();
    let left = recorder.drain(PATIENCE).await;
    ensure!(left.records == 0, "{} records were not delivered", left.records);
    println!("{sessions}\t{}\t{}", slowest.as_millis(), peak()?);
    Ok(())
}

/// KiB.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
