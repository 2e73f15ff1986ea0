//! Events as syslog messages (RFC 5424) over TCP (RFC 6587, counted octets) or TLS (RFC 5425).
//!
//! Syslog knows no acknowledgement: what the kernel has taken may be lost with the connection. So the last of what was
//! sent is kept until the kernel must have given up or the other side must have it, and is sent again on a new
//! connection. The receiver may see events twice, with the same sequence number; what it took from the kernel and then
//! lost itself cannot be known here. Where that matters, use a webhook.

mod connection;
mod lines;
mod message;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use containerssh_config::{EventSyslog, duration};
use tokio::time::{Instant, timeout};

use crate::encode::Style;
use crate::error::{EventsError, Failure, Reason};
use crate::event::Source;
use crate::queue::{Item, Limits};
use connection::{Connection, Dialer};
pub use lines::SyslogLines;

/// Bytes of messages written at once.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;

/// What is written together. There is no answer to wait for, so the delay only lets keystrokes be joined.
pub(crate) const BATCH: Limits =
    Limits { events: 1000, bytes: BATCH_BYTES, delay: Duration::from_millis(500) };

/// Bytes that are sent again on a new connection: more than the kernel holds (see [`connection::SEND_BUFFER`]).
const KEPT: usize = 1024 * 1024;

/// After this time on a living connection the other side's kernel has what was written, or the connection would be dead
/// (see [`connection::UNACKNOWLEDGED`]).
const CONFIRMED: Duration = Duration::from_secs(35);

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Syslog {
    dialer: Dialer,
    facility: u8,
    message_bytes: usize,
    timeout: Duration,
    connection: Option<Connection>,
    /// What may have to be sent again, and when it was written.
    kept: VecDeque<(Instant, Bytes)>,
}

impl Syslog {
    /// Reads certificates for the first time, so that a mistake shows at once.
    pub(crate) fn new(settings: &EventSyslog, option: &str) -> Result<Self, EventsError> {
        let dialer = Dialer::new(settings, option)?;
        Ok(Self {
            dialer,
            facility: settings.facility,
            message_bytes: usize::try_from(settings.message_bytes.bytes()).unwrap_or(usize::MAX),
            timeout: settings.timeout,
            connection: None,
            kept: VecDeque::new(),
        })
    }

    /// A message with its length before it.
    pub(crate) fn text(&self, source: &Source, item: &Item, style: Style) -> Vec<u8> {
        message::frame(source, item, style, self.facility, self.message_bytes)
    }

    /// Writes messages, and before them those that a lost connection may have taken along.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<(), Failure> {
        match timeout(self.timeout, self.write(&body)).await {
            Ok(Ok(())) => {
                if !body.is_empty() {
                    self.keep(body);
                }
                Ok(())
            }
            Ok(Err(failure)) => {
                self.connection = None;
                Err(failure)
            }
            Err(_) => {
                self.connection = None;
                let limit = duration::format(self.timeout);
                Err(Failure::passing(
                    Reason::Timeout,
                    format!("not connected, or nothing taken, within {limit}"),
                ))
            }
        }
    }

    /// Resolves when the connection is lost and something has to be sent again. Cancel safe.
    pub(crate) async fn lost(&self) {
        match &self.connection {
            Some(connection) if !self.kept.is_empty() => connection.lost().await,
            _ => std::future::pending().await,
        }
    }

    async fn write(&mut self, body: &Bytes) -> Result<(), Failure> {
        let broken = |error: std::io::Error| Failure::passing(Reason::Connection, error.to_string());
        let alive = match self.connection.take() {
            Some(connection) if !connection.is_lost() => Some(connection),
            _ => None,
        };
        let mut connection = if let Some(connection) = alive {
            self.forget_confirmed();
            connection
        } else {
            let mut connection = self.dialer.dial().await?;
            for (_, again) in &self.kept {
                connection.write(again).await.map_err(broken)?;
            }
            connection
        };
        connection.write(body).await.map_err(broken)?;
        self.connection = Some(connection);
        Ok(())
    }

    fn keep(&mut self, body: Bytes) {
        self.kept.push_back((Instant::now(), body));
        let mut held: usize = self.kept.iter().map(|(_, body)| body.len()).sum();
        while let Some((_, oldest)) = self.kept.front()
            && held - oldest.len() >= KEPT
        {
            held -= oldest.len();
            self.kept.pop_front();
        }
    }

    fn forget_confirmed(&mut self) {
        while let Some((written, _)) = self.kept.front()
            && written.elapsed() > CONFIRMED
        {
            self.kept.pop_front();
        }
    }
}
