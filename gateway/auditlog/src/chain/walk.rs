//! Reading a chain: the members of a file, one after another.

use std::io::{self, BufRead, Read};

use crate::gzip::{MEMBER_START, Source};
use crate::hash::{Hash, MemberHasher};
use crate::inflate::{Inflate, fill};

use super::link::{FRAME, LINK, Link, NAME, SEAL};

/// One member of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it starts, bytes.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// The digest of its bytes.
    pub hash: Hash,
    /// What it says of its place; `None` if it says nothing, or not as we write it.
    pub link: Option<Link>,
}

/// One step of a [`Walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member, sound by its own checksum.
    Member(Member),
    /// What follows is no sound member. The walk is over.
    Damaged,
    /// The data ends inside a member. The walk is over.
    Cut,
    /// The data ends after a member.
    End,
}

/// What every linked member of ours starts with: gzip, deflate, an extra field, no time, no extra flags, unknown system;
/// then the field's length and its subfield's name and length, of a link or of a seal.
const LINKED_START: &[&[u8]] = &[
    &[0x1f],
    &[0x8b],
    &[8],
    &[4],
    &[0],
    &[0],
    &[0],
    &[0],
    &[0],
    &[0xff],
    &[(FRAME + LINK) as u8, (FRAME + SEAL) as u8],
    &[0],
    &[NAME[0]],
    &[NAME[1]],
    &[LINK as u8, SEAL as u8],
    &[0],
];

/// Goes through the members of a file and takes their digests, in constant memory.
#[derive(Debug)]
pub struct Walk<R> {
    source: Source<R>,
    buffer: Box<[u8]>,
    /// The member that is next was found by searching. If it is damaged too, the search goes on where that was noticed:
    /// otherwise forged starts, each before the next, would make reading quadratic.
    found: bool,
}

impl<R: BufRead> Walk<R> {
    /// `reader` stands at byte `position` of the file, before a member.
    pub fn new(reader: R, position: u64) -> Self {
        Self { source: Source::new(reader, position), buffer: vec![0; 64 << 10].into(), found: false }
    }

    /// Where the walk stands, bytes.
    pub fn position(&self) -> u64 {
        self.source.position
    }

    /// The next member. Its content goes to `content` as it comes, before it is known to be sound.
    ///
    /// # Errors
    /// If the reader fails.
    pub fn next(&mut self, content: &mut dyn FnMut(&[u8])) -> io::Result<Step> {
        let start = self.source.position;
        if fill(&mut self.source)?.is_empty() {
            return Ok(Step::End);
        }
        self.source.mark();
        let found = std::mem::take(&mut self.found);
        let hashing =
            Hashing { source: &mut self.source, hasher: MemberHasher::default(), start: Start::default() };
        let mut member = Inflate::new(hashing);
        let step = loop {
            match member.read(&mut self.buffer) {
                Ok(0) => break None,
                Ok(length) => content(self.buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if member.get_ref().source.failed => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Some(Step::Cut),
                Err(_) => break Some(Step::Damaged),
            }
        };
        if let Some(step) = step {
            if !found {
                self.source.rewind_behind_mark();
            }
            return Ok(step);
        }
        let link = Link::parse(member.extra());
        let Hashing { hasher, start: first, .. } = member.into_inner();
        let hash = hasher.finish();
        let end = self.source.position;
        let link = link.filter(|link| {
            // Of a seal every byte follows from what it says.
            first.is_ours() && (link.end.is_none() || Hash::of_member(&link.seal()) == hash)
        });
        Ok(Step::Member(Member { start, end, hash, link }))
    }

    /// Goes on to what may be the next member, after [`Step::Damaged`] or [`Step::Cut`]. `linked`: only one with a link
    /// counts. `false`: there is none.
    ///
    /// # Errors
    /// If the reader fails.
    pub fn search(&mut self, linked: bool) -> io::Result<bool> {
        self.found = true;
        self.source.find(if linked { LINKED_START } else { MEMBER_START })
    }
}

/// The first bytes of a member.
#[derive(Debug, Default)]
struct Start {
    seen: usize,
    other: bool,
}

impl Start {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Some(expected) = LINKED_START.get(self.seen) else { return };
            self.other |= !expected.contains(byte);
            self.seen += 1;
        }
    }

    /// Whether they are as we write them.
    fn is_ours(&self) -> bool {
        self.seen == LINKED_START.len() && !self.other
    }
}

/// A reader that hashes what is consumed.
#[derive(Debug)]
struct Hashing<'a, R> {
    source: &'a mut Source<R>,
    hasher: MemberHasher,
    start: Start,
}

impl<R: BufRead> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let length = available.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Hashing<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What a caller consumes it has been given, so this returns the same bytes again.
        if let Ok(available) = self.source.fill_buf() {
            let consumed = available.get(..amount).unwrap_or(available);
            self.start.take(consumed);
            self.hasher.update(consumed);
        }
        self.source.consume(amount);
    }
}
