//! Streams against a real WebSocket server on an in-memory connection.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use containerssh_backend::{BackendError, Output, ProgramOutput};
use futures::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::time::{Instant, advance, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::connection::split;
use super::farewell::Farewell;
use super::output::Receiver;
use super::reader::{ReadError, Reader};
use super::writer::Writer;
use super::{PING_INTERVAL, SILENCE_LIMIT, channel};

type Server = WebSocketStream<DuplexStream>;

const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

async fn pair() -> (Reader, Writer, Server) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = split(ours);
    (reader, writer, WebSocketStream::from_raw_socket(theirs, Role::Server, None).await)
}

fn message(channel: u8, data: &[u8]) -> Message {
    Message::Binary([&[channel], data].concat().into())
}

#[tokio::test]
async fn output_errors_and_status_come_in_order_and_empty_messages_are_skipped() {
    let (reader, _writer, mut server) = pair().await;
    for (channel, data) in
        [(1, &b""[..]), (2, b""), (3, b""), (1, b"out"), (2, b"err"), (7, b"unknown"), (3, SUCCESS)]
    {
        server.send(message(channel, data)).await.unwrap();
    }
    server.close(None).await.unwrap();
    let mut receiver = Receiver::new(reader, None);
    assert_eq!(receiver.next().await.unwrap(), Output::Stdout(Bytes::from_static(b"out")));
    assert_eq!(receiver.next().await.unwrap(), Output::Stderr(Bytes::from_static(b"err")));
    assert_eq!(receiver.next().await.unwrap(), Output::Exit(0));
}

#[tokio::test]
async fn output_behind_the_status_is_not_lost() {
    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STATUS, SUCCESS)).await.unwrap();
    server.send(message(channel::STDOUT, b"late")).await.unwrap();
    server.close(None).await.unwrap();
    let mut receiver = Receiver::new(reader, None);
    assert_eq!(receiver.next().await.unwrap(), Output::Stdout(Bytes::from_static(b"late")));
    assert_eq!(receiver.next().await.unwrap(), Output::Exit(0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_open_behind_the_status_does_not_hold_the_verdict_up() {
    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STATUS, SUCCESS)).await.unwrap();
    let begun = Instant::now();
    assert_eq!(Receiver::new(reader, None).next().await.unwrap(), Output::Exit(0));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_end_without_a_status_is_never_a_success() {
    for orderly in [true, false] {
        let (reader, _writer, mut server) = pair().await;
        server.send(message(channel::STDOUT, b"half")).await.unwrap();
        if orderly {
            server.close(None).await.unwrap();
        }
        drop(server);
        let mut receiver = Receiver::new(reader, None);
        assert_eq!(receiver.next().await.unwrap(), Output::Stdout(Bytes::from_static(b"half")));
        let error = receiver.next().await.unwrap_err();
        assert!(
            matches!(&error, BackendError::StreamBroken(text) if text.contains("exit status is unknown")),
            "{error}"
        );
    }
}

/// What the API server makes of a kubelet's stream that ended early.
#[tokio::test]
async fn a_success_without_the_parents_farewell_is_none() {
    let farewell = || Some(Farewell::new("bye:".to_owned()));
    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STATUS, SUCCESS)).await.unwrap();
    server.close(None).await.unwrap();
    let error = Receiver::new(reader, farewell()).next().await.unwrap_err();
    assert!(matches!(error, BackendError::StreamBroken(_)), "{error}");

    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STDERR, b"err\nbye:4")).await.unwrap();
    server.send(message(channel::STDERR, b"2\n")).await.unwrap();
    server.send(message(channel::STATUS, SUCCESS)).await.unwrap();
    server.close(None).await.unwrap();
    let mut receiver = Receiver::new(reader, farewell());
    assert_eq!(receiver.next().await.unwrap(), Output::Stderr(Bytes::from_static(b"err\n")));
    assert_eq!(receiver.next().await.unwrap(), Output::Exit(42), "the parent knows better");
}

#[tokio::test]
async fn half_a_status_is_none() {
    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STATUS, &SUCCESS[..20])).await.unwrap();
    server.close(None).await.unwrap();
    assert!(Receiver::new(reader, None).next().await.is_err());
}

#[tokio::test]
async fn a_status_without_end_is_refused() {
    let (reader, writer, mut server) = pair().await;
    let endless =
        tokio::spawn(
            async move { while server.send(message(channel::STATUS, &[b' '; 8192])).await.is_ok() {} },
        );
    let error = Receiver::new(reader, None).next().await.unwrap_err();
    assert!(matches!(&error, BackendError::ProgramFailed(_) | BackendError::StreamBroken(_)), "{error}");
    drop(writer);
    endless.await.unwrap();
}

#[tokio::test]
async fn input_its_end_and_sizes_arrive_in_order() {
    let (_reader, writer, mut server) = pair().await;
    let data: Bytes = (0..200_000_u32).map(|index| index as u8).collect::<Vec<_>>().into();
    let sent = data.clone();
    tokio::spawn(async move {
        writer.resize(80, 24).await.unwrap();
        writer.stdin(Bytes::new()).await.unwrap();
        writer.stdin(sent).await.unwrap();
        writer.close_stdin().await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(
        server.next().await.unwrap().unwrap(),
        message(channel::RESIZE, br#"{"Width":80,"Height":24}"#)
    );
    let mut received = Vec::new();
    loop {
        let Message::Binary(bytes) = server.next().await.unwrap().unwrap() else { panic!("binary only") };
        match bytes[0] {
            channel::STDIN => received.extend_from_slice(&bytes[1..]),
            channel::CLOSE => {
                assert_eq!(bytes[..], [channel::CLOSE, channel::STDIN]);
                break;
            }
            other => panic!("channel {other}"),
        }
    }
    assert_eq!(received, data);
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_no_half_message() {
    let (_reader, writer, mut server) = pair().await;
    let chunk = Bytes::from(vec![1; 100_000]);
    // The peer reads nothing: connection, buffer and queue fill up until a call has to wait.
    while timeout(Duration::from_millis(50), writer.stdin(chunk.clone())).await.is_ok() {}
    let tail = tokio::spawn(async move {
        writer.stdin(Bytes::from_static(b"end")).await.unwrap();
        writer
    });
    let mut total = 0;
    loop {
        let Message::Binary(bytes) = server.next().await.unwrap().unwrap() else { panic!("binary only") };
        let data = bytes[1..].strip_suffix(b"end").unwrap_or(&bytes[1..]);
        assert!(data.iter().all(|byte| *byte == 1));
        total += data.len();
        if data.len() < bytes.len() - 1 {
            break;
        }
    }
    assert_eq!(total % chunk.len(), 0, "whole chunks only");
    drop(tail.await.unwrap());
}

#[tokio::test]
async fn a_program_that_takes_no_input_still_gives_its_output() {
    let (reader, writer, server) = pair().await;
    let stuck =
        tokio::spawn(async move { while writer.stdin(Bytes::from(vec![1; 100_000])).await.is_ok() {} });
    let (mut sink, _unread) = server.split();
    tokio::spawn(async move {
        for _ in 0..100 {
            sink.send(message(channel::STDOUT, &[2; 50_000])).await.unwrap();
        }
        sink.send(message(channel::STATUS, SUCCESS)).await.unwrap();
        sink.close().await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut receiver = Receiver::new(reader, None);
    let mut received = 0;
    loop {
        match receiver.next().await.unwrap() {
            Output::Stdout(data) => received += data.len(),
            end => {
                assert_eq!(end, Output::Exit(0));
                break;
            }
        }
    }
    assert_eq!(received, 5_000_000);
    stuck.abort();
}

#[tokio::test]
async fn pings_are_answered_with_their_payload() {
    let (mut reader, _writer, mut server) = pair().await;
    server.send(Message::Ping(Bytes::from_static(b"are you there"))).await.unwrap();
    let answer = tokio::select! {
        _ = reader.next() => panic!("nothing to read"),
        answer = server.next() => answer.unwrap().unwrap(),
    };
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"are you there")));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_kept_alive_by_pings_for_hours() {
    let (mut reader, _writer, mut server) = pair().await;
    let answering = tokio::spawn(async move {
        let mut pings = 0;
        // The last message is the goodbye.
        while let Some(Ok(Message::Ping(_))) = server.next().await {
            pings += 1;
        }
        pings
    });
    assert!(timeout(Duration::from_secs(3600), reader.next()).await.is_err(), "still waiting, no error");
    drop((reader, _writer));
    let expected = 3600 / PING_INTERVAL.as_secs();
    let pings: u64 = answering.await.unwrap();
    assert!((expected - 1..=expected).contains(&pings), "{pings}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_nothing_is_noticed() {
    let (mut reader, _writer, _server) = pair().await;
    let begun = Instant::now();
    assert!(matches!(reader.next().await, Err(ReadError::Silent)));
    assert_eq!(begun.elapsed(), SILENCE_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_silence_counts_across_cancelled_calls() {
    let (mut reader, _writer, _server) = pair().await;
    let begun = Instant::now();
    let error = loop {
        if let Ok(end) = timeout(Duration::from_secs(1), reader.next()).await {
            break end;
        }
    };
    assert!(matches!(error, Err(ReadError::Silent)));
    assert!(begun.elapsed() < SILENCE_LIMIT + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_waits_for_a_program_to_take_its_input_is_not_dead() {
    let (mut reader, writer, _server) = pair().await;
    let feeding = tokio::spawn(async move {
        loop {
            writer.stdin(Bytes::from_static(b"x")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    });
    assert!(timeout(Duration::from_secs(600), reader.next()).await.is_err());
    feeding.abort();
}

#[tokio::test(start_paused = true)]
async fn output_that_waited_behind_a_slow_consumer_is_not_mistaken_for_silence() {
    let (mut reader, _writer, mut server) = pair().await;
    assert!(timeout(Duration::from_millis(1), reader.next()).await.is_err());
    server.send(message(channel::STDOUT, b"waiting")).await.unwrap();
    advance(SILENCE_LIMIT * 10).await;
    assert_eq!(reader.next().await.unwrap().unwrap().data, "waiting");
}

#[tokio::test]
async fn the_connection_is_closed_when_both_directions_are_dropped() {
    let (reader, writer, mut server) = pair().await;
    drop(reader);
    writer.stdin(Bytes::from_static(b"still there")).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), message(channel::STDIN, b"still there"));
    drop(writer);
    assert!(server.next().await.unwrap().unwrap().is_close());
}

#[tokio::test]
async fn input_for_a_connection_that_has_ended_is_an_error_and_not_a_wait() {
    let (_reader, writer, server) = pair().await;
    drop(server);
    while writer.stdin(Bytes::from(vec![0; 10_000])).await.is_ok() {}
    assert!(writer.close_stdin().await.is_err());
}

#[tokio::test]
async fn a_receiver_gives_early_output_first() {
    let (reader, _writer, mut server) = pair().await;
    server.send(message(channel::STDOUT, b"second")).await.unwrap();
    let running = super::start::Running::unknown(crate::guest::Remains::of(crate::testing::target()));
    let early = VecDeque::from([Output::Stdout(Bytes::from_static(b"first"))]);
    let mut receiver = Receiver::new(reader, None).running(early, running);
    assert_eq!(receiver.next().await.unwrap(), Output::Stdout(Bytes::from_static(b"first")));
    assert_eq!(receiver.next().await.unwrap(), Output::Stdout(Bytes::from_static(b"second")));
}
