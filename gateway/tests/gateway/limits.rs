//! Strangers at the door.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::openssh::OpenSsh;
use crate::support::{Client, Gateway, noise, read_until, within};

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

#[tokio::test(flavor = "multi_thread")]
async fn one_user_has_so_many_connections_and_is_told() {
    let ssh = OpenSsh::with(|config| config.ssh.limits.per_user = 1).await;
    let first = Client::login(&ssh.gateway).await;
    let other = {
        let mut client = Client::connect(&ssh.gateway).await;
        assert!(client.password("bob", "secret").await.success());
        client
    };
    assert_eq!(other.exec(b"echo in", b"").await.stdout(), "in\n");
    // The key's user is `alice`; the password's is `alice@example`, which is somebody else.
    assert_eq!(ssh.run(&[], "echo in").await.0, "in\n");
    let mut second = Client::connect(&ssh.gateway).await;
    second.password("alice", "secret").await;
    within("the second to be ended", async { while second.session.channel_open_session().await.is_ok() {} })
        .await;
    drop(first);
    within("a place", async {
        loop {
            let mut again = Client::connect(&ssh.gateway).await;
            again.password("alice", "secret").await;
            if let Ok(channel) = again.session.channel_open_session().await {
                return drop(channel);
            }
        }
    })
    .await;
    let guests = ssh.gateway.backend.connections.lock().unwrap().len();
    assert!(guests >= 4, "those that were let in had guests");
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_too_many_connections_reads_why() {
    let ssh = OpenSsh::with(|config| config.ssh.limits.per_user = 1).await;
    let mut first = ssh.command(&[], &["echo up; cat"]);
    let mut first = first.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    within("the first", first.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    let (_, stderr, status) = ssh.run(&["-o", "LogLevel=INFO"], "true").await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("you have as many connections as one user may have here"), "{stderr}");
    drop(first.stdin.take());
    within("the first's end", first.wait()).await.unwrap();
    ssh.gateway.stop().await;
}

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 5555 22\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_balancer_says_whose_connection_it_passes_on() {
    let gateway = Gateway::start(|config| {
        config.ssh.proxy_protocol.trusted_cidrs = vec!["127.0.0.0/8".parse().unwrap()];
        config.ssh.limits.per_source = 1;
    })
    .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(HEADER).await.unwrap();
    let mut client = Client::over(stream).await;
    assert!(client.password("alice", "secret").await.success());
    let finished = client.exec(b"echo $SSH_CONNECTION", b"").await;
    assert_eq!(finished.stdout(), "192.0.2.7 5555 198.51.100.2 22\n");
    assert_eq!(gateway.auth.attempts.lock().unwrap()[0].remote_addr, "192.0.2.7:5555".parse().unwrap());
    // Limits are the client's own, not the balancer's.
    let mut other = TcpStream::connect(gateway.address).await.unwrap();
    other.write_all(b"PROXY TCP4 192.0.2.8 198.51.100.2 5555 22\r\n").await.unwrap();
    assert!(Client::over(other).await.password("alice", "secret").await.success());
    let mut same = TcpStream::connect(gateway.address).await.unwrap();
    same.write_all(HEADER).await.unwrap();
    let mut answer = String::new();
    within("a refusal", same.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "too many connections from this address\r\n");
    // One that says nothing of the kind is not served.
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    silent.write_all(b"SSH-2.0-somebody\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", silent.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert!(
        matches!(&record[0].payload, containerssh_auditlog::Payload::Connect { remote_addr, .. } if remote_addr == "192.0.2.7")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed() {
    let gateway = Gateway::start(|config| {
        config.ssh.proxy_protocol.trusted_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(HEADER).await.unwrap();
    stream.write_all(b"SSH-2.0-somebody\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut answer)).await;
    let client = Client::login(&gateway).await;
    let finished = client.exec(b"echo $SSH_CLIENT", b"").await;
    assert!(finished.stdout().starts_with("127.0.0.1 "), "{}", finished.stdout());
    assert!(
        gateway.auth.attempts.lock().unwrap().iter().all(|attempt| attempt.remote_addr.ip().is_loopback())
    );
    drop(client);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_begins_with_the_message_of_the_day_and_nothing_else_does() {
    let gateway = Gateway::start(|config| config.ssh.motd = "Welcome\nto us\n".into()).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.request_shell(false).await.unwrap();
    let seen = read_until(&mut channel, "[start 80x24]").await;
    assert!(seen.starts_with("Welcome\r\nto us\r\n"), "{seen:?}");
    assert_eq!(client.exec(b"echo only", b"").await.stdout(), "only\n");
    drop((channel, client));
    gateway.stop().await;
}
