//! Process 1 of a container: waits to be told to end, and takes care of processes whose parents are gone.

use std::io;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Until `SIGTERM` or `SIGINT`, which process 1 does not react to by itself.
pub(crate) fn run() -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut child = signal(SignalKind::child())?;
        loop {
            reap();
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = child.recv() => {}
            }
        }
    })
}

/// One signal may stand for many of them.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
