//! A second S3 implementation, as it is and behind a network that fails in every way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use common::faults::{self, Upstream};
use common::proxy::{Network, Proxy};
use common::{Fixture, ID, content, noise, session, short_session};
use containerssh_auditlog::{Decoder, IoStream};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

/// 12 MiB that do not shrink: three parts.
const LARGE: usize = 12 << 20;

/// s3s-fs on a port of its own.
async fn second_implementation() -> (Upstream, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("audit")).unwrap();
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("AKSECOND", "second-secret"));
        builder.build()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().fallback(pass).with_state(service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let upstream = Upstream {
        address,
        bucket: "audit".to_owned(),
        access: "AKSECOND".to_owned(),
        secret: "second-secret".to_owned(),
    };
    (upstream, root)
}

async fn pass(State(service): State<S3Service>, request: Request) -> Response {
    let request = request.map(s3s::Body::http_body_unsync);
    service.call(request).await.unwrap().map(Body::new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upload_path_works_against_a_second_implementation() {
    let (upstream, _root) = second_implementation().await;
    let proxy = Proxy::start(&upstream.address).await;
    let (fixture, audit) = Fixture::new(|root| upstream.audit(root, &proxy, "a/{year}/{namespace}/"), |_| {});
    for (id, size) in [("small", 1000), (ID, LARGE)] {
        short_session(fixture.recorder.open(session(id), audit.clone()), &noise(size, 1)).await;
    }
    fixture.drained().await;
    for (id, size) in [("small", 1000), (ID, LARGE)] {
        let record = upstream.object(&format!("a/2026/team-a/{id}")).await;
        let messages: Vec<_> = Decoder::new(record.as_slice()).unwrap().map(Result::unwrap).collect();
        assert!(content(&messages, 0, IoStream::Stdout) == noise(size, 1), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_records_survive_every_fault() {
    let (upstream, _root) = second_implementation().await;
    for (number, fault) in faults::all().iter().enumerate() {
        faults::survives(&upstream, fault, 10_000, &format!("small-{number}/")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_in_parts_survive_every_fault() {
    let (upstream, _root) = second_implementation().await;
    for (number, fault) in faults::all().iter().enumerate() {
        faults::survives(&upstream, fault, 6 << 20, &format!("large-{number}/")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_delays_no_session_and_loses_nothing() {
    let (upstream, _root) = second_implementation().await;
    let proxy = Proxy::start(&upstream.address).await;
    // 1 MiB takes a second.
    proxy.set(Network::Slow(16 * 1024, Duration::from_millis(16)));
    let (fixture, audit) = Fixture::new(|root| upstream.audit(root, &proxy, "slow/"), |_| {});
    let begun = std::time::Instant::now();
    let data = noise(6 << 20, 3);
    short_session(fixture.recorder.open(session(ID), audit), &data).await;
    assert_eq!(fixture.recorder.status().waiting, 1, "the session has ended before its record arrived");
    let ended = begun.elapsed();
    let registry = fixture.recorder.clone();
    fixture.drained().await;
    assert!(begun.elapsed() > ended, "delivered after the session's end");
    assert_eq!(registry.status().records, 0);
    let record = upstream.object(&format!("slow/{ID}")).await;
    let messages: Vec<_> = Decoder::new(record.as_slice()).unwrap().map(Result::unwrap).collect();
    assert!(content(&messages, 0, IoStream::Stdout) == data);
}
