//! The gateway's side.

mod program;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use containerssh_backend::{
    BackendError, Bind, DialError, Guest, Incoming, Program, ProgramSpec, Stream, Target,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::carrier::{Bytestream, Carrier};
use crate::forwarded::{RemoteStreamInput, RemoteStreamOutput};
use crate::frame::{FrameReader, FrameWriter, Kind, MAX_FRAME_OF_GUEST};
use crate::message::{self, Failure, Reply, Request};
use crate::tls::{Identity, PublicKey};
use program::{RemoteInput, RemoteOutput};

/// For the agent to prove who it is, once the carrier has brought a connection.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For the agent to do what it is asked for. It has limits of its own that are shorter, with better reasons.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// What has arrived in the guest and that nobody has asked for yet. The agent keeps as many back again.
const ARRIVED: usize = 16;

type Reader = FrameReader<ReadHalf<TlsStream<Box<dyn Bytestream>>>>;
type Writer = FrameWriter<WriteHalf<TlsStream<Box<dyn Bytestream>>>>;

/// Why there is no connection to the agent.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The carrier has none, or it broke.
    #[error("the agent cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// It did not answer in time.
    #[error("the agent does not answer")]
    Timeout,
    /// It does not keep to the protocol.
    #[error("the agent's answer makes no sense")]
    Protocol,
    /// The keys are of no use.
    #[error("the agent's key cannot be used: {0}")]
    Key(#[from] rustls::Error),
}

/// A guest that an agent serves. Dropping it ends the guest.
#[derive(Debug)]
pub struct RemoteGuest {
    name: String,
    link: Arc<Link>,
    arrived: Mutex<mpsc::Receiver<Incoming>>,
    /// Set once the agent is gone, with the reason.
    gone: watch::Receiver<Option<String>>,
    end: CancellationToken,
    _end: DropGuard,
}

/// How connections to the agent are made.
#[derive(Debug)]
struct Link {
    carrier: Arc<dyn Carrier>,
    tls: Arc<ClientConfig>,
}

impl RemoteGuest {
    /// Makes the control connection, which also proves that the carrier works and who the agent is. `name` is for logs.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn connect(
        name: String,
        carrier: Arc<dyn Carrier>,
        identity: &Identity,
        peer: PublicKey,
    ) -> Result<Self, LinkError> {
        let link = Arc::new(Link { carrier, tls: identity.client(peer)? });
        let (reply, reader, writer) = link.ask(&Request::Control).await?;
        if reply != Reply::Done {
            return Err(LinkError::Protocol);
        }
        let (sender, arrived) = mpsc::channel(ARRIVED);
        let (lost, gone) = watch::channel(None);
        let end = CancellationToken::new();
        let controlling = control(reader, Arc::clone(&link), sender);
        let ended = end.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = controlling => reason,
                () = ended.cancelled() => "The connection has ended.".to_owned(),
            };
            let _ = lost.send(Some(reason));
            // The agent ends with it.
            drop(writer);
        });
        let guard = end.clone().drop_guard();
        Ok(Self { name, link, arrived: Mutex::new(arrived), gone, end, _end: guard })
    }

    /// Whether the agent is gone, or the guest has been closed.
    pub fn is_gone(&self) -> bool {
        self.gone.borrow().is_some()
    }

    /// Completes with the reason once [`RemoteGuest::is_gone`].
    pub fn lost(&self) -> impl Future<Output = String> + use<> {
        let mut gone = self.gone.clone();
        async move {
            let reason = gone.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_default()
        }
    }

    async fn stream(&self, request: &Request) -> Result<Stream, DialError> {
        let asked = self.link.ask(request).await;
        let (reply, reader, writer) = asked.map_err(|error| DialError::ConnectFailed(error.to_string()))?;
        match reply {
            Reply::Done => Ok(halves(reader, writer)),
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Port(_) | Reply::Found(_) => {
                Err(DialError::ConnectFailed(LinkError::Protocol.to_string()))
            }
        }
    }
}

fn halves(reader: Reader, writer: Writer) -> Stream {
    Stream { input: Box::new(RemoteStreamInput(writer)), output: Box::new(RemoteStreamOutput(reader)) }
}

impl Link {
    /// Makes a connection for `request` and waits for its answer.
    async fn ask(&self, request: &Request) -> Result<(Reply, Reader, Writer), LinkError> {
        let content = serde_json::to_vec(request).map_err(io::Error::from)?;
        let (mut reader, mut writer) = self.connect().await?;
        let asking = async {
            writer.send(Kind::Request, Bytes::from(content)).await?;
            match reader.next().await? {
                Some((Kind::Reply, content)) => {
                    serde_json::from_slice(&content).map_err(|_| LinkError::Protocol)
                }
                Some(_) => Err(LinkError::Protocol),
                None => Err(LinkError::Io(io::ErrorKind::UnexpectedEof.into())),
            }
        };
        let reply = timeout(ANSWER_LIMIT, asking).await.unwrap_or(Err(LinkError::Timeout))?;
        Ok((reply, reader, writer))
    }

    async fn connect(&self) -> Result<(Reader, Writer), LinkError> {
        let stream = self.carrier.open().await?;
        // There is no name to check: the key is.
        let name = ServerName::try_from("agent").map_err(|_| LinkError::Protocol)?;
        let shaking = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let stream = timeout(HANDSHAKE_LIMIT, shaking).await.map_err(|_| LinkError::Timeout)??;
        let (read, write) = split(stream);
        Ok((FrameReader::new(read, MAX_FRAME_OF_GUEST), FrameWriter::new(write)))
    }
}

/// Takes what arrives until the agent is gone; returns why it is.
async fn control(mut reader: Reader, link: Arc<Link>, arrived: mpsc::Sender<Incoming>) -> String {
    // As many are taken at once as may wait: an agent cannot make us open connections without end.
    let taking = Arc::new(Semaphore::new(ARRIVED));
    loop {
        let incoming: message::Incoming = match reader.next().await {
            Ok(Some((Kind::Incoming, content))) => match serde_json::from_slice(&content) {
                Ok(incoming) => incoming,
                Err(_) => return LinkError::Protocol.to_string(),
            },
            Ok(Some(_)) => return LinkError::Protocol.to_string(),
            Ok(None) => return "The agent in the guest has ended.".to_owned(),
            Err(error) => return format!("The connection to the agent broke: {error}"),
        };
        let Ok(permit) = Arc::clone(&taking).acquire_owned().await else { return String::new() };
        let (link, arrived) = (Arc::clone(&link), arrived.clone());
        tokio::spawn(async move {
            if let Ok((Reply::Done, reader, writer)) = link.ask(&Request::Take(incoming.number)).await {
                let incoming = Incoming { origin: incoming.origin.into(), stream: halves(reader, writer) };
                let _ = arrived.send(incoming).await;
            }
            drop(permit);
        });
    }
}

#[async_trait]
impl Guest for RemoteGuest {
    fn name(&self) -> &str {
        &self.name
    }

    async fn start(&self, spec: ProgramSpec) -> Result<Program, BackendError> {
        let asked = self.link.ask(&Request::Start(spec.into())).await;
        let (reply, reader, writer) = asked.map_err(|error| {
            BackendError::ProgramFailed(format!("The program could not be started: {error}."))
        })?;
        match reply {
            Reply::Done => Ok(Program {
                input: Box::new(RemoteInput::new(writer)),
                output: Box::new(RemoteOutput::new(reader)),
            }),
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Port(_) | Reply::Found(_) => {
                Err(BackendError::ProgramFailed(LinkError::Protocol.to_string()))
            }
        }
    }

    async fn dial(&self, target: Target) -> Result<Stream, DialError> {
        self.stream(&Request::Dial(target.into())).await
    }

    async fn listen(&self, bind: Bind) -> Result<u16, DialError> {
        let asked = self.link.ask(&Request::Listen(bind.into())).await;
        match asked.map_err(|error| DialError::ConnectFailed(error.to_string()))?.0 {
            Reply::Port(port) => Ok(port),
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Done | Reply::Found(_) => Err(Failure::Connect(LinkError::Protocol.to_string()).into()),
        }
    }

    async fn unlisten(&self, bind: Bind) -> bool {
        matches!(self.link.ask(&Request::Unlisten(bind.into())).await, Ok((Reply::Found(true), ..)))
    }

    async fn accept(&self) -> Incoming {
        match self.arrived.lock().await.recv().await {
            Some(incoming) => incoming,
            // The agent is gone, which `gone` tells.
            None => std::future::pending().await,
        }
    }

    async fn gone(&self) -> BackendError {
        BackendError::GuestGone(self.lost().await)
    }

    async fn close(&self) {
        self.end.cancel();
    }
}

#[cfg(test)]
mod tests;
