//! What a client proposes in its first packet, SSH_MSG_KEXINIT (RFC 4253 section 7.1), which is not encrypted. Pure.
//!
//! Only for choosing what to offer: whatever cannot be read here is russh's to refuse.

/// Bytes of the longest packet that everybody must accept (RFC 4253 section 6.1). No KEXINIT comes near it.
pub(crate) const MAX_PACKET: usize = 35_000;

const SSH_MSG_KEXINIT: u8 = 20;
/// packet_length and padding_length.
const PACKET_HEADER: usize = 5;
/// Behind the message number.
const COOKIE: usize = 16;
/// Name-lists before those of the ciphers: key exchange and host key algorithms.
const LISTS_BEFORE_CIPHERS: usize = 2;

/// The ciphers that a client proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ciphers {
    to_server: Vec<String>,
    to_client: Vec<String>,
}

impl Ciphers {
    /// Whether the client takes this cipher in both directions.
    pub(crate) fn contains(&self, name: &str) -> bool {
        [&self.to_server, &self.to_client].iter().all(|list| list.iter().any(|each| each == name))
    }
}

/// What the bytes after the identification string are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proposal {
    /// More bytes are needed.
    Incomplete,
    /// Not a KEXINIT, or a malformed one.
    Unreadable,
    /// The client's ciphers.
    Ciphers(Ciphers),
}

/// Reads the packet at the start of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Proposal {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Proposal::Incomplete };
    let Ok(length) = usize::try_from(u32::from_be_bytes(*length)) else { return Proposal::Unreadable };
    if length + 4 > MAX_PACKET || length + 4 <= PACKET_HEADER + COOKIE {
        return Proposal::Unreadable;
    }
    match rest.get(1..length) {
        None => Proposal::Incomplete,
        Some(payload) => ciphers(payload).map_or(Proposal::Unreadable, Proposal::Ciphers),
    }
}

fn ciphers(payload: &[u8]) -> Option<Ciphers> {
    let (number, rest) = payload.split_first()?;
    if *number != SSH_MSG_KEXINIT {
        return None;
    }
    let mut rest = rest.get(COOKIE..)?;
    for _ in 0..LISTS_BEFORE_CIPHERS {
        name_list(&mut rest)?;
    }
    Some(Ciphers { to_server: name_list(&mut rest)?, to_client: name_list(&mut rest)? })
}

/// A name-list (RFC 4251 section 5); `rest` moves behind it.
fn name_list(rest: &mut &[u8]) -> Option<Vec<String>> {
    let (length, bytes) = rest.split_first_chunk::<4>()?;
    let (names, behind) = bytes.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = behind;
    Some(std::str::from_utf8(names).ok()?.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet as a client sends it: ten name-lists, a flag, a reserved number, padding.
    fn packet(to_server: &str, to_client: &str) -> Vec<u8> {
        let mut payload = vec![SSH_MSG_KEXINIT];
        payload.extend([7; COOKIE]);
        for list in ["curve25519-sha256", "ssh-ed25519", to_server, to_client, "", "", "none", "none", "", ""]
        {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        let padding = 8;
        let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
        packet.push(8);
        packet.extend(payload);
        packet.extend(vec![0; padding]);
        packet
    }

    #[test]
    fn ciphers_count_only_if_proposed_in_both_directions() {
        let Proposal::Ciphers(ciphers) = read(&packet("a,b,c", "b,d")) else { panic!("unreadable") };
        assert!(ciphers.contains("b"));
        assert!(!ciphers.contains("a") && !ciphers.contains("d") && !ciphers.contains(""));
    }

    #[test]
    fn a_packet_is_read_only_when_it_is_whole() {
        let whole = packet("aes128-gcm@openssh.com", "aes128-gcm@openssh.com");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Proposal::Incomplete, "{length} bytes");
        }
        assert!(matches!(read(&whole), Proposal::Ciphers(_)));
    }

    #[test]
    fn lengths_that_lie_are_unreadable() {
        let whole = packet("a", "b");
        for (place, value) in [(0, 0xff), (5, 21), (22, 0xff), (3, 9)] {
            let mut bad = whole.clone();
            bad[place] = value;
            if place == 3 {
                bad[2] = 0;
            }
            assert_eq!(read(&bad), Proposal::Unreadable, "byte {place}");
        }
    }
}
