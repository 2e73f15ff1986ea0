//! Who is told what happens to files.

use super::event::FileEvent;

/// Takes events, and if it wants them the contents of files as they pass.
///
/// Any `FnMut(FileEvent)` is one.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: FileEvent);

    /// Bytes of a file pass. Written ones are those that the client sends, before the server confirmed them: the
    /// [`super::Operation::Close`] with the same number says what became of them.
    fn data(&mut self, chunk: Chunk<'_>) {
        let _ = chunk;
    }
}

impl<F: FnMut(FileEvent)> Observer for F {
    fn event(&mut self, event: FileEvent) {
        self(event);
    }
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The number of the transfer, as in the events.
    pub transfer: u64,
    /// To the user or from the user.
    pub direction: Direction,
    /// Where the first of the bytes belongs in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Which way the contents of a file go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the server to the user: a download.
    Read,
    /// From the user to the server: an upload.
    Written,
}
