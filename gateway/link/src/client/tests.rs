//! Agents that are not what they should be: a guest may run anything under that name.

use std::net::SocketAddr;

use containerssh_backend::{Command, Output, Signal};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::carrier::Direct;
use crate::frame::MAX_FRAME;

/// What a false agent says on its first connection (which is the control connection) and on all others, as raw bytes.
struct Script {
    control: Vec<u8>,
    others: Vec<u8>,
}

fn frame(kind: Kind, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind as u8][..], &length, content].concat()
}

fn done() -> Vec<u8> {
    frame(Kind::Reply, b"\"Done\"")
}

/// A false agent that has the right key, and whoever wants to talk to it.
async fn false_agent(script: Script) -> (SocketAddr, Identity, PublicKey) {
    let (ours, theirs) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let acceptor = TlsAcceptor::from(theirs.server(ours.public().clone()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((stream, _)) = listener.accept().await {
            let said =
                if std::mem::take(&mut first) { script.control.clone() } else { script.others.clone() };
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                let mut stream = acceptor.accept(stream).await.unwrap();
                let _ = FrameReader::new(&mut stream, MAX_FRAME).next().await;
                let _ = stream.write_all(&said).await;
                let _ = stream.flush().await;
                // Never reads again, never says anything again.
                std::future::pending::<()>().await;
            });
        }
    });
    (address, ours, theirs.public().clone())
}

async fn connect(script: Script) -> Result<RemoteGuest, LinkError> {
    let (address, identity, key) = false_agent(script).await;
    let carrier = Arc::new(Direct { address, timeout: Duration::from_secs(30) });
    RemoteGuest::connect("pod".into(), carrier, &identity, key).await
}

fn spec() -> ProgramSpec {
    ProgramSpec { channel: 0, command: Command::Shell, env: vec![], pty: None, x11: None, auth_agent: false }
}

/// The program's first message where the agent says `others` about it.
async fn first(others: Vec<u8>) -> Result<Output, BackendError> {
    let guest = connect(Script { control: done(), others }).await.unwrap();
    guest.start(spec()).await?.output.next().await
}

#[tokio::test]
async fn an_agent_that_makes_no_sense_is_none() {
    for control in [frame(Kind::Reply, b"{"), frame(Kind::Data, b"x"), frame(Kind::Reply, b"{\"Port\":1}")] {
        assert!(connect(Script { control, others: vec![] }).await.is_err());
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_success() {
    let after = |what: Vec<u8>| [done(), what].concat();
    for others in [
        frame(Kind::Reply, b"{\"Port\":1}"),
        frame(Kind::Reply, b"nonsense"),
        after(vec![255; 100]),
        after(frame(Kind::End, b"nonsense")),
        after(frame(Kind::End, b"{\"Exit\":-1}")),
        after(frame(Kind::Incoming, b"")),
        after(frame(Kind::Eof, b"")),
        // A length that we would have to allocate.
        after(vec![Kind::Data as u8, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let shown = String::from_utf8_lossy(&others).into_owned();
        assert!(first(others).await.is_err(), "{shown:?}");
    }
    let exit = first(after(frame(Kind::End, b"{\"Exit\":7}"))).await.unwrap();
    assert_eq!(exit, Output::Exit(7));
}

#[tokio::test]
async fn reasons_are_shown_without_what_controls_a_terminal_and_not_at_length() {
    let text = format!("\\u001b[2J{}", "x".repeat(10_000));
    let failed = frame(Kind::Reply, format!("{{\"Failed\":{{\"Program\":\"{text}\"}}}}").as_bytes());
    let error = first(failed).await.unwrap_err().to_string();
    assert!(error.starts_with("[2Jxxx") && error.len() <= 500, "{error}");
}

#[tokio::test]
async fn nonsense_about_arrivals_ends_the_guest_and_nothing_else() {
    for control in [frame(Kind::Incoming, b"{}"), frame(Kind::Stderr, b""), vec![0; 5]] {
        let guest = connect(Script { control: [done(), control].concat(), others: vec![] }).await.unwrap();
        assert!(matches!(guest.gone().await, BackendError::GuestGone(_)));
    }
    // Arrivals that are not there when they are taken are nobody's.
    let told = frame(Kind::Incoming, b"{\"number\":1,\"origin\":\"AuthAgent\"}");
    let refused = frame(Kind::Reply, b"{\"Failed\":{\"Connect\":\"gone\"}}");
    let guest =
        connect(Script { control: [done(), told.repeat(1000)].concat(), others: refused }).await.unwrap();
    tokio::select! {
        biased;
        incoming = guest.accept() => panic!("{incoming:?}"),
        started = guest.start(spec()) => assert!(started.is_err()),
    }
}

#[tokio::test]
async fn an_agent_that_does_not_read_only_holds_up_who_writes_to_it() {
    let guest = connect(Script { control: done(), others: done() }).await.unwrap();
    let mut stuck = guest.start(spec()).await.unwrap();
    let flood = tokio::spawn(async move { while stuck.input.stdin(vec![0; 60_000].into()).await.is_ok() {} });
    let mut other = guest.start(spec()).await.unwrap();
    other.input.signal(Signal::HUP).await.unwrap();
    assert!(!flood.is_finished());
    flood.abort();
}
