//! An SFTP server (version 3, draft-ietf-secsh-filexfer-02, with OpenSSH's extensions), for images and hosts that have
//! none: a process of its own on standard input and output, as sftp-server is.
//!
//! So it runs as the user, a file system that hangs hangs it alone, and plain blocking calls do. Paths are bytes, as they
//! are in Unix. One request after the other; replies leave together when no request waits any more.

mod attributes;
mod files;
mod listing;
mod request;
mod server;
mod wire;

use std::io;
use std::process::ExitCode;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use server::Server;
use wire::MAX_PACKET;

/// Bytes of one read: several requests of a client that does not wait for replies.
const READ: usize = 64 * 1024;
/// Replies that wait to leave together.
const FLUSH: usize = 256 * 1024;

/// Serves standard input and output until the client ends or breaks the protocol.
#[must_use]
pub fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // sftp-server's own.
        Err(_) => ExitCode::from(255),
    }
}

fn run() -> io::Result<()> {
    let mut server = Server::new();
    let (mut received, mut replies) = (Vec::new(), Vec::new());
    loop {
        let mut taken = 0;
        while let Some(packet) = wire::packet(received.get(taken..).unwrap_or_default())? {
            taken += 4 + packet.len();
            server.answer(packet, &mut replies)?;
            if replies.len() >= FLUSH {
                write_all(&mut replies)?;
            }
        }
        received.drain(..taken);
        write_all(&mut replies)?;
        received.reserve(READ.min(MAX_PACKET));
        match rustix::io::read(rustix::stdio::stdin(), spare_capacity(&mut received)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_all(replies: &mut Vec<u8>) -> io::Result<()> {
    let mut rest = replies.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    replies.clear();
    Ok(())
}
