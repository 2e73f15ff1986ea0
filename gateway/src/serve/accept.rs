//! The accept loop: never ends before it is told to, whatever the system says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::codes;

/// First wait after a failed accept; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(5);
/// Out of file descriptors means waiting for a connection to end: looking once a second costs nothing.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Hands each connection to `admit` until `shutdown`.
pub(crate) async fn accept_until(
    listener: TcpListener,
    shutdown: &CancellationToken,
    mut admit: impl FnMut(TcpStream, SocketAddr),
) {
    let mut backoff = MIN_BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = MIN_BACKOFF;
                admit(stream, peer);
            }
            // The client left before it was accepted: about that connection, not about us.
            Err(error) if is_about_the_client(&error) => {}
            Err(error) => {
                tracing::error!(
                    code = codes::ssh::SSH_ACCEPT_FAILED,
                    module = "ssh",
                    error = %error,
                    "Cannot accept a connection; trying again"
                );
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }
}

fn is_about_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
