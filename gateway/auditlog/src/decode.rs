//! Reads a log of any age and in any condition.
//!
//! [`Decoder`] is an iterator of records and of what is wrong between them. It reads FORMAT v1 and version 2, any number of
//! gzip members, finished or not; it knows both ways the fields have been named, ignores unknown ones, and keeps unknown
//! types as they are. Memory stays below [`MAX_RECORD`](crate::MAX_RECORD) and a fixed buffer, whatever the file claims.
//!
//! An error is an item, not the end: reading goes on at the next sound record. Only an error of the reader itself
//! ([`DecodeError::Io`]) is final.

use std::io::{self, BufRead};
use std::sync::Arc;

use bytes::Bytes;

use crate::cbor::split::{Damage, Ending, Splitter, Step};
use crate::cbor::value::Value;
use crate::gzip::{Members, Piece};
use crate::header::{self, HEADER_LEN, HeaderError, Version};
use crate::message::Message;
use crate::payload::{BadPayload, Payload};

/// Decompressed content that is held at a time, in bytes: enough that the cost per call vanishes.
const CHUNK: usize = 64 << 10;

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file cannot be read any further.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
    /// A segment is damaged.
    #[error(
        "the segment at byte {offset} of the file is damaged; what was read from it may be wrong, the rest of it is lost"
    )]
    Segment {
        /// Where the segment starts in the file, in bytes.
        offset: u64,
    },
    /// The content is not a sequence of records here.
    #[error("after {records} records: {damage}; reading goes on at the next record")]
    Structure {
        /// Records read before, sound or not.
        records: u64,
        /// What was found.
        damage: Damage,
    },
    /// One record cannot be understood.
    #[error("record {number}: {problem}; it is left out")]
    Record {
        /// Which record, counted from 1.
        number: u64,
        /// Why.
        problem: RecordError,
    },
    /// The file ends too early.
    #[error("the log is cut off after {records} records{}", if *.inside_record { ", inside a record" } else { ": its end is missing" })]
    CutOff {
        /// Records read before.
        records: u64,
        /// Whether part of a record was lost; otherwise only the mark at the log's end is missing.
        inside_record: bool,
    },
}

/// Why one record cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A part that every record has is missing.
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    /// A field holds something else.
    #[error("\"{key}\" should be {expected}")]
    Field {
        /// The field's name in the file.
        key: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// Not a map of fields.
    #[error("not a map of fields")]
    NotAMap,
}

impl From<BadPayload> for RecordError {
    fn from(bad: BadPayload) -> Self {
        match bad {
            BadPayload::NotAMap => Self::Field { key: "payload", expected: "a map of fields" },
            BadPayload::Field { key, expected } => Self::Field { key, expected },
        }
    }
}

/// Reads the records of one log, in order.
#[derive(Debug)]
pub struct Decoder<R> {
    version: Version,
    members: Members<R>,
    splitter: Splitter,
    chunk: Box<[u8]>,
    /// The part of `chunk` that has yet to be split.
    pending: std::ops::Range<usize>,
    records: RecordReader,
    count: u64,
    done: bool,
}

impl<R: BufRead> Decoder<R> {
    /// Reads the header and stands before the first record.
    ///
    /// # Errors
    /// If this is no audit log, or one of a newer format.
    pub fn new(mut reader: R) -> Result<Self, HeaderError> {
        let version = header::read(&mut reader)?;
        Ok(Self {
            version,
            members: Members::new(reader, HEADER_LEN as u64),
            splitter: Splitter::new(),
            chunk: vec![0; CHUNK].into(),
            pending: 0..0,
            records: RecordReader::default(),
            count: 0,
            done: false,
        })
    }

    /// The version in the header.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The next record in what has been decompressed.
    fn split(&mut self) -> Option<Result<Message, DecodeError>> {
        let mut rest = self.chunk.get(self.pending.clone()).unwrap_or_default();
        let step = self.splitter.push(&mut rest);
        self.pending.start = self.pending.end - rest.len();
        match step {
            Step::NeedMore => None,
            Step::Damaged(damage) => Some(Err(DecodeError::Structure { records: self.count, damage })),
            Step::Record(record) => {
                self.count += 1;
                let number = self.count;
                Some(self.records.read(&record).map_err(|problem| DecodeError::Record { number, problem }))
            }
        }
    }

    /// What it means that the file ends here. Whether its gzip stream is finished says nothing: ContainerSSH never
    /// finishes it. The records tell.
    fn end(&mut self) -> Option<Result<Message, DecodeError>> {
        self.done = true;
        // In version 2 an empty log is what a gateway leaves that died right after the connection was made.
        let ending = match self.splitter.ending() {
            Ending::NotClosed if self.version == Version::V2 && !self.splitter.opened() => Ending::Complete,
            ending => ending,
        };
        let inside_record = ending == Ending::InsideRecord;
        (ending != Ending::Complete)
            .then_some(Err(DecodeError::CutOff { records: self.count, inside_record }))
    }
}

impl<R: BufRead> Iterator for Decoder<R> {
    type Item = Result<Message, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            if !self.pending.is_empty()
                && let Some(item) = self.split()
            {
                return Some(item);
            }
            match self.members.read(&mut self.chunk) {
                Ok(Piece::Content(length)) => self.pending = 0..length,
                Ok(Piece::MemberEnd) => {}
                Ok(Piece::Damaged) => {
                    self.splitter.lose();
                    return Some(Err(DecodeError::Segment { offset: self.members.member_start() }));
                }
                Ok(Piece::Unfinished | Piece::End) => return self.end(),
                Err(error) => {
                    self.done = true;
                    return Some(Err(error.into()));
                }
            }
        }
        None
    }
}

/// Turns whole CBOR records into messages.
#[derive(Debug, Default)]
pub(crate) struct RecordReader {
    /// All records of a log have the same connection id: one allocation serves them.
    connection_id: Option<Arc<str>>,
}

impl RecordReader {
    pub(crate) fn read(&mut self, record: &Bytes) -> Result<Message, RecordError> {
        let record = Value::parse(record).ok_or(RecordError::NotAMap)?;
        let id = text(&record, "connectionId")?;
        let connection_id = match &self.connection_id {
            Some(known) if **known == *id => Arc::clone(known),
            _ => Arc::clone(self.connection_id.insert(Arc::from(id))),
        };
        let type_code = record.get("type").or_else(|| record.get("messageType"));
        let type_code = number(type_code, "type")?;
        let type_code = u32::try_from(type_code)
            .map_err(|_| RecordError::Field { key: "type", expected: "a number below 4294967296" })?;
        let payload = record.get("payload").unwrap_or(&Value::Null);
        Ok(Message {
            timestamp: number(record.get("timestamp"), "timestamp")?,
            payload: Payload::decode(type_code, payload)?,
            channel_id: channel(record.get("channelId"))?,
            connection_id,
        })
    }
}

fn text(record: &Value, key: &'static str) -> Result<String, RecordError> {
    let value = record.get(key).ok_or(RecordError::Missing(key))?;
    let text = value.as_text().ok_or(RecordError::Field { key, expected: "text" })?;
    Ok(text.into_owned())
}

fn number(value: Option<&Value>, key: &'static str) -> Result<u64, RecordError> {
    match value {
        None => Err(RecordError::Missing(key)),
        Some(Value::Unsigned(value)) => Ok(*value),
        Some(_) => Err(RecordError::Field { key, expected: "a number from 0" }),
    }
}

/// No channel is null, or -1 as the published FORMAT text has it.
fn channel(value: Option<&Value>) -> Result<Option<u64>, RecordError> {
    match value {
        None | Some(Value::Null | Value::Negative(0)) => Ok(None),
        Some(Value::Unsigned(id)) => Ok(Some(*id)),
        Some(_) => Err(RecordError::Field { key: "channelId", expected: "a number from 0, -1 or null" }),
    }
}
