//! Any bytes as a list of revoked keys, after what every list begins with; or as they are. A key is revoked only by what is in the
//! list: it, or a digest of it.

use std::sync::OnceLock;

use containerssh_auth::certificates::Krl;
use russh::keys::ssh_key::HashAlg;
use russh::keys::{Certificate, PublicKey};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
/// Number of the list, date and flags, and two empty texts: nothing of it is looked at.
const HEAD: usize = 3 * 8 + 2 * 4;

/// A certificate: id "alice", serial 7, for a key like the one above.
const CERTIFICATE: &str = include_str!("data/certificate.pub");

fn key() -> &'static PublicKey {
    static MADE: OnceLock<PublicKey> = OnceLock::new();
    MADE.get_or_init(|| PublicKey::from_openssh(KEY).expect("it is a key"))
}

fn certificate() -> &'static Certificate {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    MADE.get_or_init(|| Certificate::from_openssh(CERTIFICATE.trim()).expect("it is a certificate"))
}

fn holds(list: &[u8], what: &[u8]) -> bool {
    list.windows(what.len()).any(|window| window == what)
}

fn check(list: &[u8]) {
    let Ok(krl) = Krl::parse(list) else { return };
    if krl.revokes_key(key().key_data()) {
        let blob = key().to_bytes().expect("it has a form on the wire");
        let digest = key().fingerprint(HashAlg::Sha256);
        // A SHA-1 digest is of twenty bytes; there is nothing shorter that revokes.
        assert!(
            holds(list, &blob) || holds(list, digest.as_bytes()) || list.len() >= 44 + 20,
            "the key is not in the list"
        );
    }
    // A section that revokes anything needs its kind and its length besides.
    assert!(!krl.revokes(certificate()) || list.len() > 44 + 5, "an empty list revokes it");
}

pub fn run(data: &[u8]) {
    check(data);
    let head = [&b"SSHKRL\n\0\0\0\0\x01"[..], &[0; HEAD]].concat();
    check(&[&head[..], data].concat());
    assert!(Krl::parse(&head).is_ok(), "an empty list is a list");
}
