//! The chain: every member of a record names the one before it by its digest, and a seal ends it.
//!
//! # In the file
//! gzip leaves room for such things: a member's header may hold an *extra field* (RFC 1952 section 2.3.1.1), which every
//! reader that does not know it skips. Ours has the subfield `CS`:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version of this table: 1 |
//! | 1 | [`Kind`] |
//! | 4 | number of the member in the record, from 0, little-endian |
//! | 32 | BLAKE3 of all bytes of the member before it; for the first member, of the file's 40-byte header |
//!
//! Since a member's digest covers the digest in its header, each covers everything before it. The last member of a
//! complete record is the *seal*: empty for a decompressor, with three more numbers of 8 bytes each, little-endian: how many
//! bytes stand before it, up to which byte the session itself wrote, and how many bytes recovery dropped there; and with
//! the BLAKE3 of all that. Its other bytes are fixed, so no bit of a record is outside the chain, not even in its last
//! member.
//!
//! BLAKE3 rather than SHA-256, which the manifest has for the whole: a digest for every segment is taken while the session's
//! bytes wait, and it takes a quarter of the time.
//!
//! # What it proves
//! That bytes were lost or changed since, and where: by a disk, a transfer, or a person who edits a file. Whoever
//! recomputes the whole chain leaves no trace in it; against that stands the [manifest](crate::manifest), signed or kept
//! elsewhere.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::gzip::{MEMBER_START, Source};
pub use crate::hash::Hash;
use crate::hash::MemberHasher;
use crate::header::HEADER_LEN;
use crate::member;

/// The subfield's name in the extra field.
const NAME: [u8; 2] = *b"CS";
/// Version of the subfield's layout.
const LAYOUT: u8 = 1;
/// Length of a link's content: version, kind, number, digest.
const LINK: usize = 1 + 1 + 4 + 32;
/// Length of a seal's content: a link, three numbers, a digest of these.
const SEAL: usize = LINK + 3 * 8 + 32;
/// What a subfield needs beside its content: name and length.
const FRAME: usize = 4;

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

/// The number that members have which recovery adds to an encrypted record: it cannot see how many there are.
pub const UNSEEN: u32 = u32::MAX;

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
    fn extra(&self) -> Vec<u8> {
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

    /// Reads an extra field. `None` if it is not exactly what [`Chain`] writes: then some other program wrote the member,
    /// or it was changed.
    fn parse(extra: &[u8]) -> Option<Self> {
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

/// Where a record's chain stands while it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next: u32,
    head: Hash,
    marks: Marks,
}

impl Chain {
    /// The chain of a file that holds nothing but this header.
    #[must_use]
    pub fn start(header: &[u8; HEADER_LEN]) -> Self {
        Self { next: 0, head: Hash::of_member(header), marks: Marks::default() }
    }

    /// The chain of what recovery adds to a record that it cannot read: its members have the number [`UNSEEN`], and
    /// the first names nothing.
    #[must_use]
    pub fn unseen() -> Self {
        Self { next: UNSEEN, head: Hash::from([0; 32]), marks: Marks::default() }
    }

    /// The digest of the last member.
    #[must_use]
    pub fn head(&self) -> Hash {
        self.head
    }

    /// Members so far.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.next
    }

    /// Places along the chain, for the manifest.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks.kept
    }

    /// The extra field of the next member.
    #[must_use]
    pub fn next_link(&self, kind: Kind) -> Vec<u8> {
        Link { kind, number: self.next, previous: self.head, end: None }.extra()
    }

    /// The member that ends the record.
    #[must_use]
    pub fn seal(&self, kind: Kind, end: End) -> Vec<u8> {
        Link { kind, number: self.next, previous: self.head, end: Some(end) }.seal()
    }

    /// Notes that this member is in the file now, which ends at byte `end` with it.
    pub fn push(&mut self, member: &[u8], end: u64) {
        self.push_hash(Hash::of_member(member), end);
    }

    fn push_hash(&mut self, hash: Hash, end: u64) {
        self.head = hash;
        self.marks.add(Mark { end, member: self.next, head: hash });
        // At ten members a second it takes thirteen years to come here.
        self.next = self.next.saturating_add(1);
    }

    /// Follows the members of a file up to byte `length`, where one ends. `file` stands behind the header, which is
    /// `header`. `None` if not all of them are linked: another version or program wrote it.
    ///
    /// # Errors
    /// If it cannot be read, or there is no sound member where one should be.
    pub fn follow(file: impl Read, header: &[u8; HEADER_LEN], length: u64) -> io::Result<Option<Followed>> {
        let rest = length.saturating_sub(HEADER_LEN as u64);
        let mut walk = Walk::new(BufReader::with_capacity(64 << 10, file.take(rest)), HEADER_LEN as u64);
        let mut followed = Followed { chain: Self::start(header), session: HEADER_LEN as u64, seal: None };
        loop {
            match walk.next(&mut |_| {})? {
                Step::End => return Ok(Some(followed)),
                Step::Member(member) => {
                    let Some(link) = member.link else { return Ok(None) };
                    followed.chain.push_hash(member.hash, member.end);
                    followed.seal = link.end;
                    if link.kind == Kind::Segment {
                        followed.session = member.end;
                    }
                }
                Step::Damaged | Step::Cut => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

/// What [`Chain::follow`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// To be continued.
    pub chain: Chain,
    /// Up to here the session wrote, bytes.
    pub session: u64,
    /// What the seal says, if the last member is one.
    pub seal: Option<End>,
}

/// The state of the chain after a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// Where the member ends in the file, bytes.
    pub end: u64,
    /// Its number, from 0.
    pub member: u32,
    /// Its digest.
    pub head: Hash,
}

/// Marks kept for a record: 26 KB in memory at most, and as many stretches can be told apart by the manifest alone.
pub const MAX_MARKS: usize = 512;

/// Evenly spread places along a chain: every member's while they are few, then every second, every fourth and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    kept: Vec<Mark>,
    /// The last of `kept` is that of the last member and will be replaced, for its number is none to be kept.
    passing: bool,
    /// Numbers to be kept are multiples of 2 to this.
    shift: u32,
}

impl Marks {
    fn is_kept(&self, member: u32) -> bool {
        member.trailing_zeros().min(31) >= self.shift || member == 0
    }

    fn add(&mut self, mark: Mark) {
        if self.passing {
            self.kept.pop();
        }
        if self.kept.len() >= MAX_MARKS {
            self.shift += 1;
            let shift = self.shift;
            self.kept.retain(|mark| mark.member == 0 || mark.member.trailing_zeros() >= shift);
        }
        self.passing = !self.is_kept(mark.member);
        self.kept.push(mark);
    }
}

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
        if self.is_at_end()? {
            return Ok(Step::End);
        }
        self.source.mark();
        let found = std::mem::take(&mut self.found);
        let hashing =
            Hashing { source: &mut self.source, hasher: MemberHasher::default(), start: Start::default() };
        let mut member = GzDecoder::new(hashing);
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
        let link = member.header().and_then(|header| header.extra()).and_then(Link::parse);
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

    fn is_at_end(&mut self) -> io::Result<bool> {
        loop {
            match self.source.fill_buf() {
                Ok(bytes) => return Ok(bytes.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Version, header};
    use crate::member::{Scratch, compress_with_extra};

    /// A file of members with these contents, sealed.
    fn file(contents: &[&[u8]]) -> (Vec<u8>, Chain) {
        let header = header(Version::V1);
        let mut file = header.to_vec();
        let mut chain = Chain::start(&header);
        let mut scratch = Scratch::new();
        for content in contents {
            let start = file.len();
            compress_with_extra(content, &chain.next_link(Kind::Segment), &mut file, &mut scratch);
            chain.push(&file[start..], file.len() as u64);
        }
        let length = file.len() as u64;
        let seal = chain.seal(Kind::Seal, End { length, session: length, dropped: 0 });
        file.extend_from_slice(&seal);
        chain.push(&seal, file.len() as u64);
        (file, chain)
    }

    #[test]
    fn what_was_written_is_followed_to_the_same_head() {
        let (file, chain) = file(&[b"one", b"two", &[7; 300_000]]);
        let length = file.len() as u64;
        let followed = Chain::follow(&file[HEADER_LEN..], &header(Version::V1), length).unwrap().unwrap();
        assert_eq!(followed.chain, chain);
        assert_eq!(followed.session, followed.seal.unwrap().length);
        assert_eq!(chain.members(), 4);
    }

    #[test]
    fn every_reader_of_gzip_reads_linked_members_and_the_seal() {
        let (file, _) = file(&[b"one", b"two"]);
        let mut content = String::new();
        flate2::bufread::MultiGzDecoder::new(&file[HEADER_LEN..]).read_to_string(&mut content).unwrap();
        assert_eq!(content, "onetwo");
    }

    #[test]
    fn each_member_names_the_one_before_by_its_digest() {
        let (file, _) = file(&[b"one", b"two", b"three"]);
        let mut walk = Walk::new(&file[HEADER_LEN..], HEADER_LEN as u64);
        let mut previous = Hash::of_member(&file[..HEADER_LEN]);
        for number in 0..4 {
            let Step::Member(member) = walk.next(&mut |_| {}).unwrap() else { panic!() };
            let bytes = &file[usize::try_from(member.start).unwrap()..usize::try_from(member.end).unwrap()];
            assert_eq!(member.hash, Hash::of_member(bytes));
            let link = member.link.unwrap();
            assert_eq!((link.previous, link.number, link.end.is_some()), (previous, number, number == 3));
            previous = member.hash;
        }
        assert_eq!(walk.next(&mut |_| {}).unwrap(), Step::End);
    }

    #[test]
    fn no_bit_of_a_seal_can_change() {
        let (file, chain) = file(&[]);
        assert_eq!(chain.members(), 1);
        let seal = &file[HEADER_LEN..];
        for bit in 0..seal.len() * 8 {
            let mut changed = seal.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let step = Walk::new(&changed[..], HEADER_LEN as u64).next(&mut |_| {}).unwrap();
            // What it says may have changed: then the rest of the chain contradicts it.
            let says = |link: Link| (link.kind, link.number, link.previous, link.end);
            let said = Link {
                kind: Kind::Seal,
                number: 0,
                previous: Hash::of_member(&file[..HEADER_LEN]),
                end: Some(End { length: 40, session: 40, dropped: 0 }),
            };
            let unseen =
                matches!(&step, Step::Member(Member { link: Some(link), .. }) if says(*link) == says(said));
            assert!(!unseen, "bit {bit}");
        }
    }

    #[test]
    fn members_without_links_are_no_chain() {
        let mut file = header(Version::V1).to_vec();
        member::compress(b"x", &mut file, &mut Scratch::new());
        let length = file.len() as u64;
        assert_eq!(Chain::follow(&file[HEADER_LEN..], &header(Version::V1), length).unwrap(), None);
    }

    #[test]
    fn marks_are_few_even_and_end_with_the_last_member() {
        let mut chain = Chain::start(&header(Version::V1));
        for member in 0..10_000_u64 {
            chain.push_hash(Hash::of_member(&member.to_le_bytes()), member + 1);
            let marks = chain.marks();
            assert!(marks.len() <= MAX_MARKS + 1, "{}", marks.len());
            assert_eq!(marks.last().unwrap().end, member + 1);
            assert!(marks.is_sorted_by_key(|mark| mark.member));
            assert!(marks.windows(2).all(|pair| pair[1].member - pair[0].member <= 64));
        }
        assert!(chain.marks().len() > MAX_MARKS / 3);
    }
}
