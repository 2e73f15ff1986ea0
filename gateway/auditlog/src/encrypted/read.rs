//! Reading encrypted records, whole or cut.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, Cursor, Read};
use std::rc::Rc;
use std::sync::Arc;

use age::stream::StreamReader;
use age::{Decryptor, Identity};

use super::tail::{read_head, read_header};
use super::{Kind, SEALED_CHUNK, TAIL_START};

/// Why an encrypted record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableError {
    /// It is for others.
    #[error("it is encrypted to other keys than those given")]
    OtherKeys,
    /// No key was given.
    #[error("it is encrypted: give the key of one of its recipients")]
    NoKeys,
    /// Its header is damaged.
    #[error("it is encrypted, and its header is damaged")]
    Header,
    /// It could not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Keys that read.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn Identity + Send + Sync>>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

impl Identities {
    /// Adds those of a file as `age-keygen` writes it.
    ///
    /// # Errors
    /// If it holds anything else, or nothing. The message names the line and shows nothing of it.
    pub fn add(&mut self, file: impl BufRead) -> io::Result<()> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let mut found = 0;
        for (number, line) in file.lines().enumerate() {
            let line = line?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity: age::x25519::Identity =
                line.parse().map_err(|_| invalid(format!("line {} is no age identity", number + 1)))?;
            self.0.push(Box::new(identity));
            found += 1;
        }
        if found == 0 {
            return Err(invalid("there is no age identity in it".to_owned()));
        }
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn open<R: Read>(&self, decryptor: Decryptor<R>) -> Result<StreamReader<R>, UnreadableError> {
        if self.is_empty() {
            return Err(UnreadableError::NoKeys);
        }
        let identities = self.0.iter().map(|identity| identity.as_ref() as &dyn Identity);
        decryptor.decrypt(identities).map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => UnreadableError::OtherKeys,
            age::DecryptError::Io(error) => UnreadableError::Io(error),
            _ => UnreadableError::Header,
        })
    }
}

/// The plaintext of an encrypted record: of one that its session closed, and of one that a crash cut, up to the last byte
/// that can be read.
pub struct Decrypted<R> {
    identities: Arc<Identities>,
    shared: Rc<RefCell<Shared<R>>>,
    state: State<R>,
    /// Plaintext given out, bytes; where the next of the record begins.
    position: u64,
    /// Plaintext of a frame, and what of it is yet to be given out.
    pending: Cursor<Vec<u8>>,
    pending_counts: bool,
}

impl<R> fmt::Debug for Decrypted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted").field("position", &self.position).finish_non_exhaustive()
    }
}

enum State<R> {
    Chunks(Box<StreamReader<HeaderAndChunks<R>>>),
    Frames,
    Done,
}

type HeaderAndChunks<R> = io::Chain<Cursor<Vec<u8>>, Chunks<R>>;

/// What reads chunks and what reads frames have in common.
#[derive(Debug)]
struct Shared<R> {
    reader: R,
    /// The chunks are over, and frames follow.
    tail: bool,
}

impl<R: BufRead> Decrypted<R> {
    /// Reads what `reader` holds from its start.
    ///
    /// # Errors
    /// If it cannot be read with these keys, or at all.
    pub fn new(mut reader: R, identities: &Arc<Identities>) -> Result<Self, UnreadableError> {
        let mut start = Vec::with_capacity(TAIL_START.len());
        reader.by_ref().take(TAIL_START.len() as u64).read_to_end(&mut start)?;
        let only_frames = start == TAIL_START;
        let header =
            if only_frames { None } else { read_header(&mut Cursor::new(start).chain(&mut reader))? };
        let shared = Rc::new(RefCell::new(Shared { reader, tail: only_frames }));
        let state = match header {
            Some(header) => {
                let chunks = Chunks { shared: shared.clone(), ahead: Vec::new(), left: 0, ended: false };
                let decryptor = Decryptor::new(Cursor::new(header).chain(chunks));
                let decryptor = decryptor.map_err(|_| UnreadableError::Header)?;
                State::Chunks(Box::new(identities.open(decryptor)?))
            }
            None if only_frames && identities.is_empty() => return Err(UnreadableError::NoKeys),
            None if only_frames => State::Frames,
            None => return Err(UnreadableError::Header),
        };
        let pending = Cursor::new(Vec::new());
        Ok(Self { identities: identities.clone(), shared, state, position: 0, pending, pending_counts: true })
    }

    /// Reads the next frame. `false`: there is none.
    fn next_frame(&mut self) -> io::Result<bool> {
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut shared = self.shared.borrow_mut();
        let Some((kind, length)) = read_head(&mut shared.reader)? else { return Ok(false) };
        let mut sealed = Vec::new();
        shared.reader.by_ref().take(u64::from(length)).read_to_end(&mut sealed)?;
        let unreadable = |error: &dyn fmt::Display| {
            damaged(format!(
                "the encrypted record is damaged behind byte {} of its content: {error}",
                self.position
            ))
        };
        let decryptor = Decryptor::new(Cursor::new(sealed)).map_err(|error| unreadable(&error))?;
        let mut opened = self.identities.open(decryptor).map_err(|error| unreadable(&error))?;
        let mut plaintext = Vec::new();
        opened.read_to_end(&mut plaintext).map_err(|error| unreadable(&error))?;
        let Some((from, content)) = plaintext.split_first_chunk::<8>() else {
            return Err(unreadable(&"a frame is too short"));
        };
        let from = u64::from_le_bytes(*from);
        self.pending_counts = kind != Kind::Closing;
        self.pending = if kind == Kind::Closing {
            Cursor::new(content.to_vec())
        } else if from > self.position {
            return Err(damaged(format!(
                "the encrypted record is damaged: bytes {} to {from} of its content are missing",
                self.position
            )));
        } else {
            let known = usize::try_from(self.position - from).unwrap_or(usize::MAX);
            Cursor::new(content.get(known..).unwrap_or_default().to_vec())
        };
        Ok(true)
    }
}

impl<R: BufRead> Read for Decrypted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.pending.read(buffer)?;
            if read > 0 {
                self.position += if self.pending_counts { read as u64 } else { 0 };
                return Ok(read);
            }
            match &mut self.state {
                State::Done => return Ok(0),
                State::Frames => {
                    if !self.next_frame()? {
                        self.state = State::Done;
                    }
                }
                State::Chunks(stream) => {
                    let read = stream.read(buffer);
                    let tail = self.shared.borrow().tail;
                    match read {
                        Ok(read) if read > 0 => {
                            self.position += read as u64;
                            return Ok(read);
                        }
                        // A crash came between the last chunk and the removal of the tail.
                        Ok(_) => self.state = if tail { State::Frames } else { State::Done },
                        // The chunks have no end, which is why there is a tail.
                        Err(_) if tail => self.state = State::Frames,
                        Err(error) => {
                            self.state = State::Done;
                            return Err(io::Error::new(
                                error.kind(),
                                format!(
                                    "the encrypted record is damaged or cut behind byte {} of its content: {error}",
                                    self.position
                                ),
                            ));
                        }
                    }
                }
            }
        }
    }
}

/// The chunks of an age file, up to where frames begin.
#[derive(Debug)]
struct Chunks<R> {
    shared: Rc<RefCell<Shared<R>>>,
    /// Read to see whether frames begin, and not yet given out.
    ahead: Vec<u8>,
    /// Bytes until the next chunk.
    left: usize,
    ended: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let shared = &mut *self.shared.borrow_mut();
        if self.left == 0 {
            shared.reader.by_ref().take(TAIL_START.len() as u64).read_to_end(&mut self.ahead)?;
            shared.tail = self.ahead == TAIL_START;
            if self.ahead.is_empty() || shared.tail {
                self.ended = true;
                return Ok(0);
            }
            self.left = SEALED_CHUNK;
        }
        let want = buffer.len().min(self.left);
        let space = buffer.get_mut(..want).unwrap_or_default();
        let read = if self.ahead.is_empty() {
            shared.reader.read(space)?
        } else {
            let mut ahead = &self.ahead[..];
            let read = ahead.read(space)?;
            self.ahead.drain(..read);
            read
        };
        self.left -= read;
        self.ended = read == 0;
        Ok(read)
    }
}
