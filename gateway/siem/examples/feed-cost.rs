//! What events cost a session: nanoseconds per record on the session's task, by what targets want.
//!
//! ```sh
//! cargo run --release -p containerssh-siem --example feed-cost
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::time::{Duration, Instant, SystemTime};

use containerssh_auditlog::IoStream;
use containerssh_config::{Audit, EventKind, EventTarget, EventWebhook};
use containerssh_siem::{Events, SessionStart, Source};
use prometheus_client::registry::Registry;

const ROUNDS: u32 = 100_000;

async fn measure(name: &str, include: Option<Vec<EventKind>>, size: usize) {
    let events = Events::start(Source::default(), &mut Registry::default());
    // Nobody listens there: the queue fills, and what comes is dropped, as in an outage.
    let webhook = EventWebhook { url: "http://127.0.0.1:9/".into(), include, ..EventWebhook::default() };
    let target = EventTarget { webhook: Some(webhook), syslog: None };
    events.apply(&events.prepare(&Audit { enable: true, events: vec![target], ..Audit::default() }).unwrap());
    let feed = events.session(SessionStart {
        id: "0123456789abcdef0123456789abcdef".into(),
        remote: "203.0.113.42:50022".parse().unwrap(),
        started: SystemTime::now(),
        policy_hash: String::new(),
        stdout_recorded: true,
    });
    let data = vec![7; size];
    let begin = Instant::now();
    for at in 0..ROUNDS {
        feed.io(0, IoStream::Stdout, &data).await.accepted(u64::from(at));
        if at % 16 == 15 {
            // As a session does that waits for the network.
            tokio::task::yield_now().await;
        }
    }
    let each = begin.elapsed() / ROUNDS;
    println!("{name}, {size} bytes: {each:?} per record");
    drop(feed);
    events.drain(Duration::from_millis(1)).await;
}

#[tokio::main]
async fn main() {
    let without = || Some(vec![EventKind::Exec]);
    measure("stdout not wanted", without(), 32 * 1024).await;
    measure("stdout wanted", None, 32 * 1024).await;
    measure("stdout wanted", None, 64).await;
}
