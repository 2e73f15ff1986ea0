//! One record's file while its session lives.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, PoisonError};

use containerssh_auditlog::chain::{Chain, End, Kind};
use containerssh_auditlog::encrypted::Recipients;
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{HEADER_LEN, Version, header};

use super::RecordId;
use super::dir::{SpoolDir, Stage, create};
use super::encrypted_file::EncryptedFile;
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

/// A record that ends with a complete member at `len`, whatever may lie behind that.
#[derive(Debug)]
pub(crate) struct RecordFile {
    body: Body,
    /// Up to where it is sound, before encryption.
    len: u64,
    version: Version,
    /// Of the members up to `len`.
    chain: Chain,
}

/// Where its bytes are.
#[derive(Debug)]
enum Body {
    /// In a file as they are. Writes go exactly to `len`, so that what a failed one left behind is written over.
    Plain(Arc<File>),
    Encrypted(Box<EncryptedFile>),
}

impl RecordFile {
    /// Starts a record. Fails if there is one already.
    pub(crate) fn create(
        dir: &SpoolDir,
        id: &RecordId,
        version: Version,
        recipients: Option<Recipients>,
    ) -> io::Result<Self> {
        let path = dir.record(id, Stage::Open);
        let header = header(version);
        let body = match recipients {
            None => {
                let file = create(OpenOptions::new().write(true).create_new(true), &path)?;
                file.write_all_at(&header, 0)?;
                Body::Plain(Arc::new(file))
            }
            Some(recipients) => {
                let mut file = EncryptedFile::create(&path, &dir.tail(id), recipients)?;
                file.push(&header, false)?;
                file.write()?;
                Body::Encrypted(Box::new(file))
            }
        };
        Ok(Self { body, len: HEADER_LEN as u64, version, chain: Chain::start(&header) })
    }

    /// The files, to be synced.
    pub(crate) fn handles(&self) -> Vec<Arc<File>> {
        match &self.body {
            Body::Plain(file) => vec![file.clone()],
            Body::Encrypted(file) => file.handles(),
        }
    }

    /// Bytes on the disk that are sound.
    pub(crate) fn len(&self) -> u64 {
        match &self.body {
            Body::Plain(_) => self.len,
            Body::Encrypted(file) => file.len(),
        }
    }

    /// The chain of a record that can be seen from outside.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        matches!(self.body, Body::Plain(_)).then_some(&self.chain)
    }

    /// Whether the file was removed under us: writes would succeed and go nowhere.
    pub(crate) fn is_removed(&self) -> bool {
        let file = match &self.body {
            Body::Plain(file) => file,
            Body::Encrypted(file) => file.main(),
        };
        file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Whether a segment that could not be written must be given to [`RecordFile::append`] again before any other:
    /// encryption has gone on behind it.
    pub(crate) fn is_behind(&self) -> bool {
        matches!(&self.body, Body::Encrypted(file) if file.is_behind())
    }

    /// Appends a segment as one member, and the seal with it if it is the record's last. On failure the files are as
    /// before; see [`RecordFile::is_behind`] for what to do then.
    pub(crate) fn append(&mut self, segment: &Segment, last: bool, press: &mut Press) -> io::Result<()> {
        if self.is_removed() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the record's file was removed from the spool",
            ));
        }
        if let Body::Encrypted(file) = &mut self.body
            && file.is_behind()
        {
            return file.write();
        }
        press.member.clear();
        let first = self.len == HEADER_LEN as u64;
        let mut chain = self.chain.clone();
        let content = segment.content(self.version, first);
        let link = chain.next_link(Kind::Segment);
        member::compress_with_extra(content, &link, &mut press.member, &mut press.scratch);
        let mut end = self.len + press.member.len() as u64;
        chain.push(&press.member, end);
        if last {
            // With the end in one write, a crash hardly ever comes between.
            let seal = chain.seal(Kind::Seal, End { length: end, session: end, dropped: 0 });
            end += seal.len() as u64;
            chain.push(&seal, end);
            press.member.extend_from_slice(&seal);
        }
        match &mut self.body {
            Body::Plain(file) => {
                if let Err(error) = file.write_all_at(&press.member, self.len) {
                    // Gives the space back, and keeps a reader from stumbling over half a member. Not needed for
                    // correctness: see `Body`.
                    let _best_effort = self.trim();
                    return Err(error);
                }
                (self.len, self.chain) = (end, chain);
                Ok(())
            }
            Body::Encrypted(file) => {
                file.push(&press.member, last)?;
                (self.len, self.chain) = (end, chain);
                file.write()
            }
        }
    }

    /// Cuts off what lies behind the sound part.
    pub(crate) fn trim(&self) -> io::Result<()> {
        match &self.body {
            Body::Plain(file) if file.metadata()?.len() != self.len => file.set_len(self.len),
            Body::Plain(_) => Ok(()),
            Body::Encrypted(file) => file.trim(),
        }
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

    fn id() -> RecordId {
        RecordId::parse("a").unwrap()
    }

    fn spool() -> (tempfile::TempDir, SpoolDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let dir = SpoolDir::open(directory.path()).unwrap();
        let path = dir.record(&id(), Stage::Open);
        (directory, dir, path)
    }

    #[test]
    fn a_removed_file_is_noticed() {
        let (_directory, dir, path) = spool();
        let mut record = RecordFile::create(&dir, &id(), Version::V1, None).unwrap();
        record.append(&segment(b"x"), false, &mut Press::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = record.append(&segment(b"y"), false, &mut Press::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_failed_write_left_is_written_over_and_cut_off() {
        let (_directory, dir, path) = spool();
        let mut record = RecordFile::create(&dir, &id(), Version::V1, None).unwrap();
        record.handles()[0].write_all_at(&[0xee; 500], record.len).unwrap();
        record.append(&segment(b"x"), false, &mut Press::default()).unwrap();
        record.trim().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), record.len());
    }

    #[test]
    fn a_record_is_never_started_over_another() {
        let (_directory, dir, _) = spool();
        let _first = RecordFile::create(&dir, &id(), Version::V1, None).unwrap();
        let second = RecordFile::create(&dir, &id(), Version::V1, None);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn the_chain_of_a_record_is_that_of_its_file() {
        let (_directory, dir, path) = spool();
        let mut record = RecordFile::create(&dir, &id(), Version::V2, None).unwrap();
        let mut press = Press::default();
        for (content, last) in [(&b"one"[..], false), (b"two", false), (b"", true)] {
            record.append(&segment(content), last, &mut press).unwrap();
        }
        let file = std::fs::read(&path).unwrap();
        let followed =
            Chain::follow(&file[HEADER_LEN..], &header(Version::V2), record.len()).unwrap().unwrap();
        assert_eq!(Some(&followed.chain), record.chain());
        assert_eq!(
            followed.seal,
            Some(End { length: followed.session, session: followed.session, dropped: 0 })
        );
    }
}
