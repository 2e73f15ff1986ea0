//! Clients, and people between them and us, that play foul.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::openssh::OpenSsh;
use crate::support::{noise, within};

/// SSH_MSG_IGNORE with an empty string, as an unencrypted packet (RFC 4253 sections 6 and 11.2): 14 bytes of padding.
const IGNORE: [u8; 24] = [0, 0, 0, 20, 14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Somebody between client and gateway, who adds a message to what the client says while keys are exchanged.
async fn between(gateway: SocketAddr, injected: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(gateway).await.unwrap();
                let (theirs, ours) = (line(&mut client).await, line(&mut server).await);
                client.write_all(&ours).await.unwrap();
                let mut first = theirs;
                // KEXINIT, the client's first packet.
                let length = client.read_u32().await.unwrap();
                first.extend(length.to_be_bytes());
                let start = first.len();
                first.resize(start + usize::try_from(length).unwrap(), 0);
                client.read_exact(&mut first[start..]).await.unwrap();
                first.extend_from_slice(injected);
                server.write_all(&first).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// An identification string with its line end.
async fn line(stream: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await.unwrap());
    }
    line
}

/// Terrapin (CVE-2023-48795): a message that is added before encryption begins would let one be dropped behind it. Strict key
/// exchange ends the connection instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_injected_into_the_key_exchange_ends_the_connection() {
    let ssh = OpenSsh::with(|_| {}).await;
    let honest = between(ssh.gateway.address, &[]).await.to_string();
    let (stdout, stderr, status) = ssh.run_through(&honest, "echo in").await;
    assert_eq!((stdout.as_str(), status), ("in\n", Some(0)), "{stderr}");
    let attempts = ssh.gateway.auth.attempts.lock().unwrap().len();
    let foul = between(ssh.gateway.address, &IGNORE).await.to_string();
    let (stdout, _, status) = ssh.run_through(&foul, "echo in").await;
    assert_eq!((stdout.as_str(), status), ("", Some(255)));
    assert_eq!(ssh.gateway.auth.attempts.lock().unwrap().len(), attempts, "it came as far as a login");
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_rekeys_all_the_time_loses_nothing() {
    let ssh = OpenSsh::with(|_| {}).await;
    let sent = noise(2_000_003);
    let mut child = ssh.command(&["-o", "RekeyLimit=64K"], &["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move { stdin.write_all(&sent).await }
    });
    let output = within("ssh", child.wait_with_output()).await.unwrap();
    writing.await.unwrap().unwrap();
    assert!(output.stdout == sent, "{} bytes of {}", output.stdout.len(), sent.len());
    ssh.gateway.stop().await;
}
