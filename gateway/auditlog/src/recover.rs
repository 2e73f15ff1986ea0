//! What can be kept of a log whose writer died.
//!
//! A gateway appends complete gzip members. When it dies, the file ends with a member that is missing a part, or with
//! bytes the disk never got. [`scan`] finds how far the file is sound: cut it there, append
//! [`Scan::closing_content`] as one more member, and the log is complete and says how it ended.

use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::sync::Arc;

use crate::cbor::split::{Splitter, Step};
use crate::decode::RecordReader;
use crate::encode::{self, Encoder};
use crate::gzip::{LONGEST_SEGMENT, Members, Piece};
use crate::header::{self, HEADER_LEN, HeaderError, Version};
use crate::payload::Payload;

const CHUNK: usize = 64 << 10;

/// The state of a log file. Positions and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The version in the header; `None` if not even the header is complete.
    pub version: Option<Version>,
    /// Length of the file.
    pub total_len: u64,
    /// Up to here the file is sound: header and complete members that end between two records. 0 if the header is cut
    /// off.
    pub complete_len: u64,
    /// The array around the records has begun within the sound part.
    pub opened: bool,
    /// The array is closed within the sound part: the writer finished.
    pub closed: bool,
    /// Records in the sound part.
    pub messages: u64,
    /// The connection whose log it is, if there is a record.
    pub connection_id: Option<Arc<str>>,
    /// Nanoseconds since 1970 of the first record.
    pub first_timestamp: Option<u64>,
    /// Nanoseconds since 1970 of the last record.
    pub last_timestamp: Option<u64>,
    /// The last record says that the connection ended.
    pub disconnected: bool,
    /// Complete members of a log follow after the first damage. This is no torn end but damage in the middle: cutting
    /// here would lose records, so keep the file as it is.
    pub sound_after_damage: bool,
}

impl Scan {
    /// Nothing is wrong: sound to its end, and closed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.closed && self.complete_len == self.total_len
    }

    /// What is missing at the end of the sound part, as the content of one more member: the array's start if there is
    /// none yet, a disconnect record if the connection is known and its end is not recorded, and the array's end.
    /// Empty if the log is closed.
    ///
    /// `timestamp` (nanoseconds since 1970) stands in the disconnect record, but never before the last record's.
    #[must_use]
    pub fn closing_content(&self, timestamp: u64) -> Vec<u8> {
        let mut content = Vec::new();
        if self.closed {
            return content;
        }
        let array = self.version != Some(Version::V2) || self.opened;
        if array && !self.opened {
            encode::open(&mut content);
        }
        if let Some(id) = self.connection_id.as_ref().filter(|_| !self.disconnected) {
            let timestamp = timestamp.max(self.last_timestamp.unwrap_or_default());
            Encoder::new(id).record(&mut content, timestamp, None, &Payload::Disconnect);
        }
        if array {
            encode::close(&mut content);
        }
        content
    }
}

/// Finds how far a log file is sound. Reads from the start of `file` to its end, in constant memory.
///
/// # Errors
/// If the file cannot be read, is no audit log, or one of a newer format. A header that is only cut off is no error.
pub fn scan<R: io::Read + Seek>(mut file: R) -> Result<Scan, HeaderError> {
    let total_len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut scan = Scan {
        version: None,
        total_len,
        complete_len: 0,
        opened: false,
        closed: false,
        messages: 0,
        connection_id: None,
        first_timestamp: None,
        last_timestamp: None,
        disconnected: false,
        sound_after_damage: false,
    };
    let mut file = BufReader::with_capacity(CHUNK, file);
    scan.version = match header::read(&mut file) {
        Ok(version) => Some(version),
        Err(HeaderError::CutOff { .. }) => return Ok(scan),
        Err(error) => return Err(error),
    };
    scan.complete_len = HEADER_LEN as u64;
    let torn = read_sound_part(&mut file, &mut scan)?;
    let tail = total_len - scan.complete_len;
    // A short tail that just ends is a torn segment; a gzip file that a user sent may be in it, whole.
    if tail > 0 && !(torn && tail <= LONGEST_SEGMENT as u64) {
        let after = scan.complete_len + 1;
        file.seek(SeekFrom::Start(after))?;
        scan.sound_after_damage = has_sound_segment(&mut file, after)?;
    }
    Ok(scan)
}

/// Follows the members and the records in them, and notes the state after each member that ends between two records.
/// `true`: what comes after that just ends, `false`: it is wrong in itself.
fn read_sound_part(file: impl BufRead, scan: &mut Scan) -> io::Result<bool> {
    let mut members = Members::new(file, scan.complete_len);
    let mut splitter = Splitter::new();
    let mut records = RecordReader::default();
    let mut chunk = vec![0; CHUNK];
    let mut ahead = scan.clone();
    loop {
        match members.read(&mut chunk)? {
            Piece::Content(length) => {
                let mut rest = chunk.get(..length).unwrap_or_default();
                loop {
                    match splitter.push(&mut rest) {
                        Step::NeedMore => break,
                        Step::Damaged(_) => return Ok(false),
                        Step::Record(record) => {
                            ahead.messages += 1;
                            // A record that cannot be understood is still a whole record.
                            let Ok(message) = records.read(&record) else { continue };
                            ahead.first_timestamp.get_or_insert(message.timestamp);
                            ahead.last_timestamp = Some(message.timestamp);
                            ahead.disconnected = message.payload == Payload::Disconnect;
                            ahead.connection_id = Some(message.connection_id);
                        }
                    }
                }
            }
            Piece::MemberEnd if splitter.at_boundary() => {
                ahead.complete_len = members.position();
                ahead.opened = splitter.opened();
                ahead.closed = splitter.closed();
                scan.clone_from(&ahead);
            }
            Piece::MemberEnd => {}
            Piece::Damaged => return Ok(false),
            Piece::Unfinished | Piece::End => return Ok(true),
        }
    }
}

/// Whether a complete member of a log follows.
fn has_sound_segment(file: impl BufRead, position: u64) -> io::Result<bool> {
    let mut members = Members::searching(file, position);
    let mut chunk = vec![0; CHUNK];
    loop {
        match members.read(&mut chunk)? {
            Piece::MemberEnd => return Ok(true),
            Piece::Content(_) | Piece::Damaged => {}
            Piece::Unfinished | Piece::End => return Ok(false),
        }
    }
}
