//! Forwarding against real sockets of this machine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containerssh_backend::{Bind, DialError, Incoming, Origin, Stream, Target, X11};
use containerssh_forward::{Forwards, MAX_LISTENERS, MAX_STREAMS};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;

/// Longer than anything takes on the slowest machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for: {what}"),
    }
}

fn tcp(host: &str, port: u16) -> Target {
    Target::Tcp { host: host.into(), port }
}

fn bind(host: &str, port: u16) -> Bind {
    Bind::Tcp { host: host.into(), port }
}

/// Bytes without a pattern that a lost or doubled piece could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(more) = within("bytes", stream.output.next()).await.unwrap() {
        bytes.extend_from_slice(&more);
    }
    bytes
}

async fn incoming(forwards: &Forwards) -> Incoming {
    within("a stream to arrive", forwards.accept()).await
}

/// Sends `question` to its end, and only then gets the answer: what a half-closed connection is for.
async fn ask(mut stream: Stream, question: Vec<u8>) -> Vec<u8> {
    let Stream { input, .. } = &mut stream;
    for piece in question.chunks(10_007) {
        within("a write", input.send(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    within("the end of input", input.eof()).await.unwrap();
    read_to_end(&mut stream).await
}

/// Takes a question to its end and gives it back twice.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut question = Vec::new();
    socket.read_to_end(&mut question).await.unwrap();
    socket.write_all(&question).await.unwrap();
    socket.write_all(&question).await.unwrap();
    socket.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dialed_stream_carries_bytes_and_either_end() {
    let forwards = Forwards::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
    let stream = forwards.dial(&tcp("localhost", port)).await.unwrap();
    let question = noise(3_000_001);
    let answered = ask(stream, question.clone()).await;
    assert!(answered == [question.clone(), question].concat(), "{} bytes came back", answered.len());
    peer.await.unwrap();
}

#[tokio::test]
async fn a_dialed_unix_socket_does_the_same() {
    let (forwards, directory) = (Forwards::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
    let stream = forwards.dial(&Target::Unix { path: path.display().to_string() }).await.unwrap();
    let question = noise(1_000_001);
    assert!(ask(stream, question.clone()).await == [question.clone(), question].concat());
    peer.await.unwrap();
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_says_why() {
    let forwards = Forwards::new();
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").display().to_string();
    for (target, reason) in [
        (tcp("127.0.0.1", refused), format!("127.0.0.1 port {refused}: Connection refused")),
        (tcp("127.0.0.1", 0), "127.0.0.1: 0 is no port to connect to".into()),
        (tcp("", 80), "that is no name of a host".into()),
        (tcp(&"a".repeat(2000), 80), "that is no name of a host".into()),
        (Target::Unix { path: missing.clone() }, format!("{missing}: No such file or directory")),
    ] {
        match within("a refusal", forwards.dial(&target)).await {
            Err(DialError::ConnectFailed(text)) => assert_eq!(text, reason),
            other => panic!("{target:?}: {other:?}"),
        }
    }
    for nonsense in ["nowhere.invalid", "a b", "nul\0nul", "..", "\u{fffd}"] {
        match within("a refusal", forwards.dial(&tcp(nonsense, 80))).await {
            Err(DialError::ConnectFailed(text)) => assert!(text.contains("cannot resolve"), "{text}"),
            other => panic!("{nonsense}: {other:?}"),
        }
    }
    let nul = Target::Unix { path: "/tmp/a\0b".into() };
    assert!(matches!(forwards.dial(&nul).await, Err(DialError::ConnectFailed(_))));
}

#[tokio::test]
async fn a_connection_has_so_many_streams_and_places_are_given_back() {
    let (forwards, directory) = (Forwards::new(), tempfile::tempdir().unwrap());
    // Half of the descriptors that so many TCP connections would need: the far ends are closed at once.
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let closing = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let target = Target::Unix { path: path.display().to_string() };
    let mut streams = Vec::new();
    let exhausted = within("the limit", async {
        loop {
            match forwards.dial(&target).await {
                Ok(stream) => streams.push(stream),
                // The backlog is full for a moment.
                Err(DialError::ConnectFailed(_)) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(exhausted, DialError::Exhausted(_)), "{exhausted}");
    assert_eq!(streams.len(), MAX_STREAMS);
    // One half keeps the place.
    let Stream { input, output } = streams.pop().unwrap();
    drop(input);
    assert!(matches!(forwards.dial(&target).await, Err(DialError::Exhausted(_))));
    drop(output);
    assert!(!matches!(forwards.dial(&target).await, Err(DialError::Exhausted(_))));
    closing.abort();
}

#[tokio::test]
async fn localhost_and_every_address_mean_both_families_on_one_port() {
    let has_v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    for host in ["localhost", "", "*"] {
        let forwards = Forwards::new();
        let port = forwards.listen(&bind(host, 0)).await.unwrap();
        assert_ne!(port, 0);
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let Incoming { origin, .. } = incoming(&forwards).await;
        let originator_port = client.local_addr().unwrap().port().into();
        let originator_host = "127.0.0.1".to_owned();
        assert_eq!(origin, Origin::Tcp { host: host.into(), port, originator_host, originator_port });
        let over_v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await;
        assert_eq!(over_v6.is_ok(), has_v6, "{host:?}");
    }
}

#[tokio::test]
async fn an_address_is_listened_on_alone() {
    let forwards = Forwards::new();
    let port = forwards.listen(&bind("127.0.0.1", 0)).await.unwrap();
    assert!(TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port)).await.is_err());
    let taken = forwards.listen(&bind("127.0.0.1", port)).await.unwrap_err();
    assert_eq!(taken.to_string(), format!("cannot listen on 127.0.0.1 port {port}: Address already in use"));
    let foreign = forwards.listen(&bind("192.0.2.1", 0)).await.unwrap_err();
    assert!(foreign.to_string().contains("Cannot assign requested address"), "{foreign}");
}

#[tokio::test]
async fn a_listener_brings_streams_that_outlive_it() {
    let forwards = Forwards::new();
    let port = forwards.listen(&bind("localhost", 0)).await.unwrap();
    let client = tokio::spawn(async move {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let question = noise(2_000_003);
        client.write_all(&question).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer == question, "{} bytes came back", answer.len());
    });
    let Incoming { mut stream, .. } = incoming(&forwards).await;
    assert!(!forwards.unlisten(&bind("localhost", port + 1)).await);
    assert!(forwards.unlisten(&bind("localhost", port)).await);
    assert!(!forwards.unlisten(&bind("localhost", port)).await);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
    // The address is free at once.
    assert_eq!(forwards.listen(&bind("localhost", port)).await.unwrap(), port);
    let question = read_to_end(&mut stream).await;
    stream.input.send(question.into()).await.unwrap();
    stream.input.eof().await.unwrap();
    client.await.unwrap();
}

#[tokio::test]
async fn what_nobody_takes_waits_and_is_not_lost() {
    let forwards = Forwards::new();
    let port = forwards.listen(&bind("127.0.0.1", 0)).await.unwrap();
    let clients: Vec<_> = (0..150_u32)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                client.write_u32(number).await.unwrap();
                assert_eq!(client.read_u32().await.unwrap(), number);
            })
        })
        .collect();
    for _ in 0..150 {
        let Incoming { mut stream, .. } = incoming(&forwards).await;
        let number = within("a number", stream.output.next()).await.unwrap().unwrap();
        stream.input.send(number).await.unwrap();
    }
    for client in clients {
        within("a client", client).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_is_refused_is_closed() {
    let forwards = Forwards::new();
    let port = forwards.listen(&bind("127.0.0.1", 0)).await.unwrap();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    drop(incoming(&forwards).await);
    assert_eq!(within("the end", client.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_the_sender_wait() {
    let forwards = Forwards::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stream = forwards.dial(&tcp("127.0.0.1", port)).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let sent = Arc::new(noise(40_000_000));
    let mut sending = tokio::spawn({
        let sent = sent.clone();
        async move {
            stream.input.send(Bytes::from((*sent).clone())).await.unwrap();
            stream.input.eof().await.unwrap();
            stream
        }
    });
    // More than sockets hold: it cannot be through before somebody reads.
    let mut got = vec![0; 1];
    peer.read_exact(&mut got).await.unwrap();
    assert!(futures_ready(&mut sending).await.is_none(), "40 MB went nowhere");
    within("all bytes", peer.read_to_end(&mut got)).await.unwrap();
    assert!(got == *sent);
    drop(sending.await.unwrap());
}

/// What a future has to say right now.
async fn futures_ready<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn a_unix_listener_is_its_owners_alone_and_leaves_no_file() {
    let (forwards, directory) = (Forwards::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("socket");
    let name = Bind::Unix { path: path.display().to_string() };
    assert_eq!(forwards.listen(&name).await.unwrap(), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let peer = tokio::spawn(ask_socket(path.clone()));
    let Incoming { origin, mut stream } = incoming(&forwards).await;
    assert_eq!(origin, Origin::Unix { path: path.display().to_string() });
    let question = read_to_end(&mut stream).await;
    stream.input.send(question.into()).await.unwrap();
    stream.input.eof().await.unwrap();
    peer.await.unwrap();
    let again = forwards.listen(&name).await.unwrap_err().to_string();
    assert_eq!(again, format!("{} exists already: remove it first", path.display()));
    assert!(forwards.unlisten(&name).await);
    assert!(!path.exists());
    // What is somebody else's stays.
    forwards.listen(&name).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(forwards.listen(&name).await.is_err());
    forwards.close().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

async fn ask_socket(path: impl AsRef<Path>) {
    let mut client = UnixStream::connect(path).await.unwrap();
    let question = noise(100_003);
    client.write_all(&question).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer == question);
}

#[tokio::test]
async fn a_unix_listener_says_why_it_cannot_be() {
    let (forwards, directory) = (Forwards::new(), tempfile::tempdir().unwrap());
    let inside = |name: &str| directory.path().join(name).display().to_string();
    for (path, reason) in [
        ("relative".to_owned(), "absolute path"),
        (String::new(), "absolute path"),
        (inside("missing/socket"), "No such file or directory"),
        (inside(&"long".repeat(50)), "cannot listen"),
        (inside("a\0b"), "cannot listen"),
    ] {
        let error = forwards.listen(&Bind::Unix { path }).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_connection_has_so_many_listeners_and_places_are_given_back() {
    let forwards = Forwards::new();
    let mut ports = Vec::new();
    for _ in 0..MAX_LISTENERS {
        ports.push(forwards.listen(&bind("127.0.0.1", 0)).await.unwrap());
    }
    assert!(matches!(forwards.listen(&bind("127.0.0.1", 0)).await, Err(DialError::Exhausted(_))));
    assert!(matches!(forwards.auth_agent().await, Err(DialError::Exhausted(_))));
    assert!(forwards.unlisten(&bind("127.0.0.1", ports[7])).await);
    forwards.listen(&bind("127.0.0.1", 0)).await.unwrap();
}

fn x11(single_connection: bool, cookie: &str) -> X11 {
    X11 { single_connection, protocol: "MIT-MAGIC-COOKIE-1".into(), cookie: cookie.into(), screen: 1 }
}

const COOKIE: &str = "0123456789abcdef0123456789abcdef";

/// The value of a variable, and the number of the display if it is one.
fn variable(attached: &containerssh_forward::Attached, wanted: &str) -> String {
    attached.env().find(|(name, _)| *name == wanted).unwrap().1.to_owned()
}

fn port_of(display: &str) -> u16 {
    let number = display.strip_prefix("localhost:").unwrap().strip_suffix(".1").unwrap();
    6000 + number.parse::<u16>().unwrap()
}

#[tokio::test]
async fn a_display_has_its_cookie_where_x_clients_look_for_it() {
    let forwards = Forwards::new();
    let attached = forwards.x11(&x11(false, COOKIE)).await.unwrap();
    let (display, file) = (variable(&attached, "DISPLAY"), variable(&attached, "XAUTHORITY"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = Command::new("xauth").args(["-f", &file, "list", &display]).output().await.unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("MIT-MAGIC-COOKIE-1") && listed.contains(COOKIE), "{listed}");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&display))).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let Incoming { origin, mut stream } = incoming(&forwards).await;
    assert!(matches!(origin, Origin::X11 { ref originator_host, .. } if originator_host == "127.0.0.1"));
    assert_eq!(within("bytes", stream.output.next()).await.unwrap().unwrap(), "hello");
    // Another program has another one.
    let other = forwards.x11(&x11(false, COOKIE)).await.unwrap();
    assert_ne!(variable(&other, "DISPLAY"), display);
    drop(attached);
    assert!(!Path::new(&file).exists());
    within("the display's end", async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&display))).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_display_for_one_connection_takes_one() {
    let forwards = Forwards::new();
    let attached = forwards.x11(&x11(true, COOKIE)).await.unwrap();
    let port = port_of(&variable(&attached, "DISPLAY"));
    let _first = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let _taken = incoming(&forwards).await;
    within("the display's end", async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cookie_that_is_none_gets_no_display() {
    let forwards = Forwards::new();
    for bad in ["", "xyz", "; rm -rf /"] {
        assert!(matches!(forwards.x11(&x11(false, bad)).await, Err(DialError::Unsupported(_))), "{bad}");
    }
    let request = X11 { protocol: "A\nadd :0 . ff".into(), ..x11(false, COOKIE) };
    assert!(matches!(forwards.x11(&request).await, Err(DialError::Unsupported(_))));
}

#[tokio::test]
async fn an_agent_behind_the_socket_answers_ssh_add() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("agent");
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&real).kill_on_drop(true).spawn().unwrap();
    within("the agent", async {
        while UnixStream::connect(&real).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let key = directory.path().join("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().await;
    assert!(made.unwrap().success());
    let added = Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &real).status().await;
    assert!(added.unwrap().success());

    let forwards = Arc::new(Forwards::new());
    let attached = forwards.auth_agent().await.unwrap();
    let socket = variable(&attached, "SSH_AUTH_SOCK");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let directory_mode =
        std::fs::metadata(Path::new(&socket).parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(directory_mode & 0o777, 0o700);
    let bridge = tokio::spawn({
        let forwards = forwards.clone();
        async move {
            loop {
                let Incoming { origin, stream } = forwards.accept().await;
                assert_eq!(origin, Origin::AuthAgent);
                let target = Target::Unix { path: real.display().to_string() };
                let far = forwards.dial(&target).await.unwrap();
                tokio::spawn(pump(stream.output, far.input));
                tokio::spawn(pump(far.output, stream.input));
            }
        }
    });
    let listed = Command::new("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket).output().await.unwrap();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap().trim(), public.trim());
    bridge.abort();
    drop((bridge.await, attached));
    assert!(!Path::new(&socket).exists());
    agent.start_kill().unwrap();
    agent.wait().await.unwrap();
}

async fn pump(
    mut from: Box<dyn containerssh_backend::StreamOutput>,
    mut to: Box<dyn containerssh_backend::StreamInput>,
) {
    while let Ok(Some(bytes)) = from.next().await {
        if to.send(bytes).await.is_err() {
            return;
        }
    }
    let _ = to.eof().await;
}
