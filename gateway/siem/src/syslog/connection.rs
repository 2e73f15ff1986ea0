//! A connection to a syslog server, and whether it still is one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use containerssh_config::{EventSyslog, SyslogProtocol};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{EventsError, Failure, Reason};
use crate::tls;

/// What the kernel may hold of what was written. It doubles the number.
pub(super) const SEND_BUFFER: usize = 128 * 1024;

/// A connection is dead if the other side has not acknowledged for so long what was sent.
pub(super) const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// An idle connection is probed, so that a server that vanished is noticed before it is needed.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    settings: EventSyslog,
    /// Its key in the configuration, for errors.
    option: String,
    host: String,
    port: u16,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> Stream for T {}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    writer: WriteHalf<Box<dyn Stream>>,
    lost: CancellationToken,
    /// Ends the task that reads.
    _reading: DropGuard,
}

impl Dialer {
    pub(super) fn new(settings: &EventSyslog, option: &str) -> Result<Self, EventsError> {
        let (host, port) = settings
            .host_and_port()
            .ok_or_else(|| EventsError::invalid(format!("{option}.address"), "is not host:port"))?;
        let dialer =
            Self { settings: settings.clone(), option: option.to_owned(), host: host.to_owned(), port };
        if settings.protocol == SyslogProtocol::Tls {
            dialer.tls()?;
        }
        Ok(dialer)
    }

    /// Certificates are read for each connection, so that they can be rotated.
    fn tls(&self) -> Result<(TlsConnector, ServerName<'static>), EventsError> {
        let name = ServerName::try_from(self.host.clone()).map_err(|_| {
            EventsError::invalid(
                format!("{}.address", self.option),
                "has a host that no certificate could name",
            )
        })?;
        let EventSyslog { cacert, cert, key, .. } = &self.settings;
        let config = tls::client(cacert.as_ref(), cert.as_ref().zip(key.as_ref()), &self.option)?;
        Ok((TlsConnector::from(Arc::new(config)), name))
    }

    pub(super) async fn dial(&self) -> Result<Connection, Failure> {
        let broken = |error: io::Error| Failure::passing(Reason::Connection, error.to_string());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(broken)?;
        prepare(&stream);
        let stream: Box<dyn Stream> = match self.settings.protocol {
            SyslogProtocol::Tcp => Box::new(stream),
            SyslogProtocol::Tls => {
                let (connector, name) =
                    self.tls().map_err(|error| Failure::passing(Reason::Credentials, error.to_string()))?;
                Box::new(connector.connect(name, stream).await.map_err(broken)?)
            }
        };
        Ok(Connection::new(stream))
    }
}

/// Options of the socket. One that does not take them is only noticed later.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let _ =
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER / 4));
    let _ = stream.set_nodelay(true);
}

impl Connection {
    fn new(stream: Box<dyn Stream>) -> Self {
        let (mut reader, writer) = tokio::io::split(stream);
        let (lost, reading) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn({
            let (lost, reading) = (lost.clone(), reading.clone());
            async move {
                // A syslog server says nothing; when it has something to say, it is goodbye.
                let mut scrap = [0; 512];
                let end = async { while let Ok(1..) = reader.read(&mut scrap).await {} };
                tokio::select! {
                    () = end => lost.cancel(),
                    () = reading.cancelled() => {}
                }
            }
        });
        Self { writer, lost, _reading: reading.drop_guard() }
    }

    /// Whether the other side has closed it.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Resolves when the other side has closed it.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Hands everything to the kernel.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }
}
