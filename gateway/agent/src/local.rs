//! Backend `local`: programs on the gateway's own host. An sshd whose sessions are recorded.

use std::sync::Arc;

use async_trait::async_trait;
use containerssh_backend::{Backend, BackendError, ConnectionInfo, Guest, ProgressSender};

use crate::accounts::{Account, Accounts};
use crate::guest::HostGuest;
use crate::plan::HostSettings;

/// Whom programs run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// As the user who logged in, where the gateway is root: an account of that name must exist, and it must not be root's
    /// unless `root` says so. A gateway that is not root has only its own user.
    Login {
        /// Whether user id 0 may log in.
        root: bool,
    },
    /// As the gateway's own user, whoever logged in.
    Gateway,
}

/// Makes a [`HostGuest`] per connection.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    settings: HostSettings,
    run_as: RunAs,
}

impl LocalBackend {
    /// With settings for all connections; their account is chosen per connection.
    #[must_use]
    pub fn new(settings: HostSettings, run_as: RunAs) -> Self {
        Self { settings, run_as }
    }
}

/// The account for a connection of `name`; `None` for the gateway's own. Every doubt denies.
fn account(
    run_as: RunAs,
    we_are_root: bool,
    name: &str,
    accounts: &Accounts,
) -> Result<Option<Account>, BackendError> {
    let refuse = |reason: String| Err(BackendError::StartFailed(reason));
    let RunAs::Login { root } = run_as else { return Ok(None) };
    if !we_are_root {
        return Ok(None);
    }
    match accounts.by_name(name) {
        None => refuse(format!("This host has no user {name}.")),
        Some(account) if account.uid == 0 && !root => {
            refuse("This host does not let root in (local.permitRoot).".to_owned())
        }
        Some(account) => Ok(Some(account)),
    }
}

#[async_trait]
impl Backend for LocalBackend {
    async fn connect(
        &self,
        connection: Arc<ConnectionInfo>,
        _progress: ProgressSender,
    ) -> Result<Arc<dyn Guest>, BackendError> {
        if !connection.files.is_empty() {
            // As root they would be written anywhere, for everybody, and nobody would remove them.
            return Err(BackendError::StartFailed(
                "Authentication brought files, which backend local does not write.".to_owned(),
            ));
        }
        let name = match connection.authenticated_username.as_str() {
            "" => connection.username.as_str(),
            name => name,
        };
        let accounts = Accounts::of_host();
        let account = account(self.run_as, rustix::process::geteuid().is_root(), name, &accounts)?;
        let mut settings = HostSettings { account, ..self.settings.clone() };
        for (name, value) in &connection.environment {
            settings.environment.push((name.clone(), value.value.clone()));
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Arc::new(HostGuest::new(format!("{host}/{name}"), settings, &accounts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_runs_programs_of_known_users_as_them_and_of_nobody_else() {
        let accounts =
            Accounts::from_texts("root:x:0:0::/root:\ntoor:x:0:0::/:\nalice:x:1000:1000::/:\n", "");
        let login = RunAs::Login { root: false };
        let chosen = |run_as, we_are_root, name: &str| {
            account(run_as, we_are_root, name, &accounts).map(|account| account.map(|account| account.uid))
        };
        assert_eq!(chosen(login, true, "alice").unwrap(), Some(1000));
        for refused in ["root", "toor", "bob", "", "alice@example", "1000", "alice\n"] {
            assert!(chosen(login, true, refused).is_err(), "{refused:?}");
        }
        assert_eq!(chosen(RunAs::Login { root: true }, true, "root").unwrap(), Some(0));
        assert_eq!(chosen(RunAs::Gateway, true, "bob").unwrap(), None);
        assert_eq!(chosen(login, false, "bob").unwrap(), None);
    }
}
