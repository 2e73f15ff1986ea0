//! Packets and fields of SFTP (draft-ietf-secsh-filexfer-02 sections 3 and 4). Pure.

use std::io;

/// Longest packet after its length, as OpenSSH has it.
pub(super) const MAX_PACKET: usize = 256 * 1024;

/// A packet or a field that is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message")]
pub(super) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// The first packet of `received`, without its length, if it is there whole.
pub(super) fn packet(received: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((length, rest)) = received.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Malformed)?;
    // Nothing behind a wrong length can be understood.
    if length == 0 || length > MAX_PACKET {
        return Err(Malformed);
    }
    Ok(rest.get(..length))
}

/// Takes fields from a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.chunk().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string)
    }
}

/// Appends one packet; its length is filled in when it is dropped.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, kind: u8, id: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        out.extend_from_slice(&id.to_be_bytes());
        Self { out, start }
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.out.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.out.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn string(&mut self, string: &[u8]) -> &mut Self {
        self.u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
        self.out.extend_from_slice(string);
        self
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let length = u32::try_from(self.out.len().saturating_sub(self.start + 4)).unwrap_or(u32::MAX);
        if let Some(slot) = self.out.get_mut(self.start..self.start + 4) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_whole_or_not_yet() {
        assert_eq!(packet(b"").unwrap(), None);
        assert_eq!(packet(b"\0\0\0\x02a").unwrap(), None);
        assert_eq!(packet(b"\0\0\0\x02abc").unwrap(), Some(&b"ab"[..]));
        assert_eq!(packet(b"\0\0\0\0").unwrap_err(), Malformed);
        assert_eq!(packet(b"\0\x04\0\x01").unwrap_err(), Malformed);
    }

    #[test]
    fn a_packet_knows_its_length() {
        let mut out = vec![9];
        Writer::new(&mut out, 101, 7).u32(1).string(b"ab");
        assert_eq!(out, b"\x09\0\0\0\x0f\x65\0\0\0\x07\0\0\0\x01\0\0\0\x02ab");
    }
}
