//! Events over HTTP, to real servers that behave well and badly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Authority, ID, Receiver, Seen, Sender, at, audit, exec, io, numbers, say, to, webhook, within};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{
    ByteSize, EventBatch, EventCompression, EventEncoding, EventKind, EventWebhook, PemOrFile, Secret,
};
use containerssh_siem::{FinishedRecord, Recovered};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a user does who logs in, types a command and leaves.
async fn typical(sender: &Sender) {
    let feed = sender.session(ID);
    let connect = Payload::Connect { remote_addr: "203.0.113.42".into(), country: "XX".into() };
    say(&feed, 0, None, connect).await;
    let password = Some(Bytes::from_static(b"hunter2"));
    say(&feed, 1, None, Payload::AuthPassword { username: "alice".into(), password: password.clone() }).await;
    say(&feed, 2, None, Payload::AuthPasswordFailed { username: "alice".into(), password }).await;
    let key = "ssh-ed25519 AAAA".to_owned();
    say(&feed, 3, None, Payload::AuthPubKeySuccessful { username: "alice".into(), key }).await;
    say(&feed, 4, None, Payload::HandshakeSuccessful { username: "alice".into() }).await;
    let pty = Payload::ChannelRequestPty {
        request_id: 7,
        term: "xterm".into(),
        columns: 80,
        rows: 25,
        width: 0,
        height: 0,
        mode_list: None,
    };
    say(&feed, 5, Some(0), pty).await;
    say(&feed, 6, Some(0), Payload::ChannelRequestShell { request_id: 8 }).await;
    for (number, key) in b"sudo bash\r".iter().enumerate() {
        io(&feed, 7 + number as u64, IoStream::Stdin, &[*key]).await;
    }
    io(&feed, 20, IoStream::Stdout, b"\x1b[0m# \xff").await;
    say(&feed, 21, Some(0), Payload::Exit { exit_status: 3 }).await;
    feed.disconnected(at(2_500_000_000));
    feed.record_finished(FinishedRecord {
        sha256: Some("ab".repeat(32)),
        object: Some("2026/05/09/x".into()),
        bytes: Some(99),
    });
}

#[tokio::test]
async fn a_session_arrives_as_flat_events_in_its_order() {
    let receiver = Receiver::taking().await;
    let mut target = webhook(&receiver.url());
    // So that the end of the gateway sends it, however slow the machine is.
    target.batch.delay = Duration::from_secs(60);
    target.bearer_token = Some(Secret::new("t0ken"));
    let sender = Sender::to(target);
    typical(&sender).await;
    sender.drained().await;

    let requests = receiver.requests();
    assert_eq!(requests[0].headers["content-type"], "application/json");
    assert_eq!(requests[0].headers["authorization"], "Bearer t0ken");
    let events = receiver.events();
    let common = |kind: &str, sequence: u64, nanoseconds: u64, channel: Value| {
        json!({
            "type": kind, "sessionId": ID, "username": "alice", "remoteAddr": "203.0.113.42",
            "timestamp": format!("2026-05-09T12:00:00.{nanoseconds:09}Z"), "sequence": sequence,
            "channelId": channel, "gateway": "dev", "namespace": "team-a", "pod": "dev-0", "policyHash": "9f86d081",
        })
    };
    let with = |mut event: Value, more: Value| {
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let mut connect =
        with(common("connect", 1, 0, Value::Null), json!({"remotePort": 50022, "country": "XX"}));
    connect.as_object_mut().unwrap().remove("username");
    let mut end = with(
        common("disconnect", 10, 0, Value::Null),
        json!({"exitCode": 3, "duration": 2.5, "sha256": "ab".repeat(32), "object": "2026/05/09/x", "recordBytes": 99}),
    );
    end["timestamp"] = json!("2026-05-09T12:00:02.500000000Z");
    assert_eq!(
        events,
        [
            connect,
            // No password, although it was recorded: nobody asked for it here.
            with(
                common("authRequest", 2, 2, Value::Null),
                json!({"authMethod": "password", "success": false})
            ),
            with(
                common("authRequest", 3, 3, Value::Null),
                json!({"authMethod": "publickey", "success": true, "publicKey": "ssh-ed25519 AAAA"})
            ),
            common("handshakeSuccessful", 4, 4, Value::Null),
            with(
                common("pty", 5, 5, json!(0)),
                json!({"requestId": 7, "columns": 80, "rows": 25, "termType": "xterm"})
            ),
            with(common("shell", 6, 6, json!(0)), json!({"requestId": 8})),
            // What was typed in a moment is one event.
            with(common("stdin", 7, 7, json!(0)), json!({"data": "c3VkbyBiYXNoDQ=="})),
            with(common("stdout", 8, 20, json!(0)), json!({"data": "G1swbSMg/w=="})),
            with(common("exit", 9, 21, json!(0)), json!({"exitCode": 3})),
            end,
        ]
    );
    assert_eq!(sender.metric("containerssh_audit_events_sent_total{target=\"webhook-0\"}"), 10.0);
    assert_eq!(sender.metric("containerssh_audit_events_queue_bytes{target=\"webhook-0\"}"), 0.0);
}

#[tokio::test]
async fn only_what_is_included_is_sent_and_numbered_without_a_gap() {
    let (some, secrets) = (Receiver::taking().await, Receiver::taking().await);
    let target =
        |url: String, kinds: &[EventKind]| EventWebhook { include: Some(kinds.to_vec()), ..webhook(&url) };
    let sender = Sender::new(&audit([
        to(target(some.url(), &[EventKind::Exit, EventKind::Disconnect])),
        to(target(secrets.url(), &[EventKind::AuthRequest, EventKind::Passwords])),
    ]));
    typical(&sender).await;
    sender.drained().await;
    let kinds = |receiver: &Receiver| -> Vec<(Value, Value)> {
        receiver.events().iter().map(|event| (event["type"].clone(), event["sequence"].clone())).collect()
    };
    assert_eq!(kinds(&some), [(json!("exit"), json!(1)), (json!("disconnect"), json!(2))]);
    assert_eq!(kinds(&secrets), [(json!("authRequest"), json!(1)), (json!("authRequest"), json!(2))]);
    assert_eq!(secrets.events()[0]["password"], "aHVudGVyMg==");
    assert_eq!(secrets.events()[1].get("password"), None);
}

#[tokio::test]
async fn lines_and_gzip_hold_the_same_events() {
    let receiver = Receiver::taking().await;
    let target = EventWebhook {
        encoding: EventEncoding::Ndjson,
        compression: EventCompression::Gzip,
        ..webhook(&receiver.url())
    };
    let sender = Sender::to(target);
    let feed = sender.session(ID);
    for number in 0..100 {
        exec(&feed, number).await;
    }
    drop(feed);
    sender.drained().await;
    assert_eq!(numbers(&receiver.events()), (0..100).collect::<Vec<_>>());
    let headers = &receiver.requests()[0].headers;
    assert_eq!(
        (&headers["content-type"], &headers["content-encoding"]),
        (&"application/x-ndjson".parse().unwrap(), &"gzip".parse().unwrap())
    );
}

#[tokio::test]
async fn contents_are_cut_to_the_limit_and_say_so() {
    let receiver = Receiver::taking().await;
    let mut audit = audit([to(webhook(&receiver.url()))]);
    audit.event_limits.data_bytes = ByteSize(300);
    let sender = Sender::new(&audit);
    let feed = sender.session(ID);
    io(&feed, 1, IoStream::Stdout, &[b'x'; 1000]).await;
    say(&feed, 2, Some(0), Payload::ChannelRequestExec { request_id: 1, program: "é".repeat(500) }).await;
    drop(feed);
    sender.drained().await;
    let events = receiver.events();
    assert_eq!(events[0]["data"].as_str().unwrap().len(), 400);
    assert_eq!((&events[0]["truncated"], &events[0]["originalLength"]), (&json!(true), &json!(1000)));
    assert_eq!(events[1]["command"], "é".repeat(150));
    assert_eq!((&events[1]["truncated"], &events[1]["originalLength"]), (&json!(true), &json!(1000)));
    assert_eq!(events[2].get("truncated"), None);
}

#[tokio::test]
async fn a_batch_is_sent_again_until_it_is_taken_and_nothing_overtakes_it() {
    let started = Instant::now();
    let receiver = Receiver::start(|number, _| match number {
        0 => (500, None),
        1 => (429, Some(("retry-after", "2".to_owned()))),
        2 => (404, None),
        _ => (202, None),
    })
    .await;
    let target = EventWebhook {
        batch: EventBatch { events: 10, delay: Duration::from_millis(1), ..EventBatch::default() },
        ..webhook(&receiver.url())
    };
    let sender = Sender::to(target);
    let feed = sender.session(ID);
    for number in 0..30 {
        exec(&feed, number).await;
    }
    receiver
        .until(|seen| seen.iter().filter(|seen| seen.status == 202).flat_map(Seen::events).count() == 30)
        .await;
    assert!(started.elapsed() > Duration::from_secs(2), "the server asked to be left alone for so long");
    assert_eq!(numbers(&receiver.events()), (0..30).collect::<Vec<_>>());
    let bodies: Vec<Bytes> = receiver.requests().iter().take(4).map(|seen| seen.body.clone()).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "each attempt says the same");
    for (reason, count) in [("server", 1.0), ("throttled", 1.0), ("unexpected", 1.0)] {
        let name =
            format!("containerssh_audit_events_retries_total{{target=\"webhook-0\",reason=\"{reason}\"}}");
        assert_eq!(sender.metric(&name), count, "{reason}");
    }
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn a_poisonous_event_is_found_and_dropped_alone() {
    let receiver = Receiver::start(|_, seen| {
        let poisoned = seen.events().iter().any(|event| event["command"] == "13");
        (if poisoned { 400 } else { 200 }, None)
    })
    .await;
    let sender = Sender::to(webhook(&receiver.url()));
    let feed = sender.session(ID);
    for number in 0..64 {
        exec(&feed, number).await;
    }
    drop(feed);
    sender.drained().await;
    let taken: Vec<u64> = receiver
        .events()
        .iter()
        .filter_map(|event| event["command"].as_str().map(|command| command.parse().unwrap()))
        .collect();
    assert_eq!(taken, (0..64).filter(|number| *number != 13).collect::<Vec<_>>());
    let dropped = "containerssh_audit_events_dropped_total{target=\"webhook-0\",reason=\"refused\"}";
    assert_eq!(sender.metric(dropped), 1.0);
}

#[tokio::test]
async fn a_server_that_takes_little_at_once_gets_everything() {
    let receiver = Receiver::start(|_, seen| (if seen.events().len() > 3 { 413 } else { 200 }, None)).await;
    let sender = Sender::to(webhook(&receiver.url()));
    let feed = sender.session(ID);
    for number in 0..50 {
        exec(&feed, number).await;
    }
    drop(feed);
    sender.drained().await;
    assert_eq!(numbers(&receiver.events()), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_overflows_while_the_target_is_away_is_told_when_it_is_back() {
    let (receiver, on) = Receiver::switched().await;
    let mut audit = audit([to(webhook(&receiver.url()))]);
    audit.event_limits.queue = ByteSize(1 << 20);
    let sender = Sender::new(&audit);
    let (busy, quiet) = (sender.session("busy"), sender.session("quiet"));
    let begin = Instant::now();
    for number in 0..2000 {
        io(&busy, number, IoStream::Stdout, &[b'x'; 30_000]).await;
    }
    exec(&quiet, 1).await;
    // 60 MB against a target that takes nothing: the session waits for memory copies and nothing else.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    receiver.until(|seen| !seen.is_empty()).await;
    on.store(true, Ordering::SeqCst);
    receiver
        .until(|seen| {
            seen.iter().filter(|s| s.status == 200).flat_map(Seen::events).any(|e| e["type"] == "gap")
        })
        .await;
    io(&busy, 3000, IoStream::Stdout, b"after").await;
    drop((busy, quiet));
    sender.drained().await;

    let events = receiver.events();
    let (mut next, mut bytes, mut gaps) = (1, 0, 0);
    for event in events.iter().filter(|event| event["sessionId"] == "busy") {
        if event["type"] == "gap" {
            assert_eq!(event["firstSequence"], next, "{event}");
            next = event["lastSequence"].as_u64().unwrap() + 1;
            bytes += event["bytes"].as_u64().unwrap();
            gaps += event["events"].as_u64().unwrap();
        }
        let data = event["data"].as_str().map_or(0, |data| data.trim_end_matches('=').len() as u64 * 3 / 4);
        bytes += data;
        assert_eq!(event["sequence"], next);
        next += 1;
    }
    assert_eq!(bytes, 2000 * 30_000 + 5, "every byte was sent or counted as missing");
    let dropped = "containerssh_audit_events_dropped_total{target=\"webhook-0\",reason=\"full\"}";
    assert_eq!((sender.metric(dropped), gaps > 1900), (gaps as f64, true));
    // The flood of one session cost the other nothing.
    let other: Vec<Value> = events.into_iter().filter(|event| event["sessionId"] == "quiet").collect();
    assert_eq!(numbers(&other), [1]);
}

#[tokio::test]
async fn a_session_is_not_held_up_by_a_server_that_never_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let held = tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
    let sender = Sender::to(webhook(&url));
    let feed = sender.session(ID);
    within("the session", async {
        for number in 0..20_000 {
            exec(&feed, number).await;
        }
    })
    .await;
    drop(feed);
    // The drain gives up at its time, and says how much.
    let begin = Instant::now();
    let left = sender.events.drain(Duration::from_millis(300)).await;
    assert!(left > 0 && begin.elapsed() < Duration::from_secs(10), "{left} after {:?}", begin.elapsed());
    let dropped = |reason| {
        sender.metric(&format!(
            "containerssh_audit_events_dropped_total{{target=\"webhook-0\",reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(dropped("stopped"), left as f64);
    held.abort();
}

#[tokio::test]
async fn a_token_is_read_anew_for_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let receiver = Receiver::start(|_, seen| {
        (if seen.headers["authorization"] == "Bearer new" { 200 } else { 401 }, None)
    })
    .await;
    let target = EventWebhook {
        bearer_token_file: Some(file.to_str().unwrap().to_owned()),
        ..webhook(&receiver.url())
    };
    let sender = Sender::to(target);
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    receiver.until(|seen| seen.iter().any(|seen| seen.status == 401)).await;
    std::fs::write(&file, "new").unwrap();
    drop(feed);
    sender.drained().await;
    assert_eq!(numbers(&receiver.events()), [1]);
    assert!(!format!("{:?}", sender.events).contains("new"));
}

#[tokio::test]
async fn a_changed_configuration_serves_new_sessions_and_loses_nothing_of_the_old_target() {
    let (old, on) = Receiver::switched().await;
    let new = Receiver::taking().await;
    let sender = Sender::to(webhook(&old.url()));
    let before = sender.session("before");
    exec(&before, 1).await;
    old.until(|seen| !seen.is_empty()).await;
    sender.events.apply(&sender.events.prepare(&audit([to(webhook(&new.url()))])).unwrap());
    let after = sender.session("after");
    exec(&before, 2).await;
    exec(&after, 1).await;
    new.until(|seen| !seen.is_empty()).await;
    on.store(true, Ordering::SeqCst);
    drop((before, after));
    sender.drained().await;
    assert_eq!(numbers(&old.events()), [1, 2]);
    assert_eq!(numbers(&new.events()), [1]);
    assert_eq!(new.events()[0]["sessionId"], "after");
}

#[tokio::test]
async fn a_target_that_stays_in_the_configuration_keeps_what_waits_for_it() {
    let (receiver, on) = Receiver::switched().await;
    let other = Receiver::taking().await;
    let sender = Sender::to(webhook(&receiver.url()));
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    let changed = audit([to(webhook(&other.url())), to(webhook(&receiver.url()))]);
    sender.events.apply(&sender.events.prepare(&changed).unwrap());
    let again = sender.session("again");
    exec(&again, 1).await;
    on.store(true, Ordering::SeqCst);
    drop((feed, again));
    sender.drained().await;
    let sessions: Vec<Value> = receiver.events().iter().map(|event| event["sessionId"].clone()).collect();
    assert_eq!(sessions.iter().filter(|id| *id == ID).count(), 2);
    assert_eq!(sessions.iter().filter(|id| *id == "again").count(), 2);
}

#[tokio::test]
async fn targets_that_were_configured_away_are_not_kept_for_ever() {
    let (away, _off) = Receiver::switched().await;
    let sender = Sender::new(&audit([]));
    for number in 0..20 {
        let target = webhook(&format!("{}/{number}", away.url()));
        sender.events.apply(&sender.events.prepare(&audit([to(target)])).unwrap());
        exec(&sender.session(&number.to_string()), number).await;
    }
    // Eight old ones and the present one still try; the others have given up, and said so.
    let dropped =
        || sender.metric("containerssh_audit_events_dropped_total{target=\"webhook-0\",reason=\"stopped\"}");
    within("the oldest to give up", async {
        while dropped() < 22.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dropped(), 22.0);
    assert_eq!(sender.events.drain(Duration::from_millis(1)).await, 18);
}

#[tokio::test]
async fn what_an_earlier_run_left_is_told() {
    let receiver = Receiver::taking().await;
    let sender = Sender::to(webhook(&receiver.url()));
    sender.events.recovered(Recovered {
        session_id: ID.into(),
        remote: None,
        username: Some("alice".into()),
        policy_hash: "h".into(),
        interrupted: true,
        record: FinishedRecord { object: Some("a/b".into()), ..FinishedRecord::default() },
    });
    sender.drained().await;
    let event = &receiver.events()[0];
    for (key, value) in [
        ("type", json!("recovered")),
        ("sessionId", json!(ID)),
        ("username", json!("alice")),
        ("remoteAddr", json!("")),
        ("sequence", json!(0)),
        ("policyHash", json!("h")),
        ("interrupted", json!(true)),
        ("object", json!("a/b")),
    ] {
        assert_eq!(event[key], value, "{key}");
    }
}

#[tokio::test]
async fn both_sides_prove_who_they_are_over_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let acceptor = ours.server();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut refused = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                refused += 1;
                continue;
            };
            let mut request = vec![0; 8192];
            // With TLS 1.3 the client's certificate is judged after its handshake: the read fails.
            if let Ok(1..) = stream.read(&mut request).await {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                return refused;
            }
            refused += 1;
        }
    });
    let client = theirs.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert"), directory.path().join("key"));
    std::fs::write(&cert, &client.cert).unwrap();
    std::fs::write(&key, &client.key).unwrap();
    let target = EventWebhook {
        cacert: Some(PemOrFile::new(&*ours.pem)),
        cert: Some(PemOrFile::new(cert.to_str().unwrap())),
        key: Some(PemOrFile::new(key.to_str().unwrap())),
        ..webhook(&url)
    };
    let sender = Sender::to(target);
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    within("a failed attempt", async {
        let failed = "containerssh_audit_events_retries_total{target=\"webhook-0\",reason=\"connection\"}";
        while sender.metric(failed) < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The certificate is replaced, as they are when they are about to end.
    let client = ours.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    std::fs::write(&cert, &client.cert).unwrap();
    std::fs::write(&key, &client.key).unwrap();
    assert!(within("the server", server).await.unwrap() > 0);
    drop(feed);
    sender.events.drain(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn certificates_that_are_none_are_refused_at_once() {
    let sender = Sender::new(&audit([]));
    let target =
        EventWebhook { cacert: Some(PemOrFile::new("/nonexistent.pem")), ..webhook("https://127.0.0.1:1/") };
    let error = sender.events.prepare(&audit([to(target)])).unwrap_err().to_string();
    assert!(error.starts_with("audit.events[0].webhook.cacert: cannot read /nonexistent.pem"), "{error}");
}
