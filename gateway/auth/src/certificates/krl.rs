//! OpenSSH's key revocation lists (PROTOCOL.krl), as `ssh-keygen -k` writes them.
//!
//! A list is read as a whole or not at all: a section of a kind that is not known may revoke anything, so a list that has one
//! is an error. Work and memory are bounded by the file's size: ranges stay ranges, bitmaps stay bitmaps.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use russh::keys::Certificate;
use russh::keys::ssh_key::encoding::Encode as _;
use russh::keys::ssh_key::public::KeyData;

/// What every list begins with.
pub(super) const MAGIC: &[u8; 8] = b"SSHKRL\n\0";

/// Why a list cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KrlError {
    /// It is something else.
    #[error("it is not a key revocation list")]
    Magic,
    /// It is of a later version.
    #[error("it is of version {0}, and only 1 is known")]
    Version(u32),
    /// It ends within a field.
    #[error("it is cut off or damaged")]
    Truncated,
    /// A section of an unknown kind.
    #[error("it has a section of kind {0}, which is not known")]
    Section(u8),
    /// An extension that must be understood.
    #[error("it has a critical extension, which is not known")]
    CriticalExtension,
}

/// A list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Krl {
    certificates: Vec<OfAuthority>,
    keys: Vec<Vec<u8>>,
    sha1: Vec<Vec<u8>>,
    sha256: Vec<Vec<u8>>,
}

/// Certificates of one authority, or of any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfAuthority {
    /// Its public key as a blob; empty for any.
    authority: Vec<u8>,
    /// First and last serial number, both included.
    ranges: Vec<(u64, u64)>,
    /// A serial number, and bits (most significant byte first) for those from it on.
    bitmaps: Vec<(u64, Vec<u8>)>,
    key_ids: Vec<String>,
}

impl Krl {
    /// Reads a list.
    ///
    /// # Errors
    /// When it cannot be read as a whole.
    pub fn parse(bytes: &[u8]) -> Result<Krl, KrlError> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(KrlError::Magic)?);
        let version = reader.u32()?;
        if version != 1 {
            return Err(KrlError::Version(version));
        }
        // Number of the list, date, flags, reserved, comment.
        for _ in 0..3 {
            reader.u64()?;
        }
        reader.string()?;
        reader.string()?;
        let mut krl = Krl::default();
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let mut section = Reader(reader.string()?);
            match kind {
                1 => krl.certificates.push(certificates(&mut section)?),
                2 => section.all(&mut krl.keys)?,
                3 => section.all(&mut krl.sha1)?,
                5 => section.all(&mut krl.sha256)?,
                255 => section.extension()?,
                other => return Err(KrlError::Section(other)),
            }
        }
        Ok(krl)
    }

    /// Whether a key is revoked.
    #[must_use]
    pub fn revokes_key(&self, key: &KeyData) -> bool {
        // What has no form on the wire cannot be compared.
        let Ok(blob) = key.encode_vec() else { return true };
        self.keys.contains(&blob)
            || self.sha1.iter().any(|hash| hash == digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
            || self.sha256.iter().any(|hash| hash == digest(&SHA256, &blob).as_ref())
    }

    /// Whether a certificate is revoked: itself, its key, or its authority's.
    #[must_use]
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let authority = certificate.signature_key();
        let Ok(blob) = authority.encode_vec() else { return true };
        self.revokes_key(certificate.public_key())
            || self.revokes_key(authority)
            || (self.certificates.iter())
                .filter(|section| section.authority.is_empty() || section.authority == blob)
                .any(|section| section.revokes(certificate.serial(), certificate.key_id()))
    }
}

impl OfAuthority {
    fn revokes(&self, serial: u64, key_id: &str) -> bool {
        self.key_ids.iter().any(|revoked| revoked == key_id)
            || self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&serial))
            || self
                .bitmaps
                .iter()
                .any(|(from, bits)| serial.checked_sub(*from).is_some_and(|bit| is_set(bits, bit)))
    }
}

/// Whether a bit is set in a number whose most significant byte comes first.
fn is_set(bits: &[u8], bit: u64) -> bool {
    let Ok(back) = usize::try_from(bit / 8) else { return false };
    let byte = bits.len().checked_sub(back + 1).and_then(|at| bits.get(at));
    byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}

fn certificates(section: &mut Reader<'_>) -> Result<OfAuthority, KrlError> {
    let mut revoked = OfAuthority { authority: section.string()?.to_vec(), ..OfAuthority::default() };
    section.string()?;
    while !section.is_empty() {
        let kind = section.u8()?;
        let mut part = Reader(section.string()?);
        match kind {
            0x20 => {
                while !part.is_empty() {
                    let serial = part.u64()?;
                    revoked.ranges.push((serial, serial));
                }
            }
            0x21 => {
                revoked.ranges.push((part.u64()?, part.u64()?));
                part.end()?;
            }
            0x22 => {
                revoked.bitmaps.push((part.u64()?, part.string()?.to_vec()));
                part.end()?;
            }
            0x23 => {
                while !part.is_empty() {
                    let id = std::str::from_utf8(part.string()?).map_err(|_| KrlError::Truncated)?;
                    revoked.key_ids.push(id.to_owned());
                }
            }
            0x39 => part.extension()?,
            other => return Err(KrlError::Section(other)),
        }
    }
    Ok(revoked)
}

/// Fields as RFC 4251 section 5 has them.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self) -> Result<(), KrlError> {
        if self.is_empty() { Ok(()) } else { Err(KrlError::Truncated) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], KrlError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(KrlError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self) -> Result<u8, KrlError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, KrlError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, KrlError> {
        self.take().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], KrlError> {
        let length = usize::try_from(self.u32()?).map_err(|_| KrlError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(KrlError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn all(&mut self, into: &mut Vec<Vec<u8>>) -> Result<(), KrlError> {
        while !self.is_empty() {
            into.push(self.string()?.to_vec());
        }
        Ok(())
    }

    /// An extension may be passed over unless it says that it may not.
    fn extension(&mut self) -> Result<(), KrlError> {
        self.string()?;
        let critical = self.u8()? != 0;
        self.string()?;
        self.end()?;
        if critical { Err(KrlError::CriticalExtension) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_end() {
        for (bits, bit, set) in [
            (&[0b0000_0001][..], 0, true),
            (&[0b0000_0001], 1, false),
            (&[0x80, 0x00], 15, true),
            (&[0x80, 0x00], 16, false),
            (&[0x80, 0x00], u64::MAX, false),
            (&[], 0, false),
        ] {
            assert_eq!(is_set(bits, bit), set, "{bits:?} {bit}");
        }
    }

    #[test]
    fn what_is_no_list_or_more_than_a_list_is_an_error() {
        let mut empty = [&MAGIC[..], &1_u32.to_be_bytes(), &[0; 24], &[0; 8]].concat();
        assert_eq!(Krl::parse(&empty), Ok(Krl::default()));
        assert_eq!(Krl::parse(b"ssh-ed25519 AAAA"), Err(KrlError::Magic));
        assert_eq!(Krl::parse(&empty[..20]), Err(KrlError::Truncated));
        empty.extend([4, 0, 0, 0, 0]);
        assert_eq!(Krl::parse(&empty), Err(KrlError::Section(4)));
        let length = empty.len();
        empty[length - 5] = 255;
        empty.truncate(length - 4);
        empty.extend([0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(Krl::parse(&empty), Err(KrlError::CriticalExtension));
        let at = empty.len() - 5;
        empty[at] = 0;
        assert_eq!(Krl::parse(&empty), Ok(Krl::default()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Krl::parse(&[&MAGIC[..], &1_u32.to_be_bytes(), &bytes].concat());
        }
    }
}
