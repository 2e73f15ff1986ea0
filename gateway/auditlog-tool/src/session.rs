//! What a log tells about the connection as a whole.

use std::sync::Arc;

use containerssh_auditlog::{Message, Payload};

/// Of a user's name so much is kept, in characters. No system has longer ones.
const MAX_NAME: usize = 256;

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
                self.user = Some(name(username));
            }
            P::AuthPassword { username, .. }
            | P::AuthPubKey { username, .. }
            | P::AuthKeyboardInteractiveChallenge { username, .. }
            | P::AuthKeyboardInteractiveAnswer { username, .. }
                if !self.authenticated =>
            {
                self.user = Some(name(username));
            }
            _ => {}
        }
    }
}

fn name(username: &str) -> String {
    username.chars().take(MAX_NAME).collect()
}
