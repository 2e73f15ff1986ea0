//! Opens streams to what a client names.
//!
//! A name's addresses are tried as RFC 8305 has it: in the resolver's order with the families taking turns, the next one
//! begun when one has failed or has not answered in a moment, the first to answer wins. So a host that is broken over one
//! family costs a quarter of a second, not a timeout.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use containerssh_backend::{DialError, Stream, Target};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::MAX_STREAMS;
use crate::stream::{self, Permit};
use crate::words::{lookup_reason, reason};

/// A target that has not answered by then is told to be away. Shorter than what clients of the forward themselves wait (curl: 5
/// minutes, browsers: longer), longer than three lost SYN packets.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// RFC 8305 section 5, "Connection Attempt Delay".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried. Names with more are load balancing, where any will do.
const MAX_ADDRESSES: usize = 16;
/// Lookups at once: each holds a thread of the process for as long as the name server keeps it waiting.
const MAX_LOOKUPS: usize = 8;
/// Longest name that is asked for: `NI_MAXHOST`.
const MAX_HOST: usize = 1025;

/// Dials for one connection.
#[derive(Debug)]
pub(crate) struct Dialer {
    streams: Arc<Semaphore>,
    lookups: Semaphore,
}

impl Dialer {
    pub(crate) fn new(streams: Arc<Semaphore>) -> Self {
        Self { streams, lookups: Semaphore::new(MAX_LOOKUPS) }
    }

    pub(crate) async fn dial(&self, target: &Target) -> Result<Stream, DialError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            DialError::Exhausted(format!("there are {MAX_STREAMS} forwarded streams already"))
        })?;
        let permit: Permit = Arc::new(permit);
        match target {
            Target::Tcp { host, port } => {
                let socket = timeout(DIAL_TIMEOUT, self.tcp(host, *port))
                    .await
                    .unwrap_or_else(|_| Err(no_answer(host, *port)))?;
                Ok(stream::tcp(socket, permit))
            }
            Target::Unix { path } => {
                let failed = |error| DialError::ConnectFailed(format!("{path}: {}", reason(&error)));
                // A unix socket answers at once or not at all.
                Ok(stream::unix(UnixStream::connect(path).await.map_err(failed)?, permit))
            }
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        if port == 0 {
            return Err(DialError::ConnectFailed(format!("{host}: 0 is no port to connect to")));
        }
        let addresses = take_turns(self.resolve(host, port).await?);
        race(addresses).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => no_answer(host, port),
            _ => DialError::ConnectFailed(format!("{host} port {port}: {}", reason(&error))),
        })
    }

    /// The addresses of a name, in the resolver's order; an address stands for itself.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if host.is_empty() || host.len() > MAX_HOST {
            return Err(DialError::ConnectFailed("that is no name of a host".to_owned()));
        }
        let unresolved = |words: &str| DialError::ConnectFailed(format!("cannot resolve {host}: {words}"));
        let _turn = self.lookups.acquire().await.map_err(|_| unresolved("the connection ends"))?;
        let found = lookup_host((host, port)).await.map_err(|error| unresolved(&lookup_reason(&error)))?;
        let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
        if addresses.is_empty() { Err(unresolved("it has no address")) } else { Ok(addresses) }
    }
}

fn no_answer(host: &str, port: u16) -> DialError {
    DialError::ConnectFailed(format!("{host} port {port}: no answer within {} s", DIAL_TIMEOUT.as_secs()))
}

/// Families take turns, beginning with that of the first address (RFC 8305 section 4).
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return turns,
            (one, other) => turns.extend(one.into_iter().chain(other)),
        }
    }
}

/// The first to answer. Its failure is told that was tried first, as the preferred one.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.into_iter().peekable();
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        attempts.extend(rest.next().map(TcpStream::connect));
        // Until it is the next one's turn.
        loop {
            tokio::select! {
                finished = attempts.next() => match finished {
                    Some(Ok(stream)) => return Ok(stream),
                    Some(Err(error)) => {
                        failed.get_or_insert(error);
                    }
                    None => break,
                },
                () = sleep(ATTEMPT_DELAY), if rest.peek().is_some() => break,
            }
            if rest.peek().is_some() {
                break;
            }
        }
        if attempts.is_empty() && rest.peek().is_none() {
            return Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(take_turns(found), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(take_turns(addresses(&["1.1.1.1:1"])), addresses(&["1.1.1.1:1"]));
        assert_eq!(take_turns(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn an_address_that_refuses_makes_way_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = race(vec![refusing, refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert_eq!(race(vec![refusing]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
        // A full backlog lets further SYN packets go unanswered.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let silent = socket.local_addr().unwrap().as_socket().unwrap();
        let _filling: Vec<_> = (0..4)
            .map(|_| {
                let client =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                client.set_nonblocking(true).unwrap();
                let _ = client.connect(&silent.into());
                client
            })
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = race(vec![silent, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }
}
