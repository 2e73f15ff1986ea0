//! What is stored, and request bodies made of it.
//!
//! Everything is read from its start to its end, once per pass, in pieces: what an upload holds in memory does not depend
//! on how much is uploaded. Reading happens on the runtime's threads for blocking work, a piece at a time, so that a slow
//! store holds no thread.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::casts;

/// How much of a body is read at a time: few enough hops between threads, little enough memory.
const PIECE: usize = 128 * 1024;

/// A source of bytes.
pub(crate) type Source = Box<dyn Read + Send>;

/// What becomes one object or file.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file of the spool as it is.
    File(PathBuf),
    /// What was made in memory, and is small.
    Memory(Bytes),
    /// The cast of a channel, made from the record as it is read.
    Cast { record: PathBuf, channel: u64, bytes: u64 },
}

impl Content {
    /// Its length, bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(path) => Ok(std::fs::metadata(path)?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::Cast { bytes, .. } => Ok(*bytes),
        }
    }

    /// Reads it from its start. The same each time.
    pub(crate) fn open(&self) -> io::Result<Source> {
        match self {
            Self::File(path) => Ok(Box::new(File::open(path)?)),
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            Self::Cast { record, channel, .. } => Ok(Box::new(casts::CastReader::open(record, *channel)?)),
        }
    }
}

/// An open content that the bodies of successive requests are read from, each from where the one before ended.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Mutex<Source>>);

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

impl Feed {
    /// Opens a content, off the runtime.
    pub(crate) async fn open(content: &Content) -> io::Result<Self> {
        let content = content.clone();
        let source =
            tokio::task::spawn_blocking(move || content.open()).await.map_err(io::Error::other)??;
        Ok(Self(Arc::new(Mutex::new(source))))
    }

    /// The next so many bytes as a request's body.
    pub(crate) fn body(&self, length: u64) -> ByteStream {
        ByteStream::from_body_1_x(Pieces { feed: self.clone(), left: length, reading: None })
    }

    /// Reads a piece. Blocks.
    fn read(&self, want: usize) -> io::Result<Bytes> {
        let mut piece = Vec::with_capacity(want);
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = (&mut *source).take(want as u64).read_to_end(&mut piece)?;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece.into()) }
    }
}

/// A body that is read as it is sent.
struct Pieces {
    feed: Feed,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let want = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let feed = self.feed.clone();
        let reading =
            self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || feed.read(want)));
        let outcome = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        // An error ends the request, so nothing is read after it.
        self.left = outcome.as_ref().map_or(0, |piece| self.left.saturating_sub(piece.len() as u64));
        Poll::Ready(Some(outcome.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_follow_one_another_through_the_content() {
        let data: Vec<u8> = (0..PIECE * 3 + 17).map(|at| (at % 251) as u8).collect();
        let feed = Feed::open(&Content::Memory(data.clone().into())).await.unwrap();
        let mut read = Vec::new();
        for length in [1, PIECE as u64 + 5, 0, data.len() as u64 - PIECE as u64 - 6] {
            let body = feed.body(length).collect().await.unwrap().into_bytes();
            assert_eq!(body.len() as u64, length);
            read.extend_from_slice(&body);
        }
        assert_eq!(read, data);
    }

    #[tokio::test]
    async fn a_content_shorter_than_promised_is_an_error_and_no_shorter_object() {
        let feed = Feed::open(&Content::Memory(Bytes::from_static(b"abc"))).await.unwrap();
        assert!(feed.body(4).collect().await.is_err());
    }
}
