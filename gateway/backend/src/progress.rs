//! What a user who waits for a guest is told.
//!
//! A `watch` channel, not a queue: only the newest state matters, and a reader that never looks costs nothing.

use tokio::sync::watch;

/// Where a start stands, in words for a person ("pulling image debian:12").
pub type Progress = watch::Receiver<Option<String>>;

/// The backend's side of [`progress`].
#[derive(Debug, Clone)]
pub struct ProgressSender(watch::Sender<Option<String>>);

impl ProgressSender {
    /// Publishes a state. Unchanged states wake nobody.
    pub fn report(&self, state: impl Into<String>) {
        let state = Some(state.into());
        self.0.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                current.clone_from(&state);
            }
            changed
        });
    }
}

/// A pair of ends.
#[must_use]
pub fn progress() -> (ProgressSender, Progress) {
    let (sender, receiver) = watch::channel(None);
    (ProgressSender(sender), receiver)
}
