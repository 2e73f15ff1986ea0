//! The 40 bytes before the compressed content.

use std::io::{self, Read};

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 40;

/// The first 32 bytes of every audit log.
const MAGIC: &[u8; 32] = b"ContainerSSH-Auditlog\0\0\0\0\0\0\0\0\0\0\0";

/// FORMAT versions: how the records stand in the compressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One array around all records. What we write.
    V1,
    /// Records one after another.
    V2,
}

impl Version {
    /// The number in the header.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// The header of a log of this version: 32 bytes of name, then the version as 64-bit little-endian integer.
#[must_use]
pub fn header(version: Version) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let bytes = MAGIC.iter().copied().chain(version.number().to_le_bytes());
    for (place, byte) in header.iter_mut().zip(bytes) {
        *place = byte;
    }
    header
}

/// Why a file cannot be read as an audit log at all.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It does not start as an audit log does.
    #[error(
        "not an audit log: it does not start with \"ContainerSSH-Auditlog\"; give the file as the gateway stored it, not decompressed or converted"
    )]
    NotAnAuditLog,
    /// It ends inside its header.
    #[error("cut off inside the header: {length} of {HEADER_LEN} bytes; nothing is recorded in it")]
    CutOff {
        /// Bytes that are there.
        length: usize,
    },
    /// A version from the future.
    #[error(
        "audit log of FORMAT version {0}, but this program reads versions 1 and 2; a newer release may read it"
    )]
    Version(u64),
    /// It could not be read.
    #[error("cannot read the header: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header from the front of `reader`.
pub(crate) fn read(reader: &mut impl Read) -> Result<Version, HeaderError> {
    let mut header = Vec::with_capacity(HEADER_LEN);
    reader.take(HEADER_LEN as u64).read_to_end(&mut header)?;
    if !header.iter().zip(MAGIC).all(|(is, should)| is == should) {
        return Err(HeaderError::NotAnAuditLog);
    }
    let Some((_, version)) = header.split_first_chunk::<32>() else {
        return Err(HeaderError::CutOff { length: header.len() });
    };
    let Some(version) = version.first_chunk::<8>() else {
        return Err(HeaderError::CutOff { length: header.len() });
    };
    match u64::from_le_bytes(*version) {
        1 => Ok(Version::V1),
        2 => Ok(Version::V2),
        other => Err(HeaderError::Version(other)),
    }
}
