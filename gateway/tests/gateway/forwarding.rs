//! Ports, sockets, X11 and agents, both ways, with the client that people use and with one that does as it likes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{BackendKind, Config, ForwardingMode};
use russh::ChannelMsg;
use russh::ChannelOpenFailure::{AdministrativelyProhibited, ConnectFailed, ResourceShortage};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::openssh::OpenSsh;
use crate::support::{Client, Gateway, Record, Start, finish, granted, kinds, noise, recorded, within};

/// Everything allowed, and recorded.
fn open(config: &mut Config) {
    let enable = ForwardingMode::Enable;
    config.security.forwarding = containerssh_config::Forwarding {
        reverse_forwarding_mode: enable,
        forwarding_mode: enable,
        socket_forwarding_mode: enable,
        socket_listen_mode: enable,
        x11_forwarding_mode: enable,
        agent_forwarding_mode: enable,
    };
    config.audit.intercept.forwarding = true;
    // What runs programs here can serve displays and agents, as a pod with an agent can.
    config.backend = BackendKind::Local;
}

/// Not a multiple of anything.
const LARGE: usize = 3_000_017;

/// A peer that takes a question to its end and only then gives it back, reversed: what half-closed connections are for.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut question = Vec::new();
    socket.read_to_end(&mut question).await.unwrap();
    question.reverse();
    socket.write_all(&question).await.unwrap();
    socket.shutdown().await.unwrap();
}

/// Asks such a peer, and checks what it says.
async fn ask(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    let question = noise(LARGE);
    within("the question to be sent", socket.write_all(&question)).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within("the answer", socket.read_to_end(&mut answer)).await.unwrap();
    answer.reverse();
    assert!(answer == question, "{} bytes came back", answer.len());
    question
}

/// Answers everybody who connects to it. Returns its port.
async fn answering_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    port
}

fn answering_socket(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
}

async fn connect_unix(path: &Path) -> UnixStream {
    within("a socket of ssh", async {
        loop {
            match UnixStream::connect(path).await {
                Ok(socket) => return socket,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

async fn connect_tcp(port: u16) -> TcpStream {
    within("a port of ssh", async {
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(socket) => return socket,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// A port that nobody listens on at the moment.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What a process says on stderr until `wanted` is in a line; that line.
async fn says(child: &mut Child, wanted: &str) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    within(wanted, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("more to be said");
            if line.contains(wanted) {
                // The pipe stays open: ssh would die of it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return line;
            }
        }
    })
    .await
}

async fn end(mut child: Child) {
    child.start_kill().unwrap();
    child.wait().await.unwrap();
}

/// The one record, once everybody has gone.
async fn record(gateway: Gateway) -> Record {
    gateway.stop().await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_port_leads_to_a_target_of_the_guest() {
    let ssh = OpenSsh::with(open).await;
    let port = answering_port().await;
    let local = ssh.gateway.directory.path().join("local");
    let forward = format!("{}:localhost:{port}", local.display());
    let child = ssh.command(&["-N", "-L", &forward], &[]).spawn().unwrap();
    let question = ask(connect_unix(&local).await).await;
    end(child).await;
    let record = record(ssh.gateway).await;
    let asked = record.iter().find_map(|message| match &message.payload {
        Payload::NewForwardChannel { host_to_connect, port_to_connect, .. } => {
            Some((host_to_connect.as_str(), *port_to_connect))
        }
        _ => None,
    });
    assert_eq!(asked, Some(("localhost", port.into())));
    assert_eq!(
        kinds(&record)[4..],
        ["new_channel_direct_tcpip", "new_channel_successful", "close_write", "close", "disconnect"]
    );
    assert!(recorded(&record, IoStream::Stdin) == question);
    let answer: Vec<u8> = question.into_iter().rev().collect();
    assert!(recorded(&record, IoStream::Stdout) == answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_socket_leads_to_a_socket_of_the_guest() {
    let ssh = OpenSsh::with(open).await;
    let (local, remote) =
        (ssh.gateway.directory.path().join("local"), ssh.gateway.directory.path().join("remote"));
    answering_socket(&remote);
    let forward = format!("{}:{}", local.display(), remote.display());
    let child = ssh.command(&["-N", "-L", &forward], &[]).spawn().unwrap();
    let (one, other) = tokio::join!(connect_unix(&local), connect_unix(&local));
    tokio::join!(ask(one), ask(other));
    end(child).await;
    let record = record(ssh.gateway).await;
    let opened = kinds(&record).iter().filter(|kind| **kind == "new_channel_direct_streamlocal").count();
    assert_eq!(opened, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks_proxy_leads_wherever_its_user_wants() {
    let ssh = OpenSsh::with(open).await;
    let (target, proxy) = (answering_port().await, free_port().await);
    let child = ssh.command(&["-N", "-D", &proxy.to_string()], &[]).spawn().unwrap();
    let mut socket = connect_tcp(proxy).await;
    // SOCKS5 (RFC 1928): no authentication; CONNECT to a name.
    socket.write_all(&[5, 1, 0]).await.unwrap();
    let mut chosen = [0; 2];
    socket.read_exact(&mut chosen).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    let mut request = vec![5, 1, 0, 3, 9];
    request.extend_from_slice(b"localhost");
    request.extend_from_slice(&target.to_be_bytes());
    socket.write_all(&request).await.unwrap();
    let mut reply = [0; 10];
    within("an answer of the proxy", socket.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply[..2], [5, 0]);
    ask(socket).await;
    end(child).await;
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_guest_leads_back_and_the_one_it_chose_is_told() {
    let ssh = OpenSsh::with(open).await;
    let target = answering_port().await;
    let forward = format!("0:localhost:{target}");
    let mut child = ssh.command(&["-N", "-R", &forward, "-o", "LogLevel=INFO"], &[]).spawn().unwrap();
    let line = says(&mut child, "Allocated port").await;
    let port: u16 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    let question = ask(connect_tcp(port).await).await;
    end(child).await;
    let record = record(ssh.gateway).await;
    let seen = kinds(&record);
    assert!(seen.contains(&"forward_tcpip") && seen.contains(&"new_channel_forwarded_tcpip"), "{seen:?}");
    // Towards the guest goes what the client answers.
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    assert!(recorded(&record, IoStream::Stdin) == answer);
    assert!(recorded(&record, IoStream::Stdout) == question);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "it still listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_port_and_a_socket_of_the_guest_lead_back_until_they_are_cancelled() {
    let ssh = OpenSsh::with(open).await;
    let directory = ssh.gateway.directory.path().to_owned();
    let (target, port, remote) = (answering_port().await, free_port().await, directory.join("remote"));
    let by_port = format!("{port}:localhost:{target}");
    let by_socket = format!("{}:localhost:{target}", remote.display());
    let control = format!("ControlPath={}", directory.join("mux").display());
    let options = ["-M", "-N", "-o", &control, "-o", "ExitOnForwardFailure=yes"];
    let master =
        ssh.command(&[&options[..], &["-R", &by_port, "-R", &by_socket]].concat(), &[]).spawn().unwrap();
    ask(connect_tcp(port).await).await;
    ask(connect_unix(&remote).await).await;
    for forward in [&by_port, &by_socket] {
        let cancel =
            ssh.command(&["-o", &control, "-O", "cancel", "-R", forward], &[]).output().await.unwrap();
        assert!(cancel.status.success(), "{cancel:?}");
    }
    within("the port to be free", async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within("the socket to be gone", async {
        while remote.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    end(master).await;
    ssh.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_refused_and_the_record_says_why() {
    let ssh = OpenSsh::with(open).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forward = format!("127.0.0.1:{}:localhost:1", taken.local_addr().unwrap().port());
    let (_, stderr, status) = ssh.run(&["-R", &forward, "-o", "ExitOnForwardFailure=yes"], "true").await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("remote port forwarding failed"), "{stderr}");
    let record = record(ssh.gateway).await;
    let reason = record.iter().find_map(|message| match &message.payload {
        Payload::RequestFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.as_ref().is_some_and(|reason| reason.ends_with("Address already in use")), "{reason:?}");
}

struct Agent {
    child: Child,
    socket: PathBuf,
    public: String,
}

impl Agent {
    async fn start(directory: &Path) -> Self {
        let (socket, key) = (directory.join("agent"), directory.join("agent-key"));
        let mut agent = Command::new("ssh-agent");
        let child = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).kill_on_drop(true);
        let child = child.spawn().unwrap();
        connect_unix(&socket).await;
        let mut make = Command::new("ssh-keygen");
        let made = make.args(["-q", "-t", "ed25519", "-N", "", "-C", "it", "-f"]).arg(&key).status().await;
        assert!(made.unwrap().success());
        let added = Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status().await;
        assert!(added.unwrap().success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        Self { child, socket, public }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_agent_answers_in_the_guest() {
    let ssh = OpenSsh::with(open).await;
    let agent = Agent::start(ssh.gateway.directory.path()).await;
    let mut command = ssh.command(&["-A"], &["ssh-add -L; stat -c %a $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK"]);
    let output = within("ssh", command.env("SSH_AUTH_SOCK", &agent.socket).output()).await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut lines = stdout.lines();
    assert_eq!(lines.next(), Some(agent.public.trim()), "{output:?}", output = output.stderr);
    assert_eq!(lines.next(), Some("600"));
    let socket = lines.next().unwrap();
    within("the socket to go with its program", async {
        while Path::new(socket).exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    end(agent.child).await;
    let record = record(ssh.gateway).await;
    let opened = record.iter().any(|message| {
        matches!(&message.payload, Payload::NewChannel { channel_type } if channel_type == "auth-agent@openssh.com")
    });
    assert!(opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x_client_in_the_guest_reaches_the_clients_display() {
    let ssh = OpenSsh::with(open).await;
    let directory = ssh.gateway.directory.path().to_owned();
    // The user's own X server, with a cookie that the guest never sees.
    let (server, display) = x_server().await;
    let (authority, real) = (directory.join("xauth"), "00112233445566778899aabbccddeeff");
    let local = format!("localhost:{display}");
    let added =
        Command::new("xauth").arg("-f").arg(&authority).args(["add", &local, ".", real]).status().await;
    assert!(added.unwrap().success());
    let mut command = ssh.command(&["-Y"], &["echo $DISPLAY $XAUTHORITY; xauth -q list $DISPLAY; exec cat"]);
    command.env("DISPLAY", &local).env("XAUTHORITY", &authority).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let place = within("a display", lines.next_line()).await.unwrap().unwrap();
    let number: u16 = place.split('.').next().unwrap().strip_prefix("localhost:").unwrap().parse().unwrap();
    let listed = within("the cookie", lines.next_line()).await.unwrap().unwrap();
    let fake = listed.split_whitespace().last().unwrap().to_owned();
    assert_ne!(fake, real);

    // An X client's first words (X protocol, "Connection Setup"), then whatever it likes.
    let mut client = connect_tcp(6000 + number).await;
    client.write_all(&setup(&fake)).await.unwrap();
    client.write_all(&noise(1_000_003)).await.unwrap();
    let (mut arrived, _) = within("a connection at the X server", server.accept()).await.unwrap();
    let mut first = vec![0; setup(real).len()];
    within("the first words", arrived.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, setup(real), "ssh puts the real cookie in place of the fake one");
    // ssh carries no half-closed X connections, so lengths are agreed upon.
    let mut rest = vec![0; 1_000_003];
    within("the rest", arrived.read_exact(&mut rest)).await.unwrap();
    assert!(rest == noise(1_000_003));
    arrived.write_all(&rest).await.unwrap();
    let mut back = vec![0; rest.len()];
    within("the answer", client.read_exact(&mut back)).await.unwrap();
    assert!(back == rest);
    drop(arrived);
    assert_eq!(within("the end", client.read(&mut [0])).await.unwrap(), 0);
    // ssh stays for as long as there are X clients.
    drop(client);
    drop(child.stdin.take());
    within("ssh", child.wait()).await.unwrap();
    let record = record(ssh.gateway).await;
    let seen = kinds(&record);
    assert!(seen.contains(&"x11-req") && seen.contains(&"new_channel_x11"), "{seen:?}");
}

/// A port that an X server could have, and its display.
async fn x_server() -> (TcpListener, u16) {
    for display in 200..400 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 6000 + display)).await {
            return (listener, display);
        }
    }
    panic!("no display is free");
}

fn setup(cookie: &str) -> Vec<u8> {
    let (name, data) = ("MIT-MAGIC-COOKIE-1", hex::decode(cookie).unwrap());
    let mut bytes = vec![b'l', 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_refused_by_name_and_recorded() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let direct = client.session.channel_open_direct_tcpip("10.0.0.1", 80, "127.0.0.1", 1).await;
    assert_failure(direct, &AdministrativelyProhibited);
    assert_failure(
        client.session.channel_open_direct_streamlocal("/run/x").await,
        &AdministrativelyProhibited,
    );
    assert!(within("a reply", client.session.tcpip_forward("localhost", 8080)).await.is_err());
    assert!(within("a reply", client.session.streamlocal_forward("/run/y")).await.is_err());
    let mut channel = client.open().await;
    channel.request_x11(true, true, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.agent_forward(true).await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.exec(true, "echo \"$DISPLAY$SSH_AUTH_SOCK\"").await.unwrap();
    assert_eq!(finish(channel, b"").await.stdout(), "\n");
    drop(client);
    let record = record(gateway).await;
    let reasons: Vec<_> = record
        .iter()
        .filter_map(|message| match &message.payload {
            Payload::NewChannelFailed { reason, .. } | Payload::RequestFailed { reason, .. } => {
                Some(reason.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "forwarding is not allowed here",
            "forwarding is not allowed here",
            "reverse forwarding is not allowed here",
            "reverse forwarding is not allowed here",
            "X11 forwarding is not allowed here",
            "agent forwarding is not allowed here",
        ]
    );
}

fn assert_failure(
    opened: Result<russh::Channel<russh::client::Msg>, russh::Error>,
    wanted: &russh::ChannelOpenFailure,
) {
    match opened {
        Err(russh::Error::ChannelOpenFailure(failure)) => assert_eq!(failure.code(), wanted.code()),
        other => panic!("{:?}", other.map(|channel| channel.id())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_reached_is_a_failure_with_its_reason() {
    let ssh = OpenSsh::with(open).await;
    let refusing = free_port().await;
    for (target, reason) in [
        (
            format!("localhost:{refusing}"),
            format!("connect failed: localhost port {refusing}: Connection refused"),
        ),
        ("nowhere.invalid:80".into(), "connect failed: cannot resolve nowhere.invalid: ".into()),
    ] {
        // `-W` forwards its own input and output.
        let (_, stderr, status) = ssh.run(&["-o", "LogLevel=INFO", "-W", &target], "").await;
        assert_eq!(status, Some(255));
        assert!(stderr.contains(&reason), "{stderr}");
    }
    let record = record(ssh.gateway).await;
    assert!(kinds(&record).contains(&"new_channel_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_the_guest_and_fails_with_it() {
    let gateway = Gateway::start(open).await;
    let port = answering_port().await;
    let told = CancellationToken::new();
    *gateway.backend.start.lock().unwrap() = Start::After("pulling".into(), told.clone());
    let client = Client::login(&gateway).await;
    let opening = client.session.channel_open_direct_tcpip("localhost", u32::from(port), "127.0.0.1", 1);
    told.cancel();
    let channel = within("a channel", opening).await.unwrap();
    ask(channel.into_stream()).await;
    *gateway.backend.start.lock().unwrap() = Start::Fail("ImagePullBackOff".into());
    let other = Client::login(&gateway).await;
    let failed = other.session.channel_open_direct_tcpip("localhost", u32::from(port), "127.0.0.1", 1).await;
    assert_failure(failed, &ConnectFailed);
    assert!(other.session.tcpip_forward("localhost", 0).await.is_err());
    drop((client, other));
    let records = gateway.stop().await;
    let reasons: Vec<_> = records[1]
        .iter()
        .filter_map(|message| match &message.payload {
            Payload::NewChannelFailed { reason, .. } | Payload::RequestFailed { reason, .. } => {
                Some(reason.as_str())
            }
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["cannot start your pod: ImagePullBackOff"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_recorded_only_if_that_is_configured() {
    let gateway = Gateway::start(|config| {
        open(config);
        config.audit.intercept.forwarding = false;
    })
    .await;
    let port = answering_port().await;
    let client = Client::login(&gateway).await;
    let channel =
        client.session.channel_open_direct_tcpip("localhost", u32::from(port), "127.0.0.1", 1).await;
    ask(channel.unwrap().into_stream()).await;
    assert_eq!(client.exec(b"echo seen", b"").await.stdout(), "seen\n");
    drop(client);
    let record = record(gateway).await;
    assert_eq!(recorded(&record, IoStream::Stdin), b"");
    assert_eq!(recorded(&record, IoStream::Stdout), b"seen\n");
    assert!(kinds(&record).contains(&"new_channel_direct_tcpip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_streams_one_after_another_are_served() {
    let gateway = Gateway::start(|config| {
        open(config);
        config.audit.intercept.forwarding = false;
    })
    .await;
    let (directory, client) = (gateway.directory.path().join("target"), Client::login(&gateway).await);
    let listener = UnixListener::bind(&directory).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut byte = [0];
                let _ = socket.read_exact(&mut byte).await;
                let _ = socket.write_all(&byte).await;
            });
        }
    });
    let path = directory.display().to_string();
    for number in 0..10_000_u32 {
        let mut channel = client.session.channel_open_direct_streamlocal(path.as_str()).await.unwrap();
        channel.data_bytes(vec![number.to_le_bytes()[0]]).await.unwrap();
        within("an answer", async {
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Data { data }) => break assert_eq!(data[..], [number.to_le_bytes()[0]]),
                    Some(ChannelMsg::WindowAdjusted { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        channel.close().await.unwrap();
    }
    // And the connection is none the worse for it.
    assert_eq!(client.exec(b"echo alive", b"").await.stdout(), "alive\n");
    drop(client);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_at_once_are_bounded_and_places_are_given_back() {
    let gateway = Gateway::start(open).await;
    let client = Client::login(&gateway).await;
    let target = gateway.directory.path().join("target");
    let listener = UnixListener::bind(&target).unwrap();
    let (sender, _held) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = sender.send(socket);
        }
    });
    let path = target.display().to_string();
    let mut channels = Vec::new();
    let failure = within("the limit", async {
        loop {
            match client.session.channel_open_direct_streamlocal(path.as_str()).await {
                Ok(channel) => channels.push(channel),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert_failure(Err(failure), &ResourceShortage);
    assert_eq!(channels.len(), 512);
    // Sessions have places of their own.
    assert_eq!(client.exec(b"echo alive", b"").await.stdout(), "alive\n");
    channels.pop().unwrap().close().await.unwrap();
    within("a place", async {
        loop {
            if let Ok(channel) = client.session.channel_open_direct_streamlocal(path.as_str()).await {
                return channel;
            }
        }
    })
    .await;
    drop((channels, client));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_close_arrives() {
    let gateway = Gateway::start(open).await;
    let client = Client::login(&gateway).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    let channel = client.session.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let sent = noise(8_000_001);
    let sending = tokio::spawn({
        let sent = sent.clone();
        async move {
            channel.data(&sent[..]).await.unwrap();
            channel.close().await.unwrap();
        }
    });
    // The target reads only once nothing more can be sent.
    within("the client to be held back", async {
        while !crate::streams::client_has_to_wait(&gateway).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut arrived = Vec::new();
    within("everything", socket.read_to_end(&mut arrived)).await.unwrap();
    assert!(arrived == sent, "{} bytes arrived", arrived.len());
    sending.await.unwrap();
    drop(client);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_never_reads_holds_nobody_elses_connection_up_and_ends_with_its_own() {
    let gateway = Gateway::start(open).await;
    let client = Client::login(&gateway).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    let channel = client.session.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let sending = tokio::spawn(async move { channel.data(&noise(64_000_000)[..]).await });
    within("the client to be held back", async {
        while !crate::streams::client_has_to_wait(&gateway).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = Client::login(&gateway).await;
    assert_eq!(other.exec(b"echo alive", b"").await.stdout(), "alive\n");
    // Once the target is gone, what was meant for it is dropped and the connection goes on.
    drop(socket);
    assert_eq!(client.exec(b"echo alive", b"").await.stdout(), "alive\n");
    sending.abort();
    drop((client, other));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_window_gets_nothing_and_holds_nobody_up() {
    let gateway = Gateway::start(open).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    for window in [0, u32::MAX] {
        let client = Client::login_with(&gateway, |config| config.window_size = window).await;
        let channel =
            client.session.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"for you").await.unwrap();
        // From the client it goes all the same.
        channel.data_bytes(&b"hello"[..]).await.unwrap();
        let mut hello = [0; 5];
        within("bytes", socket.read_exact(&mut hello)).await.unwrap();
        assert_eq!(&hello, b"hello");
        assert_eq!(client.exec(b"exit 3", b"").await.status, Some(3));
        drop((channel, client));
        // The end of the connection is the end of the stream.
        within("the end", socket.read(&mut hello)).await.ok();
    }
    gateway.stop().await;
}
