//! What administrators and the cluster see: health and metrics, each on a port of its own, each only if enabled.

mod health;
mod metrics;
mod process;
mod redirect;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use health::{Health, check};
pub(crate) use metrics::AuthType;
pub use metrics::Metrics;
pub(crate) use process::ProcessCollector;
pub use redirect::redirect_router;

/// Metrics of all crates. Locked while one registers or a scrape reads, never by what is measured.
pub type SharedRegistry = Arc<Mutex<Registry>>;

/// A server's address is not available.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}")]
pub struct ListenError {
    /// The configuration's key.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// Listens, or says which setting to change.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { key, address, source })
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    // It ends only when it is told to: accept errors are retried inside.
    let _ = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
}

/// `path` with the metrics as OpenMetrics text; 404 elsewhere.
pub fn metrics_router(path: &str, registry: SharedRegistry) -> Router {
    Router::new().route(path, get(scrape)).with_state(registry)
}

async fn scrape(State(registry): State<SharedRegistry>) -> impl IntoResponse {
    let mut text = String::new();
    let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
