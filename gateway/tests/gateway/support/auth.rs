//! An authenticator with one password, some keys, and a memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use containerssh_auth::{Attempt, Authenticator, Identity, Methods, Verdict};
use tokio_util::sync::CancellationToken;

/// Accepts password `secret` of anybody but `nobody`; has no answer for `undecided` and never answers `patient`.
#[derive(Debug, Default)]
pub(crate) struct TestAuth {
    pub(crate) keys: Mutex<Vec<String>>,
    pub(crate) key_questions: AtomicUsize,
    pub(crate) attempts: Mutex<Vec<Attempt>>,
    /// Somebody waits for an answer that never comes.
    pub(crate) asked: CancellationToken,
    /// That somebody gave up.
    pub(crate) given_up: CancellationToken,
}

#[async_trait]
impl Authenticator for TestAuth {
    fn methods(&self) -> Methods {
        Methods { password: true, public_key: true, ..Methods::default() }
    }

    async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict {
        self.attempts.lock().unwrap().push(attempt.clone());
        match (attempt.username.as_str(), password) {
            ("undecided", _) => Verdict::Unavailable("the webhook is down".into()),
            ("patient", _) => {
                let _given_up = self.given_up.clone().drop_guard();
                self.asked.cancel();
                std::future::pending().await
            }
            ("nobody", _) => Verdict::Rejected,
            (name, b"secret") => Verdict::Accepted(Box::new(Identity {
                authenticated_username: format!("{name}@example"),
                ..Identity::default()
            })),
            _ => Verdict::Rejected,
        }
    }

    async fn public_key(&self, attempt: &Attempt, key: &str) -> Verdict {
        self.attempts.lock().unwrap().push(attempt.clone());
        self.key_questions.fetch_add(1, Ordering::SeqCst);
        if self.keys.lock().unwrap().iter().any(|known| known == key) {
            Verdict::Accepted(Box::default())
        } else {
            Verdict::Rejected
        }
    }
}
