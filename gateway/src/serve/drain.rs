//! How a gateway ends: it says so, lets sessions finish, and then stops them.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shared by all connections of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    /// Cancelled when draining begins: idle connections end, users with a terminal are told.
    pub(crate) begun: CancellationToken,
    /// Cancelled when its time is over: sessions end.
    pub(crate) over: CancellationToken,
    until: std::sync::Arc<OnceLock<Instant>>,
}

impl Drain {
    /// Begins; whoever calls cancels `over` when `timeout` has passed.
    pub(crate) fn begin(&self, timeout: Duration) {
        let _ = self.until.set(Instant::now() + timeout);
        self.begun.cancel();
    }

    /// How long sessions may still go on.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.get().map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()))
    }
}
