//! Channels that the client opens: `direct-tcpip` (RFC 4254 section 7.2) and `direct-streamlocal@openssh.com`.

use std::sync::Arc;

use containerssh_auditlog::Payload;
use containerssh_backend::{DialError, Stream, Target};
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};

use super::super::connection::Connection;
use super::super::messages;
use super::{Kind, Place, answered, guest, pump};

/// Longest reason that is told: it quotes names that the client chose.
const MAX_REASON: usize = 512;

/// A channel that the client wants to open.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Numbers the channel in records.
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    /// The request, as it is recorded.
    pub(crate) asked: Payload,
}

/// Opens it and carries its bytes to the end.
pub(crate) async fn open(
    connection: Arc<Connection>,
    wanted: Wanted,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    place: Place,
) {
    let Wanted { number, kind, target, asked } = wanted;
    if connection.record_on(Some(number), asked).await.is_err() {
        // The connection ends for that reason. Dropping the reply refuses.
        return;
    }
    let dialed = tokio::select! {
        biased;
        () = connection.closed.cancelled() => return,
        () = connection.ending.cancelled() => Err(DialError::ConnectFailed("the connection ends".to_owned())),
        dialed = dial(&connection, target) => dialed,
    };
    let opened = Payload::NewChannelSuccessful { channel_type: kind.channel_type().to_owned() };
    match dialed {
        Ok(stream) => {
            if connection.record_on(Some(number), opened).await.is_ok() {
                reply.accept().await;
                pump::run(connection, number, kind, channel, stream, place).await;
            }
        }
        Err(error) => {
            let failure = failure(&error);
            pump::report_failure(&connection, number, kind, &failure.1).await;
            reply.reject(ChannelOpenFailure::Other { code: failure.0.code(), reason: failure.1 }).await;
        }
    }
}

async fn dial(connection: &Connection, target: Target) -> Result<Stream, DialError> {
    let guest = guest(connection).await?;
    answered(guest.dial(target)).await
}

/// The reason code of RFC 4254 section 5.1, and the text.
fn failure(error: &DialError) -> (ChannelOpenFailure, String) {
    let code = match error {
        DialError::ConnectFailed(_) => ChannelOpenFailure::ConnectFailed,
        DialError::Unsupported(_) => ChannelOpenFailure::AdministrativelyProhibited,
        DialError::Exhausted(_) => ChannelOpenFailure::ResourceShortage,
    };
    (code, messages::one_line(&error.to_string()).chars().take(MAX_REASON).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded_and_cannot_steer_a_terminal() {
        let (code, text) = failure(&DialError::ConnectFailed(format!("\x1b[2J{}", "x".repeat(10_000))));
        assert_eq!(code.code(), 2);
        assert!(text.starts_with(" [2Jx") && text.len() == MAX_REASON, "{text}");
        assert_eq!(failure(&DialError::Unsupported(String::new())).0.code(), 1);
        assert_eq!(failure(&DialError::Exhausted(String::new())).0.code(), 4);
    }
}
