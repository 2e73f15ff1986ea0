//! Receivers on loopback, and sessions to send to them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{Audit, EventBatch, EventTarget, EventWebhook};
use containerssh_siem::{Events, Feed, SessionStart, Source};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use tokio::sync::watch;

/// However busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const ID: &str = "0123456789abcdef0123456789abcdef";

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub struct Seen {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: u16,
}

impl Seen {
    /// The events in it, from any encoding.
    pub fn events(&self) -> Vec<Value> {
        let mut text = String::new();
        if self.headers.get("content-encoding").is_some_and(|value| value == "gzip") {
            flate2::read::MultiGzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(self.body.to_vec()).unwrap();
        }
        if text.starts_with('[') {
            return serde_json::from_str(&text).unwrap();
        }
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An HTTP server that answers as it is told.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    seen: Arc<watch::Sender<Vec<Seen>>>,
}

/// What a request is answered with: a status, and perhaps a header.
pub type Answer = (u16, Option<(&'static str, String)>);

impl Receiver {
    /// Answers the n-th request (from 0) with `answer(n, request)`.
    pub async fn start(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(watch::Sender::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        let router = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                assert_eq!(head.method, "POST");
                let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
                let mut seen = Seen { headers: head.headers, body, status: 0 };
                let number = kept.borrow().len();
                let (status, header) = answer(number, &seen);
                seen.status = status;
                kept.send_modify(|all| all.push(seen));
                let mut response = StatusCode::from_u16(status).unwrap().into_response();
                if let Some((name, value)) = header {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    pub async fn taking() -> Self {
        Self::start(|_, _| (200, None)).await
    }

    /// A receiver that answers 503 until it is switched on.
    pub async fn switched() -> (Self, Arc<AtomicBool>) {
        let on = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&on);
        let answer = move |_: usize, _: &Seen| (if switch.load(Ordering::SeqCst) { 200 } else { 503 }, None);
        (Self::start(answer).await, on)
    }

    pub fn url(&self) -> String {
        format!("http://{}/ingest", self.address)
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// What was taken, in the order in which it was.
    pub fn events(&self) -> Vec<Value> {
        let taken = |seen: &&Seen| (200..300).contains(&seen.status);
        self.seen.borrow().iter().filter(taken).flat_map(Seen::events).collect()
    }

    /// Waits until the requests are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Seen]) -> bool) {
        let mut seen = self.seen.subscribe();
        within("the receiver to have got what it should", seen.wait_for(|seen| wanted(seen))).await.unwrap();
    }
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A webhook that does not wait for company.
pub fn webhook(url: &str) -> EventWebhook {
    EventWebhook {
        url: url.to_owned(),
        batch: EventBatch { delay: Duration::from_millis(20), ..EventBatch::default() },
        ..EventWebhook::default()
    }
}

pub fn audit(targets: impl IntoIterator<Item = EventTarget>) -> Audit {
    Audit { enable: true, events: targets.into_iter().collect(), ..Audit::default() }
}

pub fn to(webhook: EventWebhook) -> EventTarget {
    EventTarget { webhook: Some(webhook), syslog: None }
}

/// Events of a gateway, and its metrics.
pub struct Sender {
    pub events: Events,
    registry: Mutex<Registry>,
}

impl Sender {
    pub fn new(audit: &Audit) -> Self {
        let mut registry = Registry::default();
        let source =
            Source { gateway: "dev".to_owned(), namespace: "team-a".to_owned(), pod: "dev-0".to_owned() };
        let events = Events::start(source, &mut registry);
        events.apply(&events.prepare(audit).unwrap());
        Self { events, registry: Mutex::new(registry) }
    }

    pub fn to(target: EventWebhook) -> Self {
        Self::new(&audit([to(target)]))
    }

    pub fn session(&self, id: &str) -> Feed {
        self.events.session(SessionStart {
            id: id.to_owned(),
            remote: "203.0.113.42:50022".parse().unwrap(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_778_328_000),
            policy_hash: "9f86d081".to_owned(),
            stdout_recorded: true,
        })
    }

    /// The value of a metric, with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().unwrap()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub async fn drained(&self) {
        assert_eq!(within("the drain", self.events.drain(PATIENCE)).await, 0);
    }
}

/// Nanoseconds after [`Sender::session`]'s start.
pub const fn at(nanoseconds: u64) -> u64 {
    1_778_328_000_000_000_000 + nanoseconds
}

pub async fn say(feed: &Feed, when: u64, channel: Option<u64>, payload: Payload) {
    feed.record(channel, &payload).await.accepted(at(when));
}

pub async fn io(feed: &Feed, when: u64, stream: IoStream, data: &[u8]) {
    feed.io(0, stream, data).await.accepted(at(when));
}

/// A command with a number, to tell events apart.
pub async fn exec(feed: &Feed, number: u64) {
    say(
        feed,
        number,
        Some(0),
        Payload::ChannelRequestExec { request_id: number, program: number.to_string() },
    )
    .await;
}

/// Asserts that sequences rise without a gap, and gives the commands' numbers.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["sequence"], index + 1, "{event}");
    }
    let commands = events.iter().filter_map(|event| event["command"].as_str());
    commands.map(|command| command.parse().unwrap()).collect()
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub der: CertificateDer<'static>,
}

pub struct Leaf {
    pub cert: String,
    pub key: String,
    pub der: CertificateDer<'static>,
    pub key_der: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    /// A TLS server that demands certificates of this authority.
    pub fn server(&self) -> tokio_rustls::TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let leaf = self.leaf(ExtendedKeyUsagePurpose::ServerAuth);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![leaf.der], leaf.key_der)
            .unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    }
}
