//! What the client has the guest listen on: `tcpip-forward` (RFC 4254 section 7.1) and `streamlocal-forward@openssh.com`,
//! and the end of both.

use containerssh_auditlog::Payload;
use containerssh_backend::{Bind, DialError};

use super::super::connection::Connection;
use super::super::messages;
use super::super::setup::Refusal;
use super::{MAX_BINDS, answered, guest};
use crate::codes;

impl Connection {
    /// Listens. Returns the port, which the guest has chosen if it was 0; `None` if it is refused or fails, which is then
    /// reported and recorded. Waits for the guest.
    pub(crate) async fn listen(&self, asked: Payload, bind: Option<Bind>) -> Option<u16> {
        let request = self.next_global_request();
        self.record(asked).await.ok()?;
        let outcome = match bind {
            Some(bind) => match self.snapshot.security.listen(&bind) {
                Ok(()) => self.do_listen(bind).await.map_err(|error| {
                    (codes::ssh::SSH_GLOBAL_REQUEST_FAILED, messages::one_line(&error.to_string()))
                }),
                Err(Refusal { code, reason }) => Err((code, reason.to_owned())),
            },
            None => Err((codes::ssh::SSH_GLOBAL_REQUEST_FAILED, "that is no port".to_owned())),
        };
        match outcome {
            Ok(port) => Some(port),
            Err((code, reason)) => {
                self.report_global_failure(request, code, &reason).await;
                None
            }
        }
    }

    async fn do_listen(&self, bind: Bind) -> Result<u16, DialError> {
        if self.forwarding.asked().binds.len() >= MAX_BINDS {
            return Err(DialError::Exhausted(format!("this connection has {MAX_BINDS} listeners already")));
        }
        let listening = async {
            let guest = guest(self).await?;
            answered(guest.listen(bind.clone())).await
        };
        let ended = || DialError::ConnectFailed("the connection ends".to_owned());
        let port = tokio::select! {
            biased;
            () = self.ending.cancelled() => return Err(ended()),
            () = self.closed.cancelled() => return Err(ended()),
            port = listening => port?,
        };
        self.forwarding.asked().binds.insert(with_port(bind, port));
        Ok(port)
    }

    /// Ends a [`Connection::listen`]; `false` if there is none of that name.
    pub(crate) async fn unlisten(&self, asked: Payload, bind: Option<Bind>) -> bool {
        let request = self.next_global_request();
        if self.record(asked).await.is_err() {
            return false;
        }
        let known = bind.filter(|bind| self.forwarding.asked().binds.remove(bind));
        let Some(bind) = known else {
            let code = codes::ssh::SSH_GLOBAL_REQUEST_FAILED;
            self.report_global_failure(request, code, "nothing listens there").await;
            return false;
        };
        let ending = async {
            let guest = guest(self).await?;
            answered(async { Ok(guest.unlisten(bind).await) }).await
        };
        tokio::select! {
            biased;
            () = self.ending.cancelled() => false,
            () = self.closed.cancelled() => false,
            ended = ending => ended.unwrap_or(false),
        }
    }

    async fn report_global_failure(&self, request_id: u64, code: &'static str, reason: &str) {
        tracing::info!(
            code = code,
            module = "ssh",
            connectionId = self.id,
            reason = reason,
            "Request refused"
        );
        let failed = Payload::RequestFailed { request_id, reason: reason.to_owned() };
        // If it cannot be recorded the connection ends; either way nothing listens.
        let _ = self.record(failed).await;
    }
}

/// What a listener is known by: its port, not the 0 that was asked for.
fn with_port(bind: Bind, port: u16) -> Bind {
    match bind {
        Bind::Tcp { host, .. } => Bind::Tcp { host, port },
        unix @ Bind::Unix { .. } => unix,
    }
}
