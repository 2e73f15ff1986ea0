//! How records reach S3, and what happens when it does not want them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by a panic what is wrong, in its helpers too"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::s3::{Fault, SHORT, Server};
use common::{
    Fixture, ID, PATIENCE, connect, content, eventually, noise, session, settings, short_session, start,
    to_s3,
};
use containerssh_auditlog::{Decoder, IoStream};
use containerssh_config::{LockMode, Secret, SseType};
use containerssh_recorder::SessionStart;
use sha2::{Digest, Sha256};

/// 12 MiB that do not shrink: three parts of at least 5 MiB each save the last.
const LARGE: usize = 12 << 20;

fn stdout_of(record: &[u8]) -> Vec<u8> {
    let messages: Vec<_> = Decoder::new(record).unwrap().map(Result::unwrap).collect();
    content(&messages, 0, IoStream::Stdout)
}

#[tokio::test]
async fn a_small_record_is_put_whole_with_checksum_and_metadata() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &server.url);
            audit.s3.prefix = "logs/{year}/{month}/{day}/{namespace}/{gateway}/{username}/".parse().unwrap();
            audit.s3.metadata.ip = true;
            audit.s3.metadata.username = true;
            audit.s3.acl = "private".to_owned();
            audit.policy.sources = vec!["production".to_owned(), "baseline".to_owned()];
            audit
        },
        |_| {},
    );
    let start = SessionStart { country: "AT".to_owned(), ..session(ID) };
    let tap = fixture.recorder.open(start, audit);
    tap.record(None, connect()).await.unwrap();
    tap.authenticated("jörg", "");
    tap.io(0, IoStream::Stdout, noise(1000, 1)).await.unwrap();
    tap.close().await;
    fixture.drained().await;
    let object = server.object(&format!("logs/2026/05/09/team-a/dev/j%C3%B6rg/{ID}"));
    assert_eq!(stdout_of(&object.data), noise(1000, 1));
    assert_eq!(object.asked["x-amz-acl"], "private");
    assert_eq!(object.asked["content-type"], "application/octet-stream");
    let said = |key: &str| object.metadata.get(key).map(String::as_str);
    assert_eq!(said("sha256"), Some(hex::encode(Sha256::digest(&object.data)).as_str()));
    assert_eq!(said("timestamp"), Some("1778328000"));
    assert_eq!(said("authenticated"), Some("true"));
    assert_eq!(said("username"), Some("j%C3%B6rg"));
    assert_eq!(said("ip"), Some("192.0.2.7"));
    assert_eq!(said("country"), Some("AT"));
    assert_eq!(said("policy-hash"), Some("sha256:1234"));
    assert_eq!(said("policy-sources"), Some("production,baseline"));
    assert_eq!(said("interrupted"), None);
    assert_eq!(server.count("PutObject"), 2, "the record and its manifest");
}

#[tokio::test]
async fn metadata_names_neither_user_nor_address_unless_asked() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    let tap = fixture.recorder.open(session(ID), audit);
    tap.authenticated("alice", "");
    tap.close().await;
    fixture.drained().await;
    let metadata = server.object(ID).metadata;
    assert!(!metadata.contains_key("username") && !metadata.contains_key("ip"), "{metadata:?}");
    assert_eq!(metadata["country"], "XX", "nobody knows it");
}

#[tokio::test]
async fn a_large_record_goes_up_in_parts_numbered_from_one() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    let data = noise(LARGE, 3);
    short_session(fixture.recorder.open(session(ID), audit), &data).await;
    fixture.drained().await;
    let object = server.object(ID);
    assert!(stdout_of(&object.data) == data);
    assert_eq!(object.metadata["sha256"], hex::encode(Sha256::digest(&object.data)));
    assert_eq!((server.count("UploadPart"), server.count("CompleteMultipartUpload")), (3, 1));
    assert_eq!(server.count("AbortMultipartUpload"), 0);
}

#[tokio::test]
async fn whatever_the_store_answers_the_record_is_tried_until_it_is_taken() {
    let server = Server::start().await;
    let faults = [
        (Fault::Status(500, "InternalError"), "unavailable"),
        (Fault::Status(503, "SlowDown"), "unavailable"),
        (Fault::Status(403, "AccessDenied"), "access_denied"),
        (Fault::Status(404, "NoSuchBucket"), "no_such_bucket"),
        (Fault::Status(400, "BadDigest"), "checksum"),
        (Fault::Status(400, "InvalidRequest"), "refused"),
        (Fault::Hang, "timeout"),
    ];
    for (fault, _) in faults {
        server.fail_once("PutObject", fault);
    }
    let (fixture, audit) =
        Fixture::new(|root| to_s3(root, &server.url), |settings| settings.timeouts.request = SHORT);
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 1)).await;
    server.asked("PutObject", faults.len() + 1).await;
    eventually("the record is delivered", || fixture.recorder.status().records == 0).await;
    for (_, reason) in faults {
        let name = format!("containerssh_audit_upload_failures_total{{reason=\"{reason}\"}}");
        let expected = faults.iter().filter(|(_, other)| *other == reason).count();
        assert_eq!(fixture.metric(&name), expected as f64, "{name}");
    }
    assert_eq!(fixture.metric("containerssh_audit_uploads_total"), 1.0);
    assert_eq!(stdout_of(&server.object(ID).data), noise(100, 1));
    fixture.drained().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_costs_nothing_but_the_spool() {
    let (fixture, audit) = Fixture::new(|root| to_s3(root, "http://127.0.0.1:9"), |_| {});
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 1)).await;
    let unreachable = "containerssh_audit_upload_failures_total{reason=\"unreachable\"}";
    eventually("an attempt fails", || fixture.metric(unreachable) >= 2.0).await;
    let status = fixture.recorder.status();
    assert_eq!((status.records, status.waiting), (1, 1));
    assert!(status.oldest_age.is_some());
    assert_eq!(fixture.metric("containerssh_audit_local_fallback_queue_depth"), 1.0);
    let left = fixture.recorder.clone().drain(Duration::ZERO).await;
    assert_eq!(left.waiting, 1, "what is not delivered stays");
}

#[tokio::test]
async fn a_failed_part_gives_the_whole_upload_up_and_tries_it_anew() {
    let server = Server::start().await;
    server.fail_once("UploadPart", Fault::Status(500, "InternalError"));
    server.fail_once("CompleteMultipartUpload", Fault::Status(500, "InternalError"));
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    let data = noise(LARGE, 4);
    short_session(fixture.recorder.open(session(ID), audit), &data).await;
    fixture.drained().await;
    assert!(stdout_of(&server.object(ID).data) == data);
    assert_eq!((server.count("CreateMultipartUpload"), server.count("AbortMultipartUpload")), (3, 2));
    assert_eq!(server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn parts_that_could_not_be_removed_are_swept_by_the_next_attempt() {
    let server = Server::start().await;
    server.fail_once("UploadPart", Fault::Status(500, "InternalError"));
    server.fail_once("AbortMultipartUpload", Fault::Status(500, "InternalError"));
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    short_session(fixture.recorder.open(session(ID), audit), &noise(LARGE, 5)).await;
    fixture.drained().await;
    assert_eq!(server.count("ListMultipartUploads"), 1);
    assert_eq!(server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn a_gateway_that_stops_gives_an_upload_in_parts_up() {
    let server = Server::start().await;
    server.fail("UploadPart", Some(Fault::Hang));
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    short_session(fixture.recorder.open(session(ID), audit), &noise(LARGE, 6)).await;
    server.asked("UploadPart", 1).await;
    let left = fixture.recorder.clone().drain(Duration::ZERO).await;
    assert_eq!(left.waiting, 1);
    assert_eq!(server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn a_store_that_holds_something_else_than_was_sent_does_not_cost_the_record() {
    for size in [100, LARGE] {
        let server = Server::start().await;
        let operation = if size == LARGE { "CompleteMultipartUpload" } else { "PutObject" };
        server.fail_once(operation, Fault::WrongChecksum);
        let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
        let data = noise(size, 7);
        short_session(fixture.recorder.open(session(ID), audit), &data).await;
        server.asked("HeadObject", 1).await;
        eventually("the record is delivered", || fixture.recorder.status().records == 0).await;
        assert_eq!(fixture.metric("containerssh_audit_upload_failures_total{reason=\"checksum\"}"), 1.0);
        assert!(stdout_of(&server.object(ID).data) == data);
        fixture.drained().await;
    }
}

#[tokio::test]
async fn a_store_without_conditional_writes_is_asked_without_from_then_on() {
    let server = Server::start().await;
    server.bucket().without_conditions = true;
    let (fixture, audit) =
        Fixture::new(|root| to_s3(root, &server.url), |settings| settings.parallel_uploads = 1);
    for number in 0..3 {
        let id = format!("{ID}-{number}");
        short_session(fixture.recorder.open(session(&id), audit.clone()), &noise(100, 1)).await;
    }
    fixture.drained().await;
    assert_eq!(server.records().len(), 3);
    assert_eq!(server.count("PutObject"), 7, "one attempt with a condition, three records, three manifests");
}

#[tokio::test]
async fn an_object_that_is_there_is_never_overwritten() {
    for (conditional, readable) in [(true, true), (true, false), (false, true)] {
        let server = Server::start().await;
        server.bucket().without_conditions = !conditional;
        if !readable {
            server.fail("HeadObject", Some(Fault::Status(403, "AccessDenied")));
        }
        let (fixture, audit) =
            Fixture::new(|root| to_s3(root, &server.url), |settings| settings.parallel_uploads = 1);
        // Where the store lacks conditions, that has to be found out first.
        short_session(fixture.recorder.open(session("first"), audit.clone()), &noise(10, 9)).await;
        eventually("the first record is delivered", || fixture.recorder.status().records == 0).await;
        let other = server.object("first");
        server.bucket().objects.insert(ID.to_owned(), other.clone());
        short_session(fixture.recorder.open(session(ID), audit), &noise(100, 1)).await;
        fixture.drained().await;
        assert_eq!(server.object(ID).data, other.data, "conditional: {conditional}, readable: {readable}");
        let beside: Vec<String> = server
            .bucket()
            .objects
            .keys()
            .filter(|key| key.starts_with(&format!("{ID}-")))
            .cloned()
            .collect();
        // And its manifest beside it.
        assert_eq!(beside, [beside[0].clone(), format!("{}.manifest.json", beside[0])]);
        let object = server.object(&beside[0]);
        assert_eq!(stdout_of(&object.data), noise(100, 1));
        assert!(object.metadata["sha256"].starts_with(beside[0].strip_prefix(&format!("{ID}-")).unwrap()));
    }
}

#[tokio::test]
async fn an_answer_that_got_lost_does_not_make_a_second_object() {
    for size in [100, LARGE] {
        let server = Server::start().await;
        let operation = if size == LARGE { "CompleteMultipartUpload" } else { "PutObject" };
        server.fail_once(operation, Fault::LostAnswer);
        let (fixture, audit) = Fixture::new(
            |root| to_s3(root, &server.url),
            |settings| {
                settings.timeouts = containerssh_recorder::Timeouts {
                    request: SHORT * 10,
                    slowest: 1 << 30,
                    ..settings.timeouts
                }
            },
        );
        short_session(fixture.recorder.open(session(ID), audit), &noise(size, 8)).await;
        fixture.drained().await;
        assert_eq!(server.records(), [ID]);
        assert_eq!(server.unfinished_uploads(), 0);
    }
}

#[tokio::test]
async fn without_permission_to_look_a_lost_answer_makes_one_copy_and_no_more() {
    let server = Server::start().await;
    for operation in ["HeadObject", "ListObjectsV2"] {
        server.fail(operation, Some(Fault::Status(403, "AccessDenied")));
    }
    server.fail_once("PutObject", Fault::LostAnswer);
    server.fail_once("PutObject", Fault::Status(412, "PreconditionFailed"));
    server.fail_once("PutObject", Fault::LostAnswer);
    let (fixture, audit) =
        Fixture::new(|root| to_s3(root, &server.url), |settings| settings.timeouts.request = SHORT);
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 8)).await;
    fixture.drained().await;
    let contents: Vec<_> = server.records().iter().map(|key| server.object(key).data).collect();
    assert_eq!(contents.len(), 2);
    assert_eq!(contents[0], contents[1]);
}

#[tokio::test]
async fn whoever_may_list_but_not_look_makes_no_copy_after_a_lost_answer() {
    for found in [true, false] {
        let server = Server::start().await;
        server.fail("HeadObject", Some(Fault::Status(403, "AccessDenied")));
        server.fail_once("PutObject", Fault::LostAnswer);
        let (fixture, audit) =
            Fixture::new(|root| to_s3(root, &server.url), |settings| settings.timeouts.request = SHORT);
        short_session(fixture.recorder.open(session(ID), audit), &noise(100, 8)).await;
        server.asked("PutObject", 1).await;
        if !found {
            // What is there is not what was sent.
            eventually("it is stored", || server.bucket().objects.contains_key(ID)).await;
            server.bucket().objects.get_mut(ID).unwrap().data[50] ^= 1;
        }
        fixture.drained().await;
        assert_eq!(server.records().len(), if found { 1 } else { 2 });
        assert!(server.count("ListObjectsV2") >= 1);
    }
}

#[tokio::test]
async fn encryption_and_lock_are_asked_for_with_each_object_of_either_kind() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &server.url);
            audit.s3.server_side_encryption.kind = SseType::AwsKms;
            audit.s3.server_side_encryption.kms_key_id = "alias/audit".to_owned();
            audit.s3.object_lock.mode = LockMode::Compliance;
            audit.s3.object_lock.retention = Duration::from_secs(365 * 24 * 3600);
            audit.s3.object_lock.legal_hold = true;
            audit
        },
        |_| {},
    );
    for (id, size) in [("small", 100), ("large", LARGE)] {
        short_session(fixture.recorder.open(session(id), audit.clone()), &noise(size, 2)).await;
    }
    fixture.drained().await;
    for id in ["small", "large"] {
        let asked = server.object(id).asked;
        assert_eq!(asked["x-amz-server-side-encryption"], "aws:kms", "{id}");
        assert_eq!(asked["x-amz-server-side-encryption-aws-kms-key-id"], "alias/audit", "{id}");
        assert_eq!(asked["x-amz-object-lock-mode"], "COMPLIANCE", "{id}");
        assert_eq!(asked["x-amz-object-lock-legal-hold"], "ON", "{id}");
        let until: jiff::Timestamp = asked["x-amz-object-lock-retain-until-date"].parse().unwrap();
        let days = until.duration_since(jiff::Timestamp::now()).as_hours() / 24;
        assert!((364..=365).contains(&days), "{id}: {until}");
    }
}

#[tokio::test]
async fn without_settings_nothing_is_asked_for_that_the_bucket_decides() {
    let server = Server::start().await;
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 2)).await;
    fixture.drained().await;
    let asked = server.object(ID).asked;
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["content-type"]);
}

#[tokio::test]
async fn stale_uploads_of_ours_are_given_up_and_no_others() {
    let server = Server::start().await;
    let ours = |day: &str, digit: &str| format!("ssh/dev/{day}/{}", digit.repeat(32));
    let stale = ours("2026/05/09", "a");
    let fresh = ours("2026/05/10", "b");
    server.begun_by_another(&stale, "2026-05-09T12:00:00.000Z");
    server.begun_by_another(&fresh, &jiff::Timestamp::now().to_string());
    let others = ["ssh/dev/2026/05/09/backup.tar", "ssh/prod/2026/05/09/", "elsewhere/2026/05/09/"];
    let others = others.map(|start| {
        if start.ends_with('/') { format!("{start}{}", "c".repeat(32)) } else { start.to_owned() }
    });
    for other in &others {
        server.begun_by_another(other, "2026-05-09T12:00:00.000Z");
    }
    let (fixture, _) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &server.url);
            audit.s3.prefix = "ssh/{gateway}/{year}/{month}/{day}/".parse().unwrap();
            audit.s3.abort_stale_uploads_after = Duration::from_secs(24 * 3600);
            audit
        },
        |_| {},
    );
    server.asked("AbortMultipartUpload", 1).await;
    eventually("the stale one is gone", || !server.unfinished_keys().contains(&stale)).await;
    fixture.drained().await;
    let mut left = server.unfinished_keys();
    left.sort();
    let mut expected: Vec<String> = others.into_iter().chain([fresh]).collect();
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn stale_uploads_stay_where_that_is_asked_or_nobody_may_list() {
    for denied in [false, true] {
        let server = Server::start().await;
        let key = "a".repeat(32);
        server.begun_by_another(&key, "2026-05-09T12:00:00.000Z");
        if denied {
            server.fail("ListMultipartUploads", Some(Fault::Status(403, "AccessDenied")));
        }
        let (fixture, audit) = Fixture::new(
            |root| {
                let mut audit = to_s3(root, &server.url);
                if denied {
                    audit.s3.abort_stale_uploads_after = Duration::from_secs(24 * 3600);
                }
                audit
            },
            |_| {},
        );
        short_session(fixture.recorder.open(session(ID), audit), &noise(100, 2)).await;
        if denied {
            server.asked("ListMultipartUploads", 1).await;
        }
        fixture.drained().await;
        assert_eq!(server.unfinished_keys(), [key]);
        server.object(ID);
        assert_eq!(server.count("ListMultipartUploads"), usize::from(denied));
    }
}

#[tokio::test]
async fn changed_credentials_serve_records_that_wait() {
    let server = Server::start().await;
    server.bucket().access_key = Some("ROTATED".to_owned());
    let (fixture, audit) = Fixture::new(|root| to_s3(root, &server.url), |_| {});
    short_session(fixture.recorder.open(session(ID), audit.clone()), &noise(100, 1)).await;
    let denied = "containerssh_audit_upload_failures_total{reason=\"access_denied\"}";
    eventually("the old key is refused", || fixture.metric(denied) >= 1.0).await;
    let mut rotated = (*audit).clone();
    rotated.s3.access_key = Some(Secret::new("ROTATED"));
    fixture.recorder.reconfigure(&Arc::new(rotated));
    fixture.drained().await;
    server.object(ID);
}

#[tokio::test]
async fn a_certificate_that_is_none_is_an_error_that_names_it_and_no_panic() {
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, "https://127.0.0.1:9");
            let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            audit.s3.cacert = Some(containerssh_config::PemOrFile::new(pem));
            audit
        },
        |_| {},
    );
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 1)).await;
    let local = "containerssh_audit_upload_failures_total{reason=\"local\"}";
    eventually("the attempt fails", || fixture.metric(local) >= 2.0).await;
    assert_eq!(fixture.recorder.status().waiting, 1);
}

#[tokio::test]
async fn leftovers_go_where_their_session_was_to_go_although_the_configuration_changed() {
    let (old, new) = (Server::start().await, Server::start().await);
    old.fail("PutObject", Some(Fault::Status(503, "SlowDown")));
    let (fixture, audit) = Fixture::new(
        |root| {
            let mut audit = to_s3(root, &old.url);
            audit.s3.prefix = "old/{username}".parse().unwrap();
            let keys = [("access", common::s3::ACCESS_KEY), ("secret", "secret")].map(|(name, key)| {
                let path = root.join(name);
                std::fs::write(&path, key).unwrap();
                Some(path.to_str().unwrap().to_owned())
            });
            [audit.s3.access_key_file, audit.s3.secret_key_file] = keys;
            (audit.s3.access_key, audit.s3.secret_key) = (None, None);
            audit
        },
        |_| {},
    );
    let tap = fixture.recorder.open(session(ID), audit);
    tap.authenticated("alice", "");
    short_session(tap, &noise(100, 1)).await;
    old.asked("PutObject", 1).await;
    let left = fixture.recorder.clone().drain(Duration::ZERO).await;
    assert_eq!(left.waiting, 1);
    let Fixture { directory, recorder, .. } = fixture;
    drop(recorder);

    old.fail("PutObject", None);
    let mut changed = to_s3(directory.path(), &new.url);
    changed.s3.prefix = "new/".parse().unwrap();
    let again = settings(directory.path(), &changed);
    let (recorder, ..) = start(again).unwrap();
    let left = recorder.drain(PATIENCE).await;
    assert_eq!(left.records, 0);
    assert_eq!(stdout_of(&old.object(&format!("old/alice/{ID}")).data), noise(100, 1));
    assert!(new.bucket().objects.is_empty());
}

#[tokio::test]
async fn many_records_are_delivered_after_an_outage_without_a_storm_during_it() {
    let server = Server::start().await;
    server.fail("PutObject", Some(Fault::Status(503, "SlowDown")));
    let (fixture, audit) = Fixture::new(
        |root| to_s3(root, &server.url),
        |settings| {
            // So long that only the first success can bring the others forward.
            settings.backoff.first = PATIENCE;
            settings.backoff.max = PATIENCE * 10;
        },
    );
    for number in 0..30 {
        let id = format!("{ID}-{number}");
        short_session(fixture.recorder.open(session(&id), audit.clone()), &noise(100, number)).await;
    }
    eventually("all were tried", || server.count("PutObject") == 30).await;
    server.fail("PutObject", None);
    // A new session's record is due at once and finds the store well.
    short_session(fixture.recorder.open(session(ID), audit), &noise(100, 1)).await;
    eventually("everything is delivered", || fixture.recorder.status().records == 0).await;
    assert_eq!(server.count("PutObject"), 30 + 2 * 31, "each once in vain, then each with its manifest");
    fixture.drained().await;
}
