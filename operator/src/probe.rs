//! `containerssh-operator probe URL`: asks a health endpoint until it says yes, for `helm test`. The image has no other
//! program to ask with.

use std::time::Duration;

/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("cannot build the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    #[error("{url} did not answer with success within {limit:?}; at last: {last}")]
    Unhealthy { url: String, limit: Duration, last: String },
}

/// Asks until the answer is a success, for at most `limit`.
pub async fn probe(url: &str, limit: Duration) -> Result<(), ProbeError> {
    let client = reqwest::Client::builder()
        // The cluster's own names are not for a proxy.
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .build()
        .map_err(ProbeError::Client)?;
    let mut last = "no answer".to_owned();
    let asking = async {
        loop {
            match client.get(url).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => last = format!("status {}", answer.status()),
                Err(error) => last = crate::error::chain(&error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answered = tokio::time::timeout(limit, asking).await;
    answered.map_err(|_elapsed| ProbeError::Unhealthy { url: url.to_owned(), limit, last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Readiness, serve_health};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_probe_waits_for_readiness_and_tells_what_it_saw_last() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let (ready, stop) = (Readiness::default(), CancellationToken::new());
        let server = tokio::spawn(serve_health(listener, ready.clone(), stop.clone()));

        let error = probe(&url, Duration::from_millis(1500)).await.unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");

        let waiting = tokio::spawn({
            let url = url.clone();
            async move { probe(&url, Duration::from_secs(60)).await }
        });
        ready.set(true);
        waiting.await.unwrap().unwrap();

        stop.cancel();
        server.await.unwrap().unwrap();
        let error = probe(&url, Duration::from_millis(100)).await.unwrap_err().to_string();
        assert!(error.contains(&url), "{error}");
    }
}
