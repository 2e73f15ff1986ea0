//! The header itself. Nothing here knows the rest of the gateway: the fuzzer (gateway/fuzz) builds this file alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// The header is the first thing a balancer sends.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// What version 2 begins with; every header of version 1 is longer.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
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
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Proxied>, ProxyError> {
    let header = timeout(HEADER_LIMIT, take(stream)).await.map_err(|_| ProxyError::Late)??;
    parse(&header)
}

async fn take(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProxyError> {
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
