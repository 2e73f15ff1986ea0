//! Strangers at the door.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Client, Gateway, noise, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_lock_nobody_out() {
    let gateway = Gateway::start(|config| config.ssh.limits.unauthenticated = 200).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let client = Client::login(&gateway).await;
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    // The oldest gave way.
    let mut received = Vec::new();
    let _ = within("the oldest to be dropped", silent[0].read_to_end(&mut received)).await;
    within("places to be given back", async {
        while gateway.metrics.connections() > 202 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop((silent, client));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_harms_nobody() {
    let gateway = Gateway::start(|_| {}).await;
    for rubbish in [
        noise(100_000),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"SSH-2.0-x\r\n".iter().copied().chain(noise(50_000)).collect(),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let _ = stream.write_all(&rubbish).await;
        let mut answer = Vec::new();
        let _ = within("rubbish to be refused", stream.read_to_end(&mut answer)).await;
    }
    let client = Client::login(&gateway).await;
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    drop(client);
    gateway.stop().await;
}

#[tokio::test]
async fn one_source_has_so_many_connections_and_is_told() {
    let gateway = Gateway::start(|config| config.ssh.limits.per_source = 1).await;
    let client = Client::login(&gateway).await;
    let mut second = TcpStream::connect(gateway.address).await.unwrap();
    let mut answer = String::new();
    within("a refusal", second.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "too many connections from this address\r\n");
    drop(client);
    gateway.stop().await;
}
