//! Programs, terminals and requests.

use containerssh_auditlog::{IoStream, Payload};
use russh::{ChannelOpenFailure, Pty, Sig};
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Gateway, Record, Start, finish, granted, kinds, read_until, recorded, within};

fn reasons(record: &Record) -> Vec<&str> {
    record
        .iter()
        .filter_map(|message| match &message.payload {
            Payload::RequestFailed { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_program_has_its_streams_apart_its_status_and_its_record() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let finished = client.exec(b"cat; echo error >&2; exit 42", b"hello").await;
    assert_eq!((finished.stdout().as_str(), finished.stderr().as_str()), ("hello", "error\n"));
    assert_eq!(finished.status, Some(42));
    assert_eq!(finished.order, ["status", "eof", "close"]);
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(
        kinds(&record)[4..],
        ["new_channel_successful", "exec", "exit", "close_write", "close", "disconnect"]
    );
    assert_eq!(recorded(&record, IoStream::Stdin), b"hello");
    assert_eq!(recorded(&record, IoStream::Stdout), b"hello");
    assert_eq!(recorded(&record, IoStream::Stderr), b"error\n");
}

#[tokio::test]
async fn commands_run_exactly_as_sent() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    for command in ["", " ", "\n"] {
        assert_eq!(client.exec(command.as_bytes(), b"").await.status, Some(0), "{command:?}");
    }
    assert_eq!(client.exec(b"echo a  'b  c' | tr a-z A-Z; echo $((1+1))", b"").await.stdout(), "A B  C\n2\n");
    for command in [&b"echo \xff"[..], b"echo \0"] {
        let channel = client.open().await;
        channel.exec(true, command).await.unwrap();
        let mut channel = channel;
        assert!(!granted(&mut channel).await, "{command:?}");
    }
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(reasons(&record), ["the command is not valid UTF-8", "the command holds a NUL byte"]);
}

#[tokio::test]
async fn a_terminal_follows_the_clients_window() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.request_pty(true, "xterm", 80, 24, 640, 480, &[(Pty::ECHO, 1)]).await.unwrap();
    assert!(granted(&mut channel).await);
    channel.request_shell(true).await.unwrap();
    assert!(granted(&mut channel).await);
    read_until(&mut channel, "[start 80x24]").await;
    channel.window_change(120, 40, 0, 0).await.unwrap();
    read_until(&mut channel, "[now 120x40]").await;
    channel.data(&b"echo $TERM\nexit 3\n"[..]).await.unwrap();
    let finished = finish(channel, b"").await;
    assert_eq!((finished.stdout().as_str(), finished.status), ("xterm\n", Some(3)));
    drop(client);
    let record = gateway.stop().await.remove(0);
    let modes = record.iter().find_map(|message| match &message.payload {
        Payload::ChannelRequestPty { mode_list, width, .. } => Some((mode_list.clone(), *width)),
        _ => None,
    });
    assert_eq!(modes, Some((Some((&[53, 0, 0, 0, 1, 0][..]).into()), 640)));
    assert_eq!(kinds(&record)[4..8], ["new_channel_successful", "pty", "shell", "window"]);
}

#[tokio::test]
async fn environment_that_is_none_is_refused_and_recorded() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.set_env(true, "FOO", "b a\"r").await.unwrap();
    assert!(granted(&mut channel).await);
    channel.set_env(true, "LD_PRELOAD=x", "y").await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.exec(true, "printf %s \"$FOO\"").await.unwrap();
    assert_eq!(finish(channel, b"").await.stdout(), "b a\"r");
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(reasons(&record).len(), 1);
    assert!(reasons(&record)[0].contains("not a name"));
}

#[tokio::test]
async fn programs_know_where_their_client_is_and_nobody_can_make_it_up() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    for name in ["SSH_CLIENT", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "SSH_TTY", "SSH_AUTH_SOCK"] {
        channel.set_env(true, name, "forged").await.unwrap();
        assert!(!granted(&mut channel).await, "{name}");
    }
    channel.exec(true, "echo $SSH_CLIENT; echo $SSH_CONNECTION; env | grep -c forged").await.unwrap();
    let stdout = finish(channel, b"").await.stdout();
    let server = gateway.address.port().to_string();
    let lines: Vec<Vec<_>> = stdout.lines().map(|line| line.split(' ').collect()).collect();
    let port = lines[0][1];
    assert_eq!(lines[0], ["127.0.0.1", port, &server]);
    assert_eq!(lines[1], ["127.0.0.1", port, "127.0.0.1", &server]);
    assert_eq!(lines[2], ["0"]);
    drop(client);
    gateway.stop().await;
}

#[tokio::test]
async fn signals_reach_the_program_and_unknown_ones_do_not() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel
        .exec(true, "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
        .await
        .unwrap();
    read_until(&mut channel, "ready").await;
    channel.signal(Sig::Custom("NONSENSE".into())).await.unwrap();
    channel.signal(Sig::USR1).await.unwrap();
    let finished = finish(channel, b"").await;
    assert_eq!((finished.stdout().as_str(), finished.status), ("caught\n", Some(7)));
    let killed = client.exec(b"kill -TERM $$", b"").await;
    assert_eq!(
        (killed.signal.as_deref(), killed.order.as_slice()),
        (Some("TERM"), &["signal", "eof", "close"][..])
    );
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(reasons(&record), ["not a signal of RFC 4254"]);
    assert!(kinds(&record).contains(&"exit_signal"));
}

#[tokio::test]
async fn subsystems_run_by_name_and_unknown_ones_say_why_not() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let channel = client.open().await;
    channel.request_subsystem(true, "echo").await.unwrap();
    assert_eq!(finish(channel, b"packet").await.stdout(), "packet");
    let channel = client.open().await;
    channel.request_subsystem(true, "none").await.unwrap();
    let finished = finish(channel, b"").await;
    assert_eq!(finished.status, Some(254));
    assert_eq!(finished.stderr(), "containerssh: cannot start the program: no subsystem none\n");
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(reasons(&record), ["no subsystem none"]);
}

#[tokio::test]
async fn a_channel_runs_one_program_only() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.exec(true, "cat").await.unwrap();
    assert!(granted(&mut channel).await);
    channel.exec(true, "cat").await.unwrap();
    assert!(!granted(&mut channel).await);
    assert_eq!(finish(channel, b"still here").await.stdout(), "still here");
    gateway.stop().await;
}

#[tokio::test]
async fn one_guest_serves_all_sessions_of_a_connection_at_once() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let first = client.open().await;
    first.exec(true, "cat").await.unwrap();
    // The first is still running.
    assert_eq!(client.exec(b"echo second", b"").await.stdout(), "second\n");
    assert_eq!(finish(first, b"first").await.stdout(), "first");
    assert_eq!(gateway.backend.connections.lock().unwrap().len(), 1);
    drop(client);
    let backend = gateway.backend.clone();
    let record = gateway.stop().await.remove(0);
    assert_eq!(*backend.closed.borrow(), 1);
    let channels: Vec<_> = record.iter().filter_map(|message| message.channel_id).collect();
    assert!(channels.contains(&0) && channels.contains(&1));
}

#[tokio::test]
async fn a_connection_has_so_many_sessions_and_places_are_given_back() {
    let gateway = Gateway::start(|config| config.ssh.limits.sessions_per_connection = 2).await;
    let client = Client::login(&gateway).await;
    let (first, second) = (client.open().await, client.open().await);
    let error = client.session.channel_open_session().await.unwrap_err().to_string();
    assert!(
        matches!(
            client.session.channel_open_session().await.unwrap_err(),
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage)
        ),
        "{error}"
    );
    second.exec(true, "true").await.unwrap();
    finish(second, b"").await;
    within("a place", async {
        while client.session.channel_open_session().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop((first, client));
    gateway.stop().await;
}

#[tokio::test]
async fn a_user_who_waits_sees_why_and_the_line_is_gone_when_the_program_starts() {
    let gateway = Gateway::start(|_| {}).await;
    let told = CancellationToken::new();
    *gateway.backend.start.lock().unwrap() = Start::After("pulling image debian:12".into(), told.clone());
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.exec(true, "echo ran").await.unwrap();
    read_until(&mut channel, "\r\x1b[Kcontainerssh: pulling image debian:12...").await;
    told.cancel();
    let finished = finish(channel, b"").await;
    assert_eq!(finished.stdout(), "\r\x1b[K[start 80x24]\r\nran\n");
    drop(client);
    let record = gateway.stop().await.remove(0);
    let shown = String::from_utf8(recorded(&record, IoStream::Stdout)).unwrap();
    assert!(shown.contains("pulling image debian:12"), "{shown:?}");
}

#[tokio::test]
async fn a_failed_start_tells_the_user_its_cause_and_the_record_holds_it() {
    let gateway = Gateway::start(|_| {}).await;
    *gateway.backend.start.lock().unwrap() = Start::Fail("ImagePullBackOff: image nowhere/none:1".into());
    let client = Client::login(&gateway).await;
    let finished = client.exec(b"true", b"input that nobody reads").await;
    assert_eq!(finished.status, Some(254));
    assert_eq!(
        finished.stderr(),
        "containerssh: cannot start your pod: ImagePullBackOff: image nowhere/none:1\n"
    );
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert_eq!(reasons(&record), ["ImagePullBackOff: image nowhere/none:1"]);
    assert!(kinds(&record).contains(&"exit"));
}
