//! Sends the events of a made-up session to the targets of a configuration: to try a receiver without a cluster.
//!
//! ```sh
//! cargo run -p containerssh-siem --example send-session -- config.yaml
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

use std::time::{Duration, SystemTime};

use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::Config;
use containerssh_siem::{Events, FinishedRecord, SessionStart, Source};
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "config.yaml".to_owned());
    let config = Config::load(&path).unwrap();
    let mut registry = Registry::default();
    let source = Source { gateway: "example".into(), namespace: "default".into(), pod: "example-0".into() };
    let events = Events::start(source, &mut registry);
    events.apply(&events.prepare(&config.audit).unwrap());
    let feed = events.session(SessionStart {
        id: "0123456789abcdef0123456789abcdef".into(),
        remote: "203.0.113.42:50022".parse().unwrap(),
        started: SystemTime::now(),
        policy_hash: config.audit.policy.hash,
        stdout_recorded: true,
    });
    let (username, request_id) = ("alice".to_owned(), 1);
    let records = [
        (None, Payload::Connect { remote_addr: "203.0.113.42".into(), country: "XX".into() }),
        (None, Payload::AuthPasswordFailed { username: username.clone(), password: None }),
        (None, Payload::AuthPubKeySuccessful { username: username.clone(), key: "ssh-ed25519 AAAA".into() }),
        (None, Payload::HandshakeSuccessful { username }),
        (Some(0), Payload::NewChannelSuccessful { channel_type: "session".into() }),
        (Some(0), Payload::ChannelRequestExec { request_id, program: "cat /etc/passwd | \"wc\" ] ü".into() }),
    ];
    let now = || u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    for (channel, payload) in records {
        feed.record(channel, &payload).await.accepted(now());
    }
    for key in b"sudo bash\r" {
        feed.io(0, IoStream::Stdin, &[*key]).await.accepted(now());
    }
    let printed = [b"\x1b[1mprompt\x1b[0m $ \xff".to_vec(), vec![b'x'; 30_000]];
    for data in &printed {
        feed.io(0, IoStream::Stdout, data).await.accepted(now());
    }
    feed.record(Some(0), &Payload::Exit { exit_status: 0 }).await.accepted(now());
    feed.disconnected(now());
    feed.record_finished(FinishedRecord { sha256: Some("00".repeat(32)), ..FinishedRecord::default() });
    drop(feed);
    let left = events.drain(Duration::from_secs(30)).await;
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
    println!("{metrics}\n{left} events were not taken");
}
