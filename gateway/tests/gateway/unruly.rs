//! Clients that keep to the protocol, and to nothing that is sensible.

use russh::{ChannelMsg, ChannelOpenFailure};

use crate::support::{Client, Gateway, finish, noise, within};

/// RFC 4254 section 5.2: a window of nothing, or of all that 32 bits can say.
#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_window_holds_back_its_own_channel_and_the_largest_is_no_promise() {
    let gateway = Gateway::start(|_| {}).await;
    let other = Client::login(&gateway).await;
    let closed = Client::login_with(&gateway, |config| config.window_size = 0).await;
    let mut stalled = closed.open().await;
    stalled.exec(true, "echo never; echo end >&2").await.unwrap();
    within("the program to be granted", async {
        while !matches!(stalled.wait().await.unwrap(), ChannelMsg::Success) {}
    })
    .await;
    // 2: our client never widens a window of 1.
    for window in [2, u32::MAX] {
        let client = Client::login_with(&gateway, |config| config.window_size = window).await;
        let sent = noise(if window == 2 { 300 } else { 3_000_001 });
        let finished = finish(
            {
                let channel = client.open().await;
                channel.exec(true, "cat").await.unwrap();
                channel
            },
            &sent,
        )
        .await;
        assert!(finished.stdout == sent, "window {window}: {} bytes came back", finished.stdout.len());
        assert_eq!(finished.status, Some(0));
    }
    assert_eq!(other.exec(b"echo in", b"").await.stdout(), "in\n");
    drop((stalled, closed, other));
    gateway.stop().await;
}

/// More channels than anybody has: those beyond the limit are refused one by one, and the connection, like all others, goes on.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_channels_are_refused_beyond_the_limit_and_harm_nobody() {
    const CHANNELS: usize = 10_000;
    let gateway = Gateway::start(|config| config.ssh.limits.sessions_per_connection = 10).await;
    let other = Client::login(&gateway).await;
    let greedy = Client::login(&gateway).await;
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..CHANNELS {
        match within("an answer to a channel", greedy.session.channel_open_session()).await {
            Ok(channel) => open.push(channel),
            Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((open.len(), refused), (10, CHANNELS - 10));
    assert_eq!(other.exec(b"echo in", b"").await.stdout(), "in\n");
    let first = open.swap_remove(0);
    first.exec(true, "echo still").await.unwrap();
    assert_eq!(finish(first, b"").await.stdout(), "still\n");
    drop((open, greedy, other));
    gateway.stop().await;
}

/// Requests in an order that no client has: each is answered, what makes no sense is refused, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn requests_out_of_order_are_refused_and_change_nothing() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let channel = client.open().await;
    // Of a program that has not started: there is none to tell.
    channel.signal(russh::Sig::TERM).await.unwrap();
    channel.window_change(10, 10, 0, 0).await.unwrap();
    channel.eof().await.unwrap();
    channel.exec(true, "cat; echo in").await.unwrap();
    // Of one that has: it has its terminal, its environment and its command already.
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.set_env(true, "LATE", "1").await.unwrap();
    channel.exec(true, "echo second").await.unwrap();
    channel.request_shell(true).await.unwrap();
    channel.request_subsystem(true, "echo").await.unwrap();
    let finished = finish(channel, b"").await;
    assert_eq!((finished.stdout().as_str(), finished.status), ("in\n", Some(0)));
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    drop(client);
    gateway.stop().await;
}
