//! Every way a connection ends: nothing is left behind, and whoever is there is told.

use std::time::Duration;

use containerssh_auditlog::Payload;
use containerssh_config::Config;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Gateway, Start, collect, kinds, reaches, read_until, within};

/// A session that runs until it is ended, and what was seen of it by then.
async fn ended_session(
    adjust: impl FnOnce(&mut Config),
    end: impl AsyncFnOnce(&mut Gateway),
) -> (crate::support::Record, Option<u32>, String) {
    let mut gateway = Gateway::start(adjust).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.exec(true, "echo up; sleep 1000").await.unwrap();
    read_until(&mut channel, "up").await;
    end(&mut gateway).await;
    let (read, _write) = channel.split();
    let finished = within("the session's end", collect(read)).await;
    reaches(&gateway.backend.closed, 1).await;
    let record = gateway.stop().await.remove(0);
    (record, finished.status, finished.stderr())
}

#[tokio::test]
async fn a_guest_is_closed_when_the_client_leaves_without_a_word() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.exec(true, "echo up; sleep 1000").await.unwrap();
    read_until(&mut channel, "up").await;
    drop(channel);
    drop(client);
    reaches(&gateway.backend.closed, 1).await;
    let record = gateway.stop().await.remove(0);
    assert_eq!(kinds(&record).last(), Some(&"disconnect"));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_guest_starts_cancels_the_start() {
    let gateway = Gateway::start(|_| {}).await;
    *gateway.backend.start.lock().unwrap() = Start::After("pulling".into(), CancellationToken::new());
    let client = Client::login(&gateway).await;
    let channel = client.open().await;
    channel.exec(true, "true").await.unwrap();
    reaches(&gateway.backend.asked, 1).await;
    drop(channel);
    drop(client);
    reaches(&gateway.backend.given_up, 1).await;
    let backend = gateway.backend.clone();
    gateway.stop().await;
    assert_eq!(*backend.closed.borrow(), 0);
}

#[tokio::test]
async fn a_guest_that_is_evicted_ends_the_connection_with_the_cause() {
    let (record, status, stderr) = ended_session(|_| {}, async |gateway| gateway.backend.gone.cancel()).await;
    assert_eq!(status, Some(255));
    assert_eq!(stderr, "containerssh: your pod is gone: Evicted: the node was low on memory\n");
    assert!(kinds(&record).contains(&"exit"));
}

#[tokio::test]
async fn an_idle_session_ends_and_says_so() {
    let (_, status, stderr) =
        ended_session(|config| config.session.idle_timeout = Duration::from_millis(1500), async |_| {}).await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("nothing was typed or shown for 1 s"), "{stderr:?}");
}

#[tokio::test]
async fn a_session_that_lasts_too_long_ends_and_says_so() {
    let (_, status, stderr) =
        ended_session(|config| config.session.max_duration = Duration::from_secs(1), async |_| {}).await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("sessions may last 1 s here"), "{stderr:?}");
}

#[tokio::test]
async fn a_session_that_can_no_longer_be_recorded_ends_and_says_so() {
    let gateway = Gateway::start(|config| config.audit.spool.size = "16Mi".parse().unwrap()).await;
    let client = Client::login(&gateway).await;
    // Without a pattern, so that no compression makes it fit.
    let finished = client.exec(b"head -c 64000000 /dev/urandom; sleep 1000", b"").await;
    assert_eq!(finished.status, Some(255));
    assert!(finished.stderr().contains("recording is not possible"), "{}", finished.stderr());
    assert!(finished.stdout.len() < 64_000_000);
    reaches(&gateway.backend.closed, 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_drain_tells_users_lets_sessions_finish_and_then_returns() {
    let mut gateway = Gateway::start(|config| config.drain.timeout = Duration::from_secs(20)).await;
    let idle = Client::login(&gateway).await;
    let client = Client::login(&gateway).await;
    let mut channel = client.open().await;
    channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.request_shell(true).await.unwrap();
    read_until(&mut channel, "[start 80x24]").await;
    gateway.shutdown.cancel();
    read_until(&mut channel, "this gateway is going to stop").await;
    assert!(gateway.metrics.is_draining());
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err(), "still accepting");
    assert!(client.session.channel_open_session().await.is_err(), "a new session was opened");
    within("the idle connection's end", async {
        while !idle.session.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The session goes on until its user ends it.
    channel.data(&b"echo still; exit 5\n"[..]).await.unwrap();
    let (read, _write) = channel.split();
    let finished = within("the session's end", collect(read)).await;
    assert_eq!((finished.stdout().as_str(), finished.status), ("still\n", Some(5)));
    gateway.ended().await;
    assert_eq!(*gateway.backend.closed.borrow(), 2);
}

#[tokio::test]
async fn a_drain_ends_what_does_not_end_by_itself() {
    let (record, status, stderr) = ended_session(
        |config| config.drain.timeout = Duration::from_millis(500),
        async |gateway| gateway.shutdown.cancel(),
    )
    .await;
    assert_eq!(status, Some(255));
    assert!(stderr.contains("this gateway stops now"), "{stderr:?}");
    let said = record.iter().any(|message| matches!(&message.payload, Payload::Exit { exit_status: 255 }));
    assert!(said);
}

/// A shell on a terminal, and what it shows until it ends.
async fn shown_until_the_end(adjust: impl FnOnce(&mut Config)) -> String {
    let gateway = Gateway::start(adjust).await;
    let client = Client::login(&gateway).await;
    let channel = client.open().await;
    channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.request_shell(false).await.unwrap();
    let (read, _write) = channel.split();
    let finished = within("the session's end", collect(read)).await;
    gateway.stop().await;
    finished.stdout()
}

#[tokio::test]
async fn users_with_a_terminal_are_warned_before_their_time_is_up() {
    let shown = shown_until_the_end(|config| config.session.max_duration = Duration::from_secs(6)).await;
    let (warning, end) =
        (shown.find("your session ends in"), shown.find("your session ends: sessions may last 6 s here"));
    assert!(warning.is_some() && warning < end, "{shown:?}");
}

#[tokio::test]
async fn users_with_a_terminal_are_warned_that_nothing_happens_and_that_is_nothing_either() {
    let shown = shown_until_the_end(|config| config.session.idle_timeout = Duration::from_secs(6)).await;
    let (warning, end) =
        (shown.find("unless something is"), shown.find("your session ends: nothing was typed"));
    assert!(warning.is_some() && warning < end, "{shown:?}");
    assert_eq!(shown.matches("unless something is").count(), 1, "{shown:?}");
}
