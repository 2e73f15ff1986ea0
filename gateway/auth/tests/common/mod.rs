//! A webhook server on loopback that does as it is told and remembers what it was sent.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use containerssh_auth::webhook::Webhook;
use containerssh_auth::webhook::retry::Backoff;
use containerssh_auth::{Attempt, Verdict};
use containerssh_config::Webhook as Settings;

pub type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub client: SocketAddr,
}

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers the n-th request (from 0) with `answer(n, path)`.
    pub async fn start(answer: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        let answer = Arc::new(answer);
        let router =
            Router::new().fallback(move |ConnectInfo(client): ConnectInfo<SocketAddr>, request: Request| {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                async move {
                    let (head, body) = request.into_parts();
                    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                    let path = head.uri.path().to_owned();
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        let path = path.clone();
                        seen.push(Seen { method: head.method, path, headers: head.headers, body, client });
                        seen.len() - 1
                    };
                    answer(number, &path).await
                }
            });
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        server
    }

    /// Answers every request with this status and body.
    pub async fn with(status: u16, body: &'static str) -> Server {
        Server::start(move |_, _| reply(status, body)).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.seen().iter().map(|seen| seen.client).collect::<HashSet<_>>().len()
    }
}

pub fn reply(status: u16, body: impl Into<Body>) -> Answer {
    let response = (StatusCode::from_u16(status).unwrap(), body.into()).into_response();
    Box::pin(async move { response })
}

/// Generous where the answer comes at once: a busy machine must not turn into a timeout.
pub fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        timeout: Duration::from_secs(20),
        auth_timeout: Duration::from_secs(30),
        ..Settings::default()
    }
}

pub fn webhook(settings: &Settings) -> Webhook {
    let backoff = Backoff { first: Duration::from_millis(1) };
    Webhook::new(settings, "auth.password.webhook").unwrap().with_backoff(backoff)
}

pub const PASSWORD: &[u8] = b"hunter2-the-secret";
pub const PASSWORD_BASE64: &str = "aHVudGVyMi10aGUtc2VjcmV0";

pub fn attempt() -> Attempt {
    Attempt {
        connection_id: "0123456789abcdef0123456789abcdef".into(),
        remote_addr: "192.0.2.7:45760".parse().unwrap(),
        client_version: "SSH-2.0-OpenSSH_9.2p1".into(),
        username: "alice".into(),
    }
}

pub fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Unavailable(reason) => reason,
        other => panic!("expected no answer, got {other:?}"),
    }
}
