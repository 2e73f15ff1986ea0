//! The part of CBOR (RFC 8949) that audit logs need, both ways.
//!
//! Writing is appending heads and payloads to a `Vec<u8>` ([`head`], [`text`], [`bytes`]): definite lengths and the
//! shortest head for every number, which is what the reference implementation writes, byte for byte.
//!
//! Reading is two steps, so that neither an untrusted length nor an untrusted depth can hurt: [`split`] cuts the
//! stream into whole items with a state machine that holds at most one item, then [`value`] turns one such item into
//! a tree whose strings share its memory.

pub(crate) mod split;
pub(crate) mod value;

/// Major types, RFC 8949 section 3.1.
pub(crate) mod major {
    pub(crate) const UNSIGNED: u8 = 0;
    pub(crate) const NEGATIVE: u8 = 1;
    pub(crate) const BYTES: u8 = 2;
    pub(crate) const TEXT: u8 = 3;
    pub(crate) const ARRAY: u8 = 4;
    pub(crate) const MAP: u8 = 5;
    pub(crate) const TAG: u8 = 6;
    pub(crate) const SIMPLE: u8 = 7;
}

/// `false`, as one byte.
pub(crate) const FALSE: u8 = 0xf4;
/// `true`, as one byte.
pub(crate) const TRUE: u8 = 0xf5;
/// `null`, as one byte.
pub(crate) const NULL: u8 = 0xf6;
/// Head of a 64-bit float.
pub(crate) const FLOAT64: u8 = 0xfb;
/// Opens an array of unknown length.
pub(crate) const ARRAY_OPEN: u8 = 0x9f;
/// Ends an item of unknown length ("break").
pub(crate) const BREAK: u8 = 0xff;

/// Appends an item's head: major type and argument, the argument in its shortest form.
#[inline]
pub(crate) fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let kind = major << 5;
    match argument {
        0..=23 => out.push(kind | argument as u8),
        24..=0xff => out.extend_from_slice(&[kind | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(kind | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(kind | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(kind | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// Appends a text string.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    head(out, major::TEXT, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Appends a byte string.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    head(out, major::BYTES, value.len() as u64);
    out.extend_from_slice(value);
}
