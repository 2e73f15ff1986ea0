//! The lines as they reach the reader, byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use containerssh_log::queue::Queue;
use containerssh_log::{Format, Level, LogLayer, OwnLevel, alert, crit, emerg, notice};
use jiff::Timestamp;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `body` logs at a level that it may change.
fn lines(level: Level, format: Format, body: impl FnOnce(&AtomicU8)) -> Vec<String> {
    let captured = Captured::default();
    let queue = Queue::start(captured.clone(), Box::new(|_| Vec::new())).unwrap();
    let level = Arc::new(AtomicU8::new(level as u8));
    let clock = || "2026-05-08T12:00:00.25Z".parse::<Timestamp>().unwrap();
    let layer = LogLayer::new(Arc::clone(&level), format, Arc::clone(&queue), clock);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || body(&level));
    assert!(queue.flush(Duration::from_secs(30)));
    queue.close();
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_json_line_has_the_reference_s_fields_in_its_order() {
    let lines = lines(Level::Debug, Format::Ljson, |_| {
        tracing::info!(
            target: "containerssh_gateway::ssh", code = "SSH_CONNECTED", remoteAddr = "192.0.2.1:4711",
            connectionId = %"0a1b", count = 3, offset = -3, ok = true, ratio = 0.5, "Client connected"
        );
    });
    assert_eq!(
        lines,
        [concat!(
            r#"{"timestamp":"2026-05-08T12:00:00.250000Z","level":"info","code":"SSH_CONNECTED","#,
            r#""message":"Client connected","details":{"connectionId":"0a1b","count":3,"module":"ssh","#,
            r#""offset":-3,"ok":true,"ratio":0.5,"remoteAddr":"192.0.2.1:4711"}}"#
        )]
    );
}

#[test]
fn a_text_line_has_the_reference_s_shape() {
    let lines = lines(Level::Debug, Format::Text, |_| {
        tracing::warn!(
            target: "containerssh_kubernetes", code = "KUBERNETES_POD_CREATE_FAILED", podName = "p-1",
            error = "no such image", "The pod cannot be created"
        );
    });
    assert_eq!(
        lines,
        [
            "2026-05-08T12:00:00.250000Z\twarning\tThe pod cannot be created (code=KUBERNETES_POD_CREATE_FAILED \
          error=\"no such image\" module=backend podName=p-1)"
        ]
    );
}

#[test]
fn a_stranger_s_text_forges_neither_lines_nor_labels_nor_colours() {
    let username = "root\n{\"level\":\"info\"}\u{1b}[2J\u{202e}";
    let json = lines(Level::Debug, Format::Ljson, |_| {
        tracing::info!(target: "containerssh_gateway", code = "C", username, "User {username}");
    });
    assert_eq!(json.len(), 1);
    let parsed: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(parsed["details"]["username"], "root\\n{\"level\":\"info\"}\\u{1b}[2J\\u{202e}");
    assert_eq!(parsed["message"], "User root\\n{\"level\":\"info\"}\\u{1b}[2J\\u{202e}");

    let text = lines(Level::Debug, Format::Text, |_| {
        for username in ["a level=crit", "a)", "", "a\"b", "x=y", "a\\b"] {
            tracing::info!(target: "containerssh_gateway", code = "C", username, "M");
        }
    });
    let shown: Vec<&str> = text.iter().map(|line| line.split_once("username=").unwrap().1).collect();
    assert_eq!(shown, [r#""a level=crit")"#, r#""a)")"#, r#""")"#, r#""a\"b")"#, r#""x=y")"#, r#""a\\b")"#]);
}

#[test]
fn long_texts_and_many_labels_are_cut() {
    let long = "x".repeat(1_000_000);
    let lines = lines(Level::Debug, Format::Ljson, |_| {
        tracing::info!(target: "containerssh_gateway", code = "C", command = long, debug = ?long, "{long}");
    });
    assert!(lines[0].len() < 3 * 4096 + 500, "{}", lines[0].len());
    let parsed: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(parsed["details"]["command"].as_str().unwrap().ends_with("x…"));
}

#[test]
fn the_levels_tracing_lacks_are_told_apart() {
    let levels = |threshold| {
        lines(threshold, Format::Ljson, |_| {
            tracing::trace!(target: "containerssh_x", "trace");
            tracing::debug!(target: "containerssh_x", "debug");
            tracing::info!(target: "containerssh_x", "info");
            notice!(target: "containerssh_x", code = "N", "notice");
            tracing::warn!(target: "containerssh_x", "warn");
            tracing::error!(target: "containerssh_x", "error");
            crit!(target: "containerssh_x", code = "C", "crit");
            alert!(target: "containerssh_x", code = "A", "alert");
            emerg!(target: "containerssh_x", code = "E", "emerg");
        })
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["details"].get("severity").is_none());
            line["level"].as_str().unwrap().to_owned()
        })
        .collect::<Vec<_>>()
    };
    let all = ["debug", "debug", "info", "notice", "warning", "error", "crit", "alert", "emerg"];
    assert_eq!(levels(Level::Debug), all);
    for (index, level) in Level::ALL.into_iter().enumerate().skip(1) {
        assert_eq!(levels(level), all[index + 1..], "{level}");
    }
}

#[test]
fn the_level_can_change_while_running() {
    fn event(message: &str) {
        tracing::info!(target: "containerssh_gateway", code = "C", "{message}");
    }
    let lines = lines(Level::Error, Format::Ljson, |level| {
        event("hidden");
        level.store(Level::Debug as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        event("shown");
        level.store(Level::Crit as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        event("hidden again");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"shown\""));
}

#[test]
fn libraries_are_heard_from_warning_on_only() {
    let lines = lines(Level::Debug, Format::Ljson, |_| {
        tracing::debug!(target: "russh::server", password = "hunter2", "auth");
        tracing::info!(target: "kube_client", "info");
        tracing::warn!(target: "hyper::proto", "something broke");
    });
    assert_eq!(
        lines,
        [concat!(
            r#"{"timestamp":"2026-05-08T12:00:00.250000Z","level":"warning","code":"UNKNOWN_ERROR","#,
            r#""message":"something broke","details":{"module":"library","target":"hyper::proto"}}"#
        )]
    );
}

#[test]
fn spans_lend_their_labels_to_the_events_within() {
    let lines = lines(Level::Debug, Format::Ljson, |_| {
        let span = tracing::info_span!(
            target: "containerssh_gateway", "connection", connectionId = "0a1b", username = tracing::field::Empty
        );
        let _entered = span.enter();
        tracing::info!(target: "containerssh_gateway", code = "C", "one");
        span.record("username", "alice");
        let inner =
            tracing::info_span!(target: "containerssh_gateway", "channel", channelId = 7, username = "inner");
        inner.in_scope(|| tracing::info!(target: "containerssh_gateway", code = "C", channelId = 8, "two"));
    });
    let details: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["details"].take())
        .collect();
    assert_eq!(details[0], serde_json::json!({"connectionId": "0a1b", "module": "core"}));
    assert_eq!(
        details[1],
        serde_json::json!({"connectionId": "0a1b", "username": "inner", "channelId": 8, "module": "core"})
    );
}

#[test]
fn numbers_json_does_not_know_keep_the_line_whole() {
    let lines = lines(Level::Debug, Format::Ljson, |_| {
        tracing::info!(target: "containerssh_gateway", code = "C", ratio = f64::NAN, huge = u128::MAX, "m");
    });
    let parsed: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(parsed["details"]["ratio"], serde_json::Value::Null);
    assert_eq!(parsed["details"]["huge"], u128::MAX.to_string());
}

#[test]
fn a_connection_may_have_a_level_of_its_own() {
    let shown = lines(Level::Warning, Format::Text, |_| {
        let say = |message: &str| {
            tracing::debug!(target: "containerssh_gateway", connectionId = "watched", "{message}");
            tracing::debug!(target: "containerssh_gateway", connectionId = "another", "{message} of another");
            tracing::warn!(target: "containerssh_gateway", connectionId = "silenced", "{message} of a silenced one");
        };
        say("before");
        let own = (OwnLevel::set("watched", Level::Debug), OwnLevel::set("silenced", Level::Error));
        say("during");
        drop(own);
        say("after");
    });
    let messages: Vec<&str> =
        shown.iter().map(|line| line.split('\t').nth(2).unwrap().split(" (").next().unwrap()).collect();
    assert_eq!(messages, ["before of a silenced one", "during", "after of a silenced one"]);
}
