//! The two files of an encrypted record while its session lives: whole chunks, and the tail that no chunk holds yet.
//!
//! See `containerssh_auditlog::encrypted` for what they hold and why there are two. A stream cipher cannot take back what
//! it has encrypted, so what could not be written is kept and written first the next time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerssh_auditlog::encrypted::{Kind, Recipients, Sealed, Sealer};

use super::dir::create;

/// A tail that is longer is begun anew. Every segment adds up to 64 KiB, so this happens once in 16 MiB or more of the
/// record, and costs three syncs.
const MAX_TAIL: u64 = 4 * 1024 * 1024;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct EncryptedFile {
    sealer: Sealer,
    chunks: Arc<File>,
    chunks_len: u64,
    tail: Arc<File>,
    tail_path: PathBuf,
    tail_len: u64,
    /// Encrypted, and not yet in the files.
    unwritten: Option<Sealed>,
    max_tail: u64,
}

impl EncryptedFile {
    /// Starts a record. Fails if there is one already.
    pub(crate) fn create(path: &Path, tail_path: &Path, recipients: Recipients) -> io::Result<Self> {
        let chunks = create(OpenOptions::new().write(true).create_new(true), path)?;
        // Without a record a tail is nobody's.
        let tail = create(OpenOptions::new().write(true).create(true).truncate(true), tail_path)?;
        let (sealer, head) = Sealer::start(recipients)?;
        chunks.write_all_at(&head, 0)?;
        Ok(Self {
            sealer,
            chunks: Arc::new(chunks),
            chunks_len: head.len() as u64,
            tail: Arc::new(tail),
            tail_path: tail_path.to_owned(),
            tail_len: 0,
            unwritten: None,
            max_tail: MAX_TAIL,
        })
    }

    pub(crate) fn handles(&self) -> Vec<Arc<File>> {
        vec![self.chunks.clone(), self.tail.clone()]
    }

    /// What tells whether the record was removed.
    pub(crate) fn main(&self) -> &File {
        &self.chunks
    }

    /// Bytes in both files.
    pub(crate) fn len(&self) -> u64 {
        self.chunks_len + self.tail_len
    }

    /// Whether something waits to be written before anything else.
    pub(crate) fn is_behind(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Encrypts what comes next in the record. To be written by [`EncryptedFile::write`].
    pub(crate) fn push(&mut self, plaintext: &[u8], last: bool) -> io::Result<()> {
        let kind = if last { Kind::Last } else { Kind::Piece };
        let mut sealed = self.sealer.push(plaintext, kind)?;
        if last {
            sealed.chunks.extend(self.sealer.finish()?);
        }
        self.unwritten = Some(sealed);
        Ok(())
    }

    /// Writes what was encrypted. On failure it is kept.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let Some(sealed) = self.unwritten.take() else { return Ok(()) };
        let written = self
            .chunks
            .write_all_at(&sealed.chunks, self.chunks_len)
            .and_then(|()| self.tail.write_all_at(&sealed.frame, self.tail_len));
        if let Err(error) = written {
            self.unwritten = Some(sealed);
            let _best_effort = self.trim();
            return Err(error);
        }
        self.chunks_len += sealed.chunks.len() as u64;
        self.tail_len += sealed.frame.len() as u64;
        if self.tail_len > self.max_tail {
            // Not needed for correctness: a longer tail holds the same.
            let _another_time = self.renew_tail();
        }
        Ok(())
    }

    /// Replaces the tail by one that holds what the chunks do not, once those are durable.
    fn renew_tail(&mut self) -> io::Result<()> {
        let frame = self.sealer.tail(Kind::Piece)?;
        let temporary = self.tail_path.with_extension("tail.tmp");
        let tail = create(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
        tail.write_all_at(&frame, 0)?;
        self.chunks.sync_data()?;
        tail.sync_all()?;
        std::fs::rename(&temporary, &self.tail_path)?;
        if let Some(directory) = self.tail_path.parent() {
            // What is written to the new tail is found after a power cut only if its name is.
            File::open(directory)?.sync_all()?;
        }
        (self.tail, self.tail_len) = (Arc::new(tail), frame.len() as u64);
        Ok(())
    }

    /// Cuts off what lies behind the sound parts.
    pub(crate) fn trim(&self) -> io::Result<()> {
        for (file, len) in [(&self.chunks, self.chunks_len), (&self.tail, self.tail_len)] {
            if file.metadata()?.len() != len {
                file.set_len(len)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use containerssh_auditlog::encrypted::{Decrypted, Identities, TAIL_START, scan_tail, whole_chunks};

    use super::*;

    const KEY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    struct Case {
        directory: tempfile::TempDir,
        file: EncryptedFile,
    }

    impl Case {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let recipients = Recipients::parse(&[RECIPIENT.to_owned()]).unwrap().unwrap();
            let (path, tail) = (directory.path().join("a.open"), directory.path().join("a.tail"));
            Self { file: EncryptedFile::create(&path, &tail, recipients).unwrap(), directory }
        }

        /// What can be read after a crash now.
        fn readable(&self) -> Vec<u8> {
            let chunks = std::fs::read(self.directory.path().join("a.open")).unwrap();
            let tail = std::fs::read(self.directory.path().join("a.tail")).unwrap();
            let whole = usize::try_from(whole_chunks(&chunks[..], chunks.len() as u64).unwrap()).unwrap();
            let frames = usize::try_from(scan_tail(&tail[..]).unwrap().length).unwrap();
            decrypt(&[&chunks[..whole], TAIL_START, &tail[..frames]].concat())
        }
    }

    fn decrypt(record: &[u8]) -> Vec<u8> {
        let mut identities = Identities::default();
        identities.add(KEY.as_bytes()).unwrap();
        let mut plaintext = Vec::new();
        Decrypted::new(record, &Arc::new(identities)).unwrap().read_to_end(&mut plaintext).unwrap();
        plaintext
    }

    fn piece(number: u8) -> Vec<u8> {
        vec![number; 30_000 + usize::from(number)]
    }

    #[test]
    fn everything_written_is_readable_at_once_and_a_long_tail_is_begun_anew() {
        let mut case = Case::new();
        case.file.max_tail = 100_000;
        let (mut expected, mut longest) = (Vec::new(), 0);
        for number in 0..40 {
            case.file.push(&piece(number), false).unwrap();
            case.file.write().unwrap();
            expected.extend(piece(number));
            longest = longest.max(case.file.tail_len);
            assert!(case.readable() == expected, "{number}");
        }
        assert!(longest < 250_000, "{longest}");
        case.file.push(b"end", true).unwrap();
        case.file.write().unwrap();
        expected.extend(b"end");
        assert!(case.readable() == expected);
        assert!(decrypt(&std::fs::read(case.directory.path().join("a.open")).unwrap()) == expected);
    }

    #[test]
    fn what_could_not_be_written_is_written_first_the_next_time() {
        let mut case = Case::new();
        case.file.push(&piece(1), false).unwrap();
        case.file.write().unwrap();
        // A file that cannot be written stands for a full disk.
        let readable = Arc::new(File::open(case.directory.path().join("a.tail")).unwrap());
        let tail = std::mem::replace(&mut case.file.tail, readable);
        for _ in 0..3 {
            if !case.file.is_behind() {
                case.file.push(&piece(2), false).unwrap();
            }
            assert!(case.file.write().is_err());
        }
        assert!(case.readable() == piece(1));
        case.file.tail = tail;
        case.file.write().unwrap();
        assert!(case.readable() == [piece(1), piece(2)].concat());
    }
}
