//! Whether a record is what was written: what is intact in it, what is not, and where.
//!
//! # What vouches for a byte
//! Each member of a record names the one before it by its digest ([`chain`](crate::chain)), and the seal at the end names the
//! last. Without more than the file this shows every change, unless whoever made it recomputed the chain from there on. A
//! [`Manifest`] has the digests of some members and of the whole: what agrees with it is as good as the manifest is, that is
//! as good as the place where it was kept, or the key that signed it.
//!
//! # What is said of a range
//! Nothing is called intact that is not vouched for: members between an altered one and the manifest's last mark before it
//! are consistent in themselves, but whoever altered the one may have altered them, so they are [`State::Unproven`].
//!
//! Everything is read once, in constant memory; [`MAX_PIECES`] bounds the report.

mod walk;

use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use crate::chain::{End, Hash};
use crate::manifest::{Encryption, Manifest, Range};
use crate::tally::Tally;

/// More findings than that are summed up in the last.
pub const MAX_PIECES: usize = 1000;

/// What a range of a record's bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// As it was written.
    Intact,
    /// As recovery wrote it after a crash: the end that the session could not write.
    Recovered,
    /// Consistent in itself, but nothing vouches for it.
    Unproven,
    /// The last member is incomplete, or the end is missing.
    Cut,
    /// Members that stood here are missing. The range is empty.
    Missing,
    /// Not as it was written.
    Altered,
    /// Sound, but out of its place: moved or repeated.
    Misplaced,
    /// Not of this record: another program wrote it, or it follows the end.
    Foreign,
}

impl State {
    /// Whether somebody or something changed the record since it was written.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Missing | Self::Altered | Self::Misplaced | Self::Foreign)
    }
}

/// A range of a record's bytes, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece {
    /// Where it starts in the file, bytes.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// What it is.
    pub state: State,
    /// The numbers of its members, first and last, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<(u32, u32)>,
    /// The records in it, as far as they could be read.
    pub tally: Tally,
}

/// Who says that the record ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// Nobody.
    None,
    /// The session that wrote it.
    Session,
    /// Recovery: a crash cut the session's writing at byte `at`, and `dropped` bytes behind it, which never were
    /// acknowledged, were dropped. `at` is `None` where recovery could not tell because the record is encrypted.
    Recovery {
        /// Up to here the session wrote.
        at: Option<u64>,
        /// Bytes dropped there.
        dropped: u64,
    },
}

/// The whole in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As its session wrote it.
    Intact,
    /// As its session and, after a crash, recovery wrote it.
    Recovered,
    /// Changed since it was written.
    Altered,
    /// Its end is missing. What is there is consistent.
    Cut,
    /// There is nothing to tell by: no chain in it, and no manifest.
    Unproven,
}

/// What is known of a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The whole in a word.
    pub verdict: Verdict,
    /// Bytes read.
    pub bytes: u64,
    /// Of all of them.
    pub sha256: Hash,
    /// Whether length and digest are the manifest's; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_manifest: Option<bool>,
    /// Whether members with links were found.
    pub chain: bool,
    /// Who says that it ends here.
    pub ending: Ending,
    /// The findings, in order of their place.
    pub pieces: Vec<Piece>,
    /// All records that could be read.
    pub tally: Tally,
}

/// Looks at a record that is not encrypted, or no longer. A manifest counts if it is about the same bytes: not that of the
/// encrypted record.
///
/// # Errors
/// If the reader fails.
pub fn plain(record: impl BufRead, manifest: Option<&Manifest>) -> io::Result<Report> {
    let manifest = manifest.filter(|manifest| manifest.encryption == Encryption::None);
    let mut tee = Tee { reader: record, hasher: Sha256::new(), bytes: 0 };
    let mut report = walk::Findings::new(manifest);
    walk::walk(&mut tee, &mut report)?;
    io::copy(&mut tee, &mut io::sink())?;
    let (bytes, sha256) = (tee.bytes, Hash::finish(tee.hasher));
    Ok(report.finish(bytes, sha256, manifest))
}

/// Looks at an encrypted record without a key: compares it with the manifest. Without a manifest nothing can be said.
///
/// # Errors
/// If the reader fails.
pub fn sealed(mut record: impl Read, manifest: Option<&Manifest>) -> io::Result<Report> {
    let manifest = manifest.filter(|manifest| manifest.encryption != Encryption::None);
    let mut whole = Sha256::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    let ranges = manifest.map_or(&[][..], |manifest| &manifest.ranges);
    // What follows the last range, or everything where there are none.
    let rest = Range { end: u64::MAX, sha256: Hash::of(b"") };
    for (number, range) in ranges.iter().chain([&rest]).enumerate() {
        let (length, hash) = hash_range(&mut record, range.end.saturating_sub(at), &mut whole)?;
        let (from, to) = (at, at + length);
        at = to;
        let state = match (number < ranges.len(), manifest.is_some()) {
            (true, _) if to == range.end && hash == range.sha256 => State::Intact,
            (true, _) if length == 0 => State::Missing,
            (true, _) if to < range.end => State::Cut,
            (true, _) => State::Altered,
            (false, _) if length == 0 => continue,
            (false, true) => State::Foreign,
            (false, false) => State::Unproven,
        };
        match pieces.last_mut() {
            Some(last) if last.state == state => last.to = to,
            _ => pieces.push(Piece { from, to, state, members: None, tally: Tally::default() }),
        }
    }
    let sha256 = Hash::finish(whole);
    let as_manifest = manifest.map(|manifest| manifest.bytes == at && manifest.sha256 == sha256);
    let verdict = match as_manifest {
        Some(true) => closed(manifest),
        Some(false) => Verdict::Altered,
        None => Verdict::Unproven,
    };
    let ending = match verdict {
        Verdict::Intact => Ending::Session,
        Verdict::Recovered => Ending::Recovery { at: None, dropped: 0 },
        _ => Ending::None,
    };
    let tally = Tally::default();
    Ok(Report { verdict, bytes: at, sha256, as_manifest, chain: false, ending, pieces, tally })
}

/// What a record is that agrees with its manifest.
fn closed(manifest: Option<&Manifest>) -> Verdict {
    use crate::manifest::ClosedBy;
    match manifest.map(|manifest| manifest.closed_by) {
        Some(ClosedBy::Recovery) => Verdict::Recovered,
        _ => Verdict::Intact,
    }
}

/// Reads at most that many bytes.
fn hash_range(record: &mut impl Read, length: u64, whole: &mut Sha256) -> io::Result<(u64, Hash)> {
    let mut own = Sha256::new();
    let mut block = vec![0; 64 << 10];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let read = match record.read(block.get_mut(..want).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = block.get(..read).unwrap_or_default();
        own.update(bytes);
        whole.update(bytes);
        left -= read as u64;
    }
    Ok((length - left, Hash::finish(own)))
}

impl Ending {
    fn of(end: End, recovered: bool) -> Self {
        if recovered {
            Self::Recovery { at: Some(end.session).filter(|at| *at > 0), dropped: end.dropped }
        } else {
            Self::Session
        }
    }
}

/// Hashes what passes.
#[derive(Debug)]
struct Tee<R> {
    reader: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: BufRead> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let length = available.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Tee<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What a caller consumes it has been given, so this returns the same bytes again.
        if let Ok(available) = self.reader.fill_buf() {
            self.hasher.update(available.get(..amount).unwrap_or(available));
        }
        self.bytes += amount as u64;
        self.reader.consume(amount);
    }
}
