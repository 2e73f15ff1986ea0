//! What a session's tap and its writer share.

use std::sync::Arc;

use containerssh_config::{OnFailure, OnFull};
use tokio::sync::watch;

use crate::error::TapError;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::segment::Lost;
use crate::spool::RecordId;
use crate::spool::budget::Budget;

/// How far a session's record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its file is being made.
    Opening,
    /// It is being written (or, under `onFailure: allow`, will be again).
    Recording,
    /// It cannot be written, and that ends the session.
    Failed(TapError),
    /// It is complete and handed over, or given up.
    Closed,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: RecordId,
    pub(crate) intake: Intake,
    /// Written by the writer, watched by the tap.
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) on_failure: OnFailure,
    pub(crate) on_full: OnFull,
    /// Nothing is accepted before it is durable.
    pub(crate) strict: bool,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: Metrics,
}

impl Session {
    /// The session can no longer be recorded. The first error stays.
    pub(crate) fn fail(&self, error: &TapError) {
        self.intake.stop();
        let first = self.stage.send_if_modified(|stage| {
            let first = matches!(stage, Stage::Opening | Stage::Recording);
            if first {
                *stage = Stage::Failed(error.clone());
            }
            first
        });
        if first {
            self.metrics.record_failed();
            self.intake.feed().record_failed(&error.to_string());
            tracing::error!(
                code = crate::code::AUDIT_RECORD_FAILED,
                module = "audit",
                connectionId = %self.id,
                "The session ends because its audit record cannot be written: {error}"
            );
        }
    }

    /// Waits for a stage.
    pub(crate) async fn reaches(&self, wanted: impl FnMut(&Stage) -> bool) {
        let mut stage = self.stage.subscribe();
        // The sender is ours, so it cannot be gone.
        let _reached = stage.wait_for(wanted).await;
    }

    /// Something is not recorded, and the session goes on.
    pub(crate) fn lose(&self, lost: Lost) {
        self.metrics.dropped(&lost);
        self.intake.lose(lost);
    }

    /// Why nothing is accepted any more.
    pub(crate) fn error(&self) -> TapError {
        match &*self.stage.borrow() {
            Stage::Failed(error) => error.clone(),
            Stage::Opening | Stage::Recording | Stage::Closed => TapError::Closed,
        }
    }
}
