//! What can be told of an encrypted record without its key.

use std::io::{self, BufRead, BufReader, Read};

use super::{FRAME_HEAD, Kind, MAGIC, MAX_FRAME, MAX_HEADER, NONCE, SEALED_CHUNK};

/// How far a tail is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Length of its complete frames, bytes.
    pub length: u64,
    /// How many there are.
    pub frames: u64,
    /// The last says that the record ends with it.
    pub ended: bool,
}

/// Goes through the frames of a tail, in constant memory. What follows the last complete one is not counted.
///
/// # Errors
/// If it cannot be read.
pub fn scan_tail(tail: impl Read) -> io::Result<Tail> {
    let mut tail = BufReader::new(tail);
    let mut scanned = Tail::default();
    while let Some((kind, length)) = read_head(&mut tail)? {
        let length = u64::from(length);
        if io::copy(&mut tail.by_ref().take(length), &mut io::sink())? < length {
            break;
        }
        scanned.length += FRAME_HEAD as u64 + length;
        scanned.frames += 1;
        scanned.ended = kind == Kind::Last;
    }
    Ok(scanned)
}

/// The head of the next frame; `None` at the end, and where what follows is none.
pub(super) fn read_head(reader: &mut impl Read) -> io::Result<Option<(Kind, u32)>> {
    let mut head = Vec::with_capacity(FRAME_HEAD);
    reader.take(FRAME_HEAD as u64).read_to_end(&mut head)?;
    let Some((&kind, length)) = head.split_first() else { return Ok(None) };
    let (Some(kind), Ok(length)) = (Kind::of(kind), <[u8; 4]>::try_from(length)) else { return Ok(None) };
    let length = u32::from_le_bytes(length);
    Ok((length as usize <= MAX_FRAME).then_some((kind, length)))
}

/// Reads an age file's header and nonce as they are. `None` if it is none, or not all of it is there.
pub(super) fn read_header(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut header = Vec::new();
    loop {
        let line = header.len();
        let left = MAX_HEADER.saturating_sub(line) as u64;
        reader.take(left).read_until(b'\n', &mut header)?;
        let read = header.get(line..).unwrap_or_default();
        let wrong = line == 0 && !read.starts_with(MAGIC);
        if wrong || !read.ends_with(b"\n") {
            return Ok(None);
        }
        if read.starts_with(b"---") {
            let length = header.len() + NONCE;
            reader.take(NONCE as u64).read_to_end(&mut header)?;
            return Ok((header.len() == length).then_some(header));
        }
    }
}

/// How much of a file that a crash cut is header and whole chunks, of `length` bytes in all. 0 if not even the header is
/// whole.
///
/// # Errors
/// If it cannot be read.
pub fn whole_chunks(file: impl Read, length: u64) -> io::Result<u64> {
    let header = read_header(&mut BufReader::new(file))?;
    Ok(header.map_or(0, |header| {
        let header = header.len() as u64;
        let chunks = length.saturating_sub(header) / SEALED_CHUNK as u64;
        header + chunks * SEALED_CHUNK as u64
    }))
}
