//! The gateway's own log on its way to a syslog server, by the same connections as events: lines that have a header (RFC 5424)
//! already, with their length before each (RFC 6587 section 3.4.1).
//!
//! The log's thread hands over a batch and waits until it is on its way, so that what waits is the log's own bounded queue, and
//! what is dropped is counted there. A server that is away is tried again for ever; nothing here writes to the log,
//! which would be writing to itself: the first failure in a row is told on standard error.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use containerssh_config::EventSyslog;
use containerssh_log::syslog::messages;
use tokio::sync::{mpsc, oneshot};

use super::Syslog;
use crate::backoff::pause;
use crate::error::{EventsError, Failure};

/// A batch, and who waits until it is on its way.
type Batch = (Bytes, oneshot::Sender<()>);

/// The end of the log that writes. Only for a thread that is no task's.
#[derive(Debug)]
pub struct SyslogLines {
    batches: mpsc::Sender<Batch>,
    message_bytes: usize,
}

impl SyslogLines {
    /// Connects in a task of the runtime that this is called in. `option` is the key of `settings`, for errors.
    ///
    /// # Errors
    /// When the address, a certificate or a key is no use. A server that is away is no error.
    pub fn start(settings: &EventSyslog, option: &str) -> Result<Self, EventsError> {
        let syslog = Syslog::new(settings, option)?;
        // The thread waits for each batch, so there is never more than one.
        let (batches, taken) = mpsc::channel(1);
        tokio::spawn(deliver(syslog, taken, settings.address.clone()));
        Ok(Self {
            batches,
            message_bytes: usize::try_from(settings.message_bytes.bytes()).unwrap_or(usize::MAX),
        })
    }
}

impl Write for SyslogLines {
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut framed = BytesMut::with_capacity(batch.len() + batch.len() / 16);
        for message in messages(batch, self.message_bytes).filter(|message| !message.is_empty()) {
            framed.extend_from_slice(format!("{} ", message.len()).as_bytes());
            framed.extend_from_slice(message);
        }
        let (done, on_its_way) = oneshot::channel();
        self.batches.blocking_send((framed.freeze(), done)).map_err(|_| gone())?;
        on_its_way.blocking_recv().map_err(|_| gone())?;
        Ok(batch.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends batches until the log ends, and what a lost connection may have taken along once more.
async fn deliver(mut syslog: Syslog, mut batches: mpsc::Receiver<Batch>, address: String) {
    loop {
        let (body, done) = tokio::select! {
            biased;
            batch = batches.recv() => match batch {
                Some((body, done)) => (body, Some(done)),
                None => return,
            },
            () = syslog.lost() => (Bytes::new(), None),
        };
        let mut failures = 0;
        while let Err(failure) = syslog.send(body.clone()).await {
            failures += 1;
            if failures == 1 {
                let _ = writeln!(io::stderr(), "log: syslog server {address}: {}", words(&failure));
            }
            tokio::time::sleep(pause(failures, rand::random(), None)).await;
        }
        if let Some(done) = done {
            // The log may have ended meanwhile.
            let _ = done.send(());
        }
    }
}

fn words(failure: &Failure) -> &str {
    match failure {
        Failure::Passing { message, .. } | Failure::Refused(message) => message,
    }
}
