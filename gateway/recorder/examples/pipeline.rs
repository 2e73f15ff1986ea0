//! How fast the pipeline takes what sessions send: from the tap into durable files in a real directory.
//!
//! `cargo run --release --example pipeline -p containerssh-recorder [DIRECTORY]`
//!
//! Prints one line per kind of data and number of sessions, tab-separated: name, MB/s accepted and durable, MB on disk per
//! MB sent. The directory should be on the disk in question; the default is the present one.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use containerssh_auditlog::IoStream;
use containerssh_config::{Audit, AuditFormat, AuditStorage, Intercept};
use containerssh_recorder::{GatewayIdentity, Recorder, SessionStart, SpoolSettings};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

/// Per run, over all sessions.
const BYTES: usize = 512 << 20;
/// What one SSH packet or one frame from a pod holds.
const PIECE: usize = 32 << 10;

#[tokio::main]
async fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for (name, data) in [("random", random(8 << 20)), ("text", text(8 << 20))] {
        for sessions in [1, 4, 64] {
            // The median of three.
            let mut runs = Vec::new();
            for _ in 0..3 {
                runs.push(run(Path::new(&directory), &data, sessions).await);
            }
            runs.sort_by(|one, other| one.0.total_cmp(&other.0));
            if let Some((speed, ratio)) = runs.get(1) {
                println!("pipeline-{name}-{sessions}\t{speed:.0} MB/s\t{ratio:.3}");
            }
        }
    }
}

async fn run(directory: &Path, data: &Bytes, sessions: usize) -> (f64, f64) {
    let root = directory.join(format!("pipeline-bench-{}", std::process::id()));
    let mut audit =
        Audit { enable: true, format: AuditFormat::Binary, storage: AuditStorage::File, ..Audit::default() };
    audit.file.directory = root.to_string_lossy().into_owned();
    audit.intercept =
        Intercept { stdin: true, stdout: true, stderr: true, passwords: false, forwarding: false };
    let audit = Arc::new(audit);
    let recorder = Recorder::start(
        SpoolSettings::from_audit(&audit),
        GatewayIdentity::default(),
        &mut Registry::default(),
        CancellationToken::new(),
    )
    .unwrap();
    let start = Instant::now();
    let pumps: Vec<_> = (0..sessions)
        .map(|number| {
            let tap = recorder.open(
                SessionStart {
                    connection_id: format!("bench-{number}"),
                    remote_addr: ([127, 0, 0, 1], 22).into(),
                    country: String::new(),
                    started: SystemTime::now(),
                },
                audit.clone(),
            );
            let data = data.clone();
            tokio::spawn(async move {
                let mut left = BYTES / sessions;
                let mut at = 0;
                while left > 0 {
                    let piece = data.slice(at..at + PIECE.min(left));
                    left -= piece.len();
                    at = (at + PIECE) % (data.len() - PIECE);
                    tap.io(0, IoStream::Stdout, piece).await.unwrap();
                }
                tap.close().await;
            })
        })
        .collect();
    for pump in pumps {
        pump.await.unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    recorder.drain(Duration::from_secs(60)).await;
    let stored: u64 = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum();
    std::fs::remove_dir_all(&root).unwrap();
    (BYTES as f64 / 1e6 / seconds, stored as f64 / BYTES as f64)
}

fn random(length: usize) -> Bytes {
    use rand::Rng as _;
    let mut data = vec![0; length];
    rand::rng().fill_bytes(&mut data);
    data.into()
}

/// What a terminal shows: a listing with colours.
fn text(length: usize) -> Bytes {
    let mut text = String::with_capacity(length + 100);
    for number in 0u32.. {
        let size = number.wrapping_mul(2_654_435_761) >> 12;
        text.push_str(&format!(
            "-rw-r--r-- 1 root root {size:>8} May  9 12:00 \u{1b}[01;32mfile-{number}.txt\u{1b}[0m\r\n"
        ));
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text.into()
}
