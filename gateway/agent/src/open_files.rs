//! How many files a process may have open.
//!
//! Container runtimes start programs with a soft limit of 1,024, for the sake of those that use `select(2)`, and a hard one that is
//! hundreds of times higher: whoever needs more is to raise it, and to give back what there was to the programs it starts.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit that this process was started with, once it has raised it; programs get it back.
static FOUND: OnceLock<Option<u64>> = OnceLock::new();

/// Lets this process open as many files as it may at all, and says how many those are: `None` for no limit. Programs that are started
/// from then on by this crate get the limit that there was.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_err() {
        return current;
    }
    let _ = FOUND.set(current);
    maximum
}

/// What programs get: the limit before [`raise`], or `None` if it has not been touched.
pub(crate) fn found() -> Option<u64> {
    FOUND.get().copied().flatten()
}

/// Sets the soft limit of this process, which is about to become a program.
pub(crate) fn give_back(current: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })?)
}
