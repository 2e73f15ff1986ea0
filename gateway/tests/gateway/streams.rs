//! Many bytes, each way, exactly; and parties that do not read.

use containerssh_auditlog::IoStream;
use russh::ChannelMsg;

use crate::support::{Client, Gateway, finish, granted, noise, recorded, within};

/// Not a multiple of anything.
const LARGE: usize = 100_000_007;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_up_arrive_and_are_recorded_exactly() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let sent = noise(LARGE);
    let finished = client.exec(b"sha256sum", &sent).await;
    assert_eq!(finished.stdout(), format!("{}  -\n", sha256(&sent)));
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert!(recorded(&record, IoStream::Stdin) == sent, "the record differs from what was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_down_arrive_and_are_recorded_exactly() {
    let gateway = Gateway::start(|_| {}).await;
    let source = noise(LARGE);
    let file = gateway.directory.path().join("source");
    std::fs::write(&file, &source).unwrap();
    let client = Client::login(&gateway).await;
    let finished = client.exec(format!("cat {}", file.display()).as_bytes(), b"").await;
    assert!(finished.stdout == source, "what arrived differs from what was sent");
    drop(client);
    let record = gateway.stop().await.remove(0);
    assert!(recorded(&record, IoStream::Stdout) == source, "the record differs from what was sent");
}

/// With queues that fill, this is a deadlock: the program does not read because nobody takes its output, and nobody takes
/// its output because the session waits for the program to read.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_answers_as_much_as_it_is_told_never_stalls() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let sent = noise(30_000_001);
    let finished = client.exec(b"cat", &sent).await;
    assert!(finished.stdout == sent);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_read_its_input_still_ends() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let finished = client.exec(b"exec <&-; echo done", &noise(20_000_000)).await;
    assert_eq!((finished.stdout().as_str(), finished.status), ("done\n", Some(0)));
    gateway.stop().await;
}

/// The client sends far more than may be held; it must be made to wait, and get it all through in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_late_gets_everything() {
    let gateway = Gateway::start(|_| {}).await;
    let go = gateway.directory.path().join("go");
    let client = Client::login(&gateway).await;
    let channel = client.open().await;
    let command = format!("while ! [ -e {} ]; do sleep 0.05; done; sha256sum", go.display());
    channel.exec(true, command).await.unwrap();
    let sent = noise(40_000_000);
    let running = tokio::spawn({
        let sent = sent.clone();
        async move { finish(channel, &sent).await }
    });
    // Bytes stand in the sockets of both ends: the gateway does not take more than it may hold.
    within("reading to pause", async {
        while !client_has_to_wait(&gateway).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    std::fs::write(go, "").unwrap();
    let finished = running.await.unwrap();
    assert_eq!(finished.stdout(), format!("{}  -\n", sha256(&sent)));
    drop(client);
    gateway.stop().await;
}

/// Whether bytes wait in the client's socket, so that the gateway's writes wait too.
async fn client_leaves_bytes_unread(gateway: &Gateway) -> bool {
    let port = format!("0100007F:{:04X}", gateway.address.port());
    let table = tokio::fs::read_to_string("/proc/net/tcp").await.unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|fields| fields[2] == port && !fields[4].ends_with(":00000000"))
}

/// Whether bytes wait both in the client's socket and in the gateway's (`tx_queue:rx_queue` of `/proc/net/tcp`).
pub(crate) async fn client_has_to_wait(gateway: &Gateway) -> bool {
    let port = format!("0100007F:{:04X}", gateway.address.port());
    let table = tokio::fs::read_to_string("/proc/net/tcp").await.unwrap();
    let (mut unsent, mut unread) = (0, 0);
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (sending, receiving) = fields[4].split_once(':').unwrap();
        if fields[2] == port {
            unsent += usize::from_str_radix(sending, 16).unwrap();
        } else if fields[1] == port {
            unread += usize::from_str_radix(receiving, 16).unwrap();
        }
    }
    unsent > 0 && unread > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_the_program_back_and_not_the_other_sessions() {
    let gateway = Gateway::start(|_| {}).await;
    let client = Client::login(&gateway).await;
    let mut stalled = client.open().await;
    stalled.exec(true, "head -c 64000000 /dev/zero; echo end >&2").await.unwrap();
    assert!(granted(&mut stalled).await);
    // The SSH library's client takes nothing more once one channel's queue is full, so the other session is another
    // connection's.
    let other = Client::login(&gateway).await;
    within("the program to be held back", async {
        while !client_leaves_bytes_unread(&gateway).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(other.exec(b"echo alive", b"").await.stdout(), "alive\n");
    let mut total = 0;
    within("everything", async {
        while let Some(message) = stalled.wait().await {
            match message {
                ChannelMsg::Data { data } => total += data.len(),
                ChannelMsg::ExitStatus { exit_status } => assert_eq!(exit_status, 0),
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(total, 64_000_000);
    gateway.stop().await;
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
