//! A segment: encoded records on their way to becoming one gzip member. Pure: told the time, decides nothing else.
//!
//! Records are encoded straight into the open segment, which is the queue between the pumps and the writer at once: one
//! copy per byte, an exact count of what is held, and no reference to a packet buffer that a ten-byte keystroke would
//! otherwise keep alive.

use std::sync::Arc;
use std::time::Duration;

use containerssh_auditlog::{Version, encode};
use tokio::time::Instant;

/// Content at which a segment is cut. Large enough that deflate's window and the member's 23 bytes of framing do not
/// matter, small enough that a connection's memory is a few of them.
pub(crate) const SEGMENT_BYTES: usize = 256 * 1024;

/// Age at which a segment is cut. The most that a crash of the process can cost, beside what waits for the disk.
pub(crate) const SEGMENT_AGE: Duration = Duration::from_millis(100);

/// What was not recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Records.
    pub(crate) records: u64,
    /// Bytes of streams in them.
    pub(crate) bytes: u64,
    /// Why the first of them was lost.
    pub(crate) reason: Option<Arc<str>>,
}

impl Lost {
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds what was lost later.
    pub(crate) fn add(&mut self, later: Lost) {
        self.records = self.records.saturating_add(later.records);
        self.bytes = self.bytes.saturating_add(later.bytes);
        if self.reason.is_none() {
            self.reason = later.reason;
        }
    }

    /// What the gap record says.
    pub(crate) fn text(&self) -> String {
        format!(
            "audit gap: {} records with {} bytes of input and output were not recorded: {}",
            self.records,
            self.bytes,
            self.reason.as_deref().unwrap_or("unknown reason"),
        )
    }
}

/// Encoded records. Its buffer is allocated with the first of them.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// The byte that opens the file's array, then records. Only the first member of a file keeps that byte, and which
    /// segment that is turns out when it is written.
    content: Vec<u8>,
    /// When the first record came.
    started: Option<Instant>,
    /// What is lost if this segment cannot be written: its own records, and the gap that it tells of.
    stake: Lost,
    /// Bytes of the connection's and everybody's memory that this segment holds, to be given back.
    weight: usize,
    /// Whether the content ends with the byte that closes the file's array.
    closed: bool,
}

impl Segment {
    /// A segment that uses an old buffer.
    pub(crate) fn reusing(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { content: buffer, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.started.is_none()
    }

    /// Where the next record is to be encoded.
    pub(crate) fn buffer(&mut self, now: Instant) -> &mut Vec<u8> {
        if self.content.is_empty() {
            encode::open(&mut self.content);
        }
        self.started.get_or_insert(now);
        &mut self.content
    }

    /// Notes what was encoded: a record with `bytes` of a stream in it.
    pub(crate) fn count(&mut self, bytes: u64, weight: usize) {
        self.stake.records += 1;
        self.stake.bytes += bytes;
        self.weight += weight;
    }

    /// Notes that a gap record was encoded.
    pub(crate) fn count_gap(&mut self, gap: Lost) {
        self.stake.add(gap);
    }

    /// Whether it is to be cut for its size.
    pub(crate) fn is_full(&self) -> bool {
        self.content.len() >= SEGMENT_BYTES
    }

    /// When it is to be cut for its age.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.started.map(|started| started + SEGMENT_AGE)
    }

    /// Closes the file's array after this segment.
    pub(crate) fn close(&mut self, now: Instant) {
        encode::close(self.buffer(now));
        self.closed = true;
    }

    /// The member's content in a file of that version, whose first member it is or not. Version 2 has no array.
    pub(crate) fn content(&self, version: Version, first: bool) -> &[u8] {
        let opens = version == Version::V1 && first;
        let closes = version == Version::V1 || !self.closed;
        let start = usize::from(!opens);
        let end = self.content.len() - usize::from(!closes);
        self.content.get(start..end).unwrap_or_default()
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// What not writing it would lose, for that reason.
    pub(crate) fn lost(&self, reason: &Arc<str>) -> Lost {
        let mut lost = self.stake.clone();
        lost.reason.get_or_insert_with(|| reason.clone());
        lost
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_due_by_age_from_its_first_record_and_full_by_size() {
        let now = Instant::now();
        let mut segment = Segment::default();
        assert_eq!(segment.due(), None);
        segment.buffer(now).push(1);
        segment.count(1, 10);
        segment.buffer(now + Duration::from_millis(50)).push(2);
        segment.count(1, 10);
        assert_eq!(segment.due(), Some(now + SEGMENT_AGE));
        assert!(!segment.is_full());
        segment.buffer(now).resize(SEGMENT_BYTES, 0);
        assert!(segment.is_full());
        assert_eq!(segment.weight(), 20);
    }

    #[test]
    fn only_the_first_member_opens_the_array() {
        let now = Instant::now();
        let mut segment = Segment::default();
        segment.buffer(now).extend(b"abc");
        assert_eq!(segment.content(Version::V1, true), b"\x9fabc");
        segment.close(now);
        assert_eq!(segment.content(Version::V1, true), b"\x9fabc\xff");
        assert_eq!(segment.content(Version::V1, false), b"abc\xff");
    }

    #[test]
    fn version_two_has_no_array() {
        let now = Instant::now();
        let mut segment = Segment::default();
        segment.buffer(now).extend(b"abc");
        assert_eq!(segment.content(Version::V2, true), b"abc");
        segment.close(now);
        assert_eq!(segment.content(Version::V2, true), b"abc");
        assert_eq!(segment.content(Version::V2, false), b"abc");
    }

    #[test]
    fn losing_a_segment_loses_the_gap_it_tells_of_too() {
        let mut segment = Segment::default();
        segment.count_gap(Lost { records: 2, bytes: 10, reason: Some("spool full".into()) });
        segment.count(5, 100);
        let lost = segment.lost(&"disk".into());
        assert_eq!(lost, Lost { records: 3, bytes: 15, reason: Some("spool full".into()) });
        assert_eq!(
            lost.text(),
            "audit gap: 3 records with 15 bytes of input and output were not recorded: spool full"
        );
    }
}
