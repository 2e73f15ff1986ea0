//! Every fault there is between a gateway and a store, with records of both kinds: one that goes up whole, one in parts.
//!
//! For each: the session ends at once although nothing can be uploaded, attempts fail and say why, and once the network is
//! well again the record is in the bucket, once, as it was written.

use std::sync::Arc;
use std::time::Duration;

use containerssh_config::{Audit, Secret};
use containerssh_s3::sdk::Client;

use super::proxy::{Network, Proxy, refusal};
use super::{Fixture, ID, eventually, noise, session, short_session, to_s3};

/// A store that runs.
pub struct Upstream {
    /// Host and port.
    pub address: String,
    pub bucket: String,
    pub access: String,
    pub secret: String,
}

impl Upstream {
    /// A client without the proxy, as an auditor's.
    pub async fn client(&self) -> Client {
        let keys = containerssh_s3::Keys {
            access: Secret::new(&*self.access),
            secret: Secret::new(&*self.secret),
            session_token: None,
        };
        let settings = containerssh_s3::Settings {
            endpoint: format!("http://{}", self.address),
            path_style: true,
            keys: Some(keys),
            attempts: 3,
            connect_timeout: Duration::from_secs(5),
            ..containerssh_s3::Settings::default()
        };
        containerssh_s3::client(settings).await.unwrap()
    }

    /// Keys below a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.client().await.list_objects_v2().bucket(&self.bucket).prefix(prefix).send().await;
        let listed = listed.unwrap().contents.unwrap_or_default();
        listed.into_iter().filter_map(|object| object.key).collect()
    }

    /// An object's bytes.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        let answer = self.client().await.get_object().bucket(&self.bucket).key(key).send().await.unwrap();
        answer.body.collect().await.unwrap().to_vec()
    }

    /// Settings that record into it through a proxy.
    pub fn audit(&self, root: &std::path::Path, proxy: &Proxy, prefix: &str) -> Audit {
        let mut audit = to_s3(root, &proxy.url);
        audit.s3.bucket.clone_from(&self.bucket);
        audit.s3.access_key = Some(Secret::new(&*self.access));
        audit.s3.secret_key = Some(Secret::new(&*self.secret));
        audit.s3.prefix = prefix.parse().unwrap();
        audit
    }
}

/// A fault, what the metric calls it, and how long one request may take.
pub struct Fault {
    pub name: &'static str,
    pub network: Network,
    pub reason: &'static str,
}

/// All of them.
pub fn all() -> Vec<Fault> {
    let fault = |name, network, reason| Fault { name, network, reason };
    let elsewhere = "x-amz-bucket-region: eu-west-1\r\nLocation: http://127.0.0.1:9/\r\n";
    vec![
        fault("down", Network::Down, "unreachable"),
        fault("reset-in-the-head", Network::ResetAfter(100), "unreachable"),
        fault("reset-in-the-body", Network::ResetAfter(3000), "unreachable"),
        fault("half-an-answer", Network::HalfAnswer(40), "unreachable"),
        fault("no-answer", Network::Hangs, "timeout"),
        fault("forbidden", refusal("403 Forbidden", "AccessDenied", ""), "access_denied"),
        fault("broken", refusal("500 Internal Server Error", "InternalError", ""), "unavailable"),
        fault("busy", refusal("503 Slow Down", "SlowDown", "Retry-After: 1\r\n"), "unavailable"),
        fault("bad-digest", refusal("400 Bad Request", "BadDigest", ""), "checksum"),
        fault("moved", refusal("301 Moved Permanently", "PermanentRedirect", elsewhere), "refused"),
        fault("moved-for-now", refusal("307 Temporary Redirect", "TemporaryRedirect", elsewhere), "refused"),
        fault("no-http", Network::Answers("SSH-2.0-OpenSSH\r\n".to_owned()), "unreachable"),
    ]
}

/// Records one session of that size while the network fails, then mends it.
pub async fn survives(upstream: &Upstream, fault: &Fault, size: usize, prefix: &str) {
    let proxy = Proxy::start(&upstream.address).await;
    proxy.set(fault.network.clone());
    let (fixture, audit) = Fixture::new(
        |root| upstream.audit(root, &proxy, prefix),
        |settings| {
            settings.timeouts.request =
                Duration::from_secs(if fault.network == Network::Hangs { 1 } else { 20 });
            // The mended network must be found soon, and a limit of the transfer's speed would count as a fault.
            settings.backoff.max = Duration::from_millis(200);
        },
    );
    let data = noise(size, size as u64);
    let id = ID.replace("0123", &format!("{size:04x}")[..4]);
    let begun = std::time::Instant::now();
    short_session(fixture.recorder.open(session(&id), audit), &data).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{}: the session waited {took:?}", fault.name);
    let metric = format!("containerssh_audit_upload_failures_total{{reason=\"{}\"}}", fault.reason);
    eventually(&format!("{}: attempts fail as {}", fault.name, fault.reason), || {
        fixture.metric(&metric) >= 2.0
    })
    .await;
    assert_eq!(fixture.recorder.status().waiting, 1, "{}: the record waits", fault.name);
    proxy.set(Network::Well);
    let registry = Arc::new(fixture);
    eventually(&format!("{}: the record is delivered", fault.name), || {
        registry.recorder.status().records == 0
    })
    .await;
    assert_eq!(registry.metric("containerssh_audit_uploads_total"), 1.0, "{}", fault.name);
    let keys = upstream.keys(prefix).await;
    let records: Vec<_> = keys.iter().filter(|key| !key.ends_with(".manifest.json")).collect();
    assert_eq!(records, [&format!("{prefix}{id}")], "{}", fault.name);
    let record = upstream.object(records[0]).await;
    let messages: Vec<_> =
        containerssh_auditlog::Decoder::new(record.as_slice()).unwrap().map(Result::unwrap).collect();
    let found = super::content(&messages, 0, containerssh_auditlog::IoStream::Stdout);
    assert!(found == data, "{}: {} of {size} bytes", fault.name, found.len());
}
