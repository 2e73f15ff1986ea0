//! What is in a piece of a log's content: how many records, from when to when. In constant memory.

use crate::cbor::split::{Splitter, Step};
use crate::decode::RecordReader;

/// Records, and when they were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Records whose end was seen. One that cannot be understood counts as well.
    pub records: u64,
    /// Nanoseconds since 1970 of the first record.
    pub first: Option<u64>,
    /// Nanoseconds since 1970 of the last record.
    pub last: Option<u64>,
}

impl Tally {
    /// Adds what comes later.
    pub fn add(&mut self, later: Self) {
        self.records += later.records;
        self.first = self.first.or(later.first);
        self.last = later.last.or(self.last);
    }
}

/// Counts the records in content that comes piece by piece.
#[derive(Debug)]
pub struct Counter {
    splitter: Splitter,
    records: RecordReader,
    tally: Tally,
}

impl Default for Counter {
    fn default() -> Self {
        Self { splitter: Splitter::new(), records: RecordReader::default(), tally: Tally::default() }
    }
}

impl Counter {
    /// More content.
    pub fn push(&mut self, mut content: &[u8]) {
        loop {
            match self.splitter.push(&mut content) {
                Step::NeedMore => return,
                Step::Damaged(_) => {}
                Step::Record(record) => {
                    let at = self.records.read(&record).ok().map(|message| message.timestamp);
                    self.tally.add(Tally { records: 1, first: at, last: at });
                }
            }
        }
    }

    /// Content is missing here.
    pub fn lose(&mut self) {
        self.splitter.lose();
    }

    /// What was counted since the last call.
    pub fn take(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}
