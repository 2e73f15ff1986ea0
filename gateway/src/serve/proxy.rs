//! The PROXY protocol, versions 1 and 2: a load balancer in front of us says whose connection it passes on.
//!
//! Only from addresses that are configured (`ssh.proxyProtocol.trustedCIDRs`), and from those always: whoever else sent a header
//! could claim any address, and a balancer that sends none would make its own address everybody's.

mod header;

pub(crate) use header::read;

#[cfg(test)]
mod tests {
    use proxy_header::ProxyHeader;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::header::{Proxied, ProxyError, SIGNATURE};
    use super::*;

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
