//! "Here", as a guest.

use std::time::Duration;

use async_trait::async_trait;
use containerssh_backend::{BackendError, Guest, Program, ProgramSpec};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::plan::{self, Base, HostSettings, Person};
use crate::process::{self, KILL_GRACE};
use crate::terminal::{self, Owner};

/// What [`Guest::close`] waits for programs that have been told to end: their grace, and the time to reap what was killed.
const CLOSE_LIMIT: Duration = KILL_GRACE.saturating_add(Duration::from_secs(5));

/// Runs programs on this host, for one connection. Dropping it ends them.
#[derive(Debug)]
pub struct HostGuest {
    name: String,
    settings: HostSettings,
    person: Person,
    owner: Option<Owner>,
    /// What environments begin with.
    base: Vec<(String, String)>,
    tasks: TaskTracker,
    closing: CancellationToken,
    _end: DropGuard,
}

impl HostGuest {
    /// A guest called `name` in logs. `accounts` is the host's user database.
    #[must_use]
    pub fn new(name: String, settings: HostSettings, accounts: &Accounts) -> Self {
        let person = Person::new(settings.account.as_ref(), accounts);
        let owner = person.switch.as_ref().map(|user| Owner { uid: user.uid, tty: accounts.group_id("tty") });
        let mut base = match settings.base {
            Base::Host => Vec::new(),
            Base::Container => own_environment(),
        };
        base.retain(|(name, _)| !settings.environment.iter().any(|(other, _)| other == name));
        base.extend(settings.environment.iter().cloned());
        let closing = CancellationToken::new();
        let end = closing.clone().drop_guard();
        Self { name, settings, person, owner, base, tasks: TaskTracker::new(), closing, _end: end }
    }
}

/// What is not UTF-8 is left out.
fn own_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[async_trait]
impl Guest for HostGuest {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, spec: ProgramSpec) -> Result<Program, BackendError> {
        if self.closing.is_cancelled() {
            return Err(BackendError::GuestGone("The connection is about to end.".to_owned()));
        }
        let terminal = spec.pty.as_ref().map(|pty| terminal::open(pty, self.owner)).transpose();
        let terminal = terminal.map_err(|error| {
            BackendError::ProgramFailed(format!("There is no terminal to be had: {error}"))
        })?;
        let name = terminal.as_ref().map(|terminal| terminal.name.as_str());
        let order = plan::order(&self.settings, &self.person, &self.base, &spec, name)?;
        process::start(&self.settings.launcher, &order, terminal, &self.tasks, &self.closing).await
    }

    async fn gone(&self) -> BackendError {
        // The host is what we run on ourselves.
        std::future::pending().await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        // What cannot even be killed (a dead network file system) is left to the kernel.
        let _ = timeout(CLOSE_LIMIT, self.tasks.wait()).await;
    }
}
