//! Log lines in ContainerSSH's format: levels, a stable code on every message, secrets kept out.
//!
//! Programs log through [`tracing`] and this crate turns events into lines. Three decisions shape it:
//!
//! - **Every message has a code.** Codes are declared once, by [`codes!`], next to an explanation; `docs/CODES.md` is
//!   generated from those tables ([`codes::markdown`]), so that a code in a log can always be looked up.
//! - **A log line is one line.** User names, commands and version strings come from strangers. Control characters and
//!   characters that reorder text are escaped, lengths are bounded, and text-format values that could be mistaken for
//!   other labels are quoted ([`clean`]).
//! - **Logging never holds a session up.** Lines go to a bounded queue that one thread writes out ([`queue`]): a closed
//!   or stalled stdout costs lines (which are counted and reported once it works again), never time and never a panic.
//!
//! ```
//! containerssh_log::codes! {
//!     /// Codes of this example.
//!     pub mod code {
//!         SSH_CONNECTED = "A client connected over TCP.";
//!     }
//! }
//! use containerssh_log::notice;
//! tracing::info!(code = code::SSH_CONNECTED, connectionId = "0a1b", "Client connected");
//! notice!(code = code::SSH_CONNECTED, "Client connected");
//! ```
//!
//! # What is shown
//! Events of this project's crates (targets starting with `containerssh`) are shown from the configured level on. Events
//! of libraries are shown from `warning` on only, whatever the level: their debug output is not ours to vouch for and
//! may hold what must never be logged.

pub mod clean;
pub mod codes;
mod file;
mod init;
mod layer;
mod level;
mod line;
mod macros;
mod own;
pub mod queue;
pub mod syslog;

pub use codes::{Entry, Table};
pub use init::{Handle, InitError, LogSettings, Output, init, init_with};
pub use layer::LogLayer;
pub use level::{Format, Level, UnknownKeyword};
pub use own::OwnLevel;

#[doc(hidden)]
pub use tracing as __tracing;

codes! {
    /// Codes of the log itself.
    pub mod code {
        LOG_WRITE_FAILED = "Lines of the log could not be written and are lost: the reader was gone or too slow.";
        LOG_ROTATE_FAILED = "The log's file could not be opened anew (SIGHUP). Lines go where they went before.";
        UNKNOWN_ERROR = "A message without a code of its own, mostly from a library.";
    }
}
