//! Streams both ways through the agent.

use containerssh_backend::{Bind, DialError, Guest, Origin, Stream, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Agent, noise, within};

/// Sends `sent` and its end through a stream and collects what comes back.
async fn exchange(stream: Stream, sent: &[u8]) -> Vec<u8> {
    let Stream { mut input, mut output } = stream;
    let sending = async {
        input.send(bytes::Bytes::copy_from_slice(sent)).await.unwrap();
        input.eof().await.unwrap();
    };
    let receiving = async {
        let mut received = Vec::new();
        while let Some(data) = output.next().await.unwrap() {
            received.extend_from_slice(&data);
        }
        received
    };
    within("an exchange", async { tokio::join!(sending, receiving) }).await.1
}

/// Sends everything back, and then its end.
async fn echo(mut socket: TcpStream) {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.unwrap();
    socket.write_all(&all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_dials_and_half_closes() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let echoing = tokio::spawn(async move { echo(target.accept().await.unwrap().0).await });
    let stream = guest.dial(Target::Tcp { host: "localhost".into(), port }).await.unwrap();
    let sent = noise(1_000_000);
    assert!(exchange(stream, &sent).await == sent);
    echoing.await.unwrap();
    let refused = guest.dial(Target::Tcp { host: "127.0.0.1".into(), port }).await.unwrap_err();
    assert!(matches!(refused, DialError::ConnectFailed(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_in_the_guest_is_brought_with_its_origin() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let bind = |port| Bind::Tcp { host: "127.0.0.1".into(), port };
    let port = guest.listen(bind(0)).await.unwrap();
    let mut visitors = Vec::new();
    for _ in 0..3 {
        visitors.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    for _ in 0..3 {
        let incoming = within("a visitor", guest.accept()).await;
        let Origin::Tcp { port: asked, originator_port, .. } = incoming.origin else { panic!() };
        assert_eq!(asked, port);
        let place = visitors
            .iter()
            .position(|visitor| u32::from(visitor.local_addr().unwrap().port()) == originator_port);
        let visitor = visitors.remove(place.unwrap());
        let (sent, visiting) = (noise(300_000), tokio::spawn(echo(visitor)));
        assert!(exchange(incoming.stream, &sent).await == sent);
        visiting.await.unwrap();
    }
    assert!(guest.unlisten(bind(port)).await);
    assert!(!guest.unlisten(bind(port)).await);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_stream_was_closed_arrives() {
    let agent = Agent::start().await;
    let guest = agent.connect().await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let mut stream = guest.dial(Target::Tcp { host: "127.0.0.1".into(), port }).await.unwrap();
    let (mut socket, _) = target.accept().await.unwrap();
    let sent = noise(500_000);
    within("sending", stream.input.send(bytes::Bytes::from(sent.clone()))).await.unwrap();
    drop(stream);
    let mut received = Vec::new();
    within("the end", socket.read_to_end(&mut received)).await.unwrap();
    assert!(received == sent, "{} bytes arrived", received.len());
}
