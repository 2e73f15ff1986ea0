//! Runs the programs of SSH connections on the host it runs on: in the gateway itself (backend `local`), or in a pod, where
//! the gateway puts the program `containerssh-agent`.
//!
//! ```text
//! HostGuest ─ start ─► plan (accounts, environment, shell) ─► LaunchOrder ─► launcher ─► the program
//!                                                                  pty or pipes │
//!                      ProgramInput, ProgramOutput ◄────────────────────────────┘
//! ```
//!
//! # The launcher
//! What has to happen between `fork` and `exec` (a session of its own, a controlling terminal, the groups and the ids of
//! another user) happens in a process of our own: the running executable starts itself anew ([`launch`]), reads its order
//! from standard input, does all of it with ordinary calls, and becomes the program. So no code runs in a forked copy of
//! a program with threads, the parent's memory is never copied, and neither the command nor its environment shows in a
//! process list or reaches the launcher's own environment, where it could load code into it before it has dropped root.
//!
//! # What holds
//! - Bytes are read once, in pieces of up to 64 KiB, and never copied on their way: there is no task and no queue between a
//!   program's pipe and whoever calls [`ProgramOutput::next`](containerssh_backend::ProgramOutput::next).
//! - An idle program holds no buffer.
//! - A program whose halves are dropped is ended: `SIGHUP` to its process group, and `SIGKILL` after [`KILL_GRACE`].
//!   Processes that it left behind in sessions of their own live on, as under sshd.

mod accounts;
mod environment;
mod guest;
mod io;
pub mod launch;
mod local;
mod modes;
pub mod open_files;
mod plan;
mod process;
pub mod sftp;
mod signals;
mod terminal;

pub use accounts::{Account, Accounts};
pub use guest::HostGuest;
pub use local::{LocalBackend, RunAs};
pub use plan::{Base, HostSettings};
pub use process::KILL_GRACE;
