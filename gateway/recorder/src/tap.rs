//! What the SSH layer holds: it gives every event and every byte to the tap before it passes them on.

use std::sync::Arc;

use bytes::Bytes;
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::{Intercept, OnFailure, OnFull};
use prometheus_client::metrics::counter::Counter;

use crate::error::TapError;
use crate::metrics::SessionMetrics;
use crate::segment::Lost;
use crate::session::{Session, Stage};
use crate::spool::budget::{Class, Room};
use crate::spool::sidecar::User;

/// One connection's way into its audit record. Clones share it: one per pump, one for the connection itself.
///
/// A record is *accepted* when [`Tap::record`] or [`Tap::io`] returns `Ok`: it has its place and its timestamp, and it
/// will be written. Deliver only after that.
#[derive(Debug, Clone)]
pub struct Tap(Option<Arc<Handle>>);

/// Ends the record when the last clone is gone, so that a connection whose task panicked has a complete record too.
#[derive(Debug)]
struct Handle {
    session: Arc<Session>,
    intercept: Intercept,
    /// Bytes recorded by stream: stdin, stdout, stderr.
    recorded: [Counter; 3],
    /// Bytes recorded of forwarded streams.
    forwarded: Counter,
    metrics: SessionMetrics,
    /// Whether a writer is there to complete the record.
    written: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.session.intake.close();
    }
}

/// Whether a record may go on to the intake.
enum Admission {
    Accept,
    Drop,
}

impl Tap {
    /// A tap for connections that are not recorded.
    #[must_use]
    pub fn disabled() -> Self {
        Self(None)
    }

    /// A tap whose session has no writer, because it failed before it began.
    pub(crate) fn refused(session: Arc<Session>, intercept: Intercept) -> Self {
        Self::with(session, intercept, false)
    }

    pub(crate) fn new(session: Arc<Session>, intercept: Intercept) -> Self {
        Self::with(session, intercept, true)
    }

    fn with(session: Arc<Session>, intercept: Intercept, written: bool) -> Self {
        let streams = [IoStream::Stdin, IoStream::Stdout, IoStream::Stderr];
        let recorded = streams.map(|stream| session.metrics.io(stream.name()));
        let forwarded = session.metrics.io("forwarding");
        let metrics = session.metrics.session(session.id.as_str());
        Self(Some(Arc::new(Handle { session, intercept, recorded, forwarded, metrics, written })))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Records an event; `channel` is `None` for what concerns the whole connection. Waits while the writer is behind.
    ///
    /// Passwords and answers in it are left out unless the settings intercept them, whatever the caller put there.
    ///
    /// # Errors
    /// If the session must be recorded and cannot be: end it and show the user the error.
    pub async fn record(&self, channel: Option<u64>, mut payload: Payload) -> Result<(), TapError> {
        let Some(handle) = &self.0 else { return Ok(()) };
        if !handle.intercept.passwords {
            leave_out_secrets(&mut payload);
        }
        match handle.session.admit(Class::Event).await? {
            Admission::Accept => {
                let accepted = handle.session.intake.record(channel, &payload).await;
                accepted.map_err(|_| handle.session.error())?;
                handle.session.durable().await
            }
            Admission::Drop => {
                handle.session.lose(full(1, 0));
                // It happens all the same.
                handle.session.intake.feed().record(channel, &payload).await.unrecorded();
                Ok(())
            }
        }
    }

    /// Records bytes that pass on a channel; nothing happens if the settings do not intercept that stream. Waits while
    /// the writer is behind.
    ///
    /// # Errors
    /// If the session must be recorded and cannot be: end it and show the user the error.
    pub async fn io(&self, channel: u64, stream: IoStream, data: Bytes) -> Result<(), TapError> {
        let Some(handle) = &self.0 else { return Ok(()) };
        let [stdin, stdout, stderr] = &handle.recorded;
        let (intercepted, recorded) = match stream {
            IoStream::Stdin => (handle.intercept.stdin, stdin),
            IoStream::Stdout => (handle.intercept.stdout, stdout),
            IoStream::Stderr => (handle.intercept.stderr, stderr),
        };
        if !intercepted {
            return Ok(());
        }
        let accepted = handle.bytes(channel, stream, data, recorded).await?;
        if stream == IoStream::Stdout {
            handle.metrics.stdout(accepted);
        }
        Ok(())
    }

    /// Records bytes that pass on a forwarded stream: `Stdin` towards the guest, `Stdout` from it, as in sessions. Otherwise as
    /// [`Tap::io`].
    ///
    /// # Errors
    /// As [`Tap::io`].
    pub async fn forwarded(&self, channel: u64, stream: IoStream, data: Bytes) -> Result<(), TapError> {
        match &self.0 {
            Some(handle) if handle.intercept.forwarding => {
                handle.bytes(channel, stream, data, &handle.forwarded).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Whether passwords are recorded.
    #[must_use]
    pub fn intercepts_passwords(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| handle.intercept.passwords)
    }

    /// The client authenticated: `username` is what it typed, `authenticated_username` what authentication settled on
    /// (may be empty). Goes into the object's key and metadata.
    pub fn authenticated(&self, username: &str, authenticated_username: &str) {
        if let Some(handle) = &self.0 {
            let name = if authenticated_username.is_empty() { username } else { authenticated_username };
            handle.metrics.authenticated(name);
            handle.session.intake.authenticated(User {
                username: username.to_owned(),
                authenticated_username: authenticated_username.to_owned(),
            });
        }
    }

    /// Waits until everything accepted so far is durable: it outlives a power cut.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub async fn flush(&self) -> Result<(), TapError> {
        let Some(handle) = self.0.as_ref() else { return Ok(()) };
        if !handle.written {
            return Err(handle.session.error());
        }
        match handle.session.intake.flush().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(TapError::Write(reason)),
            Err(_) => Err(handle.session.error()),
        }
    }

    /// Resolves when the session must be recorded and no longer can be: end it and show the user the error. Never
    /// resolves otherwise.
    pub async fn failed(&self) -> TapError {
        let Some(handle) = &self.0 else { return std::future::pending().await };
        let mut stage = handle.session.stage.subscribe();
        let outcome =
            stage.wait_for(|stage| matches!(stage, Stage::Failed(_))).await.map(|stage| stage.clone());
        match outcome {
            Ok(Stage::Failed(error)) => error,
            // The sender is ours, so it cannot be gone; and other stages do not match.
            _ => std::future::pending().await,
        }
    }

    /// Ends the record: writes the disconnect, closes the file durably and hands it over for its upload. Call it once,
    /// last. Returns when that is done, or when it has failed for the first time (it is tried again in the background).
    pub async fn close(self) {
        let Some(handle) = &self.0 else { return };
        handle.session.intake.close();
        if handle.written {
            handle.session.reaches(|stage| *stage == Stage::Closed).await;
        }
    }
}

impl Handle {
    /// Records bytes; returns how many were accepted.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "the caller hands over its reference; a copy is made once, here"
    )]
    async fn bytes(
        &self,
        channel: u64,
        stream: IoStream,
        data: Bytes,
        recorded: &Counter,
    ) -> Result<u64, TapError> {
        let length = data.len() as u64;
        match self.session.admit(Class::Io).await? {
            Admission::Accept => {
                self.session.intake.io(channel, stream, &data).await.map_err(|_| self.session.error())?;
                self.session.durable().await?;
                recorded.inc_by(length);
                Ok(length)
            }
            Admission::Drop => {
                self.session.lose(full(1, length));
                self.session.intake.feed().io(channel, stream, &data).await.unrecorded();
                Ok(0)
            }
        }
    }
}

impl Session {
    /// Under `durability: strict`, waits until what was accepted is durable.
    async fn durable(&self) -> Result<(), TapError> {
        if !self.strict {
            return Ok(());
        }
        match (self.intake.flush().await, self.on_failure) {
            (Ok(Ok(())), _) => Ok(()),
            // The record tells of the gap, and the session goes on.
            (_, OnFailure::Allow) => Ok(()),
            (Ok(Err(reason)), OnFailure::Deny) => Err(TapError::Write(reason)),
            (Err(_), OnFailure::Deny) => Err(self.error()),
        }
    }

    /// Waits until the record's file exists and there is room in the spool, or decides what happens otherwise.
    async fn admit(&self, class: Class) -> Result<Admission, TapError> {
        loop {
            let stage = self.stage.borrow().clone();
            match stage {
                Stage::Recording => {}
                Stage::Failed(error) => return Err(error),
                Stage::Closed => return Err(TapError::Closed),
                Stage::Opening => {
                    self.reaches(|stage| *stage != Stage::Opening).await;
                    continue;
                }
            }
            let room = match (self.budget.room(class), self.on_full) {
                (Room::Awaited, OnFull::Block) => tokio::select! {
                    room = self.budget.wait(class) => room,
                    () = self.reaches(|stage| *stage != Stage::Recording) => continue,
                },
                (room, _) => room,
            };
            if room != Room::Free && self.budget.report_full() {
                tracing::warn!(
                    code = crate::code::AUDIT_SPOOL_FULL,
                    module = "audit",
                    "The audit spool holds as much as it may ({} bytes)",
                    self.budget.limit()
                );
            }
            return match (room, self.on_full, self.on_failure) {
                (Room::Free, ..) => Ok(Admission::Accept),
                (_, OnFull::Drop, _) | (_, _, OnFailure::Allow) => Ok(Admission::Drop),
                (_, OnFull::Block | OnFull::Deny, OnFailure::Deny) => {
                    self.fail(&TapError::Full);
                    Err(self.error())
                }
            };
        }
    }
}

/// What a full spool costs.
fn full(records: u64, bytes: u64) -> Lost {
    Lost { records, bytes, reason: Some("the spool was full".into()) }
}

/// Takes out what a user types to prove who they are.
fn leave_out_secrets(payload: &mut Payload) {
    match payload {
        Payload::AuthPassword { password, .. }
        | Payload::AuthPasswordSuccessful { password, .. }
        | Payload::AuthPasswordFailed { password, .. }
        | Payload::AuthPasswordBackendError { password, .. } => *password = None,
        Payload::AuthKeyboardInteractiveAnswer { answers, .. } => {
            for answer in answers {
                answer.answer.clear();
            }
        }
        _ => {}
    }
}
