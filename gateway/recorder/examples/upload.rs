//! Records into a real bucket: one small, one in parts, and one whose key is taken; reads each back and compares.
//!
//! `E2E_S3_ENDPOINT=... E2E_S3_REGION=... E2E_S3_BUCKET=... E2E_S3_ACCESS_KEY=... E2E_S3_SECRET_KEY=...
//! cargo run --example upload -p containerssh-recorder`
//!
//! For trying a store by hand: stores differ in what they make of checksums and conditional writes. Leaves the three
//! objects there. Prints key, size and whether it came back as sent, tab-separated.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers, which stops at the first thing that is wrong"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use bytes::Bytes;
use containerssh_auditlog::{Decoder, IoStream, Payload};
use containerssh_config::{Audit, AuditFormat, AuditStorage, Intercept, Secret};
use containerssh_recorder::{GatewayIdentity, Recorder, SessionStart, SpoolSettings};
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

fn env(name: &str) -> String {
    std::env::var(format!("E2E_S3_{name}")).unwrap_or_default()
}

fn audit(spool: &std::path::Path) -> Audit {
    let mut audit =
        Audit { enable: true, format: AuditFormat::Binary, storage: AuditStorage::S3, ..Audit::default() };
    audit.s3.local = spool.to_string_lossy().into_owned();
    audit.s3.bucket = env("BUCKET");
    audit.s3.region = env("REGION");
    audit.s3.endpoint = env("ENDPOINT");
    audit.s3.path_style_access = true;
    audit.s3.access_key = Some(Secret::new(env("ACCESS_KEY")));
    audit.s3.secret_key = Some(Secret::new(env("SECRET_KEY")));
    audit.s3.metadata.username = true;
    audit.s3.prefix = "example/{year}/{month}/{day}/{username}".parse().unwrap();
    audit.intercept =
        Intercept { stdin: true, stdout: true, stderr: true, passwords: false, forwarding: false };
    audit.policy.hash = "example".to_owned();
    audit
}

async fn record(audit: &Arc<Audit>, id: &str, data: &Bytes) {
    let recorder = Recorder::start(
        SpoolSettings::from_audit(audit),
        GatewayIdentity::default(),
        &mut Registry::default(),
        CancellationToken::new(),
    )
    .unwrap();
    let start = SessionStart {
        connection_id: id.to_owned(),
        remote_addr: ([192, 0, 2, 1], 22).into(),
        country: String::new(),
        started: SystemTime::now(),
    };
    let tap = recorder.open(start, audit.clone());
    tap.authenticated("jörg/../x", "");
    tap.io(0, IoStream::Stdout, data.clone()).await.unwrap();
    tap.close().await;
    let left = recorder.drain(Duration::from_secs(60)).await;
    assert_eq!(left.records, 0, "the record did not reach the bucket");
}

#[tokio::main]
async fn main() {
    let spool = tempfile::tempdir().unwrap();
    let audit = Arc::new(audit(spool.path()));
    let number = std::process::id();
    let noise = |length: usize| -> Bytes {
        use rand::Rng as _;
        let mut data = vec![0; length];
        rand::rng().fill_bytes(&mut data);
        data.into()
    };
    let (small, large, other) = (noise(1000), noise(12 << 20), noise(2000));
    record(&audit, &format!("small-{number}"), &small).await;
    record(&audit, &format!("large-{number}"), &large).await;
    record(&audit, &format!("small-{number}"), &other).await;

    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(env("ENDPOINT"))
        .region(Region::new(env("REGION")))
        .force_path_style(true)
        .credentials_provider(Credentials::new(
            env("ACCESS_KEY"),
            env("SECRET_KEY"),
            None,
            None,
            "environment",
        ))
        .build();
    let client = Client::from_conf(config);
    let listed = client.list_objects_v2().bucket(env("BUCKET")).prefix("example/").send().await.unwrap();
    let keys = listed.contents().iter().filter_map(|object| object.key());
    for key in keys.filter(|key| key.contains(&format!("-{number}"))) {
        let object = client.get_object().bucket(env("BUCKET")).key(key).send().await.unwrap();
        let claimed = object.metadata().unwrap()["sha256"].clone();
        let stored = object.body.collect().await.unwrap().into_bytes();
        assert_eq!(claimed, hex::encode(Sha256::digest(&stored)));
        let mut content = Vec::new();
        for message in Decoder::new(&*stored).unwrap() {
            if let Payload::Io { data, .. } = message.unwrap().payload {
                content.extend_from_slice(&data);
            }
        }
        let same = [&small, &large, &other].iter().any(|sent| ***sent == *content);
        println!("{key}\t{}\t{same}", stored.len());
    }
}
