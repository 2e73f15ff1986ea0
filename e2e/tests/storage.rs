//! What stores ask for and give: permissions, credentials, locks, encryption, a network that fails. Against MinIO.
//!
//! The recorder runs in a process of its own, by a configuration file, as in a gateway; no cluster takes part.

#![allow(clippy::indexing_slicing, reason = "a test stops at the first surprise")]

// The recorder's own tests share how a network fails; here it fails in front of another store.
#[path = "../../gateway/recorder/tests/common/mod.rs"]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]
mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHoldStatus,
    ObjectLockRetentionMode, ObjectLockRule,
};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use containerssh_auditlog::{Decoder, IoStream, Payload};
use containerssh_e2e::bytes::{noise, sha256};
use containerssh_e2e::minio::{ACCESS_KEY, KMS_KEY, Minio, SECRET_KEY};
use tokio::process::Command;

const BUCKET: &str = "company-audit";
/// The published policies, whose bucket is called so.
const WRITER: &str = include_str!("../../docs/examples/s3-writer-policy.json");
/// One that goes up whole, one in parts.
const SIZES: [usize; 2] = [1_000, 12 << 20];

/// A configuration below `audit.s3`, and where it lives.
struct Gateway {
    directory: tempfile::TempDir,
    config: PathBuf,
}

impl Gateway {
    /// `audit` is what stands below that key beside enable, format and storage; `s3` below `s3`.
    fn new(endpoint: &str, s3: &str, audit: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config.yaml");
        let text = format!(
            "auth: {{publicKey: {{authorizedKeys: {{paths: [/keys/%u]}}}}}}\naudit:\n  storage: s3\n  intercept: {{stdout: true}}\n{audit}  s3:\n    \
             endpoint: {endpoint}\n    pathStyleAccess: true\n    bucket: {BUCKET}\n    local: {}/spool\n    metadata: {{username: true, ip: true}}\n{s3}",
            directory.path().display()
        );
        std::fs::write(&config, text)?;
        Ok(Self { directory, config })
    }

    /// With the administrator's keys.
    fn as_root(minio: &Minio, s3: &str) -> Result<Self> {
        let keys = format!("    accessKey: {ACCESS_KEY}\n    secretKey: {SECRET_KEY}\n{s3}");
        Self::new(&minio.url, &keys, "  format: binary\n")
    }

    /// Records sessions of these ids and sizes, in a process with these variables.
    async fn record(&self, sessions: &[(String, usize)], variables: &[(&str, &str)]) -> Result<Output> {
        let output = Command::new(env!("CARGO_BIN_EXE_containerssh-e2e-records"))
            .arg(&self.config)
            .args(sessions.iter().map(|(id, size)| format!("{id}:{size}")))
            .env_clear()
            .env("HOME", self.directory.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().copied())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }
}

/// Sessions of either size.
fn sessions(name: &str) -> Vec<(String, usize)> {
    SIZES.iter().map(|size| (format!("{name}-{size}"), *size)).collect()
}

/// What a session's record holds has to be what the session said.
async fn expect_recorded(minio: &Minio, prefix: &str, sessions: &[(String, usize)]) -> Result<()> {
    let client = minio.client();
    for (id, size) in sessions {
        let key = format!("{prefix}{id}");
        let answer =
            client.get_object().bucket(BUCKET).key(&key).send().await.with_context(|| key.clone())?;
        let metadata = answer.metadata().cloned().unwrap_or_default();
        let object = answer.body.collect().await?.to_vec();
        ensure!(metadata.get("sha256") == Some(&sha256(&object)), "{key}: {metadata:?}");
        ensure!(metadata.get("username").map(String::as_str) == Some("alice"), "{key}: {metadata:?}");
        let mut output = Vec::new();
        for message in Decoder::new(object.as_slice())? {
            if let Payload::Io { stream: IoStream::Stdout, data } = message?.payload {
                output.extend_from_slice(&data);
            }
        }
        ensure!(output == noise(*size, *size as u64), "{key}: {} of {size} bytes", output.len());
    }
    Ok(())
}

/// Keys of records in the bucket, each of which has its manifest beside it.
async fn records(minio: &Minio) -> Result<Vec<String>> {
    let mut pages = minio.client().list_objects_v2().bucket(BUCKET).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.try_next().await? {
        keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
    }
    let (manifests, records): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| key.ends_with(".manifest.json"));
    let expected: Vec<_> = records.iter().map(|key| format!("{key}.manifest.json")).collect();
    ensure!(manifests.iter().all(|key| expected.contains(key)), "{records:?}: {manifests:?}");
    ensure!(manifests.len() == records.len(), "{records:?}: {manifests:?}");
    Ok(records)
}

/// Credentials as a container's credential endpoint gives them.
fn as_container_endpoint(credentials: &Credentials) -> String {
    serde_json::json!({
        "AccessKeyId": credentials.access_key_id(),
        "SecretAccessKey": credentials.secret_access_key(),
        "Token": credentials.session_token(),
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string()
}

/// Credentials as STS gives them for a web identity.
fn as_web_identity(credentials: &Credentials) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::000000000000:assumed-role/audit/e2e</Arn><AssumedRoleId>i</AssumedRoleId>\
         </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        credentials.access_key_id(),
        credentials.secret_access_key(),
        credentials.session_token().unwrap_or_default(),
    )
}

/// Serves one answer, to whoever asks for it rightly.
async fn serve(router: Router) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

#[tokio::test]
async fn the_published_policy_is_enough_and_lets_nothing_be_read_or_deleted() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let credentials = minio.restricted(WRITER).await?;
    let answer = as_container_endpoint(&credentials);
    let endpoint = serve(Router::new().route("/credentials", get(async || answer))).await?;
    let gateway = Gateway::new(&minio.url, "    prefix: 'p/{username}/'\n", "  format: binary\n")?;
    let sessions = sessions("minimal");
    let uri = format!("{endpoint}/credentials");
    gateway.record(&sessions, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]).await?;
    expect_recorded(&minio, "p/alice/", &sessions).await?;
    let limited = minio.client_with(credentials);
    let key = format!("p/alice/{}", sessions[0].0);
    ensure!(limited.get_object().bucket(BUCKET).key(&key).send().await.is_err(), "it can read");
    ensure!(limited.head_object().bucket(BUCKET).key(&key).send().await.is_err(), "it can look");
    ensure!(limited.delete_object().bucket(BUCKET).key(&key).send().await.is_err(), "it can delete");
    ensure!(limited.list_objects_v2().bucket(BUCKET).send().await.is_err(), "it can list");
    // A key that is taken is found out by writing, which is all that is allowed.
    let again = gateway.record(&sessions, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]).await;
    again.context("the same ids again")?;
    let found = records(&minio).await?;
    ensure!(found.len() == 4, "{found:?}");
    expect_recorded(&minio, "p/alice/", &sessions).await
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_credentials() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let credentials = minio.restricted(WRITER).await?;
    let exchange = async |State(credentials): State<Credentials>, form: String| {
        let asked = [
            "Action=AssumeRoleWithWebIdentity",
            "WebIdentityToken=the-token",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Faudit",
        ];
        match asked.iter().all(|part| form.contains(part)) {
            true => Ok(([("content-type", "text/xml")], as_web_identity(&credentials))),
            false => Err(axum::http::StatusCode::FORBIDDEN),
        }
    };
    let sts = serve(Router::new().route("/", post(exchange)).with_state(credentials)).await?;
    let gateway = Gateway::new(&minio.url, "    region: us-east-1\n", "  format: binary\n")?;
    let token = gateway.directory.path().join("token");
    std::fs::write(&token, "the-token")?;
    let sessions = sessions("web");
    gateway
        .record(
            &sessions,
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &token.to_string_lossy()),
                ("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/audit"),
                ("AWS_ENDPOINT_URL_STS", &sts),
            ],
        )
        .await?;
    expect_recorded(&minio, "", &sessions).await
}

#[tokio::test]
async fn locks_are_set_on_each_object_and_hold() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, true).await?;
    let sessions = sessions("locked");
    for (mode, hold) in [("governance", true), ("compliance", false)] {
        let lock = format!(
            "    prefix: {mode}/\n    objectLock: {{mode: {mode}, retention: 2h, legalHold: {hold}}}\n"
        );
        Gateway::as_root(&minio, &lock)?.record(&sessions, &[]).await?;
        expect_recorded(&minio, &format!("{mode}/"), &sessions).await?;
        for (id, _) in &sessions {
            let key = format!("{mode}/{id}");
            let client = minio.client();
            let retention = client.get_object_retention().bucket(BUCKET).key(&key).send().await?;
            let retention = retention.retention.context("no retention")?;
            let expected = if mode == "compliance" {
                ObjectLockRetentionMode::Compliance
            } else {
                ObjectLockRetentionMode::Governance
            };
            ensure!(retention.mode() == Some(&expected), "{key}: {retention:?}");
            let held = client.get_object_legal_hold().bucket(BUCKET).key(&key).send().await;
            let held = held.ok().and_then(|answer| answer.legal_hold).and_then(|hold| hold.status);
            ensure!((held == Some(ObjectLockLegalHoldStatus::On)) == hold, "{key}: {held:?}");
            let version = client.head_object().bucket(BUCKET).key(&key).send().await?.version_id;
            let deleted =
                client.delete_object().bucket(BUCKET).key(&key).set_version_id(version).send().await;
            ensure!(deleted.is_err(), "{key} could be deleted");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_buckets_own_default_retention_holds_without_any_setting() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, true).await?;
    let default = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(1).build();
    let rule = ObjectLockRule::builder().default_retention(default).build();
    let lock =
        ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).rule(rule).build();
    let client = minio.client();
    client.put_object_lock_configuration().bucket(BUCKET).object_lock_configuration(lock).send().await?;
    let sessions = sessions("default");
    Gateway::as_root(&minio, "")?.record(&sessions, &[]).await?;
    expect_recorded(&minio, "", &sessions).await?;
    for (id, _) in &sessions {
        let retention = client.get_object_retention().bucket(BUCKET).key(id).send().await?;
        ensure!(
            retention.retention.is_some_and(|found| found.retain_until_date.is_some()),
            "{id} is not retained"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_store_encrypts_as_it_is_asked_to() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let sessions = sessions("encrypted");
    for (kind, key) in [("AES256", None), ("aws:kms", Some(KMS_KEY))] {
        let key_id = key.map(|key| format!(", kmsKeyId: {key}")).unwrap_or_default();
        let prefix = kind.replace(':', "-");
        let sse = format!("    prefix: {prefix}/\n    serverSideEncryption: {{type: '{kind}'{key_id}}}\n");
        Gateway::as_root(&minio, &sse)?.record(&sessions, &[]).await?;
        expect_recorded(&minio, &format!("{prefix}/"), &sessions).await?;
        for (id, _) in &sessions {
            let head =
                minio.client().head_object().bucket(BUCKET).key(format!("{prefix}/{id}")).send().await?;
            ensure!(head.server_side_encryption().is_some_and(|found| found.as_str() == kind), "{head:?}");
            ensure!(
                key.is_none() || head.ssekms_key_id().is_some_and(|found| found.ends_with(KMS_KEY)),
                "{head:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_ones_own_authority_is_trusted_if_it_is_named_and_only_then() -> Result<()> {
    let certificates = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    std::fs::write(certificates.path().join("public.crt"), made.cert.pem())?;
    std::fs::write(certificates.path().join("private.key"), made.signing_key.serialize_pem())?;
    let minio = Minio::start(Some(certificates.path())).await?;
    let endpoint = minio.url.replace("127.0.0.1", "localhost");
    let keys = format!("    accessKey: {ACCESS_KEY}\n    secretKey: {SECRET_KEY}\n");
    let ca = format!("{keys}    cacert: {}/public.crt\n", certificates.path().display());
    make_bucket_over_tls(&minio, &made.cert.pem()).await?;
    let gateway = Gateway::new(&endpoint, &ca, "  format: binary\n")?;
    gateway.record(&sessions("tls"), &[]).await?;
    // Without the authority, the very first handshake fails: nothing is delivered, which the spool shows.
    let without = Gateway::new(&endpoint, &keys, "  format: binary\n")?;
    let impatient =
        tokio::time::timeout(Duration::from_secs(10), without.record(&sessions("tls")[..1], &[])).await;
    ensure!(impatient.is_err(), "a certificate of nobody's was trusted");
    let waiting = std::fs::read_dir(without.directory.path().join("spool"))?.flatten();
    let waiting =
        waiting.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "ready"));
    ensure!(waiting.count() == 1, "the record has left the spool");
    Ok(())
}

async fn make_bucket_over_tls(minio: &Minio, pem: &str) -> Result<()> {
    let endpoint = minio.url.replace("127.0.0.1", "localhost");
    let settings = containerssh_s3::Settings {
        endpoint,
        path_style: true,
        cacert: Some(pem.to_owned()),
        keys: Some(containerssh_s3::Keys {
            access: containerssh_config::Secret::new(ACCESS_KEY),
            secret: containerssh_config::Secret::new(SECRET_KEY),
            session_token: None,
        }),
        attempts: 5,
        connect_timeout: Duration::from_secs(5),
        ..containerssh_s3::Settings::default()
    };
    let client = containerssh_s3::client(settings).await?;
    containerssh_e2e::wait::until("MinIO to make a bucket", Duration::from_secs(60), || async {
        Ok(client.create_bucket().bucket(BUCKET).send().await?)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_the_network_is_survived() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let upstream = common::faults::Upstream {
        address: minio.address.clone(),
        bucket: BUCKET.to_owned(),
        access: ACCESS_KEY.to_owned(),
        secret: SECRET_KEY.to_owned(),
    };
    for (number, fault) in common::faults::all().iter().enumerate() {
        for size in [10_000, 6 << 20] {
            common::faults::survives(&upstream, fault, size, &format!("{number}-{size}/")).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_thousand_sessions_that_end_at_once_reach_the_bucket_in_little_memory() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let sessions: Vec<(String, usize)> = (0..1000).map(|number| (format!("{number:032x}"), 20_000)).collect();
    let output = Gateway::as_root(&minio, "")?.record(&sessions, &[]).await?;
    let line = String::from_utf8(output.stdout)?;
    let figures: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [count, slowest, peak] = figures[..] else { anyhow::bail!("{line}") };
    ensure!(count == 1000, "{line}");
    ensure!(records(&minio).await?.len() == 1000, "records are missing");
    // A process that does nothing has some 30 MiB; a thousand records of 20 kB would be as much again, if they were held.
    ensure!(peak < 200 * 1024, "{peak} KiB");
    ensure!(slowest < 60_000, "a session took {slowest} ms to end");
    Ok(())
}

#[tokio::test]
async fn the_tool_lists_and_fetches_what_was_recorded() -> Result<()> {
    let minio = Minio::start(None).await?;
    minio.bucket(BUCKET, false).await?;
    let prefix = "    prefix: 'logs/{year}/{month}/{day}/{gateway}/{username}/'\n";
    let sessions: Vec<_> = SIZES.iter().map(|size| (format!("{size:032x}"), *size)).collect();
    Gateway::as_root(&minio, prefix)?.record(&sessions, &[]).await?;
    let here = tempfile::tempdir()?;
    let template = format!("s3://{BUCKET}/logs/{{year}}/{{month}}/{{day}}/{{gateway}}/{{username}}/");
    let today = "2020-01-01";
    for (arguments, expected) in [
        (vec!["ls", &template], 2),
        (vec!["ls", &template, "--user", "alice", "--gateway", "dev", "--long"], 2),
        (vec!["ls", &template, "--user", "bob"], 0),
        (vec!["ls", &template, "--since", today, "--namespace", "team-a", "--format", "json"], 2),
        (vec!["ls", &template, "--until", today], 0),
        (vec!["ls", "s3://company-audit"], 2),
    ] {
        let output = tool(&minio, here.path(), &arguments).await?;
        let lines = String::from_utf8(output.stdout)?;
        ensure!(lines.lines().count() == expected, "{arguments:?}: {lines}");
        ensure!(output.status.code() == Some(i32::from(expected == 0)), "{arguments:?}: {:?}", output.status);
    }
    let id = &sessions[1].0;
    let fetched = tool(&minio, here.path(), &["fetch", &id[..], "--from", &template, "-o", "record"]).await?;
    ensure!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let whole = std::fs::read(here.path().join("record"))?;
    let direct = tool(&minio, here.path(), &["fetch", id, "--from", &template, "-o", "-"]).await?;
    ensure!(direct.stdout == whole, "what is printed is not what is stored");
    // An attempt that was interrupted goes on where it was; what it kept is part of the file.
    let tag = minio.client().list_objects_v2().bucket(BUCKET).prefix("logs/").send().await?;
    let listed = tag
        .contents()
        .iter()
        .find(|listed| listed.key().is_some_and(|key| key.ends_with(id)))
        .context(id.clone())?;
    let tag: String =
        listed.e_tag().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let part = here.path().join(format!("again.{tag}.part"));
    std::fs::write(&part, &whole[..whole.len() / 2])?;
    let key = format!("s3://{BUCKET}/{}", listed.key().unwrap_or_default());
    let again = tool(&minio, here.path(), &["fetch", &key, "-o", "again"]).await?;
    ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    ensure!(std::fs::read(here.path().join("again"))? == whole && !part.exists(), "it did not go on");
    // What was kept is wrong: that is found out, and the next attempt begins anew.
    let mut wrong = whole[..whole.len() / 2].to_vec();
    wrong[1000] ^= 1;
    std::fs::write(here.path().join(format!("mended.{tag}.part")), wrong)?;
    let refused = tool(&minio, here.path(), &["fetch", &key, "-o", "mended"]).await?;
    ensure!(refused.status.code() == Some(1) && !here.path().join("mended").exists(), "{refused:?}");
    let mended = tool(&minio, here.path(), &["fetch", &key, "-o", "mended"]).await?;
    ensure!(mended.status.success() && std::fs::read(here.path().join("mended"))? == whole, "{mended:?}");
    // And read without fetching.
    let shown = tool(&minio, here.path(), &["--format", "json", "-i", &key]).await?;
    ensure!(shown.status.success() && shown.stdout.starts_with(b"{\"connectionId\""), "{shown:?}");
    Ok(())
}

async fn tool(minio: &Minio, directory: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(containerssh_e2e::program::auditlog_tool().await?)
        .args(arguments)
        .current_dir(directory)
        .env("AWS_ENDPOINT_URL_S3", &minio.url)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .output()
        .await
        .context("running the tool")
}
