//! The teardown webhook against a real HTTP server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::time::{Duration, SystemTime};

use common::{Server, attempt, reply, settings};
use containerssh_auth::webhook::retry::Backoff;
use containerssh_auth::webhook::{Deliveries, Ended, Subject, Teardown};
use containerssh_auth::{Identity, Metrics};
use containerssh_backend::MetadataValue;
use containerssh_config::Webhook as Settings;
use prometheus_client::registry::Registry;

const PATIENCE: Duration = Duration::from_secs(30);

fn subject() -> Subject {
    let value = |value: &str, sensitive| MetadataValue { value: value.into(), sensitive };
    let identity = Identity {
        authenticated_username: "alice@example.net".into(),
        metadata: [("TEAM".into(), value("x", false)), ("TOKEN".into(), value("hunter2", true))].into(),
        environment: [("SECRET".into(), value("hunter2", false))].into(),
        ..Identity::default()
    };
    Subject::of(&attempt(), &identity)
}

fn ended() -> Ended {
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    Ended {
        logged_in: true,
        started,
        ended: started + Duration::from_secs(60),
        reason: "the client left".into(),
        sessions: 2,
        bytes_in: 10,
        bytes_out: 20,
    }
}

struct Told {
    teardown: Teardown,
    deliveries: Deliveries,
    registry: Registry,
}

impl Told {
    fn new(settings: &Settings) -> Self {
        Self::with_deliveries(settings, Deliveries::default())
    }

    fn with_deliveries(settings: &Settings, deliveries: Deliveries) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let teardown = Teardown::new(settings, &deliveries, &metrics).unwrap();
        let teardown = teardown.with_backoff(Backoff { first: Duration::from_millis(1) });
        Self { teardown, deliveries, registry }
    }

    fn lost(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let lost =
            text.lines().find_map(|line| line.strip_prefix("containerssh_webhook_teardowns_lost_total "));
        lost.unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn an_end_is_told_in_full_without_what_is_sensitive() {
    let server = Server::with(200, "").await;
    let told = Told::new(&settings(&format!("{}/hooks", server.url())));
    told.teardown.tell(&subject(), &ended());
    assert_eq!(told.deliveries.drain(PATIENCE).await, 0);
    let [seen] = server.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/hooks/teardown"));
    assert_eq!(
        seen.body,
        "{\"remoteAddress\":\"192.0.2.7:45760\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
         \"metadata\":{\"TEAM\":{\"value\":\"x\",\"sensitive\":false}},\"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1\",\
         \"username\":\"alice\",\"authenticatedUsername\":\"alice@example.net\",\"loggedIn\":true,\
         \"started\":\"2023-11-14T22:13:20.250Z\",\"ended\":\"2023-11-14T22:14:20.250Z\",\"reason\":\"the client left\",\
         \"sessions\":2,\"bytesIn\":10,\"bytesOut\":20}\n"
    );
    assert_eq!(told.lost(), 0);
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_is_told_all_the_same() {
    let server = Server::start(|number, _| match number {
        0..8 => reply(503, ""),
        _ => reply(200, "thanks"),
    })
    .await;
    let told = Told::new(&settings(&server.url()));
    told.teardown.tell(&subject(), &ended());
    assert_eq!(told.deliveries.drain(PATIENCE).await, 0);
    let seen = server.seen();
    assert_eq!((seen.len(), told.lost()), (9, 0));
    assert!(seen.windows(2).all(|pair| pair[0].body == pair[1].body), "each attempt tells the same");
}

#[tokio::test]
async fn what_cannot_be_told_is_counted() {
    let refusing = Server::with(404, "").await;
    let told = Told::new(&settings(&refusing.url()));
    told.teardown.tell(&subject(), &ended());
    assert_eq!((told.deliveries.drain(PATIENCE).await, told.lost()), (0, 1));
    assert_eq!(refusing.seen().len(), 1, "it will say the same again");

    let silent = Server::start(|_, _| Box::pin(std::future::pending())).await;
    let short = Settings {
        timeout: Duration::from_millis(100),
        auth_timeout: Duration::from_millis(300),
        ..settings(&silent.url())
    };
    let told = Told::new(&short);
    // More than are on their way at once: whose turn does not come is lost as well.
    for _ in 0..50 {
        told.teardown.tell(&subject(), &ended());
    }
    assert_eq!((told.deliveries.drain(PATIENCE).await, told.lost()), (0, 50));
}

#[tokio::test]
async fn what_waits_is_bounded_and_nobody_is_held_up() {
    let silent = Server::start(|_, _| Box::pin(std::future::pending())).await;
    let told = Told::with_deliveries(&settings(&silent.url()), Deliveries::with_room(32 * 1024));
    let metadata = [("K".into(), MetadataValue { value: "x".repeat(10_000), sensitive: false })].into();
    let large = Subject::of(&attempt(), &Identity { metadata, ..Identity::default() });
    for _ in 0..5 {
        told.teardown.tell(&large, &ended());
    }
    assert_eq!(told.lost(), 2, "three of 10 KB each fit");
    assert_eq!(told.deliveries.drain(Duration::from_millis(1)).await, 3);
}
