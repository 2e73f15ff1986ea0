//! What a log tells about the connection as a whole.

use std::sync::Arc;

use containerssh_auditlog::{Message, Payload};

/// Whose connection it is. Built from the records as they come.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The connection id.
    pub(crate) connection: Option<Arc<str>>,
    /// Who logged in, or last tried to.
    pub(crate) user: Option<String>,
    /// Whether somebody logged in.
    pub(crate) authenticated: bool,
}

impl Session {
    /// Takes in one record.
    pub(crate) fn push(&mut self, message: &Message) {
        use Payload as P;
        if self.connection.is_none() {
            self.connection = Some(Arc::clone(&message.connection_id));
        }
        match &message.payload {
            P::HandshakeSuccessful { username }
            | P::AuthPasswordSuccessful { username, .. }
            | P::AuthPubKeySuccessful { username, .. } => {
                self.authenticated = true;
                self.user = Some(username.clone());
            }
            P::AuthPassword { username, .. }
            | P::AuthPubKey { username, .. }
            | P::AuthKeyboardInteractiveChallenge { username, .. }
            | P::AuthKeyboardInteractiveAnswer { username, .. }
                if !self.authenticated && self.user.as_ref() != Some(username) =>
            {
                self.user = Some(username.clone());
            }
            _ => {}
        }
    }
}
