//! "Here", as a guest.

use std::time::Duration;

use async_trait::async_trait;
use containerssh_backend::{
    BackendError, Bind, DialError, Guest, Incoming, Program, ProgramSpec, Stream, Target,
};
use containerssh_forward::{Attached, Forwards};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::plan::{self, Base, HostSettings, Person};
use crate::process::{self, KILL_GRACE, Launch};
use crate::terminal::{self, Owner};

/// What [`Guest::close`] waits for programs that have been told to end: their grace, and the time to reap what was killed.
const CLOSE_LIMIT: Duration = KILL_GRACE.saturating_add(Duration::from_secs(5));

/// Ports below are root's.
const FIRST_FREE_PORT: u16 = 1024;

/// Runs programs on this host, for one connection. Dropping it ends them.
#[derive(Debug)]
pub struct HostGuest {
    name: String,
    settings: HostSettings,
    person: Person,
    owner: Option<Owner>,
    /// What environments begin with.
    base: Vec<(String, String)>,
    forwards: Forwards,
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
        Self {
            name,
            settings,
            person,
            owner,
            base,
            forwards: Forwards::new(),
            tasks: TaskTracker::new(),
            closing,
            _end: end,
        }
    }

    /// What the program is given besides. It can run without, and without it would run under sshd, too.
    async fn attach(&self, spec: &ProgramSpec) -> Vec<Attached> {
        let mut attached = Vec::new();
        if let Some(x11) = &spec.x11 {
            attached.extend(self.given("an X11 display", self.forwards.x11(x11)).await);
        }
        if spec.auth_agent {
            attached.extend(self.given("an authentication agent", self.forwards.auth_agent()).await);
        }
        attached
    }

    async fn given(
        &self,
        what: &str,
        given: impl Future<Output = Result<Attached, DialError>>,
    ) -> Option<Attached> {
        // What we make belongs to our own user, who alone may reach it.
        let given = if self.owner.is_none() { given.await } else { Err(not_for_others()) };
        given
            .inspect_err(|error| tracing::info!(guest = self.name, %error, "The program runs without {what}"))
            .ok()
    }

    /// We open sockets as our own user. Where programs are another's, that must not reach what they could not.
    fn may_open(&self, harmless: bool) -> Result<(), DialError> {
        if self.owner.is_none() || harmless { Ok(()) } else { Err(not_for_others()) }
    }
}

fn not_for_others() -> DialError {
    DialError::Unsupported("not available where programs run as another user than the gateway's".to_owned())
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
        let attached = self.attach(&spec).await;
        let terminal = spec.pty.as_ref().map(|pty| terminal::open(pty, self.owner)).transpose();
        let terminal = terminal.map_err(|error| {
            BackendError::ProgramFailed(format!("There is no terminal to be had: {error}"))
        })?;
        let name = terminal.as_ref().map(|terminal| terminal.name.as_str());
        let mut order = plan::order(&self.settings, &self.person, &self.base, &spec, name)?;
        for (name, value) in attached.iter().flat_map(Attached::env) {
            order.environment.retain(|(known, _)| known != name);
            order.environment.push((name.to_owned(), value.to_owned()));
        }
        let launch = Launch { launcher: &self.settings.launcher, order, terminal, attached };
        process::start(launch, &self.tasks, &self.closing).await
    }

    async fn dial(&self, target: Target) -> Result<Stream, DialError> {
        self.may_open(matches!(target, Target::Tcp { .. }))?;
        self.forwards.dial(&target).await
    }

    async fn listen(&self, bind: Bind) -> Result<u16, DialError> {
        self.may_open(matches!(bind, Bind::Tcp { port, .. } if port == 0 || port >= FIRST_FREE_PORT))?;
        self.forwards.listen(&bind).await
    }

    async fn unlisten(&self, bind: Bind) -> bool {
        self.forwards.unlisten(&bind).await
    }

    async fn accept(&self) -> Incoming {
        self.forwards.accept().await
    }

    async fn gone(&self) -> BackendError {
        // The host is what we run on ourselves.
        std::future::pending().await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.forwards.close().await;
        self.tasks.close();
        // What cannot even be killed (a dead network file system) is left to the kernel.
        let _ = timeout(CLOSE_LIMIT, self.tasks.wait()).await;
    }
}
