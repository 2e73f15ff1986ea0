//! What one program is given: an X11 display, the socket of an authentication agent. Both end when the program does.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use containerssh_backend::{DialError, X11};

use crate::desk::{Desk, Purpose, Socket};
use crate::listen::{self, Listener, Slot};
use crate::scratch::Scratch;
use crate::words::reason;
use crate::xauthority::{self, Unusable};

/// Display numbers begin here, as with sshd's `X11DisplayOffset`, so that real servers have the low ones.
const FIRST_DISPLAY: u16 = 10;
/// Numbers that are tried. One taken already belongs to another session on the same machine.
const DISPLAYS: u16 = 1000;
/// Display 0 listens here (X protocol, appendix B).
const X11_PORT: u16 = 6000;

/// Something a program was given. Dropping it takes it away.
#[derive(Debug)]
pub struct Attached {
    env: Vec<(&'static str, String)>,
    _listener: Listener,
    _file: Option<PrivateFile>,
}

impl Attached {
    /// The variables by which the program finds it.
    pub fn env(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.env.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

/// A display at `localhost:10` or the next one that is free.
pub(crate) async fn x11(
    request: &X11,
    desk: &Desk,
    slot: Slot,
    scratch: &Scratch,
) -> Result<Attached, DialError> {
    let failed = |error: io::Error| DialError::ConnectFailed(format!("no X11 display: {}", reason(&error)));
    let (display, sockets) = free_display().map_err(failed)?;
    let host = rustix::system::uname();
    let cookies = xauthority::file(host.nodename().to_bytes(), display, &request.protocol, &request.cookie)
        .map_err(|unusable| {
        let what = match unusable {
            Unusable::Protocol => "the name of the authentication protocol is none",
            Unusable::Cookie => "the cookie is not hexadecimal, or too long",
        };
        DialError::Unsupported(format!("no X11 display: {what}"))
    })?;
    let file = PrivateFile::new(scratch.path("xauth").map_err(failed)?, &cookies).map_err(failed)?;
    let env = vec![
        ("DISPLAY", format!("localhost:{display}.{}", request.screen)),
        ("XAUTHORITY", file.path.display().to_string()),
    ];
    let listener = Listener::serve(sockets, &Purpose::X11, request.single_connection, desk, slot);
    Ok(Attached { env, _listener: listener, _file: Some(file) })
}

fn free_display() -> io::Result<(u16, Vec<Socket>)> {
    for display in FIRST_DISPLAY..FIRST_DISPLAY + DISPLAYS {
        match listen::bind_loopback(X11_PORT + display) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result.map(|sockets| (display, sockets)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "all displays are taken"))
}

/// A socket as `ssh-agent` would make it.
pub(crate) fn auth_agent(desk: &Desk, slot: Slot, scratch: &Scratch) -> Result<Attached, DialError> {
    let failed = |error: io::Error| DialError::ConnectFailed(format!("no agent socket: {}", reason(&error)));
    let path = scratch.path("agent").map_err(failed)?;
    let listener = listen::serve_unix(&path, &Purpose::AuthAgent, desk, slot).map_err(failed)?;
    let env = vec![("SSH_AUTH_SOCK", path.display().to_string())];
    Ok(Attached { env, _listener: listener, _file: None })
}

/// A file that only its owner reads, removed when dropped.
#[derive(Debug)]
struct PrivateFile {
    path: PathBuf,
}

impl PrivateFile {
    fn new(path: PathBuf, content: &[u8]) -> io::Result<Self> {
        let file = Self { path };
        let mut open =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.path)?;
        open.write_all(content)?;
        Ok(file)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// What does not work now will not work later either, and the directory goes with the connection.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}
