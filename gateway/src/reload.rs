//! Follows the configuration file: a change takes effect for new connections, without a restart.
//!
//! The file is read every few seconds rather than watched: mounted Secrets change by renames of symbolic links two
//! directories up, network file systems tell nobody, and a read of a few kilobytes costs nothing. `SIGHUP` reads at
//! once. A file that is not valid changes nothing: it is reported, once, and the configuration in force stays.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containerssh_config::{Config, MAX_CONFIG_BYTES, Syntax, Warning};
use containerssh_log::notice;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::snapshot::{Current, Snapshot};

/// How soon a change is noticed. The kubelet itself takes up to a minute to bring one.
const POLL: Duration = Duration::from_secs(2);

/// A configuration and the file it is from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Sha256 of the file, 64 hexadecimal digits.
    pub hash: String,
    /// What it should say otherwise.
    pub warnings: Vec<Warning>,
}

impl Loaded {
    /// Logs what the file should say otherwise.
    pub fn report_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!(code = warning.code, module = "core", line = warning.line, "{}", warning.message);
        }
    }
}

/// A file that is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// Sha256 of what was read; of nothing, if nothing could be.
    hash: String,
    message: String,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// All that is wrong with it, each with file, line and key.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let name = path.display();
    let failed = |hash: &str, message: String| LoadError { hash: hash.to_owned(), message };
    let file =
        std::fs::File::open(path).map_err(|error| failed("", format!("cannot read {name}: {error}")))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser can say that it is too large.
    let limit = u64::try_from(MAX_CONFIG_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("", format!("cannot read {name}: {error}")))?;
    let hash = hex::encode(Sha256::digest(&bytes));
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| failed(&hash, format!("{name} is not UTF-8: {error}")))?;
    let syntax = if path.extension().is_some_and(|extension| extension == "json") {
        Syntax::Json
    } else {
        Syntax::Yaml
    };
    match Config::parse_with_warnings(text, &name.to_string(), syntax) {
        Ok((config, warnings)) => Ok(Loaded { config, hash, warnings }),
        Err(error) => Err(failed(&hash, error.to_string())),
    }
}

/// Makes snapshots of configurations.
pub trait Assemble: Send {
    /// What `loaded` means. The configuration in force stays if it fails.
    fn assemble(&mut self, loaded: &Loaded) -> impl Future<Output = anyhow::Result<Snapshot>> + Send;
}

/// Follows one file.
#[derive(Debug)]
pub struct Follower<A> {
    path: PathBuf,
    current: Arc<Current>,
    assemble: A,
    /// Of what was read last, valid or not.
    seen: String,
    /// What only a restart changes, as in force.
    fixed: String,
}

impl<A: Assemble> Follower<A> {
    /// Follows `path`, from which `loaded` was read and is in force.
    pub fn new(path: PathBuf, loaded: &Loaded, current: Arc<Current>, assemble: A) -> Self {
        let fixed = loaded.config.static_fingerprint();
        Self { path, current, assemble, seen: loaded.hash.clone(), fixed }
    }

    /// Follows until `shutdown`. `hangup` is `SIGHUP`.
    pub async fn run(mut self, mut hangup: tokio::signal::unix::Signal, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(POLL) => self.look().await,
                Some(()) = hangup.recv() => self.look().await,
            }
        }
    }

    /// Looks at the file once.
    pub async fn look(&mut self) {
        let path = self.path.clone();
        let loaded = match tokio::task::spawn_blocking(move || load(&path)).await {
            Ok(loaded) => loaded,
            Err(panic) => Err(LoadError { hash: String::new(), message: panic.to_string() }),
        };
        let hash = match &loaded {
            Ok(loaded) => &loaded.hash,
            Err(error) => &error.hash,
        };
        if *hash == self.seen {
            return;
        }
        self.seen.clone_from(hash);
        let result = match loaded {
            Ok(loaded) => self.take(&loaded).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = result {
            tracing::error!(
                code = codes::core::CORE_CONFIG_ERROR,
                module = "core",
                error = format!("{error:#}"),
                "The changed configuration is not valid; the one in force stays"
            );
        }
    }

    async fn take(&mut self, loaded: &Loaded) -> anyhow::Result<()> {
        loaded.report_warnings();
        let snapshot = self.assemble.assemble(loaded).await?;
        notice!(
            code = codes::core::CORE_CONFIG_RELOADED,
            module = "core",
            configHash = loaded.hash,
            policyHash = snapshot.policy_hash,
            "New connections follow the changed configuration"
        );
        self.current.store(Arc::new(snapshot));
        if loaded.config.static_fingerprint() != self.fixed {
            tracing::warn!(
                code = codes::core::CORE_CONFIG_RESTART_NEEDED,
                module = "core",
                "Listeners, host keys or directories differ from those in force: restart the gateway to change them"
            );
        }
        Ok(())
    }
}
