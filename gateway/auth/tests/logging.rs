//! What is logged about webhooks. On its own: `tracing` remembers per process whether anybody listens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{PASSWORD, PASSWORD_BASE64, Server, attempt, reply, settings, webhook};
use tracing_subscriber::layer::SubscriberExt;

#[tokio::test]
async fn neither_passwords_nor_credentials_nor_answers_are_logged() {
    let lines = Arc::new(Mutex::new(Vec::<u8>::new()));
    let queue =
        containerssh_log::queue::Queue::start(Shared(Arc::clone(&lines)), Box::new(|_| Vec::new())).unwrap();
    let debug = Arc::new(AtomicU8::new(0));
    let format = containerssh_log::Format::Ljson;
    let layer =
        containerssh_log::LogLayer::new(debug, format, Arc::clone(&queue), || jiff::Timestamp::UNIX_EPOCH);
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let answer = r#"{"success":true,"files":{"/k":{"value":"leaked-answer!"}}}"#;
    let server =
        Server::start(move |number, _| if number == 0 { reply(500, answer) } else { reply(200, answer) })
            .await;
    let url = format!("http://user:leaked-credential@{}", server.address);
    let verdict = webhook(&settings(&url)).password(&attempt(), PASSWORD).await;
    drop(guard);

    assert!(queue.flush(Duration::from_secs(10)));
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert!(text.contains("AUTH_INVALID_STATUS") && text.contains("AUTH_BACKEND_ERROR"), "{text}");
    let everything = format!("{text}{verdict:?}{:?}", webhook(&settings(&url)));
    for secret in
        [std::str::from_utf8(PASSWORD).unwrap(), PASSWORD_BASE64, "leaked-answer", "leaked-credential"]
    {
        assert!(!everything.contains(secret), "{everything}");
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
