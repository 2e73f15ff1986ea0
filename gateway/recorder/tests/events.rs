//! What the tap accepts is told to a SIEM, in the order of the record.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes as Body;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::{Fixture, ID, PATIENCE, connect, decode, records, session, settings, spool, start, to_files};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{Audit, EventTarget, EventWebhook, Intercept};
use containerssh_siem::{Events, Source};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Events, and everything that a receiver on loopback was sent of them.
struct Told {
    events: Events,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Told {
    async fn start() -> Self {
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&seen);
        let take = move |body: Body| async move {
            kept.lock().unwrap().extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(take))).await });
        let mut webhook = EventWebhook { url, ..EventWebhook::default() };
        webhook.batch.delay = Duration::from_millis(10);
        let audit = Audit {
            enable: true,
            events: vec![EventTarget { webhook: Some(webhook), syslog: None }],
            ..Audit::default()
        };
        let events = Events::start(Source::default(), &mut Registry::default());
        events.apply(&events.prepare(&audit).unwrap());
        Self { events, seen }
    }

    async fn all(&self) -> Vec<Value> {
        assert_eq!(self.events.drain(PATIENCE).await, 0);
        self.seen.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn events_are_in_the_order_of_the_record_with_its_times_and_end_with_its_digest() {
    let told = Told::start().await;
    let events = told.events.clone();
    let (fixture, audit) = Fixture::new(to_files, |settings| settings.events = events);
    let tap = fixture.recorder.open(session(ID), audit);
    tap.record(None, connect()).await.unwrap();
    // Two directions at once, as a session's pumps.
    let pump = |stream: IoStream, tap: containerssh_recorder::Tap| async move {
        for number in 0..200_u8 {
            tap.io(0, stream, Bytes::from(vec![number; 5000])).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(pump(IoStream::Stdin, tap.clone()), pump(IoStream::Stdout, tap.clone()));
    tap.record(Some(0), Payload::Exit { exit_status: 4 }).await.unwrap();
    tap.close().await;
    let events = told.all().await;
    let directory = fixture.drained().await;

    let file = records(directory.path()).join(ID);
    let record = decode(&file);
    assert_eq!(events.len(), record.len());
    for (index, (event, message)) in events.iter().zip(&record).enumerate() {
        assert_eq!(event["sequence"], index + 1);
        assert_eq!(event["sessionId"], ID);
        let at = jiff::Timestamp::from_nanosecond(i128::from(message.timestamp)).unwrap();
        assert_eq!(event["timestamp"], format!("{at:.9}"));
        if let Payload::Io { stream, data } = &message.payload {
            assert_eq!(
                (&event["type"], &event["data"]),
                (&json!(stream.name()), &json!(STANDARD.encode(data)))
            );
        }
    }
    let last = events.last().unwrap();
    let digest = hex::encode(Sha256::digest(std::fs::read(file).unwrap()));
    assert_eq!((&last["type"], &last["exitCode"]), (&json!("disconnect"), &json!(4)));
    assert_eq!((&last["sha256"], &last["object"]), (&json!(digest), &json!(ID)));
}

#[tokio::test]
async fn what_is_not_intercepted_is_in_no_event() {
    let told = Told::start().await;
    let events = told.events.clone();
    let only_stdout = |root: &std::path::Path| Audit {
        intercept: Intercept { stdout: true, ..Intercept::default() },
        ..to_files(root)
    };
    let (fixture, audit) = Fixture::new(only_stdout, |settings| settings.events = events);
    let tap = fixture.recorder.open(session(ID), audit);
    let password = Some(Bytes::from_static(b"hunter2"));
    tap.record(None, Payload::AuthPasswordFailed { username: "alice".into(), password }).await.unwrap();
    tap.io(0, IoStream::Stdin, Bytes::from_static(b"typed")).await.unwrap();
    tap.io(0, IoStream::Stderr, Bytes::from_static(b"errors")).await.unwrap();
    tap.io(0, IoStream::Stdout, Bytes::from_static(b"shown")).await.unwrap();
    tap.close().await;
    let kinds: Vec<Value> = told.all().await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["authRequest", "stdout", "disconnect"]);
    fixture.drained().await;
}

#[tokio::test]
async fn a_record_that_a_crash_left_is_told_with_its_place() {
    // A session that is under way when the process dies: its files, as they are at that moment.
    let (fixture, audit) = Fixture::new(to_files, |_| {});
    let tap = fixture.recorder.open(session(ID), audit.clone());
    tap.record(None, connect()).await.unwrap();
    tap.authenticated("alice", "");
    tap.flush().await.unwrap();
    let after = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(spool(after.path())).unwrap();
    for name in [format!("{ID}.open"), format!("{ID}.json")] {
        std::fs::copy(spool(fixture.root()).join(&name), spool(after.path()).join(&name)).unwrap();
    }
    tap.close().await;
    fixture.drained().await;

    let told = Told::start().await;
    let mut settings = settings(after.path(), &to_files(after.path()));
    settings.events = told.events.clone();
    let (recorder, _registry, _shutdown) = start(settings).unwrap();
    assert_eq!(recorder.drain(PATIENCE).await.records, 0);
    let events = told.all().await;
    let [event] = &events[..] else { panic!("{events:?}") };
    for (key, value) in [
        ("type", json!("recovered")),
        ("sessionId", json!(ID)),
        ("username", json!("alice")),
        ("remoteAddr", json!("192.0.2.7")),
        ("policyHash", json!("sha256:1234")),
        ("interrupted", json!(true)),
        ("object", json!(ID)),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
    assert_eq!(event["sha256"].as_str().unwrap().len(), 64);
}
