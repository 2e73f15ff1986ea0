//! The operator's own endpoints. Two listeners, because a NetworkPolicy may open metrics to a scraper while the
//! probes are the kubelet's alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Flipped once, when every watch has listed what exists. Leader and standby are both ready: either can answer for
/// its caches, and a rollout of the operator must not wait for an election.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves /livez and /readyz until `stop`. That an answer comes at all proves that the event loop turns.
pub async fn serve_health(
    listener: TcpListener,
    ready: Readiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router =
        Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(ready);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Serves /metrics until `stop`.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new().route("/metrics", get(render)).with_state(metrics);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(ready): State<Readiness>) -> impl IntoResponse {
    if ready.get() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the watches have not listed everything yet\n")
    }
}

async fn render(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.render() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetch(address: std::net::SocketAddr, path: &str) -> (u16, String) {
        let response = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_the_caches_and_liveness_does_not() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, stop) = (Readiness::default(), CancellationToken::new());
        let server = tokio::spawn(serve_health(listener, ready.clone(), stop.clone()));
        assert_eq!(fetch(address, "/livez").await.0, 200);
        assert_eq!(fetch(address, "/readyz").await.0, 503);
        ready.set(true);
        assert_eq!(fetch(address, "/readyz").await.0, 200);
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_metrics(listener, Arc::new(Metrics::default()), stop.clone()));
        let (status, body) = fetch(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("# TYPE containerssh_operator_leader gauge"), "{body}");
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
