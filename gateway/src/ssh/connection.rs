//! A connection's supervisor: brings it up, watches over it, ends it, and leaves nothing behind.
//!
//! Everything that belongs to a connection shares one [`Connection`]. Three signals run through it:
//! - `ending`: the gateway ends the connection for a reason; sessions say goodbye.
//! - `wire.kill`: the stream is cut; nothing can be said any more.
//! - `closed`: the SSH session is over; every task ends.
//!
//! Clean-up runs outside the supervised part, so that a panic there costs this connection alone, and its guest and its
//! record are still closed.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use containerssh_auditlog::Payload;
use containerssh_auth::webhook::{Ended, Subject};
use containerssh_backend::{Backend, BackendError};
use containerssh_recorder::{SessionStart, Tap};
use russh::server::{Handle, RunningSession, run_stream};
use russh::{Disconnect, server};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Security;
use super::algorithms::proposes_first;
use super::auth::Own;
use super::forward::Forwarding;
use super::guest::GuestSlot;
use super::handler::{Handler, HandlerError};
use super::messages;
use crate::admin::Metrics;
use crate::codes;
use crate::geoip::Country;
use crate::serve::{Deps, Drain, Ends, Offence, Place, TooManyOfUser, Wire, WireControl};
use crate::snapshot::Snapshot;

/// Channels that we may close first on one connection. russh keeps about 4 KiB of each until the connection ends, so this is
/// what bounds it: 32 MiB for a client that does nothing but open sessions.
const MAX_CLOSED_FIRST: u64 = 8192;
/// How often a connection looks at its clocks.
const TICK: Duration = Duration::from_secs(1);
/// Sessions get this long to show why they end.
const FAREWELL: Duration = Duration::from_secs(3);
/// The client gets this long to close after it was told to.
const DISCONNECT_GRACE: Duration = Duration::from_secs(2);
/// A cut stream ends its SSH session at once; this bounds the wait should russh not notice.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// A connection's tasks end when it is closed; this bounds the wait for a record or a backend that hangs.
const TASKS_GRACE: Duration = Duration::from_secs(10);

/// TCP keepalive of an idle connection: a peer that is gone is noticed after four minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_RETRIES: u32 = 4;

/// Why the gateway ends a connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EndReason {
    #[error("no login within the grace time")]
    LoginGrace,
    #[error("too many authentication attempts")]
    TooManyAttempts,
    #[error("its place was needed before it had logged in")]
    Evicted,
    #[error("the client closed its end")]
    ClientGone,
    #[error("the client does not answer")]
    Silent,
    #[error("idle for {0:?}")]
    Idle(Duration),
    #[error("open for {0:?}")]
    TooLong(Duration),
    #[error("the user has as many connections as one may have")]
    TooManyOfUser,
    #[error("recording is not possible: {0}")]
    NotRecorded(String),
    #[error("what served it is gone: {0}")]
    GuestGone(BackendError),
    #[error("the gateway stops")]
    GatewayStops,
}

impl EndReason {
    /// What the user is told; `None` if nobody is there to listen.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::LoginGrace | Self::Evicted | Self::ClientGone | Self::Silent => None,
            Self::TooManyAttempts => Some("too many authentication attempts".to_owned()),
            Self::Idle(limit) => Some(messages::idle(*limit)),
            Self::TooLong(limit) => Some(messages::too_long(*limit)),
            Self::TooManyOfUser => Some(messages::TOO_MANY_OF_USER.to_owned()),
            Self::NotRecorded(_) => Some(messages::NOT_RECORDED.to_owned()),
            Self::GuestGone(error) => Some(messages::lost(error)),
            Self::GatewayStops => Some(messages::GATEWAY_STOPS.to_owned()),
        }
    }
}

/// A record was not taken; the connection ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotRecorded;

/// What came of the credentials so far.
#[derive(Debug, Default)]
pub(crate) struct LoginTries {
    pub(crate) rejected: AtomicBool,
    /// Nobody could say, which is not the client's fault.
    pub(crate) undecided: AtomicBool,
}

#[derive(Debug)]
pub(super) struct LoggedIn {
    username: String,
    pub(super) at: Instant,
}

/// What everything of one connection shares. No lock in here is shared with another connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// 32 lowercase hexadecimal digits.
    pub(crate) id: String,
    pub(crate) peer: SocketAddr,
    /// Where that is.
    pub(crate) country: Country,
    /// What the client connected to.
    pub(crate) local: SocketAddr,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tap: Tap,
    pub(crate) wire: Arc<WireControl>,
    /// Every task that works for the connection.
    pub(crate) tasks: TaskTracker,
    /// The client's identification string, once it is known.
    pub(crate) client_version: OnceLock<String>,
    pub(crate) drain: Drain,
    /// Cancelled when the gateway ends the connection: see [`Connection::end`].
    pub(crate) ending: CancellationToken,
    /// Cancelled when the SSH session is over.
    pub(crate) closed: CancellationToken,
    end_reason: OnceLock<EndReason>,
    pub(super) login: OnceLock<LoggedIn>,
    pub(crate) login_tries: LoginTries,
    own: OnceLock<Own>,
    /// Whose end is told, once there is somebody who has proven who they are.
    subject: Mutex<Option<Subject>>,
    guest: OnceLock<GuestSlot>,
    /// Session channels that are open.
    sessions: watch::Sender<usize>,
    pub(crate) forwarding: Forwarding,
    /// What users with a terminal are told; the newest counts.
    pub(super) notices: watch::Sender<Option<String>>,
    /// They were told that the time is nearly up.
    pub(super) warned_of_end: AtomicBool,
    /// They were told that nothing happens, and nothing has happened since.
    pub(super) warned_of_idleness: AtomicBool,
    /// Channels asked for so far, by either side; numbers them in records.
    channels: AtomicU64,
    /// Session channels opened so far.
    sessions_opened: AtomicU64,
    /// Global requests so far; numbers them in records.
    global_requests: AtomicU64,
    /// Channels that we closed before the client did.
    closed_first: AtomicU64,
    pub(super) accepted: Instant,
    started: SystemTime,
    /// Milliseconds after `accepted` when a byte last moved in a session or a forwarded stream.
    pub(super) active: AtomicU64,
    /// Ticks in a row at which the client's end was closed.
    pub(super) gone_ticks: AtomicU32,
    place: Place,
}

/// Serves one accepted TCP connection to its end. Never fails: what goes wrong is logged and ends the connection.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    ends: Ends,
    place: Place,
    kill: CancellationToken,
    snapshot: Arc<Snapshot>,
    deps: Deps,
    drain: Drain,
) {
    let id = hex::encode(rand::random::<[u8; 16]>());
    let peer = ends.client;
    prepare(&stream);
    let started = SystemTime::now();
    let country = snapshot.services.countries.of(peer.ip());
    let start = SessionStart {
        connection_id: id.clone(),
        remote_addr: peer,
        country: country.as_str().to_owned(),
        started,
    };
    let tap = snapshot.record(start);
    let (wire, control) = Wire::new(stream, kill);
    let connection = Arc::new(Connection {
        id,
        peer,
        country,
        local: ends.server,
        snapshot,
        metrics: deps.metrics,
        tap,
        wire: control,
        tasks: TaskTracker::new(),
        client_version: OnceLock::new(),
        drain,
        ending: CancellationToken::new(),
        closed: CancellationToken::new(),
        end_reason: OnceLock::new(),
        login: OnceLock::new(),
        login_tries: LoginTries::default(),
        own: OnceLock::new(),
        subject: Mutex::new(None),
        guest: OnceLock::new(),
        sessions: watch::Sender::new(0),
        forwarding: Forwarding::default(),
        notices: watch::Sender::new(None),
        warned_of_end: AtomicBool::new(false),
        warned_of_idleness: AtomicBool::new(false),
        channels: AtomicU64::new(0),
        sessions_opened: AtomicU64::new(0),
        global_requests: AtomicU64::new(0),
        closed_first: AtomicU64::new(0),
        accepted: Instant::now(),
        started,
        active: AtomicU64::new(0),
        gone_ticks: AtomicU32::new(0),
        place,
    });
    connection.metrics.connected(connection.country);
    tracing::info!(
        code = codes::ssh::SSH_CONNECTED,
        module = "ssh",
        connectionId = connection.id,
        remoteAddr = %peer,
        "Client connected"
    );
    let result = match tokio::spawn(drive(Arc::clone(&connection), wire)).await {
        Ok(result) => result.err().map(|error| error.to_string()),
        Err(panic) => Some(connection.report_panic(&panic.to_string())),
    };
    connection.clean_up(result).await;
}

/// Options of the socket; one that does not take them is gone already.
fn prepare(stream: &TcpStream) {
    // Keystrokes must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    // A client whose network vanished is noticed even where SSH keepalives are off, as with sshd's TCPKeepAlive.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_RETRIES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// The supervised part: from the first byte to the end of the SSH session.
async fn drive(connection: Arc<Connection>, mut wire: Wire) -> Result<(), HandlerError> {
    let connect = Payload::Connect {
        remote_addr: connection.peer.ip().to_string(),
        country: connection.country.as_str().to_owned(),
    };
    // Without a record the client still gets as far as being told why it cannot log in.
    let _ = connection.record(connect).await;
    let snapshot = Arc::clone(&connection.snapshot);
    let deadline = connection.login_deadline();
    let handshake = async {
        let client = wire.identify(&snapshot.identification).await.map_err(russh::Error::from)?;
        let proposed = if proposes_first(&client) {
            wire.proposed_ciphers().await.map_err(russh::Error::from)?
        } else {
            None
        };
        let config: Arc<server::Config> = snapshot.ssh_for(proposed.as_ref());
        let _ = connection.client_version.set(client);
        run_stream(config, wire, Handler::new(Arc::clone(&connection))).await
    };
    let too_late = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    let session = tokio::select! {
        session = handshake => session?,
        () = too_late => {
            connection.end(EndReason::LoginGrace);
            return Err(HandlerError::Ended);
        }
        () = connection.drain.begun.cancelled() => {
            connection.end(EndReason::GatewayStops);
            return Err(HandlerError::Ended);
        }
    };
    supervise(&connection, session).await
}

async fn supervise(
    connection: &Connection,
    mut session: RunningSession<Handler>,
) -> Result<(), HandlerError> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let failed = connection.tap.failed();
    tokio::pin!(failed);
    let mut draining = false;
    loop {
        tokio::select! {
            result = &mut session => return result,
            () = connection.ending.cancelled() => break,
            // Over after this: it must not be asked again, whichever branch is looked at first.
            error = &mut failed => {
                connection.end(EndReason::NotRecorded(error.to_string()));
                break;
            }
            () = connection.drain.over.cancelled() => connection.end(EndReason::GatewayStops),
            () = connection.drain.begun.cancelled(), if !draining => {
                draining = true;
                connection.look_at_the_clock();
            }
            _ = tick.tick() => connection.look_at_the_clock(),
        }
    }
    say_goodbye(connection, session).await
}

/// Ends the session from our side: sessions explain, the client is told, and the stream is cut if all that is in vain.
async fn say_goodbye(
    connection: &Connection,
    mut session: RunningSession<Handler>,
) -> Result<(), HandlerError> {
    let handle = session.handle();
    if let Some(text) = connection.end_reason.get().and_then(EndReason::text) {
        let _ = timeout(FAREWELL, connection.wait_for_no_sessions()).await;
        let _ = timeout(DISCONNECT_GRACE, disconnect(&handle, text)).await;
        if let Ok(result) = timeout(DISCONNECT_GRACE, &mut session).await {
            return result;
        }
    }
    connection.wire.kill.cancel();
    timeout(KILL_GRACE, &mut session).await.unwrap_or(Err(HandlerError::Ended))
}

async fn disconnect(handle: &Handle, text: String) {
    // It fails only when the session is over already.
    let _ = handle.disconnect(Disconnect::ByApplication, text, String::new()).await;
}

impl Connection {
    /// Ends the connection from our side. The first reason counts.
    pub(crate) fn end(&self, reason: EndReason) {
        if self.end_reason.set(reason).is_ok() {
            self.ending.cancel();
        }
    }

    /// Why the gateway ends the connection, if it does.
    pub(crate) fn end_reason(&self) -> Option<&EndReason> {
        self.end_reason.get()
    }

    /// Records something of the whole connection.
    pub(crate) async fn record(&self, payload: Payload) -> Result<(), NotRecorded> {
        self.record_on(None, payload).await
    }

    /// Records something of a channel. If that is mandatory and not possible, the connection ends.
    pub(crate) async fn record_on(&self, channel: Option<u64>, payload: Payload) -> Result<(), NotRecorded> {
        let result = self.tap.record(channel, payload).await;
        result.map_err(|error| self.not_recorded(&error))
    }

    pub(crate) fn not_recorded(&self, error: &containerssh_recorder::TapError) -> NotRecorded {
        self.end(EndReason::NotRecorded(error.to_string()));
        NotRecorded
    }

    /// Sets what of the settings is this connection's own: once, before the user is in.
    pub(crate) fn settle(&self, own: Own) {
        let _ = self.own.set(own);
    }

    /// What the user may do.
    pub(crate) fn security(&self) -> &Arc<Security> {
        self.own.get().map_or(&self.snapshot.security, |own| &own.security)
    }

    /// What serves the connection.
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        self.own.get().map_or(&self.snapshot.services.backend, |own| &own.backend)
    }

    /// The user is in. `start` begins to start the guest.
    pub(crate) fn logged_in(
        self: &Arc<Self>,
        username: &str,
        authenticated: &str,
        start: impl FnOnce(&Arc<Self>) -> GuestSlot,
    ) {
        let login = LoggedIn { username: username.to_owned(), at: Instant::now() };
        if self.login.set(login).is_err() {
            return;
        }
        let name = if authenticated.is_empty() { username } else { authenticated };
        if let Err(TooManyOfUser) = self.place.authenticated(name, &self.snapshot.limits) {
            self.metrics.refused("user");
            self.end(EndReason::TooManyOfUser);
            return;
        }
        self.metrics.logged_in(self.country);
        self.touch();
        containerssh_log::notice!(
            code = codes::ssh::SSH_HANDSHAKE_SUCCESSFUL,
            module = "ssh",
            connectionId = self.id,
            remoteAddr = %self.peer,
            username = username,
            authenticatedUsername = authenticated,
            clientVersion = self.client_version.get().map_or("", String::as_str),
            "User logged in"
        );
        let _ = self.guest.set(start(self));
    }

    /// The guest of a connection whose user has logged in.
    pub(crate) fn guest(&self) -> Option<&GuestSlot> {
        self.guest.get()
    }

    /// A byte moved in a session or a forwarded stream.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(now, Ordering::Relaxed);
    }

    /// Sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        *self.sessions.borrow()
    }

    /// The number of a new channel.
    pub(crate) fn next_channel(&self) -> u64 {
        self.channels.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a global request.
    pub(crate) fn next_global_request(&self) -> u64 {
        self.global_requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that we close a channel before the client has.
    pub(crate) fn closed_first(&self) {
        self.closed_first.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it has had as many channels as a connection may.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.closed_first.load(Ordering::Relaxed) >= MAX_CLOSED_FIRST
    }

    /// Counts a session until the guard is dropped.
    pub(crate) fn open_session(self: &Arc<Self>) -> SessionGuard {
        self.sessions.send_modify(|sessions| *sessions += 1);
        self.sessions_opened.fetch_add(1, Ordering::Relaxed);
        self.metrics.session_opened();
        self.touch();
        SessionGuard(Arc::clone(self))
    }

    async fn wait_for_no_sessions(&self) {
        // Fails only when the sender is dropped, which is ours.
        let _ = self.sessions.subscribe().wait_for(|sessions| *sessions == 0).await;
    }

    fn report_panic(&self, panic: &str) -> String {
        tracing::error!(
            code = codes::ssh::SSH_PANIC,
            severity = "crit",
            module = "ssh",
            connectionId = self.id,
            panic = panic,
            "A fault ended this connection"
        );
        panic.to_owned()
    }

    /// Nothing of the connection stays: tasks, guest, record.
    async fn clean_up(&self, error: Option<String>) {
        // Nobody else cuts the stream without a reason.
        let evicted = self.wire.kill.is_cancelled();
        self.closed.cancel();
        self.wire.kill.cancel();
        self.tasks.close();
        if timeout(TASKS_GRACE, self.tasks.wait()).await.is_err() {
            self.report_panic("tasks of the connection did not end");
        }
        let reason = match (self.end_reason(), error) {
            (Some(reason), _) => reason.to_string(),
            (None, Some(_)) if evicted => EndReason::Evicted.to_string(),
            (None, Some(error)) => error,
            (None, None) => "the client left".to_owned(),
        };
        if self.login.get().is_none() {
            let _ = self.record(Payload::HandshakeFailed { reason: reason.clone() }).await;
            if let Some(offence) = self.offence() {
                self.place.penalize(offence, &self.snapshot.penalties);
            }
        }
        let close_guest = async {
            if let Some(guest) = self.guest().and_then(GuestSlot::to_close) {
                guest.close().await;
            }
        };
        // Neither waits for the other: an API that is away must not hold the record back.
        tokio::join!(close_guest, self.tap.clone().close());
        self.report_end(&reason);
        self.tell_teardown(reason);
    }

    /// The connection's end will be told as this user's.
    pub(crate) fn is_of(&self, subject: impl FnOnce() -> Subject) {
        if self.snapshot.services.teardown.is_some() {
            *self.subject.lock().unwrap_or_else(PoisonError::into_inner) = Some(subject());
        }
    }

    /// Hands the end to whoever is to be told of it.
    fn tell_teardown(&self, reason: String) {
        let subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(teardown), Some(subject)) = (&self.snapshot.services.teardown, subject) else { return };
        let (bytes_in, bytes_out) = self.wire.traffic();
        let ended = Ended {
            logged_in: self.login.get().is_some(),
            started: self.started,
            ended: SystemTime::now(),
            reason,
            sessions: self.sessions_opened.load(Ordering::Relaxed),
            bytes_in,
            bytes_out,
        };
        teardown.tell(&subject, &ended);
    }

    /// What counts against the client's address; nothing for what is our own doing.
    fn offence(&self) -> Option<Offence> {
        match self.end_reason() {
            Some(
                EndReason::NotRecorded(_)
                | EndReason::GuestGone(_)
                | EndReason::GatewayStops
                | EndReason::TooManyOfUser,
            ) => None,
            _ if self.login_tries.rejected.load(Ordering::Relaxed) => Some(Offence::AuthFailed),
            _ if self.login_tries.undecided.load(Ordering::Relaxed) => None,
            Some(EndReason::LoginGrace) => Some(Offence::GraceExceeded),
            _ => Some(Offence::NoAuth),
        }
    }

    fn report_end(&self, reason: &str) {
        let (read, written) = self.wire.traffic();
        self.metrics.disconnected(self.country, self.login.get().is_some(), (read, written));
        let seconds = self.accepted.elapsed().as_secs_f64();
        let username = self.login.get().map_or("", |login| &login.username);
        if let Some(reason) = self.end_reason() {
            tracing::info!(
                code = codes::ssh::SSH_CONNECTION_ENDED,
                module = "ssh",
                connectionId = self.id,
                reason = %reason,
                "The gateway ended the connection"
            );
        }
        let (code, message) = if self.login.get().is_some() {
            (codes::ssh::SSH_DISCONNECTED, "Client disconnected")
        } else {
            (codes::ssh::SSH_HANDSHAKE_FAILED, "Client disconnected without a login")
        };
        tracing::info!(
            code = code,
            module = "ssh",
            connectionId = self.id,
            remoteAddr = %self.peer,
            username = username,
            reason = reason,
            seconds = seconds,
            bytesIn = read,
            bytesOut = written,
            "{message}"
        );
    }
}

/// A session counts while this lives.
#[derive(Debug)]
pub(crate) struct SessionGuard(Arc<Connection>);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.sessions.send_modify(|sessions| *sessions = sessions.saturating_sub(1));
        // A program's end closes its channel, so it is nearly always us.
        self.0.closed_first();
        self.0.metrics.session_closed();
    }
}
