//! What a client asks: one packet, taken apart. Pure.

use super::attributes::Attributes;
use super::wire::{Malformed, Reader};

/// A request with its number. Paths and handles are the client's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Init,
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
        follow: bool,
    },
    FStat {
        handle: &'a [u8],
    },
    SetStat {
        path: &'a [u8],
        attributes: Attributes,
        follow: bool,
    },
    FSetStat {
        handle: &'a [u8],
        attributes: Attributes,
    },
    OpenDir {
        path: &'a [u8],
    },
    ReadDir {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MkDir {
        path: &'a [u8],
        attributes: Attributes,
    },
    RmDir {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    /// `replace`: whether an existing file gives way (OpenSSH's `posix-rename`).
    Rename {
        from: &'a [u8],
        to: &'a [u8],
        replace: bool,
    },
    ReadLink {
        path: &'a [u8],
    },
    /// In OpenSSH's order, which all clients follow: the draft has it the other way round.
    Symlink {
        target: &'a [u8],
        link: &'a [u8],
    },
    HardLink {
        from: &'a [u8],
        to: &'a [u8],
    },
    FSync {
        handle: &'a [u8],
    },
    StatVfs {
        path: &'a [u8],
    },
    FStatVfs {
        handle: &'a [u8],
    },
    Limits,
    Unknown,
}

impl<'a> Request<'a> {
    /// Takes a packet apart. The number comes even if the rest makes no sense, so that the client can be told; without one
    /// there is nothing to answer.
    pub(super) fn parse(packet: &'a [u8]) -> Result<(u32, Result<Self, Malformed>), Malformed> {
        let mut reader = Reader(packet);
        let kind = reader.u8()?;
        // The version instead of a number, for the first packet.
        let id = reader.u32()?;
        Ok((id, Self::body(kind, reader)))
    }

    fn body(kind: u8, mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let r = &mut reader;
        Ok(match kind {
            1 => Self::Init,
            3 => Self::Open { path: r.string()?, flags: r.u32()?, attributes: Attributes::parse(r)? },
            4 => Self::Close { handle: r.string()? },
            5 => Self::Read { handle: r.string()?, offset: r.u64()?, length: r.u32()? },
            6 => Self::Write { handle: r.string()?, offset: r.u64()?, data: r.string()? },
            7 => Self::Stat { path: r.string()?, follow: false },
            8 => Self::FStat { handle: r.string()? },
            9 => Self::SetStat { path: r.string()?, attributes: Attributes::parse(r)?, follow: true },
            10 => Self::FSetStat { handle: r.string()?, attributes: Attributes::parse(r)? },
            11 => Self::OpenDir { path: r.string()? },
            12 => Self::ReadDir { handle: r.string()? },
            13 => Self::Remove { path: r.string()? },
            14 => Self::MkDir { path: r.string()?, attributes: Attributes::parse(r)? },
            15 => Self::RmDir { path: r.string()? },
            16 => Self::RealPath { path: r.string()? },
            17 => Self::Stat { path: r.string()?, follow: true },
            18 => Self::Rename { from: r.string()?, to: r.string()?, replace: false },
            19 => Self::ReadLink { path: r.string()? },
            20 => Self::Symlink { target: r.string()?, link: r.string()? },
            200 => match r.string()? {
                b"posix-rename@openssh.com" => {
                    Self::Rename { from: r.string()?, to: r.string()?, replace: true }
                }
                b"hardlink@openssh.com" => Self::HardLink { from: r.string()?, to: r.string()? },
                b"fsync@openssh.com" => Self::FSync { handle: r.string()? },
                b"statvfs@openssh.com" => Self::StatVfs { path: r.string()? },
                b"fstatvfs@openssh.com" => Self::FStatVfs { handle: r.string()? },
                b"lsetstat@openssh.com" => {
                    Self::SetStat { path: r.string()?, attributes: Attributes::parse(r)?, follow: false }
                }
                b"limits@openssh.com" => Self::Limits,
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        })
    }
}

/// What [`Request::parse`] knows beyond the draft, with its version, as it is announced.
pub(super) const EXTENSIONS: [(&str, &str); 7] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_that_is_cut_short_is_still_answered_by_its_number() {
        let whole = b"\x03\0\0\0\x09\0\0\0\x01a\0\0\0\x01\0\0\0\x04\0\0\x01\xa4";
        let attributes = Attributes { permissions: Some(0o644), ..Attributes::default() };
        assert_eq!(
            Request::parse(whole).unwrap(),
            (9, Ok(Request::Open { path: b"a", flags: 1, attributes }))
        );
        for length in 5..whole.len() {
            assert_eq!(Request::parse(&whole[..length]).unwrap(), (9, Err(Malformed)));
        }
        assert_eq!(Request::parse(&whole[..4]).unwrap_err(), Malformed);
    }

    #[test]
    fn a_list_of_attributes_without_end_is_no_list() {
        let packet = b"\x09\0\0\0\x01\0\0\0\x01a\x80\0\0\0\xff\xff\xff\xff";
        assert_eq!(Request::parse(packet).unwrap(), (1, Err(Malformed)));
    }

    proptest! {
        #[test]
        fn any_packet_is_taken_apart_or_refused(packet in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&packet);
        }
    }
}
