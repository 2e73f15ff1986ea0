//! Messages where they do not belong: what has let people into other servers, or ended them. Each is tried by a client that says
//! what it likes; the gateway must let nobody in, and go on for everybody else.

use containerssh_auditlog::Payload;

use crate::support::raw::{Raw, UserKey, channel_request, kexinit, open_session, string};
use crate::support::{Client, Gateway};

/// Messages that only the server says, or that belong behind the login.
fn foul() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        // libssh took it for its own word (CVE-2018-10933).
        ("USERAUTH_SUCCESS", vec![52]),
        ("USERAUTH_FAILURE", [vec![51], string("password"), vec![0]].concat()),
        ("USERAUTH_PK_OK", [vec![60], string("ssh-ed25519"), string("x")].concat()),
        ("USERAUTH_INFO_RESPONSE", vec![61, 0, 0, 0, 0]),
        ("SERVICE_ACCEPT", [vec![6], string("ssh-connection")].concat()),
        ("SERVICE_REQUEST", [vec![5], string("ssh-connection")].concat()),
        // Erlang's server ran commands of anybody (CVE-2025-32433).
        ("CHANNEL_OPEN", open_session()),
        ("CHANNEL_REQUEST", channel_request(0, "exec", &string("id"))),
        ("CHANNEL_DATA", [vec![94, 0, 0, 0, 0], string("x")].concat()),
        ("CHANNEL_OPEN_CONFIRMATION", [vec![91], vec![0; 16]].concat()),
        ("CHANNEL_CLOSE", vec![97, 0, 0, 0, 0]),
        (
            "GLOBAL_REQUEST",
            [vec![80], string("tcpip-forward"), vec![1], string("0.0.0.0"), vec![0; 4]].concat(),
        ),
        ("NEWKEYS", vec![21]),
        ("KEX_ECDH_REPLY", [vec![31], string("k"), string("q"), string("s")].concat()),
        ("unassigned", vec![191]),
    ]
}

/// Then goes on as if it were in. Nothing that follows a login may come back.
async fn goes_on(raw: &mut Raw, what: &str) {
    // What the gateway thinks of it may have ended the connection already.
    for message in [
        open_session(),
        channel_request(0, "exec", &string("id")),
        vec![1, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        if raw.send(&message).await.is_err() {
            break;
        }
    }
    for number in raw.rest().await {
        assert!(!matches!(number, 52 | 81 | 91 | 99), "{what} was answered by message {number}");
    }
}

fn gateway_is_empty(gateway: &Gateway) -> bool {
    gateway.backend.connections.lock().unwrap().is_empty()
}

#[tokio::test]
async fn no_message_before_the_login_stands_for_one() {
    let gateway = Gateway::start(|_| {}).await;
    for stage in ["before keys", "after keys", "after the service", "between attempts"] {
        for (name, message) in foul() {
            let mut raw = Raw::connect(&gateway).await;
            if stage != "before keys" {
                raw.exchange_keys().await;
            }
            if stage != "before keys" && stage != "after keys" {
                raw.ask_for_login().await;
            }
            if stage == "between attempts" {
                assert_eq!(raw.public_key("alice", &UserKey::new(1), false).await, Some(51));
            }
            let _ = raw.send(&message).await;
            goes_on(&mut raw, &format!("{name} {stage}")).await;
            assert!(gateway_is_empty(&gateway), "{name} {stage} started a guest");
        }
    }
    // Everybody else is served as before.
    let client = Client::login(&gateway).await;
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    gateway.stop().await;
}

/// A share that makes the secret the same for everybody (RFC 7748 section 6.1, GHSA-5xvq-cp9x-6p6r).
#[tokio::test]
async fn a_share_of_zeros_ends_the_key_exchange() {
    let gateway = Gateway::start(|_| {}).await;
    for share in [vec![0; 32], [vec![1], vec![0; 31]].concat(), vec![0; 31], Vec::new(), vec![9; 33]] {
        let mut raw = Raw::connect(&gateway).await;
        let _ = raw.begin_keys(&share).await;
        let said = raw.rest().await;
        assert!(!said.contains(&31) && !said.contains(&21), "{share:?} was taken: {said:?}");
    }
    let auth = gateway.auth.clone();
    let records = gateway.stop().await;
    assert!(auth.attempts.lock().unwrap().is_empty());
    assert!(
        records
            .iter()
            .flatten()
            .all(|message| !matches!(message.payload, Payload::HandshakeSuccessful { .. }))
    );
}

/// CVE-2024-45337: whoever offers one key and proves another one is the owner of the latter.
#[tokio::test]
async fn who_logs_in_is_who_proved_it_and_not_who_was_offered() {
    let gateway = Gateway::start(|_| {}).await;
    let (offered, proven, unknown) = (UserKey::new(1), UserKey::new(2), UserKey::new(3));
    gateway.auth.keys.lock().unwrap().extend([offered.authorized(), proven.authorized()]);

    let mut raw = Raw::connect(&gateway).await;
    raw.exchange_keys().await;
    raw.ask_for_login().await;
    assert_eq!(raw.public_key("alice", &offered, false).await, Some(60));
    // An offer that was good makes no other key good.
    assert_eq!(raw.public_key("alice", &unknown, true).await, Some(51));
    assert_eq!(raw.public_key("mallory", &offered, false).await, Some(60));
    assert_eq!(raw.public_key("alice", &proven, true).await, Some(52));
    drop(raw);
    let record = gateway.stop().await.remove(0);
    let successes: Vec<_> = record
        .iter()
        .filter_map(|message| match &message.payload {
            Payload::AuthPubKeySuccessful { username, key } => Some((username.clone(), key.clone())),
            Payload::HandshakeSuccessful { username } => Some((username.clone(), String::new())),
            _ => None,
        })
        .collect();
    assert_eq!(successes, [("alice".to_owned(), proven.authorized()), ("alice".to_owned(), String::new())]);
}

/// A signature is for one session, one user and one key (RFC 4252 section 7).
#[tokio::test]
async fn a_proof_of_another_connection_is_none() {
    let gateway = Gateway::start(|_| {}).await;
    let key = UserKey::new(1);
    gateway.auth.keys.lock().unwrap().push(key.authorized());
    let mut first = Raw::connect(&gateway).await;
    first.exchange_keys().await;
    let mut second = Raw::connect(&gateway).await;
    second.exchange_keys().await;
    second.ask_for_login().await;
    second.take_session_of(&first);
    assert_ne!(second.public_key("alice", &key, true).await, Some(52));
    drop((first, second));
    assert!(gateway_is_empty(&gateway));
    let records = gateway.stop().await;
    assert!(
        records
            .iter()
            .flatten()
            .all(|message| !matches!(message.payload, Payload::HandshakeSuccessful { .. }))
    );
}

/// CVE-2025-26466: answers to what comes before keys are exchanged must not pile up. Once the exchange has begun, anything but its
/// messages ends the connection; before, nothing is answered.
#[tokio::test]
async fn a_flood_before_keys_is_cut_off_or_goes_unanswered() {
    let gateway = Gateway::start(|_| {}).await;
    // PING (draft-miller-sshm-ping) and IGNORE.
    for number in [192, 2] {
        let message = [vec![number], string("x".repeat(1000))].concat();
        let mut begun = Raw::connect(&gateway).await;
        begun.send(&kexinit()).await.unwrap();
        let mut ended = false;
        for _ in 0..100_000 {
            if begun.send(&message).await.is_err() {
                ended = true;
                break;
            }
        }
        assert!(ended, "a hundred megabytes of message {number} were taken within a key exchange");

        let mut silent = Raw::connect(&gateway).await;
        for _ in 0..20_000 {
            if silent.send(&message).await.is_err() {
                break;
            }
        }
        silent.say_no_more().await;
        let said = silent.rest().await;
        assert!(said.iter().all(|said| matches!(said, 1 | 20)), "{} answers to message {number}", said.len());
    }
    let client = Client::login(&gateway).await;
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    gateway.stop().await;
}

/// GHSA-cqjc-rmpq-xprq: a terminal with more modes than there are.
#[tokio::test]
async fn a_terminal_of_endless_modes_harms_nobody() {
    let gateway = Gateway::start(|_| {}).await;
    let key = UserKey::new(1);
    gateway.auth.keys.lock().unwrap().push(key.authorized());
    let shapes: [Vec<u8>; 3] = [
        (0..1000_u32)
            .flat_map(|mode| [vec![u8::try_from(mode % 159 + 1).unwrap()], vec![0; 4]].concat())
            .collect(),
        vec![53; 7],
        vec![255; 40_000],
    ];
    for modes in shapes {
        let mut raw = Raw::connect(&gateway).await;
        raw.exchange_keys().await;
        raw.ask_for_login().await;
        assert_eq!(raw.public_key("alice", &key, true).await, Some(52));
        let channel = raw.open_session().await;
        let pty = [string("xterm"), vec![0; 16], string(&modes)].concat();
        let _ = raw.send(&channel_request(channel, "pty-req", &pty)).await;
        let _ = raw.send(&channel_request(channel, "exec", &string("true"))).await;
        // Granted, refused or hung up on: each is an answer.
        let _ = raw.until(&[97, 99, 100]).await;
    }
    let client = Client::login(&gateway).await;
    assert_eq!(client.exec(b"echo in", b"").await.stdout(), "in\n");
    gateway.stop().await;
}
