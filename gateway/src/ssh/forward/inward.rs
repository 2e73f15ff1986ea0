//! Channels that the guest's streams open towards the client: `forwarded-tcpip`, `forwarded-streamlocal@openssh.com`, `x11` and
//! `auth-agent@openssh.com`.

use std::sync::Arc;
use std::time::Duration;

use containerssh_auditlog::Payload;
use containerssh_backend::{Incoming, Origin};
use russh::Channel;
use russh::server::{Handle, Msg};
use tokio::time::timeout;

use super::super::connection::Connection;
use super::{Kind, Place, guest, pump};
use crate::codes;

/// A client that has not taken a channel by then loses it. People may be asked first (`ssh-add -c`, `ForwardAgent`'s
/// confirmation of some clients).
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Takes what the guest brings for as long as the connection lives. No more than the places there are: what finds none waits
/// in the guest.
pub(crate) async fn run(connection: Arc<Connection>, handle: Handle) {
    let taking = async {
        let Ok(guest) = guest(&connection).await else { return };
        while let Some(permit) = connection.forwarding.place().await {
            let incoming = guest.accept().await;
            if connection.forwarding.expects(&incoming.origin) {
                let place = connection.forwarding.count(permit);
                connection.tasks.spawn(open(Arc::clone(&connection), handle.clone(), incoming, place));
            } else {
                // Also what arrived just before its listener was ended.
                tracing::debug!(
                    code = codes::ssh::SSH_FORWARD_FAILED,
                    module = "ssh",
                    connectionId = connection.id,
                    origin = ?incoming.origin,
                    "The guest brings a stream that the client did not ask for"
                );
            }
        }
    };
    tokio::select! {
        biased;
        () = connection.closed.cancelled() => {}
        () = connection.ending.cancelled() => {}
        () = taking => {}
    }
}

async fn open(connection: Arc<Connection>, handle: Handle, incoming: Incoming, place: Place) {
    let Incoming { origin, stream } = incoming;
    let number = connection.next_channel();
    let (kind, asked) = describe(&origin);
    if connection.record_on(Some(number), asked).await.is_err() {
        return;
    }
    let opening = ask(&handle, origin);
    tokio::pin!(opening);
    let answered = tokio::select! {
        biased;
        () = connection.closed.cancelled() => return,
        answered = timeout(OPEN_LIMIT, &mut opening) => answered,
    };
    match answered {
        Ok(Ok(channel)) => {
            let opened = Payload::NewChannelSuccessful { channel_type: kind.channel_type().to_owned() };
            if connection.record_on(Some(number), opened).await.is_ok() {
                pump::run(connection, number, kind, channel, stream, place).await;
            }
        }
        Ok(Err(error)) => pump::report_failure(&connection, number, kind, &refusal(&error)).await,
        Err(_) => {
            drop(stream);
            pump::report_failure(&connection, number, kind, "the client does not answer").await;
            // Its answer must still find somebody: russh ends the connection otherwise.
            tokio::select! {
                () = connection.closed.cancelled() => {}
                answer = &mut opening => if let Ok(channel) = answer {
                    let _ = channel.close().await;
                    connection.closed_first();
                },
            }
        }
    }
}

/// The channel's kind, and its request as it is recorded. FORMAT knows no type for agents but the general one.
fn describe(origin: &Origin) -> (Kind, Payload) {
    match origin.clone() {
        Origin::Tcp { host, port, originator_host, originator_port } => (
            Kind::ForwardedTcpip,
            Payload::NewReverseForwardChannel {
                connected_host: host,
                connected_port: u32::from(port),
                originator_host,
                originator_port,
            },
        ),
        Origin::Unix { path } => (Kind::ForwardedStreamlocal, Payload::NewReverseStreamLocalChannel { path }),
        Origin::X11 { originator_host, originator_port } => {
            (Kind::X11, Payload::NewReverseX11ForwardChannel { originator_host, originator_port })
        }
        Origin::AuthAgent => {
            let channel_type = Kind::AuthAgent.channel_type().to_owned();
            (Kind::AuthAgent, Payload::NewChannel { channel_type })
        }
    }
}

async fn ask(handle: &Handle, origin: Origin) -> Result<Channel<Msg>, russh::Error> {
    match origin {
        Origin::Tcp { host, port, originator_host, originator_port } => {
            handle.channel_open_forwarded_tcpip(host, u32::from(port), originator_host, originator_port).await
        }
        Origin::Unix { path } => handle.channel_open_forwarded_streamlocal(path).await,
        Origin::X11 { originator_host, originator_port } => {
            handle.channel_open_x11(originator_host, originator_port).await
        }
        Origin::AuthAgent => handle.channel_open_agent().await,
    }
}

/// Why the client took no channel. russh keeps the client's own words to itself.
fn refusal(error: &russh::Error) -> String {
    match error {
        russh::Error::ChannelOpenFailure(failure) => {
            format!("the client refused: {}", failure.description().to_lowercase())
        }
        error => error.to_string(),
    }
}
