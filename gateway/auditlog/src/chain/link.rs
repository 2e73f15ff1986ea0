//! What a member says of its place: the subfield in its gzip header.

use crate::hash::Hash;
use crate::member;

/// The subfield's name in the extra field.
pub(super) const NAME: [u8; 2] = *b"CS";
/// Version of the subfield's layout.
const LAYOUT: u8 = 1;
/// Length of a link's content: version, kind, number, digest.
pub(super) const LINK: usize = 1 + 1 + 4 + 32;
/// Length of a seal's content: a link, three numbers, a digest of these.
pub(super) const SEAL: usize = LINK + 3 * 8 + 32;
/// What a subfield needs beside its content: name and length.
pub(super) const FRAME: usize = 4;

/// Who wrote a member, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The session: records.
    Segment,
    /// Recovery after a crash: what was missing at the end.
    Recovery,
    /// The session: the record is complete.
    Seal,
    /// Recovery: the record ends here, cut short.
    RecoverySeal,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Segment => 0,
            Self::Recovery => 1,
            Self::Seal => 2,
            Self::RecoverySeal => 3,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Segment),
            1 => Some(Self::Recovery),
            2 => Some(Self::Seal),
            3 => Some(Self::RecoverySeal),
            _ => None,
        }
    }

    /// Whether the record ends with it.
    #[must_use]
    pub const fn is_seal(self) -> bool {
        matches!(self, Self::Seal | Self::RecoverySeal)
    }
}

/// What a member says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who wrote it.
    pub kind: Kind,
    /// Its number in the record, from 0.
    pub number: u32,
    /// The digest of what stands before it.
    pub previous: Hash,
    /// In a seal: what it says of the record.
    pub end: Option<End>,
}

/// What a seal says of the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Bytes before the seal.
    pub length: u64,
    /// Up to here the session wrote; what follows is recovery's.
    pub session: u64,
    /// Bytes behind that which recovery dropped: a torn segment, never acknowledged, or damage.
    pub dropped: u64,
}

impl Link {
    /// The content of the gzip extra field.
    pub(super) fn extra(&self) -> Vec<u8> {
        let length = if self.end.is_some() { SEAL } else { LINK };
        let mut extra = Vec::with_capacity(FRAME + length);
        extra.extend_from_slice(&NAME);
        extra.extend_from_slice(&(length as u16).to_le_bytes());
        extra.extend_from_slice(&[LAYOUT, self.kind.code()]);
        extra.extend_from_slice(&self.number.to_le_bytes());
        extra.extend_from_slice(self.previous.as_bytes());
        if let Some(end) = self.end {
            for number in [end.length, end.session, end.dropped] {
                extra.extend_from_slice(&number.to_le_bytes());
            }
            let own = Hash::of_member(&extra);
            extra.extend_from_slice(own.as_bytes());
        }
        extra
    }

    /// Reads an extra field. `None` if it is not exactly what [`Chain`](super::Chain) writes: then some other program wrote the member,
    /// or it was changed.
    pub(super) fn parse(extra: &[u8]) -> Option<Self> {
        let (name, rest) = extra.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (&[layout, kind], rest) = rest.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (previous, rest) = rest.split_first_chunk::<32>()?;
        let kind = Kind::of(kind)?;
        let end = if kind.is_seal() {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let (session, rest) = rest.split_first_chunk::<8>()?;
            // The digest at the end is compared with all the other bytes.
            let dropped = rest.first_chunk::<8>()?;
            let number = u64::from_le_bytes;
            Some(End { length: number(*length), session: number(*session), dropped: number(*dropped) })
        } else {
            None
        };
        let expected = if end.is_some() { SEAL } else { LINK };
        let whole = extra.len() == FRAME + expected && usize::from(u16::from_le_bytes(*length)) == expected;
        let number = u32::from_le_bytes(*number);
        (whole && *name == NAME && layout == LAYOUT).then_some(Self {
            kind,
            number,
            previous: Hash::from(*previous),
            end,
        })
    }

    /// The only bytes that a seal which says this can have.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        let mut out = Vec::new();
        member::empty(&self.extra(), &mut out);
        out
    }
}
