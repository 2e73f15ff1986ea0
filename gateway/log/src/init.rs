//! Sets the log up for a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::line::{Labels, Value, render};
use crate::queue::Queue;
use crate::{Format, Level, LogLayer, code};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// Events below are not shown. Can be changed later ([`Handle::set_level`]).
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The writing thread could not be started.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A log was set up before in this process.
    #[error("the log is already set up: {0}")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Steers a running log.
#[derive(Debug, Clone)]
pub struct Handle {
    level: Arc<AtomicU8>,
    queue: Arc<Queue>,
}

impl Handle {
    /// Shows events from this level on, at once.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        // `tracing` remembers per call site whether anybody listens.
        tracing::callsite::rebuild_interest_cache();
    }

    /// The level in force.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::from_index(self.level.load(Ordering::Relaxed))
    }

    /// Waits until all lines are written, at most for `limit`: the last call of a program. Says whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.flush(limit)
    }
}

/// Sets the process's log up: lines go to stdout.
///
/// # Errors
/// When it was set up before, or no thread can be had.
pub fn init(settings: &LogSettings) -> Result<Handle, InitError> {
    let format = settings.format;
    let queue = Queue::start(std::io::stdout(), Box::new(move |lost| loss_report(format, lost)))?;
    let level = Arc::new(AtomicU8::new(settings.level as u8));
    let layer = LogLayer::new(Arc::clone(&level), format, Arc::clone(&queue), Timestamp::now);
    tracing::subscriber::set_global_default(Registry::default().with(layer))?;
    Ok(Handle { level, queue })
}

/// The line that says how many lines are missing.
pub(crate) fn loss_report(format: Format, lost: u64) -> Vec<u8> {
    let labels = Labels::from([("lost", Value::Unsigned(lost)), ("module", Value::Text("core".into()))]);
    let message = "Log lines were lost: the reader of the log was gone or too slow";
    render(format, Timestamp::now(), Level::Warning, code::LOG_WRITE_FAILED, message, &labels)
}
