//! A thousand sessions that end at once: bounded memory, bounded connections, and none of them waits for the store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says by a panic what is wrong, in its helpers too; and this one tells what it measured"
)]

mod common;

use std::time::{Duration, Instant};

use common::proxy::{Network, Proxy};
use common::s3::Server;
use common::{Fixture, connect, eventually, noise, session, to_s3};
use containerssh_auditlog::IoStream;
use containerssh_config::ByteSize;

const SESSIONS: usize = 1000;
/// Of each session, bytes that do not shrink.
const EACH: usize = 64 * 1024;
const PARALLEL: usize = 20;

/// Peak of this process's resident memory since it was last reset, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The memory that counts is what a store that hangs makes the gateway hold: all records are finished, none is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_that_end_at_once_cost_little_memory_and_few_connections() {
    let server = Server::start().await;
    // What the store keeps is not the recorder's memory.
    server.bucket().forgetful = true;
    let upstream = server.url.strip_prefix("http://").unwrap();
    let proxy = Proxy::start(upstream).await;
    proxy.set(Network::Hangs);
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &proxy.url);
            audit.spool.size = ByteSize::gib(1);
            audit
        },
        |settings| {
            settings.parallel_uploads = PARALLEL;
            settings.timeouts.request = Duration::from_secs(5);
        },
    );
    let data = noise(EACH, 1);
    let mut taps = Vec::new();
    for number in 0..SESSIONS {
        let tap = fixture.recorder.open(session(&format!("{number:032x}")), audit.clone());
        tap.record(None, connect()).await.unwrap();
        taps.push(tap);
    }
    let writing = taps.iter().map(|tap| {
        let (tap, data) = (tap.clone(), data.clone());
        tokio::spawn(async move {
            tap.io(0, IoStream::Stdout, data).await.unwrap();
            tap.flush().await.unwrap();
        })
    });
    for written in writing.collect::<Vec<_>>() {
        written.await.unwrap();
    }
    // From here on what counts: the records are durable, and all end.
    let before = peak();
    let begun = Instant::now();
    let mut closing = tokio::task::JoinSet::new();
    for tap in taps {
        closing.spawn(async move {
            let begun = Instant::now();
            tap.close().await;
            begun.elapsed()
        });
    }
    let mut longest = Duration::ZERO;
    while let Some(took) = closing.join_next().await {
        longest = longest.max(took.unwrap());
    }
    let ended = begun.elapsed();
    assert_eq!(fixture.recorder.status().waiting, SESSIONS, "nothing was delivered while sessions ended");
    proxy.set(Network::Well);
    eventually("all are delivered", || fixture.recorder.status().records == 0).await;
    let delivered = begun.elapsed();
    let grown = (peak() - before) / 1024;
    println!(
        "{SESSIONS} sessions ended within {ended:?}, the slowest took {longest:?}; delivered after {delivered:?}; memory grew by \
         {grown} MiB to a peak of {} MiB; at most {} connections",
        peak() / 1024,
        proxy.most(),
    );
    assert_eq!(server.records().len(), SESSIONS);
    // Together the records are 64 MiB; twenty uploads hold a few pieces of 128 KiB each.
    assert!(grown <= 48, "memory grew by {grown} MiB");
    // Those that hang are given up one by one while new ones are made; none is made per record.
    assert!(proxy.most() <= 2 * PARALLEL + 4, "{} connections at once", proxy.most());
    assert!(longest < Duration::from_secs(30), "a session took {longest:?} to end");
    fixture.drained().await;
}
