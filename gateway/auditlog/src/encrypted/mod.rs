//! Encrypted records: readable by the holders of some keys, and not by who wrote them.
//!
//! # What is stored
//! A record that was closed by its session is an ordinary [age](https://age-encryption.org/v1) file whose plaintext is the record:
//! `age --decrypt` reads it. The gateway holds its key for as long as the session lives, in memory alone.
//!
//! # What a crash leaves
//! age seals plaintext in chunks of 64 KiB, and a chunk cannot be written before it is full: sealing the same chunk twice,
//! first short and then longer, would use one nonce for two messages. But what was typed must be on the disk within 100
//! ms. So what does not fill a chunk yet lies in a second file, the *tail*: piece by piece, each a small age file of its
//! own, with where it belongs in the plaintext. Nobody can complete the chunk after a crash, for the key is gone. Recovery
//! appends the tail to the chunks as it is, and says at its end that it did:
//!
//! ```text
//! age header and nonce │ whole chunks │ TAIL_START │ frame │ frame │ … │ closing frame
//! ```
//!
//! [`Decrypted`] reads both forms to the last byte that was written. `age` alone stops at the end of the chunks.
//!
//! A frame is its [`Kind`] (1 byte), the length of what follows (4 bytes, little-endian) and an age file. The plaintext of
//! that begins with where it belongs (8 bytes, little-endian). Frames may repeat what is in chunks, because a tail is only
//! cleared once the chunks are durable; the reader skips that.
//!
//! # What was not done, and why
//! An age file per segment would need 200 bytes and a key agreement for each keystroke in the stored record, and `age`
//! could not read it. Padding each segment to a chunk would cost 64 KiB for a keystroke. A key kept on the disk to go on
//! after a crash could be read there by whom encryption is meant to keep out.

mod read;
mod tail;
mod write;

use std::fmt;
use std::sync::Arc;

use age::x25519::Recipient;

pub use read::{Decrypted, Identities, UnreadableError};
pub use tail::{Tail, scan_tail, whole_chunks};
pub use write::{Sealed, Sealer, closing};

/// What every age file begins with, as far as a version allows.
pub const MAGIC: &[u8] = b"age-encryption.org/";

/// What stands between the chunks and the frames. 32 bytes: that a chunk begins so happens once in 2^256.
pub const TAIL_START: &[u8; 32] = b"\ncontainerssh-audit-tail-frames\0";

/// Whether a file that begins so is encrypted.
#[must_use]
pub fn is_encrypted(start: &[u8]) -> bool {
    start.starts_with(MAGIC) || start.starts_with(TAIL_START)
}

/// Plaintext in a chunk (C2SP age.md).
const CHUNK: usize = 64 << 10;
/// A chunk as it is stored: with its authentication tag.
const SEALED_CHUNK: usize = CHUNK + 16;
/// What stands between header and chunks: the nonce.
const NONCE: usize = 16;
/// The longest header: sixteen recipients need 1,600 bytes.
const MAX_HEADER: usize = 64 << 10;
/// The longest frame: a member of one segment with the longest record in it, and room.
const MAX_FRAME: usize = 32 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plaintext of the record.
    Piece,
    /// The same, and the record ends with it.
    Last,
    /// What recovery adds where the record was cut.
    Closing,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Piece => b'P',
            Self::Last => b'L',
            Self::Closing => b'C',
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            b'P' => Some(Self::Piece),
            b'L' => Some(Self::Last),
            b'C' => Some(Self::Closing),
            _ => None,
        }
    }
}

/// Length of a frame's head: kind and length.
const FRAME_HEAD: usize = 5;

/// A text that is no recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("recipient {0} is not an X25519 recipient of age (age1…)")]
pub struct NotARecipient(
    /// Which, counted from 1.
    pub usize,
);

/// Who can read. At least one.
#[derive(Clone)]
pub struct Recipients(Arc<[Recipient]>);

impl Recipients {
    /// Reads recipients as `age-keygen` prints them. `None` if there are none.
    ///
    /// # Errors
    /// If one is not of that form.
    pub fn parse(texts: &[String]) -> Result<Option<Self>, NotARecipient> {
        let parsed: Result<Vec<Recipient>, _> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| text.parse().map_err(|_: &str| NotARecipient(number + 1)))
            .collect();
        parsed.map(|recipients| (!recipients.is_empty()).then(|| Self(recipients.into())))
    }

    fn encryptor(&self) -> std::io::Result<age::Encryptor> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        age::Encryptor::with_recipients(recipients).map_err(std::io::Error::other)
    }

    /// Encrypts something small as a whole age file.
    fn seal(&self, parts: &[&[u8]]) -> std::io::Result<Vec<u8>> {
        use std::io::Write as _;
        let mut writer = self.encryptor()?.wrap_output(Vec::new())?;
        for part in parts {
            writer.write_all(part)?;
        }
        writer.finish()
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

#[cfg(test)]
mod tests;
