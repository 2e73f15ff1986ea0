//! A connection's guest: asked for as soon as the user has logged in, shared by all sessions.
//!
//! Starting it at the login rather than at the first command hides some of its start behind the client's own work. The
//! start is a task of its own: sessions wait for it, and a client that leaves cancels it (whatever was created is then
//! removed by the backend).

use std::sync::Arc;

use containerssh_backend::{BackendError, ConnectionInfo, Guest, Progress, ProgressSender, progress};
use containerssh_log::notice;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, EndReason};
use crate::codes;

/// How far the start has come.
#[derive(Debug, Clone)]
pub(crate) enum GuestState {
    Starting,
    Ready(Arc<dyn Guest>),
    Failed(BackendError),
}

/// A guest that starts, runs, or could not be started.
#[derive(Debug)]
pub(crate) struct GuestSlot {
    state: watch::Receiver<GuestState>,
    progress: Progress,
}

impl GuestSlot {
    /// Begins the start as a task of the connection.
    pub(crate) fn start(connection: &Arc<Connection>, info: ConnectionInfo) -> Self {
        let (sender, state) = watch::channel(GuestState::Starting);
        let (reporter, progress) = progress();
        connection.tasks.spawn(run(Arc::clone(connection), Arc::new(info), sender, reporter));
        Self { state, progress }
    }

    /// Where the start stands, in words for the user.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The guest, once it can run programs.
    pub(crate) async fn ready(&self) -> Result<Arc<dyn Guest>, BackendError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, GuestState::Starting)).await;
        match settled.as_deref() {
            Ok(GuestState::Ready(guest)) => Ok(Arc::clone(guest)),
            Ok(GuestState::Failed(error)) => Err(error.clone()),
            Ok(GuestState::Starting) | Err(_) => {
                Err(BackendError::StartFailed("the start was given up".into()))
            }
        }
    }

    /// The guest, if there is one to remove. Only meaningful when the connection's tasks have ended.
    pub(crate) fn to_close(&self) -> Option<Arc<dyn Guest>> {
        match &*self.state.borrow() {
            GuestState::Ready(guest) => Some(Arc::clone(guest)),
            _ => None,
        }
    }
}

async fn run(
    connection: Arc<Connection>,
    info: Arc<ConnectionInfo>,
    state: watch::Sender<GuestState>,
    progress: ProgressSender,
) {
    let begun = Instant::now();
    connection.metrics.guest_requested();
    let backend = Arc::clone(connection.backend());
    let started = tokio::select! {
        biased;
        // Dropping the start removes whatever it has created.
        () = connection.closed.cancelled() => return,
        started = backend.connect(info, progress) => started,
    };
    match started {
        Err(error) => {
            connection.metrics.guest_failed();
            tracing::error!(
                code = codes::backend::BACKEND_START_FAILED,
                module = "backend",
                connectionId = connection.id,
                error = %error,
                "Cannot start what serves the connection"
            );
            let _ = state.send(GuestState::Failed(error));
        }
        Ok(guest) => {
            connection.metrics.guest_ready(begun.elapsed());
            notice!(
                code = codes::backend::BACKEND_READY,
                module = "backend",
                connectionId = connection.id,
                podName = guest.name(),
                seconds = begun.elapsed().as_secs_f64(),
                "Ready to run programs"
            );
            let _ = state.send(GuestState::Ready(Arc::clone(&guest)));
            tokio::select! {
                () = connection.closed.cancelled() => {}
                error = guest.gone() => {
                    tracing::warn!(
                        code = codes::backend::BACKEND_GONE,
                        module = "backend",
                        connectionId = connection.id,
                        podName = guest.name(),
                        error = %error,
                        "What serves the connection is gone"
                    );
                    connection.end(EndReason::GuestGone(error));
                }
            }
        }
    }
}
