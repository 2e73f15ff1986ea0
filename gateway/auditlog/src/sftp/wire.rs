//! The parts that packets are made of (draft-ietf-secsh-filexfer-02 sections 3 to 7; RFC 4251 section 5).

use super::event::{Attributes, Outcome, short_text};

/// Packet types (draft section 3).
pub(super) mod kind {
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const VERSION: u8 = 2;
    pub(in super::super) const OPEN: u8 = 3;
    pub(in super::super) const CLOSE: u8 = 4;
    pub(in super::super) const READ: u8 = 5;
    pub(in super::super) const WRITE: u8 = 6;
    pub(in super::super) const LSTAT: u8 = 7;
    pub(in super::super) const FSTAT: u8 = 8;
    pub(in super::super) const SETSTAT: u8 = 9;
    pub(in super::super) const FSETSTAT: u8 = 10;
    pub(in super::super) const OPENDIR: u8 = 11;
    pub(in super::super) const READDIR: u8 = 12;
    pub(in super::super) const REMOVE: u8 = 13;
    pub(in super::super) const MKDIR: u8 = 14;
    pub(in super::super) const RMDIR: u8 = 15;
    pub(in super::super) const REALPATH: u8 = 16;
    pub(in super::super) const STAT: u8 = 17;
    pub(in super::super) const RENAME: u8 = 18;
    pub(in super::super) const READLINK: u8 = 19;
    pub(in super::super) const SYMLINK: u8 = 20;
    pub(in super::super) const STATUS: u8 = 101;
    pub(in super::super) const HANDLE: u8 = 102;
    pub(in super::super) const DATA: u8 = 103;
    pub(in super::super) const NAME: u8 = 104;
    pub(in super::super) const ATTRS: u8 = 105;
    pub(in super::super) const EXTENDED: u8 = 200;
    pub(in super::super) const EXTENDED_REPLY: u8 = 201;
}

/// SSH_FX_OK.
const FX_OK: u32 = 0;
/// SSH_FX_EOF.
const FX_EOF: u32 = 1;

/// A field goes beyond its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

/// Reads one packet's fields in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Short> {
        let length = self.u32()?;
        self.take(usize::try_from(length).map_err(|_| Short)?)
    }

    /// ATTRS (draft section 5). Extended pairs at its end say nothing that is shown.
    pub(super) fn attributes(&mut self) -> Result<Attributes, Short> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & 1 != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & 2 != 0 {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & 4 != 0 {
            attributes.mode = Some(self.u32()?);
        }
        if flags & 8 != 0 {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        Ok(attributes)
    }
}

/// The content of SSH_FXP_STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status<'a> {
    pub(super) code: u32,
    message: &'a [u8],
}

impl<'a> Status<'a> {
    pub(super) fn read(wire: &mut Wire<'a>) -> Result<Self, Short> {
        // Servers of early versions send the code alone.
        Ok(Self { code: wire.u32()?, message: wire.string().unwrap_or_default() })
    }

    pub(super) fn is_ok(self) -> bool {
        self.code == FX_OK
    }

    pub(super) fn is_eof(self) -> bool {
        self.code == FX_EOF
    }

    pub(super) fn outcome(self) -> Outcome {
        match self.code {
            FX_OK => Outcome::Ok,
            code => Outcome::Failed { code, message: short_text(self.message) },
        }
    }
}
