//! Cuts a stream of CBOR into whole top-level records, whatever the stream claims about itself.
//!
//! [`Splitter`] is pushed pieces of any size and hands back each record as soon as its last byte is there. It holds one
//! record at most, of [`MAX_RECORD`] bytes at most, and reserves memory only for bytes that have really arrived. Both
//! layouts are read without being told which: FORMAT v1 (one array around the records, counted or open-ended) and
//! version 2 (records one after another).
//!
//! Damage costs as little as possible: the splitter looks for the next byte sequence that starts a record (a map whose
//! first key is the connection id, which is how every known writer starts) and goes on there.

use bytes::{Bytes, BytesMut};

use super::{ARRAY_OPEN, BREAK, major};

/// The longest record that is read, in bytes of CBOR. Writers cut I/O into pieces of at most
/// [`crate::MAX_IO_DATA`]; everything else in a record fits into one SSH packet (256 KiB). Sixteen mebibytes leave
/// room for other writers and still bound what one damaged length can make a reader hold.
pub const MAX_RECORD: usize = 16 << 20;

/// The most items in a record: keys, values, lists, chunks of strings. The format's own types have some dozens; the limit
/// keeps a record of one-byte items from becoming a tree of forty times its size.
pub(crate) const MAX_ITEMS: usize = 1 << 16;

/// The deepest nesting inside a record. The format uses four levels (record, payload, list, list entry).
pub(crate) const MAX_DEPTH: usize = 16;

/// The name that the first key of a record has, letters in any case.
const FIRST_KEY: &[u8] = b"connectionid";

/// Bytes from which a record can be recognised: the map's head, the key's head, the key.
pub(crate) const MARK: usize = 2 + FIRST_KEY.len();

/// How the structure of a stream is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A byte that no CBOR item can have there.
    #[error("not well-formed CBOR")]
    Malformed,
    /// A record above the limit.
    #[error("a record of more than {MAX_RECORD} bytes")]
    TooLong,
    /// A record of more items than the limit.
    #[error("a record of more than {MAX_ITEMS} items")]
    TooMany,
    /// A record nested beyond the limit.
    #[error("a record nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Something else where a record should start.
    #[error("no record where one should start")]
    NotARecord,
    /// More data after the array was closed.
    #[error("data after the end of the log")]
    AfterEnd,
}

/// An item's head under construction: fed byte by byte, because a piece of a stream may end anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    initial: Option<u8>,
    argument: u64,
    missing: u8,
}

/// A complete head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) major: u8,
    /// The low five bits of the first byte.
    pub(crate) info: u8,
    /// `None`: of unknown length, or the "break" itself if `major` is 7.
    pub(crate) argument: Option<u64>,
}

impl Head {
    pub(crate) fn feed(&mut self, byte: u8) -> Option<Result<Token, Damage>> {
        let Some(initial) = self.initial else {
            let (major, info) = (byte >> 5, byte & 0x1f);
            let token = |argument| Some(Ok(Token { major, info, argument }));
            return match info {
                0..=23 => token(Some(u64::from(info))),
                24..=27 => {
                    *self = Self { initial: Some(byte), argument: 0, missing: 1 << (info - 24) };
                    None
                }
                31 if !matches!(major, major::UNSIGNED | major::NEGATIVE | major::TAG) => token(None),
                _ => Some(Err(Damage::Malformed)),
            };
        };
        self.argument = self.argument << 8 | u64::from(byte);
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        let argument = Some(self.argument);
        *self = Self::default();
        Some(Ok(Token { major: initial >> 5, info: initial & 0x1f, argument }))
    }
}

/// What the innermost open item still expects.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// This many items.
    Count(u64),
    /// Items until "break"; in a map (`pairs`) only after a value.
    Open { pairs: bool, odd: bool },
    /// Strings of this major type until "break".
    Chunks(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing read yet.
    Start,
    /// Reading the head of a counted array around the records.
    ArrayHead,
    Between,
    Inside,
    /// After damage: looking for the start of a record.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    /// Records one after another: may end after each.
    Sequence,
    /// An array of this many more records.
    Counted(u64),
    /// An array up to its "break".
    Open,
    Ended,
}

/// What one call of [`Splitter::push`] came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// The input is used up.
    NeedMore,
    /// One whole record.
    Record(Bytes),
    /// Bytes that are no record; the next call looks for one that is.
    Damaged(Damage),
}

/// What the end of the stream means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Where a log may end.
    Complete,
    /// In the middle of a record.
    InsideRecord,
    /// After a whole record, but the array is not closed.
    NotClosed,
}

#[derive(Debug)]
pub(crate) struct Splitter {
    place: Place,
    container: Container,
    head: Head,
    /// Bytes of a string that are still to come.
    body: usize,
    stack: Vec<Frame>,
    /// Heads seen in the record.
    items: usize,
    record: BytesMut,
    /// Set for good once something was skipped: a counted array's count means nothing any more.
    lost_count: bool,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Start,
            container: Container::Sequence,
            head: Head::default(),
            body: 0,
            stack: Vec::with_capacity(MAX_DEPTH),
            items: 0,
            record: BytesMut::new(),
            lost_count: false,
        }
    }

    /// Takes from the front of `input` up to the end of the next record.
    pub(crate) fn push(&mut self, input: &mut &[u8]) -> Step {
        loop {
            let step = match self.place {
                Place::Start | Place::Between => self.between(input),
                Place::ArrayHead => self.array_head(input),
                Place::Inside => Some(self.inside(input)),
                Place::Lost => self.find(input),
            };
            match step {
                None => {}
                Some(Step::Damaged(damage)) => {
                    self.lose();
                    return Step::Damaged(damage);
                }
                Some(step) => return step,
            }
        }
    }

    /// Drops what is unfinished, and looks for the start of a record from here on.
    pub(crate) fn lose(&mut self) {
        self.reset_record();
        self.place = Place::Lost;
        self.lost_count = true;
        self.container = Container::Sequence;
    }

    /// Between two records, where a segment may end.
    pub(crate) fn at_boundary(&self) -> bool {
        matches!(self.place, Place::Start | Place::Between)
    }

    /// The records stand in an array, and it has begun.
    pub(crate) fn opened(&self) -> bool {
        self.container != Container::Sequence
    }

    /// The array has ended.
    pub(crate) fn closed(&self) -> bool {
        self.container == Container::Ended
    }

    /// What it means that the stream ends here.
    pub(crate) fn ending(&self) -> Ending {
        match (self.place, self.container) {
            (Place::Inside, _) => Ending::InsideRecord,
            // Reported when it was lost.
            (Place::Lost, _) => Ending::Complete,
            (Place::Start, _) | (_, Container::Open | Container::Counted(_)) => Ending::NotClosed,
            (_, Container::Sequence | Container::Ended) => Ending::Complete,
        }
    }

    fn reset_record(&mut self) {
        self.record.clear();
        self.stack.clear();
        self.items = 0;
        self.body = 0;
        self.head = Head::default();
    }

    fn between(&mut self, input: &mut &[u8]) -> Option<Step> {
        let Some((&first, rest)) = input.split_first() else { return Some(Step::NeedMore) };
        if first >> 5 == major::MAP && first != (major::MAP << 5) && self.container != Container::Ended {
            self.reset_record();
            self.place = Place::Inside;
            return None;
        }
        match (self.place, self.container, first) {
            (Place::Start, _, ARRAY_OPEN) => {
                *input = rest;
                self.container = Container::Open;
                self.place = Place::Between;
                None
            }
            (Place::Start, ..) if first >> 5 == major::ARRAY => {
                self.place = Place::ArrayHead;
                None
            }
            (_, Container::Open, BREAK) => {
                *input = rest;
                self.container = Container::Ended;
                None
            }
            // After damage nobody knows whether an array was open; its end is no news then.
            (_, Container::Sequence, BREAK) if self.lost_count => {
                *input = rest;
                self.container = Container::Ended;
                None
            }
            (_, Container::Ended, _) => Some(Step::Damaged(Damage::AfterEnd)),
            _ => {
                *input = rest;
                Some(Step::Damaged(Damage::NotARecord))
            }
        }
    }

    fn array_head(&mut self, input: &mut &[u8]) -> Option<Step> {
        let Some((&byte, rest)) = input.split_first() else { return Some(Step::NeedMore) };
        *input = rest;
        match self.head.feed(byte)? {
            Ok(Token { argument: Some(count), .. }) => {
                self.container = if count == 0 { Container::Ended } else { Container::Counted(count) };
                self.place = Place::Between;
                None
            }
            Ok(_) => Some(Step::Damaged(Damage::Malformed)),
            Err(damage) => Some(Step::Damaged(damage)),
        }
    }

    fn inside(&mut self, input: &mut &[u8]) -> Step {
        loop {
            if self.body > 0 {
                let (now, rest) = input.split_at(self.body.min(input.len()));
                self.record.extend_from_slice(now);
                self.body -= now.len();
                *input = rest;
                if self.body > 0 {
                    return Step::NeedMore;
                }
                if self.item_done() {
                    return self.record_done();
                }
                continue;
            }
            let Some((&byte, rest)) = input.split_first() else { return Step::NeedMore };
            *input = rest;
            if self.record.len() >= MAX_RECORD {
                return Step::Damaged(Damage::TooLong);
            }
            self.record.extend_from_slice(&[byte]);
            let token = match self.head.feed(byte) {
                None => continue,
                Some(Err(damage)) => return Step::Damaged(damage),
                Some(Ok(token)) => token,
            };
            match self.begin(token) {
                Err(damage) => return Step::Damaged(damage),
                Ok(true) if self.item_done() => return self.record_done(),
                Ok(_) => {}
            }
        }
    }

    /// Takes in a head. `true`: it was a whole item.
    fn begin(&mut self, token: Token) -> Result<bool, Damage> {
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(Damage::TooMany);
        }
        let ends = token.major == major::SIMPLE && token.argument.is_none();
        match self.stack.last() {
            Some(Frame::Chunks(_)) if ends => {
                self.stack.pop();
                return Ok(true);
            }
            Some(Frame::Chunks(kind)) if *kind != token.major || token.argument.is_none() => {
                return Err(Damage::Malformed);
            }
            Some(Frame::Open { odd: false, .. }) if ends => {
                self.stack.pop();
                return Ok(true);
            }
            _ if ends => return Err(Damage::Malformed),
            _ => {}
        }
        match (token.major, token.argument) {
            (major::BYTES | major::TEXT, Some(length)) => {
                // Compared, never reserved: the bytes have yet to come.
                self.body = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= MAX_RECORD - self.record.len().min(MAX_RECORD))
                    .ok_or(Damage::TooLong)?;
                Ok(self.body == 0)
            }
            (major::BYTES | major::TEXT, None) => self.nest(Frame::Chunks(token.major)),
            (major::ARRAY, Some(0)) | (major::MAP, Some(0)) => Ok(true),
            (major::ARRAY, Some(count)) => self.nest(Frame::Count(count)),
            (major::MAP, Some(count)) => {
                self.nest(Frame::Count(count.checked_mul(2).ok_or(Damage::TooLong)?))
            }
            (major::ARRAY, None) => self.nest(Frame::Open { pairs: false, odd: false }),
            (major::MAP, None) => self.nest(Frame::Open { pairs: true, odd: false }),
            (major::TAG, _) => self.nest(Frame::Count(1)),
            _ => Ok(true),
        }
    }

    fn nest(&mut self, frame: Frame) -> Result<bool, Damage> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Damage::TooDeep);
        }
        self.stack.push(frame);
        Ok(false)
    }

    /// Notes that an item is complete, and with it perhaps those around it. `true`: the record is.
    fn item_done(&mut self) -> bool {
        loop {
            match self.stack.last_mut() {
                None => return true,
                Some(Frame::Chunks(_)) => return false,
                Some(Frame::Open { pairs, odd }) => {
                    *odd = *pairs && !*odd;
                    return false;
                }
                Some(Frame::Count(left)) if *left > 1 => {
                    *left -= 1;
                    return false;
                }
                Some(Frame::Count(_)) => {
                    self.stack.pop();
                }
            }
        }
    }

    fn record_done(&mut self) -> Step {
        self.place = Place::Between;
        self.container = match self.container {
            Container::Counted(..=1) => Container::Ended,
            Container::Counted(left) => Container::Counted(left - 1),
            other => other,
        };
        Step::Record(self.record.split().freeze())
    }

    /// Looks for the start of a record; the bytes that match so far are kept in `record`.
    fn find(&mut self, input: &mut &[u8]) -> Option<Step> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if !continues_mark(self.record.len(), byte) {
                // A map's head occurs nowhere else in the mark, so a failed match can restart only at this byte.
                self.record.clear();
                if !continues_mark(0, byte) {
                    continue;
                }
            }
            self.record.extend_from_slice(&[byte]);
            if self.record.len() == MARK {
                let mark = self.record.split().freeze();
                self.reset_record();
                self.place = Place::Inside;
                // No record is as short as its mark: this only sets the state as if it had been read in place.
                let mut mark: &[u8] = &mark;
                return match self.inside(&mut mark) {
                    Step::NeedMore => None,
                    step => Some(step),
                };
            }
        }
        Some(Step::NeedMore)
    }
}

/// Whether `content`, the start of a segment, is what a segment of a log starts with: a record or the log's end.
pub(crate) fn starts_like_a_log(content: &[u8]) -> bool {
    let content = content.strip_prefix(&[ARRAY_OPEN]).unwrap_or(content);
    content == [BREAK]
        || content.len() >= MARK
            && content.iter().take(MARK).enumerate().all(|(at, byte)| continues_mark(at, *byte))
}

fn continues_mark(at: usize, byte: u8) -> bool {
    match at {
        // A map of 1 to 23 pairs, or of unknown length.
        0 => matches!(byte, 0xa1..=0xb7 | 0xbf),
        1 => byte == major::TEXT << 5 | FIRST_KEY.len() as u8,
        _ => FIRST_KEY.get(at - 2) == Some(&byte.to_ascii_lowercase()),
    }
}
