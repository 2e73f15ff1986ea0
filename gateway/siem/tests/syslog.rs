//! Events as syslog messages, to servers that count octets as RFC 6587 and RFC 5425 say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Authority, ID, Sender, audit, exec, io, say, within};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{ByteSize, EventSyslog, EventTarget, PemOrFile, SyslogProtocol};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A message in its parts.
#[derive(Debug)]
struct Message {
    priority: u8,
    header: String,
    data: String,
    event: Value,
    length: usize,
}

/// The next message of a stream; `None` at its end.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Message> {
    let mut length = Vec::new();
    loop {
        let byte = stream.read_u8().await.ok()?;
        if byte == b' ' {
            break;
        }
        assert!(byte.is_ascii_digit(), "a length, not {byte}");
        length.push(byte);
    }
    let length: usize = std::str::from_utf8(&length).unwrap().parse().unwrap();
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.ok()?;
    let text = String::from_utf8(text).unwrap();
    // RFC 5424 section 6: HEADER SP STRUCTURED-DATA SP MSG, and the header has seven parts.
    let (header, rest) = text.split_once(" [").unwrap();
    let end = rest.find("\"] ").unwrap();
    let (data, message) = rest.split_at(end + 2);
    let priority = header.strip_prefix('<').unwrap().split_once(">1 ").unwrap().0.parse().unwrap();
    assert_eq!(header.split(' ').count(), 6, "{header}");
    let event = serde_json::from_str(message.trim_start()).unwrap();
    Some(Message { priority, header: header.to_owned(), data: data.to_owned(), event, length })
}

fn target(address: SocketAddr) -> EventSyslog {
    EventSyslog { address: address.to_string(), protocol: SyslogProtocol::Tcp, ..EventSyslog::default() }
}

fn sender(target: EventSyslog) -> Sender {
    Sender::new(&audit([EventTarget { webhook: None, syslog: Some(target) }]))
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    BufReader::new(within("a connection", listener.accept()).await.unwrap().0)
}

#[tokio::test]
async fn a_message_has_a_header_structured_data_and_the_event() {
    let (listener, address) = listen().await;
    let sender = sender(target(address));
    let feed = sender.session(ID);
    say(&feed, 0, None, Payload::AuthPasswordFailed { username: "a\"]\\\u{1b}b".into(), password: None })
        .await;
    say(
        &feed,
        123_456_789,
        Some(0),
        Payload::ChannelRequestExec { request_id: 1, program: "ls\n[x] \"]".into() },
    )
    .await;
    let mut stream = accept(&listener).await;
    let first = within("a message", read(&mut stream)).await.unwrap();
    // log audit, warning: a login failed.
    assert_eq!(first.priority, 13 * 8 + 4);
    assert_eq!(first.header, "<108>1 2026-05-09T12:00:00.000000Z dev-0 containerssh - authRequest");
    assert_eq!(
        first.data,
        format!(
            "containerssh@32473 sessionId=\"{ID}\" username=\"a\\\"\\]\\\\\\\\u{{1b}}b\" type=\"authRequest\" sequence=\"1\"]"
        )
    );
    assert_eq!(first.event["username"], "a\"]\\\u{1b}b");
    let second = within("a message", read(&mut stream)).await.unwrap();
    assert_eq!(second.priority, 13 * 8 + 6);
    assert_eq!(second.header, "<110>1 2026-05-09T12:00:00.123456Z dev-0 containerssh - exec");
    assert_eq!(second.event["command"], "ls\n[x] \"]");
    drop(feed);
    sender.drained().await;
    assert_eq!(read(&mut stream).await.unwrap().event["type"], "disconnect");
}

#[tokio::test]
async fn contents_are_cut_until_the_message_fits() {
    let (listener, address) = listen().await;
    let sender = sender(EventSyslog { message_bytes: ByteSize(2048), ..target(address) });
    let feed = sender.session(ID);
    io(&feed, 0, IoStream::Stdout, &[b'x'; 30_000]).await;
    let exec = |program: String| Payload::ChannelRequestExec { request_id: 1, program };
    say(&feed, 1, Some(0), exec("é".repeat(10_000))).await;
    // Six bytes of text for each of its own.
    say(&feed, 2, Some(0), exec("\u{1}".repeat(10_000))).await;
    say(&feed, 3, Some(0), exec("short".into())).await;
    let mut stream = accept(&listener).await;
    for (field, original, least) in
        [("data", 30_000, 2040), ("command", 20_000, 2040), ("command", 10_000, 1000)]
    {
        let message = within("a message", read(&mut stream)).await.unwrap();
        assert!(message.length <= 2048 && message.length >= least, "{}", message.length);
        assert_eq!(message.event["originalLength"], original);
        assert!(!message.event[field].as_str().unwrap().is_empty());
    }
    let whole = within("a message", read(&mut stream)).await.unwrap();
    assert_eq!((&whole.event["command"], whole.event.get("truncated")), (&Value::from("short"), None));
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn what_a_lost_connection_may_have_taken_along_is_sent_again_at_once() {
    let (listener, address) = listen().await;
    let sender = sender(target(address));
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    // The server takes the connection and dies without reading.
    let stream = accept(&listener).await;
    within("the event to be on its way", stream.get_ref().readable()).await.unwrap();
    drop(stream);
    // Nothing new happens, and yet it comes again.
    let mut stream = accept(&listener).await;
    let again = within("a message", read(&mut stream)).await.unwrap();
    assert_eq!((&again.event["command"], &again.event["sequence"]), (&Value::from("1"), &Value::from(1)));
    exec(&feed, 2).await;
    assert_eq!(within("a message", read(&mut stream)).await.unwrap().event["sequence"], 2);
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn events_wait_for_a_server_that_is_not_there_yet() {
    let (listener, address) = listen().await;
    drop(listener);
    let sender = sender(target(address));
    let feed = sender.session(ID);
    for number in 0..100 {
        exec(&feed, number).await;
    }
    within("a failed attempt", async {
        let failed = "containerssh_audit_events_retries_total{target=\"syslog-0\",reason=\"connection\"}";
        while sender.metric(failed) < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut stream = accept(&listener).await;
    for number in 1..=100 {
        assert_eq!(within("a message", read(&mut stream)).await.unwrap().event["sequence"], number);
    }
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn a_server_that_does_not_read_is_given_up_and_tried_again() {
    let (listener, address) = listen().await;
    let sender = sender(EventSyslog { timeout: Duration::from_millis(200), ..target(address) });
    let feed = sender.session(ID);
    for number in 0..400 {
        io(&feed, number, IoStream::Stdout, &[b'x'; 30_000]).await;
    }
    let silent = accept(&listener).await;
    let mut stream = accept(&listener).await;
    drop(silent);
    let first = within("a message", read(&mut stream)).await.unwrap();
    assert_eq!(first.event["sequence"], 1, "from the first that was not confirmed");
    tokio::spawn(async move { while read(&mut stream).await.is_some() {} });
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn both_sides_prove_who_they_are_over_tls() {
    let authority = Authority::new();
    let (listener, address) = listen().await;
    let client = authority.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let target = EventSyslog {
        protocol: SyslogProtocol::Tls,
        cacert: Some(PemOrFile::new(&*authority.pem)),
        cert: Some(PemOrFile::new(client.cert)),
        key: Some(PemOrFile::new(client.key)),
        ..target(address)
    };
    let sender = sender(target);
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    let stream = accept(&listener).await.into_inner();
    let mut stream = within("the handshake", authority.server().accept(stream)).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().is_some());
    assert_eq!(within("a message", read(&mut stream)).await.unwrap().event["sequence"], 1);
    drop(feed);
    sender.drained().await;
}

#[tokio::test]
async fn a_server_of_another_authority_gets_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (listener, address) = listen().await;
    let target = EventSyslog {
        protocol: SyslogProtocol::Tls,
        cacert: Some(PemOrFile::new(&*ours.pem)),
        ..target(address)
    };
    let sender = sender(target);
    let feed = sender.session(ID);
    exec(&feed, 1).await;
    let mut stream = accept(&listener).await;
    // It hears a greeting, and is left.
    let refused = within("the handshake", theirs.server().accept(&mut stream)).await;
    assert!(refused.is_err());
    assert!(stream.fill_buf().await.is_ok_and(<[u8]>::is_empty));
    drop(feed);
    assert_eq!(sender.events.drain(Duration::from_millis(10)).await, 2);
}
