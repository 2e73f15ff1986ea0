//! Sets the log up for a program.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::file::LogFile;
use crate::line::{Labels, Value, render};
use crate::queue::Queue;
use crate::syslog::{DatagramOutput, Datagrams, Header};
use crate::{Format, Level, LogLayer, code};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// Events below are not shown. Can be changed later ([`Handle::set_level`]).
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
}

/// Where lines go.
#[derive(Default)]
pub enum Output {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, to the end of which they are appended.
    File(PathBuf),
    /// A syslog daemon, a datagram per line.
    Syslog(Datagrams, Header),
    /// Something else that takes lines with this header, whole batches at a time.
    Lines(Box<dyn Write + Send>, Header),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("Stdout"),
            Output::File(path) => f.debug_tuple("File").field(path).finish(),
            Output::Syslog(target, _) => f.debug_tuple("Syslog").field(target).finish(),
            Output::Lines(..) => f.debug_tuple("Lines").finish_non_exhaustive(),
        }
    }
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
    /// The file cannot be written.
    #[error("log.file: cannot open {path}: {source}")]
    File {
        /// Its name.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The daemon cannot be reached.
    #[error("log.syslog.destination: cannot reach {target:?}: {source}")]
    Syslog {
        /// Where it is.
        target: Datagrams,
        /// Why.
        source: std::io::Error,
    },
}

/// Steers a running log.
#[derive(Debug, Clone)]
pub struct Handle {
    level: Arc<AtomicU8>,
    queue: Arc<Queue>,
    file: Option<LogFile>,
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

    /// Opens the file anew, if lines go to one: whoever moved it away has all that was written before.
    ///
    /// # Errors
    /// When it cannot be opened; lines then go where they went.
    pub fn reopen(&self) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), LogFile::reopen)
    }

    /// Lines that were lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

/// Sets the process's log up: lines go to stdout.
///
/// # Errors
/// When it was set up before, or no thread can be had.
pub fn init(settings: &LogSettings) -> Result<Handle, InitError> {
    init_with(settings, Output::Stdout, std::iter::empty())
}

/// The same with another output, and with other layers that look at the same events and spans.
///
/// # Errors
/// When it was set up before, no thread can be had, or the output is none.
pub fn init_with(
    settings: &LogSettings,
    output: Output,
    others: impl IntoIterator<Item = Box<dyn Layer<Registry> + Send + Sync>>,
) -> Result<Handle, InitError> {
    let format = settings.format;
    let mut opened = None;
    let (output, header): (Box<dyn Write + Send>, _) = match output {
        Output::Stdout => (Box::new(std::io::stdout()), None),
        Output::File(path) => {
            let file = LogFile::open(&path).map_err(|source| InitError::File { path, source })?;
            opened = Some(file.clone());
            (Box::new(file), None)
        }
        Output::Syslog(target, header) => {
            let sender = DatagramOutput::new(&target)
                .map_err(|source| InitError::Syslog { target: target.clone(), source })?;
            (Box::new(sender), Some(header))
        }
        Output::Lines(lines, header) => (lines, Some(header)),
    };
    let of_loss = header.clone();
    let report = Box::new(move |lost| loss_report(format, of_loss.as_ref(), lost));
    let queue = Queue::start(output, report)?;
    let level = Arc::new(AtomicU8::new(settings.level as u8));
    let layer = LogLayer::new(Arc::clone(&level), format, Arc::clone(&queue), Timestamp::now);
    let layer = layer.with_header(header);
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![Box::new(layer)];
    layers.extend(others);
    tracing::subscriber::set_global_default(Registry::default().with(layers))?;
    Ok(Handle { level, queue, file: opened })
}

/// The line that says how many lines are missing.
pub(crate) fn loss_report(format: Format, header: Option<&Header>, lost: u64) -> Vec<u8> {
    let labels = Labels::from([("lost", Value::Unsigned(lost)), ("module", Value::Text("core".into()))]);
    let message = "Log lines were lost: the reader of the log was gone or too slow";
    let level = Level::Warning;
    render(format, header, Timestamp::now(), level, code::LOG_WRITE_FAILED, message, &labels)
}
