//! One user with one key and one password, for as long as the process lives.

use async_trait::async_trait;
use containerssh_auth::{Attempt, Authenticator, Identity, Methods, Verdict};
use rand::RngExt as _;
use russh::keys::PrivateKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Letters that look like no other one.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Five bits each: 80 bits, against an attacker who gets one guess a second.
const LENGTH: usize = 16;
/// A hyphen after so many.
const GROUP: usize = 4;

/// Lets its user in and nobody else.
#[derive(Debug)]
pub(super) struct OneUser {
    name: String,
    key: String,
    password: Zeroizing<String>,
}

impl OneUser {
    /// Makes a password.
    pub(super) fn new(name: String, key: &PrivateKey) -> anyhow::Result<Self> {
        let key = key.public_key();
        // Without its comment, as it is asked for.
        let key = russh::keys::PublicKey::from(key.key_data().clone()).to_openssh()?;
        Ok(Self { name, key, password: Zeroizing::new(make_password()) })
    }

    pub(super) fn password(&self) -> Zeroizing<String> {
        self.password.clone()
    }

    fn verdict(&self, attempt: &Attempt, good: bool) -> Verdict {
        if good && attempt.username == self.name {
            Verdict::Accepted(Box::new(Identity {
                authenticated_username: self.name.clone(),
                ..Identity::default()
            }))
        } else {
            Verdict::Rejected
        }
    }
}

fn make_password() -> String {
    let mut random = rand::rng();
    let mut password = String::new();
    for place in 0..LENGTH {
        if place > 0 && place % GROUP == 0 {
            password.push('-');
        }
        let letter = LETTERS.get(usize::from(random.random::<u8>()) % LETTERS.len());
        password.extend(letter.map(|letter| char::from(*letter)));
    }
    password
}

#[async_trait]
impl Authenticator for OneUser {
    fn methods(&self) -> Methods {
        Methods { password: true, public_key: true, keyboard_interactive: false }
    }

    async fn password(&self, attempt: &Attempt, password: &[u8]) -> Verdict {
        // Digests, so that the time says nothing about how much of it was right.
        let good = Sha256::digest(password) == Sha256::digest(self.password.as_bytes());
        self.verdict(attempt, good)
    }

    async fn public_key(&self, attempt: &Attempt, authorized_key: &str) -> Verdict {
        self.verdict(attempt, authorized_key == self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_never_the_same() {
        let (one, other) = (make_password(), make_password());
        assert_eq!(one.len(), LENGTH + 3);
        assert!(one.split('-').all(|group| group.len() == GROUP), "{one}");
        assert_ne!(one, other);
    }
}
