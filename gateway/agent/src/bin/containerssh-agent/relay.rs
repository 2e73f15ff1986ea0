//! One of the gateway's connections, brought by an exec instead of by the pod's network.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

/// Moves bytes between standard input and output and the agent at `port`, unread: they are encrypted.
pub(crate) fn run(port: u16) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let inwards = stream.try_clone()?;
    thread::spawn(move || {
        let _ = copy(io::stdin().lock(), &inwards);
        let _ = inwards.shutdown(Shutdown::Write);
    });
    // The end of this direction is the end of it all: the agent has nothing more to say.
    copy(&stream, io::stdout().lock())
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(buffer.get(..read).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
