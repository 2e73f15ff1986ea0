//! Frames: one byte of kind, four of length (big endian), then the content.

use std::io;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest content. A command line of 256 KiB and an environment of a few dozen KiB, escaped as JSON; bytes of programs come in
/// pieces of up to 64 KiB.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;
/// Longest content that is taken from an agent, which is as hostile as its guest: bytes, and short messages.
pub const MAX_FRAME_OF_GUEST: usize = 64 * 1024;
/// Kind and length.
const HEADER: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first one from the gateway: what this connection is for. JSON.
    Request = 1,
    /// The first one from the agent: whether it is done. JSON.
    Reply = 2,
    /// Standard input or output, or a stream's bytes.
    Data = 3,
    /// Standard error.
    Stderr = 4,
    /// No more data in this direction. Empty.
    Eof = 5,
    /// A window size: four times four bytes.
    Resize = 6,
    /// A signal's name.
    Signal = 7,
    /// How a program ended, or why that is not known. JSON.
    End = 8,
    /// Something has arrived. JSON.
    Incoming = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Data, End, Eof, Incoming, Reply, Request, Resize, Signal, Stderr};
        [Request, Reply, Data, Stderr, Eof, Resize, Signal, End, Incoming]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Takes frames from a stream. Cancel-safe: what has come of a frame is kept.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    limit: usize,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    filled: usize,
    content: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Refuses frames of more than `limit` bytes of content.
    pub fn new(stream: R, limit: usize) -> Self {
        Self { stream, limit, header: [0; HEADER], filled: 0, content: BytesMut::new() }
    }

    /// The next frame; `None` if the stream ends before one.
    ///
    /// # Errors
    /// When the stream fails, ends within a frame, or holds something else.
    pub async fn next(&mut self) -> io::Result<Option<(Kind, Bytes)>> {
        while self.filled < HEADER {
            let free = self.header.get_mut(self.filled..).unwrap_or_default();
            match self.stream.read(free).await? {
                0 if self.filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
        let (kind, length) = self.parse()?;
        // Allocated only now that something comes; an idle connection holds no buffer.
        self.content.reserve(length - self.content.len());
        while self.content.len() < length {
            let missing = length - self.content.len();
            if self.stream.read_buf(&mut (&mut self.content).limit(missing)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.filled = 0;
        Ok(Some((kind, std::mem::take(&mut self.content).freeze())))
    }

    fn parse(&self) -> io::Result<(Kind, usize)> {
        let mut header = &self.header[..];
        let (kind, length) = (header.get_u8(), header.get_u32());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match Kind::of(kind) {
            Some(kind) if length <= self.limit => Ok((kind, length)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame")),
        }
    }
}

/// Puts frames onto a stream.
#[derive(Debug)]
pub struct FrameWriter<W>(W);

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Takes a stream over.
    pub fn new(stream: W) -> Self {
        Self(stream)
    }

    /// Writes one frame and waits until it has left. Not cancel-safe: a frame that was cut is followed by nothing.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn send(&mut self, kind: Kind, content: Bytes) -> io::Result<()> {
        let mut header = [0; HEADER];
        let mut free = &mut header[..];
        free.put_u8(kind as u8);
        free.put_u32(u32::try_from(content.len()).map_err(|_| io::ErrorKind::InvalidInput)?);
        self.0.write_all_buf(&mut Buf::chain(&header[..], content)).await?;
        self.0.flush().await
    }

    /// No more frames.
    ///
    /// # Errors
    /// When the stream fails.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            pipe in 1_usize..64,
        ) {
            runtime().block_on(async {
                let (near, far) = tokio::io::duplex(pipe);
                let sent = contents.clone();
                let sending = async move {
                    let mut writer = FrameWriter::new(near);
                    for content in sent {
                        writer.send(Kind::Data, content.into()).await.unwrap();
                    }
                };
                let receiving = async {
                    let mut reader = FrameReader::new(far, 300);
                    let mut received = Vec::new();
                    while let Some((kind, content)) = reader.next().await.unwrap() {
                        assert_eq!(kind, Kind::Data);
                        received.push(content.to_vec());
                    }
                    received
                };
                let ((), received) = tokio::join!(sending, receiving);
                assert_eq!(received, contents);
            });
        }

        #[test]
        fn any_bytes_are_frames_or_an_error_and_hold_no_more_than_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            runtime().block_on(async {
                let mut reader = FrameReader::new(&bytes[..], 64);
                while let Ok(Some((_, content))) = reader.next().await {
                    assert!(content.len() <= 64);
                }
            });
        }
    }

    #[test]
    fn what_is_too_long_unknown_or_cut_is_an_error() {
        runtime().block_on(async {
            for wrong in
                [&b"\x03\0\0\0\x05"[..], b"\x0a\0\0\0\0", b"\0\0\0\0\0", b"\x03\0\0", b"\x03\0\0\0\x02a"]
            {
                assert!(FrameReader::new(wrong, 4).next().await.is_err(), "{wrong:?}");
            }
        });
    }
}
