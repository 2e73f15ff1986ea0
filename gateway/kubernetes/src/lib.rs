//! The `kubernetes` backend: pods for SSH connections, their sessions or their users; programs in them by exec.
//!
//! ```text
//!                      ┌─ connection ─────────────────┐
//! KubernetesBackend ───┼─ session ─► SessionGuest ────┴─► pool: a pod that waits, claimed
//!        │             │                                  start: Lease ─► create ─► wait ──┐
//!        │             └─ persistent: a pod that stays, attached to ───────────────────────┴─► PodGuest ─► shim + exec ─► Program
//!        │                                                             or, if there is one, ─► AgentGuest ─► agent ─────► Program
//!        ├─ PodWatch (one watch for all connections)     sweep: pods of dead gateways, persistent pods that are idle
//!        └─ Leases (who answers for which pod) ─► delete, in the background, until it is done
//! ```
//!
//! # What holds
//! - **No pod is leaked.** A pod is under a lease before it is asked for; every end of the lease removes it; what a dead
//!   process leaves behind is swept by its successor or its peers; and what nobody sweeps ends at its own deadline.
//! - **A pod that was used serves nobody else**, unless it is a persistent one; and none is given away that the API server does
//!   not see alive at that moment.
//! - **No program ends well by accident.** Exit status 0 is reported only for an explicit success of the cluster, and the
//!   program's input cannot be cut off by the program closing its output (see `shim`).
//! - **Everything waits for a bounded time and holds a bounded amount**, whatever the cluster or the guest sends. Per
//!   running program: a read buffer of 4 to 128 KiB, a write buffer of up to 160 KiB, eight queued messages.
//!
//! # Permissions
//! In the guests' namespace: `create`, `delete`, `get`, `list`, `watch` on `pods`, with a warm pool or an idle timeout also `patch`, and `create`, `get` on `pods/exec`
//! (Kubernetes 1.35 asks for `create` also of WebSockets). In the gateway's own: `get` on `pods`, for the sweep. The
//! cluster must speak version 5 of the remote command protocol: Kubernetes 1.30 or later.

mod agent;
mod backend;
mod client;
mod codes;
mod exec;
mod files;
mod guest;
mod identity;
mod limit;
mod metrics;
mod persistent;
mod pod;
mod pool;
mod session;
mod settings;
mod shim;
mod signal;
mod start;
mod sweep;
#[cfg(test)]
mod testing;

pub use backend::{KubernetesBackend, SetupError};
pub use client::ClientError;
pub use codes::code;
pub use identity::{Identity, PodIdentity, RunId};
pub use settings::SettingsError;
