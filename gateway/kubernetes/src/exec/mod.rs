//! Programs in a container, by `GET .../pods/{name}/exec` and our own framing of `v5.channel.k8s.io`.
//!
//! ```text
//! request ─► connection ─┬─► Reader (no task: whoever reads drives it) ─► output: ProgramOutput
//!                        └─► Writer ─► one task (batches, masks, pings)   ◄─ input:  ProgramInput
//! ```
//! The two directions share the TLS connection and nothing else. The writer is a task so that control frames go out
//! while nobody writes, so that a caller that stops waiting cannot leave half a frame behind, and so that encryption runs
//! beside whatever produces the data. The reader is none: a hop per message would buy nothing.

mod channel;
mod connection;
mod farewell;
mod gather;
mod input;
mod output;
mod reader;
mod request;
mod run;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod websocket;
mod writer;

use std::time::Duration;

pub(crate) use output::Receiver;
pub(crate) use run::{Finished, pipe, run};
pub(crate) use start::{StartError, direct, start};
pub(crate) use status::is_missing_program;
pub(crate) use writer::Writer;

/// How often we ask the peer for a sign of life while nothing else is said. Load balancers and NAT forget connections
/// after a minute or more of silence.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A connection on which we wait and nothing comes for this long is dead: two pings went unanswered.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// A container in which programs are started.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.pod, self.container)
    }
}
