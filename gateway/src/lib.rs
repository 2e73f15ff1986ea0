//! The gateway: an SSH server that authenticates users, starts a guest per connection, runs their programs in it, and
//! records every byte before it is delivered.
//!
//! ```text
//! run      puts everything together, ends it in order
//! reload   follows the configuration file ──► snapshot: one configuration in force, kept by a connection to its end
//! serve    accept loop, limits, drain; the stream that can be cut and held back
//! tailor   settings of one connection's own, from the configuration server
//! ssh      one connection: supervisor, handler, login, sessions
//! geoip    from which countries clients come
//! logging  where the log goes
//! backends what serves connections: a cluster, or this host
//! convert  a configuration as custom resources
//! demo     a gateway of this host for ten seconds' look
//! admin    health and metrics
//! ```
//!
//! A panic costs the connection it happens in. Everything that a client, a guest or a disk can make us wait for or hold has
//! a bound: see [`ssh`](self) for memory, and the constants of each module for time.

pub mod admin;
mod backends;
mod cli;
pub mod codes;
pub mod convert;
pub mod demo;
mod geoip;
pub mod hostkeys;
mod logging;
pub mod reload;
mod run;
mod serve;
mod snapshot;
mod ssh;
mod tailor;

pub use cli::{Cli, Command, Demo};
pub use geoip::Countries;
pub use run::run;
pub use serve::{Deps, Limits, serve};
pub use snapshot::{Current, Services, Snapshot, SnapshotError};
pub use ssh::AlgorithmError;
pub use tailor::{MakeBackend, Tailor};
