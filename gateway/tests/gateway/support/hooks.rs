//! An HTTP server that answers as it is told and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, Uri};
use tokio::net::TcpListener;

/// A question: its path and its body.
pub(crate) type Question = (String, serde_json::Value);

#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Hooks {
    /// Answers each question with `answer(path, body)`: a status and a text.
    pub(crate) async fn start(
        answer: impl Fn(&str, &serde_json::Value) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hooks = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&hooks.asked);
        let router = Router::new().fallback(move |uri: Uri, body: String| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let (status, text) = answer(uri.path(), &body);
            asked.lock().unwrap().push((uri.path().to_owned(), body));
            async move { (StatusCode::from_u16(status).unwrap(), text) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        hooks
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }
}
