//! One SSH connection, from its first byte to the removal of its guest.
//!
//! ```text
//! connection   supervises: login grace, idleness, drain, recording; ends things; cleans up
//!   clock      when a connection has lasted, or been silent, for too long
//!   handler    russh's callbacks: answer at once, never wait for a guest
//!     auth     who is it
//!     setup    pure: what may be asked of a channel, and in which order
//!     security pure: what of it the configuration allows
//!   guest      starts the guest once per connection
//!   session    a channel's task: requests, and bytes towards the program
//!   output     a program's task: waits for the guest, bytes towards the client, exit
//!   forward    streams between the client and what the guest reaches
//! ```
//!
//! # Memory of a connection
//! Bounded whatever the client and the guest do:
//! - From the client: 1 MiB over all channels, or 16 MiB while a program's output waits for the client's window (the
//!   read gate, `serve/gate.rs`), plus the packet that is being read (256 KiB).
//! - Towards the client: per channel one message of the backend; per connection 16 messages of 32 KiB in russh's queue
//!   and as much again in its write buffer. What the client does not take stays in the program.
//! - Per session, 32 KiB of environment and 256 KiB of command.
//! - 512 forwarded streams of about 16 KiB each, besides the bytes that are counted above.

mod algorithms;
mod auth;
mod clock;
mod connection;
mod forward;
mod guest;
mod handler;
mod messages;
mod output;
mod records;
mod security;
mod session;
mod setup;
mod waiting;

pub use algorithms::AlgorithmError;
pub(crate) use algorithms::{fastest, preferred, suits};
pub(crate) use connection::serve_connection;
pub(crate) use forward::Kind as ForwardKind;
pub(crate) use security::Security;
