//! Reading gzip (RFC 1952) that may have been cut off, damaged, or never finished.
//!
//! The content of a log is a sequence of members. [`Members`] hands out their content piece by piece, tells where each
//! ends, and after damage looks for the next member: what one broken segment costs is that segment.
//!
//! Decompression of damaged data may run past the member's end before it notices, so the search begins at the
//! damaged member's own start, in a copy of what was read since ([`Source`]). Data that users transferred may itself
//! contain gzip; therefore a member found by searching counts only if its content starts as a segment of a log does. A
//! file that merely ends too early is not searched: that is what a crash leaves, and what lies in the torn segment
//! is what a user sent.

use std::io::{self, BufRead, Read};

use crate::cbor::split::{MARK, starts_like_a_log};
use crate::inflate::{Inflate, fill};

/// What every member of a known writer starts with: gzip, deflate, no flags or an extra field alone, no time.
pub(crate) const MEMBER_START: &[&[u8]] = &[&[0x1f], &[0x8b], &[8], &[0, 4], &[0], &[0], &[0], &[0]];

/// Compressed bytes of a member that are kept for a search after damage. Our segments hold 256 KiB of content, more
/// only by the length of one record; of longer members the rest is searched.
pub(crate) const LONGEST_SEGMENT: usize = 2 << 20;

/// Content of damaged members that may be decompressed in vain, in bytes, over a file. A member that was found by searching may
/// be damaged too, and have run into the next: the search begins behind its start again. But forged starts, each before the
/// next and each good for gigabytes, must not make reading quadratic: after so much it goes on where damage was noticed.
const IN_VAIN: u64 = 64 << 20;

/// One step through the members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// This many bytes of content were put into the buffer.
    Content(usize),
    /// A member ended as it should, checksum and all. Content handed out since the one before is sound.
    MemberEnd,
    /// Damage inside the member; content handed out since its start may be wrong. The next call goes on at the next
    /// member.
    Damaged,
    /// The data ends inside a member: never finished, or cut off.
    Unfinished,
    /// The data ends after a member.
    End,
}

#[derive(Debug)]
enum State<R> {
    /// Before a member, or at the end.
    Between(Source<R>),
    Inside(Box<Inflate<Source<R>>>),
    /// After damage: looking for the start of a member.
    Searching(Source<R>),
    Done,
}

#[derive(Debug)]
pub(crate) struct Members<R> {
    state: State<R>,
    /// Where the member that is being read starts.
    member_start: u64,
    /// Where reading stands.
    position: u64,
    /// The member was found by searching.
    found: bool,
    /// What is left of [`IN_VAIN`].
    patience: u64,
}

impl<R: BufRead> Members<R> {
    /// Reads members from `reader`, whose next byte has the position `position` in the file.
    pub(crate) fn new(reader: R, position: u64) -> Self {
        let state = State::Between(Source::new(reader, position));
        Self { state, member_start: position, position, found: false, patience: IN_VAIN }
    }

    /// Like `new`, but starts by looking for a member.
    pub(crate) fn searching(reader: R, position: u64) -> Self {
        let state = State::Searching(Source::new(reader, position));
        Self { state, member_start: position, position, found: false, patience: IN_VAIN }
    }

    /// Where the member that was read last starts in the file, in bytes.
    pub(crate) fn member_start(&self) -> u64 {
        self.member_start
    }

    /// Where reading stands in the file, in bytes: after `MemberEnd`, the end of that member.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Fills `buffer` (more than [`MARK`] bytes long) with what comes next, or says what happened. Errors of the
    /// reader itself are final.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Piece> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok(Piece::End),
                State::Searching(mut source) => {
                    if !source.find(MEMBER_START)? {
                        return Ok(Piece::End);
                    }
                    source.mark();
                    self.member_start = source.position;
                    let (state, length) = Self::try_found(source, buffer)?;
                    self.state = state;
                    if let State::Inside(member) = &self.state {
                        self.found = true;
                        self.position = member.get_ref().position;
                        return Ok(Piece::Content(length));
                    }
                }
                State::Between(mut source) => {
                    self.member_start = source.position;
                    if fill(&mut source)?.is_empty() {
                        return Ok(Piece::End);
                    }
                    source.mark();
                    self.found = false;
                    self.state = State::Inside(Box::new(Inflate::new(source)));
                }
                State::Inside(mut member) => {
                    let result = member.read(buffer);
                    self.position = member.get_ref().position;
                    match result {
                        Ok(0) => {
                            self.state = State::Between(member.into_inner());
                            return Ok(Piece::MemberEnd);
                        }
                        Ok(length) => {
                            self.state = State::Inside(member);
                            return Ok(Piece::Content(length));
                        }
                        // What is found wrong is reported as an error of the same type as a failing disk.
                        Err(error) if member.get_ref().failed => return Err(error),
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Ok(Piece::Unfinished);
                        }
                        Err(_) => {
                            let in_vain = if self.found { member.given() } else { 0 };
                            let mut source = member.into_inner();
                            if let Some(left) = self.patience.checked_sub(in_vain) {
                                self.patience = left;
                                source.rewind_behind_mark();
                            }
                            self.state = State::Searching(source);
                            return Ok(Piece::Damaged);
                        }
                    }
                }
            }
        }
    }

    /// Reads the start of what may be a member. If it is one of a log, it is the next to be read, and the first bytes of
    /// its content are in `buffer`; otherwise the search goes on.
    fn try_found(source: Source<R>, buffer: &mut [u8]) -> io::Result<(State<R>, usize)> {
        let mut member = Inflate::new(source);
        let mut length = 0;
        // The array's head may come before what marks a record.
        while length < MARK + 1 {
            match member.read(buffer.get_mut(length..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if member.get_ref().failed => return Err(error),
                Err(_) => {
                    length = 0;
                    break;
                }
            }
        }
        if starts_like_a_log(buffer.get(..length).unwrap_or_default()) {
            return Ok((State::Inside(Box::new(member)), length));
        }
        let mut source = member.into_inner();
        source.rewind_behind_mark();
        Ok((State::Searching(source), 0))
    }
}

/// A reader that knows its position, remembers whether it failed, and can go back to a mark.
#[derive(Debug)]
pub(crate) struct Source<R> {
    reader: R,
    /// What was read from `reader` since the mark, as long as it is not too much.
    kept: Vec<u8>,
    /// How much of `kept` is consumed; the rest comes before what `reader` has.
    at: usize,
    /// Where in `kept` the mark is; `None` if more was read since than is kept.
    mark: Option<usize>,
    /// Where the next byte stands in the file.
    pub(crate) position: u64,
    pub(crate) failed: bool,
}

impl<R: BufRead> Source<R> {
    pub(crate) fn new(reader: R, position: u64) -> Self {
        Self { reader, kept: Vec::new(), at: 0, mark: None, position, failed: false }
    }

    /// Sets the mark to the next byte.
    pub(crate) fn mark(&mut self) {
        if self.at == self.kept.len() {
            self.kept.clear();
            self.at = 0;
        }
        self.mark = Some(self.at);
    }

    /// Goes back to the byte after the marked one, or stays if that is no longer there.
    pub(crate) fn rewind_behind_mark(&mut self) {
        if let Some(mark) = self.mark {
            let back_to = (mark + 1).min(self.at);
            self.position -= (self.at - back_to) as u64;
            self.at = back_to;
        }
    }

    /// Goes on to where `pattern` starts, which says of each byte what it may be. `false`: it does not occur any more. The
    /// first byte of `pattern` must occur in it only once.
    pub(crate) fn find(&mut self, pattern: &[&[u8]]) -> io::Result<bool> {
        let fits = |at: usize, byte: u8| pattern.get(at).is_some_and(|bytes| bytes.contains(&byte));
        let mut matched = 0;
        loop {
            let Some(&byte) = fill(self)?.first() else { return Ok(false) };
            if matched == 0 {
                self.mark();
            }
            self.consume(1);
            if !fits(matched, byte) {
                matched = 0;
                // This byte may start the pattern anew: the mark belongs before it.
                self.mark = Some(self.at - 1);
            }
            matched += usize::from(fits(matched, byte));
            if matched == pattern.len() {
                self.at -= matched;
                self.position -= matched as u64;
                return Ok(true);
            }
        }
    }
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let length = available.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.kept.get(self.at..) {
            Some(rest) if !rest.is_empty() => Ok(rest),
            _ => self.reader.fill_buf().inspect_err(|error| {
                self.failed = error.kind() != io::ErrorKind::Interrupted;
            }),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
        if self.at < self.kept.len() {
            self.at += amount;
            return;
        }
        if self.kept.len() + amount > LONGEST_SEGMENT {
            self.mark = None;
            self.kept.clear();
            self.at = 0;
        }
        // What a caller consumes it has been given, so this returns the same bytes again.
        if self.mark.is_some()
            && let Ok(available) = self.reader.fill_buf()
        {
            self.kept.extend(available.iter().take(amount));
            self.at = self.kept.len();
        }
        self.reader.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Scratch, compress};
    use proptest::prelude::*;

    /// A member whose content starts like a log.
    fn member(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        compress(&[b"\xa5\x6cconnectionId", name.as_bytes()].concat(), &mut out, &mut Scratch::new());
        out
    }

    /// All pieces; contents as the name in them.
    fn pieces(data: &[u8]) -> Vec<String> {
        let mut members = Members::new(data, 0);
        let mut buffer = [0; 64];
        let mut seen = Vec::new();
        loop {
            match members.read(&mut buffer).unwrap() {
                Piece::Content(length) => {
                    seen.push(String::from_utf8_lossy(&buffer[MARK.min(length)..length]).into_owned());
                }
                Piece::End => return seen,
                Piece::MemberEnd => seen.push(format!("end at {}", members.position())),
                Piece::Damaged => seen.push(format!("damaged since {}", members.member_start())),
                Piece::Unfinished => seen.push("unfinished".to_owned()),
            }
        }
    }

    #[test]
    fn members_are_read_one_after_another_and_their_ends_are_known() {
        let (a, b) = (member("one"), member("two"));
        let (first, both) = (a.len(), a.len() + b.len());
        let data = [a, b].concat();
        assert_eq!(pieces(&data), ["one", &format!("end at {first}"), "two", &format!("end at {both}")]);
    }

    #[test]
    fn a_damaged_member_costs_itself_only() {
        let (mut a, b) = (member("one"), member("two"));
        let checksum = a.len() - 8;
        a[checksum] ^= 1;
        let data = [a, b].concat();
        assert_eq!(pieces(&data), ["one", "damaged since 0", "two", &format!("end at {}", data.len())]);
    }

    #[test]
    fn damage_that_is_noticed_in_the_next_member_does_not_cost_that_one() {
        let (mut a, b, c) = (member("one"), member("two"), member("three"));
        // A stored block that claims to reach into the next member.
        let claimed = u16::from_le_bytes([a[11], a[12]]) + 20;
        a[11..13].copy_from_slice(&claimed.to_le_bytes());
        a[13..15].copy_from_slice(&(!claimed).to_le_bytes());
        let data = [a, b, c].concat();
        let seen = pieces(&data);
        assert_eq!(seen[1], "damaged since 0");
        assert_eq!((&*seen[2], &*seen[4]), ("two", "three"));
    }

    #[test]
    fn two_damaged_members_in_a_row_do_not_cost_the_third() {
        let (mut a, mut b, c) = (member("one"), member("two"), member("three"));
        let checksum = a.len() - 8;
        a[checksum] ^= 1;
        // A stored block that claims to reach into the next member.
        let claimed = u16::from_le_bytes([b[11], b[12]]) + 20;
        b[11..13].copy_from_slice(&claimed.to_le_bytes());
        b[13..15].copy_from_slice(&(!claimed).to_le_bytes());
        let data = [a, b, c].concat();
        let seen = pieces(&data);
        assert_eq!(seen[seen.len() - 2..], ["three", &format!("end at {}", data.len())], "{seen:?}");
    }

    #[test]
    fn a_first_segment_is_found_however_little_is_there_at_a_time() {
        let mut first = MEMBER_START.iter().map(|bytes| bytes[0]).chain([0, 0xff]).collect::<Vec<u8>>();
        // Stored blocks of one byte each: none gives more at a time.
        for byte in b"\x9f\xa5\x6cconnectionIdone" {
            first.extend([0, 1, 0, 0xfe, 0xff, *byte]);
        }
        let data = [b"rubbish".to_vec(), first].concat();
        let mut members = Members::new(io::BufReader::with_capacity(1, &data[..]), 0);
        assert_eq!(members.read(&mut [0; 64]).unwrap(), Piece::Damaged);
        assert_eq!(members.read(&mut [0; 64]).unwrap(), Piece::Content(MARK + 1));
    }

    #[test]
    fn rubbish_between_members_is_skipped() {
        let data = [b"\x1f\x8b\x1f rubbish \x1f\x1f\x8b\x08".to_vec(), member("one")].concat();
        assert_eq!(pieces(&data), ["damaged since 0", "one", &format!("end at {}", data.len())]);
    }

    #[test]
    fn gzip_that_is_no_segment_is_not_found() {
        let mut foreign = Vec::new();
        compress(b"somebody's own file", &mut foreign, &mut Scratch::new());
        let data = [b"rubbish".to_vec(), foreign, member("one")].concat();
        assert_eq!(pieces(&data), ["damaged since 0", "one", &format!("end at {}", data.len())]);
    }

    #[test]
    fn a_member_longer_than_what_is_kept_is_searched_from_where_damage_was_noticed() {
        let mut noise = 1u32;
        let long: String = (0..LONGEST_SEGMENT + 100_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from((noise >> 24) as u8 & 0x7f)
            })
            .collect();
        let mut long = member(&long);
        assert!(long.len() > LONGEST_SEGMENT / 2);
        let checksum = long.len() - 8;
        long[checksum] ^= 1;
        let data = [long, member("two")].concat();
        let seen = pieces(&data);
        assert_eq!(seen[seen.len() - 3..], ["damaged since 0", "two", &format!("end at {}", data.len())]);
    }

    #[test]
    fn a_member_cut_off_anywhere_is_unfinished() {
        let whole = member("content");
        for length in 1..whole.len() {
            assert_eq!(pieces(&whole[..length]).last().unwrap(), "unfinished", "{length} bytes");
        }
        assert_eq!(pieces(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_failing_disk_is_not_taken_for_damage() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
        let whole = member("content");
        let mut members = Members::new(io::BufReader::new(whole[..12].chain(Failing)), 0);
        let error = loop {
            match members.read(&mut [0; 64]) {
                Ok(piece) => assert!(matches!(piece, Piece::Content(_)), "{piece:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    proptest! {
        /// However small the pieces are in which the file arrives.
        #[test]
        fn what_is_found_does_not_depend_on_how_the_file_is_read(
            rubbish in proptest::collection::vec(prop_oneof![Just(0x1f), Just(0x8b), any::<u8>()], 1..50),
            capacity in 1usize..40,
        ) {
            let data = [&rubbish[..], &member("one"), &rubbish, &member("two")].concat();
            let mut members = Members::new(io::BufReader::with_capacity(capacity, &data[..]), 0);
            let (mut buffer, mut content) = ([0; 64], Vec::new());
            loop {
                match members.read(&mut buffer).unwrap() {
                    Piece::Content(length) => content.extend_from_slice(&buffer[..length]),
                    Piece::End | Piece::Unfinished => break,
                    Piece::MemberEnd | Piece::Damaged => {}
                }
            }
            prop_assert_eq!(content, b"\xa5\x6cconnectionIdone\xa5\x6cconnectionIdtwo");
        }
    }
}
