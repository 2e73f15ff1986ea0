//! Sockets that listen for the client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use containerssh_backend::DialError;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, Purpose, Socket};
use crate::dial::Dialer;
use crate::words::reason;

/// Connections that wait in the kernel until they are accepted: what OpenSSH asks for.
const BACKLOG: i32 = 128;
/// A port that the kernel has chosen for one family may be taken for the other; then another one is chosen.
const PORT_TRIES: usize = 16;

/// A place among the listeners of a connection.
pub(crate) type Slot = OwnedSemaphorePermit;

/// One or two sockets, and the tasks that serve them. Dropping it ends them; [`Listener::close`] also waits until they have.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _file: Option<SocketFile>,
    _slot: Slot,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Listener {
    /// Serves `sockets` as tasks. With `once` only the first connection is taken.
    pub(crate) fn serve(
        sockets: Vec<Socket>,
        purpose: &Purpose,
        once: bool,
        desk: &Desk,
        slot: Slot,
    ) -> Self {
        let stop = CancellationToken::new();
        let serve = |socket| {
            let serving = desk.clone().serve(socket, purpose.clone(), once, stop.clone());
            tokio::spawn(serving)
        };
        let tasks = sockets.into_iter().map(serve).collect();
        Self { stop, tasks, _file: None, _slot: slot }
    }

    /// Ends it: afterwards its address is free.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
    }
}

/// Listens on TCP where `host` says (RFC 4254 section 7.1). Returns the port too, which differs from the one asked for only if that is 0.
pub(crate) async fn tcp(
    host: &str,
    port: u16,
    dialer: &Dialer,
    desk: &Desk,
    slot: Slot,
) -> Result<(Listener, u16), DialError> {
    let addresses = match host {
        // "*" is what people write for it, and some clients pass it on.
        "" | "*" => both(Ipv6Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
        "localhost" => both(Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST),
        _ => dialer.resolve(host, port).await?.into_iter().map(|address| address.ip()).collect(),
    };
    let failed = |error| {
        let place = if host.is_empty() { "*" } else { host };
        DialError::ConnectFailed(format!("cannot listen on {place} port {port}: {}", reason(&error)))
    };
    let (sockets, port) = bind_all(&addresses, port).map_err(failed)?;
    let purpose = Purpose::Tcp { host: host.to_owned(), port };
    Ok((Listener::serve(sockets, &purpose, false, desk, slot), port))
}

fn both(v6: Ipv6Addr, v4: Ipv4Addr) -> Vec<IpAddr> {
    vec![v4.into(), v6.into()]
}

/// Binds the loopback addresses to a port.
pub(crate) fn bind_loopback(port: u16) -> io::Result<Vec<Socket>> {
    bind_all(&both(Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST), port).map(|(sockets, _)| sockets)
}

/// Binds every address to the same port. A family that the system lacks is left out, unless that leaves none.
fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<(Vec<Socket>, u16)> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match try_bind_all(addresses, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            result => return result,
        }
    }
}

fn try_bind_all(addresses: &[IpAddr], port: u16) -> io::Result<(Vec<Socket>, u16)> {
    let (mut sockets, mut chosen, mut lacking) = (Vec::new(), port, None);
    for address in addresses {
        match bind(SocketAddr::new(*address, chosen)) {
            Ok((listener, bound)) => {
                sockets.push(Socket::Tcp(listener));
                chosen = bound;
            }
            Err(error) if is_lacking(&error) => lacking = Some(error),
            Err(error) => return Err(error),
        }
    }
    if sockets.is_empty() {
        return Err(lacking.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
    }
    Ok((sockets, chosen))
}

/// The system has no such family, or no address of it.
fn is_lacking(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, u16)> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // Or it would take the other family's port as well.
        socket.set_only_v6(true)?;
    }
    // Connections that have just ended must not keep the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Listens on a unix socket, for the client.
pub(crate) fn unix(path: &str, desk: &Desk, slot: Slot) -> Result<Listener, DialError> {
    if !Path::new(path).is_absolute() {
        return Err(DialError::ConnectFailed(format!("{path}: a socket is named by its absolute path")));
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            DialError::ConnectFailed(format!("{path} exists already: remove it first"))
        }
        _ => DialError::ConnectFailed(format!("cannot listen on {path}: {}", reason(&error))),
    };
    let purpose = Purpose::Unix { path: path.to_owned() };
    serve_unix(Path::new(path), &purpose, desk, slot).map_err(failed)
}

/// Binds a unix socket that only its owner may connect to, and serves it. Its file goes when the listener does.
pub(crate) fn serve_unix(path: &Path, purpose: &Purpose, desk: &Desk, slot: Slot) -> io::Result<Listener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Fails if there is anything of that name.
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    // Nobody gets in before: connections are refused until it listens.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.into())?;
    let mut listener = Listener::serve(vec![Socket::Unix(listener)], purpose, false, desk, slot);
    listener._file = Some(file);
    Ok(listener)
}

/// A socket's file, removed when dropped if it is still ours: somebody may have put another one in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // What does not work now will not work later either.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
