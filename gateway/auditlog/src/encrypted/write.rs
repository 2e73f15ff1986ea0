//! Encrypting a record as it comes.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use age::stream::StreamWriter;

use super::{CHUNK, FRAME_HEAD, Kind, Recipients, SEALED_CHUNK};

/// What a piece of plaintext becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// To be appended to the chunks. Empty as long as no chunk is full.
    pub chunks: Vec<u8>,
    /// To be appended to the tail: what the chunks do not hold of this piece.
    pub frame: Vec<u8>,
}

/// Encrypts one record. Holds up to 64 KiB of its plaintext, and the key.
pub struct Sealer {
    recipients: Recipients,
    /// `None` once finished.
    stream: Option<StreamWriter<Out>>,
    out: Out,
    /// Plaintext behind the last whole chunk.
    rest: Vec<u8>,
    /// Where that begins in the plaintext.
    from: u64,
}

/// What the stream has written and nobody has taken yet.
#[derive(Clone, Debug, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Starts a record. Returns what the file begins with.
    ///
    /// # Errors
    /// If the recipients do not go together, which those of one kind always do.
    pub fn start(recipients: Recipients) -> io::Result<(Self, Vec<u8>)> {
        let out = Out::default();
        let stream = recipients.encryptor()?.wrap_output(out.clone())?;
        let head = out.take();
        Ok((Self { recipients, stream: Some(stream), out, rest: Vec::new(), from: 0 }, head))
    }

    /// Encrypts the next plaintext. From now on it is part of the record: what this returns must be written before
    /// anything that a later call returns.
    ///
    /// # Errors
    /// If the record is finished.
    pub fn push(&mut self, plaintext: &[u8], kind: Kind) -> io::Result<Sealed> {
        let stream = self.stream.as_mut().ok_or_else(finished)?;
        stream.write_all(plaintext)?;
        let chunks = self.out.take();
        let whole = chunks.len() / SEALED_CHUNK * CHUNK;
        let before = self.rest.len();
        self.rest.extend_from_slice(plaintext);
        let frame = if whole == 0 {
            frame(&self.recipients, kind, self.from + before as u64, plaintext)?
        } else {
            self.rest.drain(..whole.min(self.rest.len()));
            self.from += whole as u64;
            self.tail(kind)?
        };
        Ok(Sealed { chunks, frame })
    }

    /// A frame with all that is not in whole chunks: what a tail that is begun anew begins with.
    ///
    /// # Errors
    /// None that a record can cause.
    pub fn tail(&self, kind: Kind) -> io::Result<Vec<u8>> {
        frame(&self.recipients, kind, self.from, &self.rest)
    }

    /// Ends the record. Returns the last chunk.
    ///
    /// # Errors
    /// If it is finished already.
    pub fn finish(&mut self) -> io::Result<Vec<u8>> {
        self.stream.take().ok_or_else(finished)?.finish()?;
        Ok(self.out.take())
    }
}

fn finished() -> io::Error {
    io::Error::other("the encrypted record is finished")
}

/// The frame that recovery appends, with what is to follow the record's plaintext.
///
/// # Errors
/// None that a record can cause.
pub fn closing(recipients: &Recipients, plaintext: &[u8]) -> io::Result<Vec<u8>> {
    frame(recipients, Kind::Closing, u64::MAX, plaintext)
}

fn frame(recipients: &Recipients, kind: Kind, from: u64, plaintext: &[u8]) -> io::Result<Vec<u8>> {
    let sealed = recipients.seal(&[&from.to_le_bytes(), plaintext])?;
    let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(FRAME_HEAD + sealed.len());
    frame.push(kind.code());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&sealed);
    Ok(frame)
}
