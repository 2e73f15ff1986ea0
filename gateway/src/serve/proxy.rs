//! The PROXY protocol, versions 1 and 2: a load balancer in front of us says whose connection it passes on.
//!
//! Only from addresses that are configured (`ssh.proxyProtocol.trustedCIDRs`), and from those always: whoever else sent a header
//! could claim any address, and a balancer that sends none would make its own address everybody's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The header is the first thing a balancer sends.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// What version 2 begins with; every header of version 1 is longer.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1 (section 2.1 of the specification).
const MAX_V1: usize = 107;
/// Longest of version 2 that is taken. Addresses take 52 bytes; balancers add certificates' names and identifiers of endpoints.
const MAX_V2: usize = 4 * 1024;

/// Who talks to whom, as far as the balancer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proxied {
    pub(crate) client: SocketAddr,
    /// What the client connected to.
    pub(crate) server: SocketAddr,
}

/// Why a connection of a balancer is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("no PROXY header within {} s", HEADER_LIMIT.as_secs())]
    Late,
    #[error("the connection ended within the PROXY header: {0}")]
    Io(#[from] io::Error),
    #[error("it does not begin with a PROXY header: {0}")]
    Malformed(&'static str),
}

/// Reads the header and not a byte more. `None` if the balancer speaks for itself, such as to see whether we live.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<Proxied>, ProxyError> {
    let header = timeout(HEADER_LIMIT, take(stream)).await.map_err(|_| ProxyError::Late)??;
    parse(&header)
}

async fn take(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let (version_and_family, length) = (stream.read_u16().await?, stream.read_u16().await?);
        header.extend(version_and_family.to_be_bytes());
        header.extend(length.to_be_bytes());
        let length = usize::from(length);
        if length > MAX_V2 {
            return Err(ProxyError::Malformed("it is too long"));
        }
        let start = header.len();
        header.resize(start + length, 0);
        stream.read_exact(header.get_mut(start..).unwrap_or_default()).await?;
        return Ok(header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed("there is none"));
    }
    while header.last() != Some(&b'\n') {
        if header.len() >= MAX_V1 {
            return Err(ProxyError::Malformed("it is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

fn parse(header: &[u8]) -> Result<Option<Proxied>, ProxyError> {
    let (parsed, length) = ProxyHeader::parse(header, ParseConfig::default())
        .map_err(|_| ProxyError::Malformed("it is not well-formed"))?;
    if length != header.len() {
        return Err(ProxyError::Malformed("something follows it"));
    }
    Ok(parsed
        .proxied_address()
        .map(|address| Proxied { client: address.source, server: address.destination }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// What is read of `sent`, and what is left of it.
    async fn read_from(sent: &[u8]) -> (Result<Option<Proxied>, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let result = read(&mut stream).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        (result, rest)
    }

    fn v2(address: Option<(&str, &str)>) -> Vec<u8> {
        let header = match address {
            Some((client, server)) => ProxyHeader::with_address(proxy_header::ProxiedAddress::stream(
                client.parse().unwrap(),
                server.parse().unwrap(),
            )),
            None => ProxyHeader::with_local(),
        };
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_behind_them() {
        let v1_4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 22\r\n".to_vec();
        let v1_6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 22\r\n".to_vec();
        let (four, six) =
            (("192.0.2.1:56324", "198.51.100.2:22"), ("[2001:db8::1]:56324", "[2001:db8::2]:22"));
        for (mut sent, (client, server)) in
            [(v1_4, four), (v1_6, six), (v2(Some(four)), four), (v2(Some(six)), six)]
        {
            sent.extend(b"SSH-2.0-x\r\n");
            let (result, rest) = read_from(&sent).await;
            let expected = Proxied { client: client.parse().unwrap(), server: server.parse().unwrap() };
            assert_eq!(result.unwrap(), Some(expected));
            assert_eq!(rest, b"SSH-2.0-x\r\n");
        }
    }

    #[tokio::test]
    async fn a_balancer_may_speak_for_itself() {
        for sent in [b"PROXY UNKNOWN\r\n".to_vec(), v2(None)] {
            assert_eq!(read_from(&sent).await.0.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut endless = b"PROXY TCP4 ".to_vec();
        endless.resize(1000, b'1');
        let mut huge = SIGNATURE.to_vec();
        huge.extend([0x21, 0x11, 0xff, 0xff]);
        huge.resize(70_000, 0);
        for sent in [
            b"SSH-2.0-OpenSSH_10.0\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.2 99999 22\r\n".to_vec(),
            b"PROXY TCP4 nonsense here 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1".to_vec(),
            Vec::new(),
            endless,
            huge,
        ] {
            let (result, _) = read_from(&sent).await;
            assert!(result.is_err(), "{:?}", String::from_utf8_lossy(&sent[..sent.len().min(40)]));
        }
    }
}
