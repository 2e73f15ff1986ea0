//! One record's file while its session lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use containerssh_auditlog::chain::{Chain, End, Kind};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{HEADER_LEN, Version, header};

use super::dir::create;
use crate::segment::Segment;

/// What compressing takes, kept between segments.
#[derive(Debug, Default)]
pub(crate) struct Press {
    scratch: Scratch,
    member: Vec<u8>,
}

/// Idle presses: as many as ever ran at once, which the number of writing threads bounds. Each takes about a megabyte.
#[derive(Debug, Default)]
pub(crate) struct Presses(Mutex<Vec<Press>>);

impl Presses {
    pub(crate) fn take(&self) -> Press {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn put(&self, press: Press) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(press);
    }
}

/// A file that ends with a complete member at `len`, whatever may lie behind that.
#[derive(Debug)]
pub(crate) struct RecordFile {
    file: Arc<File>,
    /// Up to where it is sound. Writes go exactly there, so that what a failed one left behind is written over.
    len: u64,
    version: Version,
    /// Of the members up to `len`.
    chain: Chain,
}

impl RecordFile {
    /// Starts a record. Fails if there is one already.
    pub(crate) fn create(path: &Path, version: Version) -> io::Result<Self> {
        let file = create(OpenOptions::new().write(true).create_new(true), path)?;
        let header = header(version);
        file.write_all_at(&header, 0)?;
        Ok(Self { file: Arc::new(file), len: HEADER_LEN as u64, version, chain: Chain::start(&header) })
    }

    /// The file, to be synced.
    pub(crate) fn handle(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Bytes that are sound.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The chain up to there.
    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether the file was removed under us: writes would succeed and go nowhere.
    pub(crate) fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Appends a segment as one member, and the seal with it if it is the record's last. On failure the file is as
    /// before.
    pub(crate) fn append(&mut self, segment: &Segment, last: bool, press: &mut Press) -> io::Result<()> {
        if self.is_removed() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the record's file was removed from the spool",
            ));
        }
        press.member.clear();
        let first = self.len == HEADER_LEN as u64;
        let link = self.chain.next_link(Kind::Segment);
        let content = segment.content(self.version, first);
        member::compress_with_extra(content, &link, &mut press.member, &mut press.scratch);
        let end = self.len + press.member.len() as u64;
        if last {
            // With the end in one write, a crash hardly ever comes between.
            let mut chain = self.chain.clone();
            chain.push(&press.member, end);
            let seal = chain.seal(Kind::Seal, End { length: end, session: end, dropped: 0 });
            chain.push(&seal, end + seal.len() as u64);
            press.member.extend_from_slice(&seal);
            self.write(&press.member)?;
            self.chain = chain;
        } else {
            self.write(&press.member)?;
            self.chain.push(&press.member, end);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(bytes, self.len) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Gives the space back, and keeps a reader from stumbling over half a member. Not needed for
                // correctness: see `len`.
                let _best_effort = self.trim();
                Err(error)
            }
        }
    }

    /// Cuts off what lies behind the sound part.
    pub(crate) fn trim(&self) -> io::Result<()> {
        if self.file.metadata()?.len() != self.len { self.file.set_len(self.len) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(content: &[u8]) -> Segment {
        let mut segment = Segment::default();
        segment.buffer(tokio::time::Instant::now()).extend_from_slice(content);
        segment
    }

    #[test]
    fn a_removed_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.open");
        let mut record = RecordFile::create(&path, Version::V1).unwrap();
        record.append(&segment(b"x"), false, &mut Press::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = record.append(&segment(b"y"), false, &mut Press::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_failed_write_left_is_written_over_and_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.open");
        let mut record = RecordFile::create(&path, Version::V1).unwrap();
        record.file.write_all_at(&[0xee; 500], record.len).unwrap();
        record.append(&segment(b"x"), false, &mut Press::default()).unwrap();
        record.trim().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), record.len());
    }

    #[test]
    fn a_record_is_never_started_over_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.open");
        let _first = RecordFile::create(&path, Version::V1).unwrap();
        assert_eq!(RecordFile::create(&path, Version::V1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn the_chain_of_a_record_is_that_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.open");
        let mut record = RecordFile::create(&path, Version::V2).unwrap();
        let mut press = Press::default();
        for (content, last) in [(&b"one"[..], false), (b"two", false), (b"", true)] {
            record.append(&segment(content), last, &mut press).unwrap();
        }
        let file = std::fs::read(&path).unwrap();
        let followed =
            Chain::follow(&file[HEADER_LEN..], &header(Version::V2), record.len()).unwrap().unwrap();
        assert_eq!(&followed.chain, record.chain());
        assert_eq!(
            followed.seal,
            Some(End { length: followed.session, session: followed.session, dropped: 0 })
        );
    }
}
