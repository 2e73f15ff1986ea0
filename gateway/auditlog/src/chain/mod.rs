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

mod link;
mod marks;
mod walk;

use std::io::{self, BufReader, Read};

pub use crate::hash::Hash;
use crate::header::HEADER_LEN;

pub use link::{End, Kind, Link};
use marks::Marks;
pub use marks::{MAX_MARKS, Mark};
pub use walk::{Member, Step, Walk};

/// The number that members have which recovery adds to an encrypted record: it cannot see how many there are.
pub const UNSEEN: u32 = u32::MAX;

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
        self.marks.kept()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Version, header};
    use crate::member::{self, Scratch, compress_with_extra};

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
}
