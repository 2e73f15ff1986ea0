//! What the recorder takes from the configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerssh_config::{Audit, AuditStorage};
use containerssh_siem::Events;

use crate::upload::Backoff;

/// Which gateway records. Stands in object keys and in S3 metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GatewayIdentity {
    /// Namespace of the gateway.
    pub namespace: String,
    /// Name of the `SSHGateway`.
    pub gateway: String,
    /// Name of the pod.
    pub pod: String,
}

/// A connection whose record starts.
#[derive(Debug, Clone)]
pub struct SessionStart {
    /// 32 lowercase hexadecimal digits from a CSPRNG.
    pub connection_id: String,
    /// Where the client comes from.
    pub remote_addr: SocketAddr,
    /// The country it comes from, an ISO 3166-1 code of two letters; empty where nobody knows.
    pub country: String,
    /// When it connected.
    pub started: SystemTime,
}

/// What holds for the whole gateway. What differs by session comes with [`crate::Recorder::open`].
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// The spool's directory, for this gateway alone.
    pub directory: PathBuf,
    /// Bytes it may hold.
    pub size_limit: u64,
    /// Bytes that all sessions together may hold in memory before they are written: what a stalled disk costs.
    pub memory_limit: usize,
    /// Uploads at once.
    pub parallel_uploads: usize,
    /// Where leftovers go that have lost their sidecar, and whose credentials serve those whose own are gone with the
    /// process that wrote them.
    pub audit: Arc<Audit>,
    /// When uploads are tried again.
    pub backoff: Backoff,
    /// How long S3 may take.
    pub timeouts: Timeouts,
    /// What runs the sessions' programs, for a metric's label.
    pub backend: String,
    /// Told of everything that is recorded. The default tells nobody.
    pub events: Events,
}

/// How long S3 may take before an attempt counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included.
    pub connect: Duration,
    /// For a request, beside the transfer of its body.
    pub request: Duration,
    /// The slowest transfer that is let go on, bytes per second.
    pub slowest: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        // A slower line than 64 KiB/s would never drain the spool of even a single busy session.
        Self { connect: Duration::from_secs(5), request: Duration::from_secs(60), slowest: 64 * 1024 }
    }
}

impl Timeouts {
    /// For a request with a body of that many bytes.
    pub(crate) fn transfer(&self, bytes: u64) -> Duration {
        self.request.saturating_add(Duration::from_secs(bytes / self.slowest.max(1)))
    }
}

/// What all sessions together may hold in memory. A connection alone may hold 1 MiB, and ten thousand of them on a
/// stalled disk must not be 10 GiB.
const MEMORY_LIMIT: usize = 256 * 1024 * 1024;

/// The spool's place for storage `file`: on the same file system as the files, so that finishing is a rename, and out of
/// the way of whoever lists them (the reference skips names with a dot).
const BESIDE_FILES: &str = ".spool";

impl SpoolSettings {
    /// The settings that follow from the configuration.
    #[must_use]
    pub fn from_audit(audit: &Arc<Audit>) -> Self {
        let directory = match audit.storage {
            AuditStorage::File => Path::new(&audit.file.directory).join(BESIDE_FILES),
            AuditStorage::S3 | AuditStorage::None => PathBuf::from(&audit.s3.local),
        };
        Self {
            directory,
            size_limit: audit.spool.size.bytes(),
            memory_limit: MEMORY_LIMIT,
            parallel_uploads: usize::try_from(audit.s3.parallel_uploads).unwrap_or(1).max(1),
            audit: audit.clone(),
            backoff: Backoff::default(),
            timeouts: Timeouts::default(),
            backend: String::new(),
            events: Events::default(),
        }
    }
}
