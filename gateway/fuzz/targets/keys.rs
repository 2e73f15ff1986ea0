//! Any text as a line of authorized_keys, and as a certificate's. An option more only takes away: with one that has expired nothing is
//! granted, and with one that forbids a terminal there is none.

use std::net::{IpAddr, Ipv4Addr};

use containerssh_auth::Restrictions;
use containerssh_auth::keys::read_line;
use jiff::Timestamp;
use russh::keys::Certificate;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn read(line: &str) -> Option<Restrictions> {
    // 2026, so that there is a past and a future.
    let now = Timestamp::constant(1_795_252_585, 0);
    match read_line(line, CLIENT, now) {
        Ok(granted) => granted,
        Err(reason) => {
            assert!(!reason.is_empty(), "no reason");
            None
        }
    }
}

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Lines are what a file is split into.
    for line in text.lines().take(8) {
        read(line);
        let options = format!("{line} {KEY}");
        if let Some(granted) = read(&options) {
            let more = |option: &str| read(&format!("{option},{options}"));
            // The line may begin with a key of its own: then what is before it are all its options.
            let begins_with_key = read(line).is_some() && more("no-pty").is_none();
            assert_eq!(more("expiry-time=\"20000101Z\""), None, "{options:?} has expired");
            if let Some(less) = more("no-agent-forwarding").filter(|_| !begins_with_key) {
                let allowed_again = line.to_ascii_lowercase().contains("agent-forwarding");
                assert!(less.no_agent_forwarding || allowed_again, "{options:?}");
                assert_eq!(less.force_command, granted.force_command, "{options:?}");
            }
        }
    }
    if let Ok(certificate) = Certificate::from_openssh(&text) {
        // As the rules look at it.
        let _ = (certificate.valid_principals().len(), certificate.critical_options().len());
        let _ = certificate.validate_at(1_795_252_585, [].iter());
    }
    let _ = Certificate::from_bytes(data).map(|certificate| certificate.verify_signature());
}
