//! Health: for the kubelet, for the operator, and for whoever knows the reference's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Metrics;
use crate::snapshot::Current;

/// What health is judged by.
#[derive(Debug, Clone)]
pub struct Health {
    /// The configuration in force.
    pub snapshots: Arc<Current>,
    /// Counts, and whether the gateway drains.
    pub metrics: Arc<Metrics>,
    /// Which webhooks give no answers. That is shown and makes no gateway unready: all of them ask the same servers, and one that
    /// nobody is sent to can tell nobody why.
    pub webhooks: containerssh_auth::Metrics,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    ready: bool,
    policy_hash: String,
    config_hash: String,
    sessions: i64,
    connections: i64,
    draining: bool,
    webhooks_without_answers: Vec<&'static str>,
    spool: SpoolStatus,
}

#[derive(Debug, Default, Serialize)]
struct SpoolStatus {
    bytes: u64,
    records: usize,
}

impl Health {
    /// `/livez`, `/readyz`, `/status`, and the reference's answer on every other path.
    pub fn router(self) -> Router {
        Router::new()
            // Answering at all is what shows that the process lives.
            .route("/livez", get(async || "ok"))
            .route("/readyz", get(ready))
            .route("/status", get(status))
            .fallback(reference)
            .with_state(self)
    }

    /// The server listens before health does, so it is ready until it drains.
    fn ready(&self) -> bool {
        !self.metrics.is_draining()
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "draining") }
}

async fn status(State(health): State<Health>) -> Response {
    let snapshot = health.snapshots.load();
    let spool = snapshot.services.recorder.as_ref().map(|recorder| {
        let status = recorder.status();
        SpoolStatus { bytes: status.bytes, records: status.records }
    });
    json(
        StatusCode::OK,
        &Status {
            ready: health.ready(),
            policy_hash: snapshot.policy_hash.clone(),
            config_hash: snapshot.config_hash.clone(),
            sessions: health.metrics.sessions(),
            connections: health.metrics.connections(),
            draining: health.metrics.is_draining(),
            webhooks_without_answers: health.webhooks.without_answers(),
            spool: spool.unwrap_or_default(),
        },
    )
}

/// `"ok"` or `"not ok"`, a JSON string unless plain text is asked for.
async fn reference(State(health): State<Health>, headers: HeaderMap) -> Response {
    let (code, text) =
        if health.ready() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ok") };
    let plain = headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
    if plain {
        (code, [(CONTENT_TYPE, "text/plain")], text.to_owned()).into_response()
    } else {
        json(code, &text)
    }
}

fn json(code: StatusCode, value: &impl Serialize) -> Response {
    // Strings and numbers always have a JSON form.
    let body = serde_json::to_string(value).unwrap_or_default();
    (code, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// For a health check by command: longer than any answer takes, shorter than the caller's patience.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a gateway on this machine whether it is ready.
///
/// # Errors
/// When it cannot be asked, or is not.
pub async fn check(listen: SocketAddr) -> Result<(), String> {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(ip, listen.port());
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = match tokio::time::timeout(CHECK_TIMEOUT, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("cannot ask {address}: {error}")),
        Err(_) => return Err(format!("{address} does not answer")),
    };
    match answer.lines().next().unwrap_or_default() {
        line if line.contains(" 200 ") => Ok(()),
        line => Err(format!("{address} is not ready: {line}")),
    }
}
