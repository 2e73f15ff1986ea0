//! Pipes and terminals as tokio sees them: large reads without copies, nothing held while nothing comes.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// Bytes of one read: what a pipe holds by default, and two packets of the SSH server.
const CHUNK: usize = 64 * 1024;
/// A read that brought less may be followed by another at once: a terminal gives at most 4 KiB at a time.
const ENOUGH: usize = 32 * 1024;
/// Fewer bytes are copied out of their buffer, so that a queue of single keystrokes does not hold a buffer for each.
const SMALL: usize = 8 * 1024;
/// What a pipe should hold, so that a program does not wait for us at each 64 KiB. More than sshd's socket buffers; not more
/// than what an unprivileged user has at once for hundreds of programs (pipe(7)). Where it is refused, 64 KiB do.
const PIPE: usize = 256 * 1024;

/// A descriptor to read from or to write to.
#[derive(Debug)]
pub(crate) struct Descriptor(AsyncFd<OwnedFd>);

/// What the reading end says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Now {
    Data(Bytes),
    /// Nothing yet.
    Empty,
    /// The other end is closed.
    End,
}

impl Descriptor {
    /// Takes a descriptor over. Must be called within a runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        #[allow(
            deprecated,
            reason = "unsound only for types that give their descriptor away; this one owns it"
        )]
        let fd = AsyncFd::new(fd)?;
        Ok(Self(fd))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// The next bytes, or `None` at the end. Cancel-safe.
    pub(crate) async fn read(&self) -> io::Result<Option<Bytes>> {
        loop {
            let mut ready = self.0.readable().await?;
            match read_now(self.fd())? {
                Now::Data(data) => return Ok(Some(data)),
                Now::End => return Ok(None),
                Now::Empty => ready.clear_ready(),
            }
        }
    }

    /// What can be read without waiting.
    pub(crate) fn read_now(&self) -> io::Result<Now> {
        read_now(self.fd())
    }

    /// Writes everything, waiting as long as that takes.
    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.0.writable().await?;
            match rustix::io::write(self.fd(), data) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => data = data.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn read_now(fd: &OwnedFd) -> io::Result<Now> {
    let mut buffer = Vec::with_capacity(CHUNK);
    while buffer.len() < ENOUGH {
        match rustix::io::read(fd, spare_capacity(&mut buffer)) {
            // The other end of a terminal is closed: EIO instead of an end.
            Ok(0) | Err(Errno::IO) if buffer.is_empty() => return Ok(Now::End),
            Ok(0) | Err(Errno::IO) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if buffer.is_empty() => return Ok(Now::Empty),
            Err(Errno::AGAIN) => break,
            Err(error) if buffer.is_empty() => return Err(error.into()),
            // It will come again.
            Err(_) => break,
        }
    }
    Ok(Now::Data(if buffer.len() < SMALL { Bytes::copy_from_slice(&buffer) } else { Bytes::from(buffer) }))
}

/// A pipe for one of a program's streams: (its reading end, its writing end), neither inherited by itself.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = std::io::pipe()?;
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE);
    Ok((reader.into(), writer.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_whole_and_the_end_after_them() {
        let (reader, writer) = pipe().unwrap();
        let (reader, writer) = (Descriptor::new(reader).unwrap(), Descriptor::new(writer).unwrap());
        assert_eq!(reader.read_now().unwrap(), Now::Empty);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move { writer.write_all(&copy).await });
        let mut received = Vec::new();
        while let Some(data) = reader.read().await.unwrap() {
            assert!(data.len() <= CHUNK);
            received.extend_from_slice(&data);
        }
        writing.await.unwrap().unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_closed_reader_is_an_error_to_its_writer() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let error = Descriptor::new(writer).unwrap().write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
