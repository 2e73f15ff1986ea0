//! russh's callbacks. They run inside the session's loop: while one waits, no channel of the connection moves. So they
//! answer at once and leave everything else to a channel's task, which gets each [`Decision`] in the order of the requests.
//!
//! Two kinds of callbacks do wait: authentication, before which no channel exists, and the records of what concerns
//! the whole connection, which take no longer than the disk.

use std::collections::HashMap;
use std::sync::Arc;

use containerssh_auditlog::Payload;
use containerssh_backend::{Bind, Target, WindowSize};
use russh::keys::{Algorithm, Certificate};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::sync::mpsc;

use super::auth::{Answer, Login, Reply};
use super::connection::{Connection, EndReason};
use super::forward;
use super::records::signal_name;
use super::session::{self, Parts};
use super::setup::{Decision, Refusal, Setup};
use crate::codes;

/// Why the SSH session ended from our side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    /// russh gave up: the stream ended, or the client broke the protocol.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    /// The connection is ended; its reason is known.
    #[error("ended")]
    Ended,
}

/// One connection's side towards russh.
#[derive(Debug)]
pub(crate) struct Handler {
    connection: Arc<Connection>,
    login: Login,
    channels: HashMap<ChannelId, Entry>,
    /// Whether somebody takes what the guest brings.
    takes_incoming: bool,
}

#[derive(Debug)]
struct Entry {
    setup: Setup,
    /// To the channel's task, which takes one for each request it sees.
    decisions: mpsc::UnboundedSender<Decision>,
}

impl Handler {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        let login = Login::new(&connection.snapshot.steps);
        Self { connection, login, channels: HashMap::new(), takes_incoming: false }
    }

    fn auth(&self, answer: Answer) -> Auth {
        match answer {
            Answer::Accept => Auth::Accept,
            Answer::Reject => self.reject(),
            Answer::Partial => self.go_on(true),
            Answer::Abort => {
                self.connection.end(EndReason::TooManyAttempts);
                self.reject()
            }
        }
    }

    /// A wrong password does not take the method away: the user may have mistyped.
    fn reject(&self) -> Auth {
        self.go_on(false)
    }

    /// What may be tried next; `partial_success` says that the last try was good (RFC 4252 section 5.1).
    fn go_on(&self, partial_success: bool) -> Auth {
        let methods = crate::snapshot::method_set(&self.login.offered_methods());
        Auth::Reject { proceed_with_methods: Some(methods), partial_success }
    }

    /// Decides about a request and answers it, within the callback: russh has one reply flag per channel, which the
    /// next request overwrites.
    fn decide(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        decide: impl FnOnce(&mut Setup) -> Decision,
    ) -> Result<(), HandlerError> {
        let granted = match self.channels.get_mut(&channel) {
            Some(entry) => {
                let decision = decide(&mut entry.setup);
                let granted = decision.granted();
                // Fails when the task has ended: so has the program.
                granted & entry.decisions.send(decision).is_ok()
            }
            None => false,
        };
        let replied =
            if granted { session.channel_success(channel) } else { session.channel_failure(channel) };
        Ok(replied?)
    }

    /// Why there cannot be another channel, whatever its kind.
    fn admit_channel(&self) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal { code: codes::ssh::SSH_NEW_CHANNEL_REJECTED, reason });
        if self.connection.is_worn_out() {
            refuse("this connection has had too many sessions: open another one")
        } else if self.connection.drain.begun.is_cancelled() || self.connection.ending.is_cancelled() {
            refuse("this gateway is about to stop: connect again to reach another one")
        } else {
            Ok(())
        }
    }

    fn admit_session(&self) -> Result<(), Refusal> {
        self.admit_channel()?;
        let limit = self.connection.snapshot.limits.sessions_per_connection;
        let live = self.connection.sessions();
        if limit > 0 && live >= limit {
            let reason = "too many sessions on this connection";
            return Err(Refusal { code: codes::ssh::SSH_NEW_CHANNEL_REJECTED, reason });
        }
        self.connection.security().session(live)
    }

    /// Opens a stream to what the client names, or refuses to.
    async fn open_forward(
        &mut self,
        kind: forward::Kind,
        target: Option<Target>,
        asked: Payload,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let number = self.connection.next_channel();
        let prohibited = ChannelOpenFailure::AdministrativelyProhibited;
        let short = ChannelOpenFailure::ResourceShortage;
        let refuse = |reason| Refusal { code: codes::ssh::SSH_NEW_CHANNEL_REJECTED, reason };
        let admitted = match &target {
            Some(target) => {
                let allowed =
                    self.connection.security().dial(target).map_err(|refusal| (prohibited, refusal));
                allowed.and_then(|()| self.admit_channel().map_err(|refusal| (short.clone(), refusal)))
            }
            None => Err((ChannelOpenFailure::ConnectFailed, refuse("that is no port to connect to"))),
        };
        let place = || self.connection.forwarding.try_place();
        let admitted = admitted.and_then(|()| {
            let full = refuse("too many forwarded streams on this connection");
            place().ok_or((short, full))
        });
        match (target, admitted) {
            (Some(target), Ok(place)) => {
                let wanted = forward::Wanted { number, kind, target, asked };
                let connection = Arc::clone(&self.connection);
                self.connection.tasks.spawn(forward::open(connection, wanted, channel, reply, place));
            }
            (_, Err((code, refusal))) => {
                let _ = self.connection.record_on(Some(number), asked).await;
                self.connection.metrics.forward_failed(kind);
                self.report_refused(number, kind.channel_type(), refusal).await;
                let failure =
                    ChannelOpenFailure::Other { code: code.code(), reason: refusal.reason.to_owned() };
                reply.reject(failure).await;
            }
            // Without a target it is not admitted.
            (None, Ok(_)) => {}
        }
    }

    /// Refuses a channel of a kind that only a server opens.
    async fn refuse_channel(&mut self, reply: ChannelOpenHandle, channel_type: &str, asked: Option<Payload>) {
        let number = self.connection.next_channel();
        if let Some(asked) = asked {
            let _ = self.connection.record_on(Some(number), asked).await;
        }
        let reason = "only a server opens such channels";
        let refusal = Refusal { code: codes::ssh::SSH_NEW_CHANNEL_REJECTED, reason };
        self.report_refused(number, channel_type, refusal).await;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }

    /// From now on what the guest brings is taken.
    fn take_incoming(&mut self, session: &Session) {
        if !self.takes_incoming {
            self.takes_incoming = true;
            let taking = forward::bring_in(Arc::clone(&self.connection), session.handle());
            self.connection.tasks.spawn(taking);
        }
    }

    async fn report_refused(&self, number: u64, channel_type: &str, refusal: Refusal) {
        let Refusal { code, reason } = refusal;
        tracing::info!(
            code = code,
            module = "ssh",
            connectionId = self.connection.id,
            channelId = number,
            channelType = channel_type,
            reason = reason,
            "Channel refused"
        );
        let failed =
            Payload::NewChannelFailed { channel_type: channel_type.to_owned(), reason: reason.to_owned() };
        // If it cannot be recorded the connection ends; either way nothing is opened.
        let _ = self.connection.record_on(Some(number), failed).await;
    }
}

impl russh::server::Handler for Handler {
    type Error = HandlerError;

    async fn authentication_banner(&mut self) -> Result<Option<String>, HandlerError> {
        Ok(self.connection.snapshot.banner.clone())
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, HandlerError> {
        Ok(self.reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, HandlerError> {
        let answer = self.login.password(&self.connection, user, password).await;
        Ok(self.auth(answer))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, HandlerError> {
        // `ssh-rsa` signs with SHA-1. The same key is welcome with SHA-2 (RFC 8332).
        if *offer.algorithm == (Algorithm::Rsa { hash: None }) {
            return Ok(self.reject());
        }
        let answer = self.login.offered(&self.connection, user, offer.public_key).await;
        Ok(self.auth(answer))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, HandlerError> {
        let answer = self.login.proven(&self.connection, user, key.public_key).await;
        Ok(self.auth(answer))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, HandlerError> {
        let answers = response.map(|response| response.map(|answer| answer.to_vec()).collect());
        Ok(match self.login.interactive(&self.connection, user, answers).await {
            Reply::Settled(answer) => self.auth(answer),
            Reply::Ask(question) => {
                let prompts =
                    question.prompts.into_iter().map(|(prompt, echo)| (prompt.into(), echo)).collect();
                Auth::Partial { name: "".into(), instructions: question.instructions.into(), prompts }
            }
        })
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, HandlerError> {
        let answer = self.login.certificate(&self.connection, user, certificate).await;
        Ok(self.auth(answer))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let number = self.connection.next_channel();
        if let Err(refusal) = self.admit_session() {
            self.report_refused(number, "session", refusal).await;
            let failure = ChannelOpenFailure::Other {
                code: ChannelOpenFailure::ResourceShortage.code(),
                reason: refusal.reason.to_owned(),
            };
            reply.reject(failure).await;
            return Ok(());
        }
        // russh does not tell us of channels that we closed first.
        self.channels.retain(|_, entry| !entry.decisions.is_closed());
        let (sender, decisions) = mpsc::unbounded_channel();
        let setup = Setup::new(Arc::clone(self.connection.security()));
        self.channels.insert(channel.id(), Entry { setup, decisions: sender });
        let (read, write) = channel.split();
        let guard = self.connection.open_session();
        let parts = Parts { number, read, write, handle: session.handle(), decisions, guard };
        self.connection.tasks.spawn(session::run(Arc::clone(&self.connection), parts));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), HandlerError> {
        let asked = Payload::NewReverseX11ForwardChannel {
            originator_host: originator_address.to_owned(),
            originator_port,
        };
        self.refuse_channel(reply, "x11", Some(asked)).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        originator_address: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), HandlerError> {
        let asked = Payload::NewForwardChannel {
            host_to_connect: host_to_connect.to_owned(),
            port_to_connect,
            originator_host: originator_address.to_owned(),
            originator_port,
        };
        let port = u16::try_from(port_to_connect).ok();
        let target = port.map(|port| Target::Tcp { host: host_to_connect.to_owned(), port });
        self.open_forward(forward::Kind::DirectTcpip, target, asked, channel, reply).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.refuse_channel(reply, "forwarded-tcpip", None).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), HandlerError> {
        let asked = Payload::NewForwardStreamLocalChannel { path: socket_path.to_owned() };
        let target = Some(Target::Unix { path: socket_path.to_owned() });
        self.open_forward(forward::Kind::DirectStreamlocal, target, asked, channel, reply).await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.decide(channel, session, |setup| setup.env(name, value))
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let size = WindowSize { columns, rows, width, height };
        self.decide(channel, session, |setup| setup.pty(term, size, modes))
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), HandlerError> {
        self.decide(channel, session, Setup::shell)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.decide(channel, session, |setup| setup.exec(command))
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.decide(channel, session, |setup| setup.subsystem(name))
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let size = WindowSize { columns, rows, width, height };
        self.decide(channel, session, |setup| setup.window(size))
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.decide(channel, session, |setup| setup.signal(signal_name(&signal)))
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single_connection: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        self.decide(channel, session, |setup| setup.x11(single_connection, protocol, cookie, screen))?;
        if self.channels.get(&channel).is_some_and(|entry| entry.setup.wants_x11()) {
            self.connection.forwarding.expect_x11();
            self.take_incoming(session);
        }
        Ok(())
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let Some(entry) = self.channels.get_mut(&channel) else { return Ok(false) };
        let decision = entry.setup.agent();
        let granted = decision.granted() & entry.decisions.send(decision).is_ok();
        if granted {
            self.connection.forwarding.expect_auth_agent();
            self.take_incoming(session);
        }
        Ok(granted)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let asked = Payload::RequestReverseForward { bind_host: address.to_owned(), bind_port: *port };
        let listened = self.connection.listen(asked, tcp_bind(address, *port)).await;
        if let Some(chosen) = listened {
            *port = u32::from(chosen);
            self.take_incoming(session);
        }
        Ok(listened.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let asked = Payload::RequestCancelReverseForward { bind_host: address.to_owned(), bind_port: port };
        Ok(self.connection.unlisten(asked, tcp_bind(address, port)).await)
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, HandlerError> {
        let asked = Payload::RequestStreamLocal { path: path.to_owned() };
        let listened = self.connection.listen(asked, Some(Bind::Unix { path: path.to_owned() })).await;
        if listened.is_some() {
            self.take_incoming(session);
        }
        Ok(listened.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let asked = Payload::RequestCancelStreamLocal { path: path.to_owned() };
        Ok(self.connection.unlisten(asked, Some(Bind::Unix { path: path.to_owned() })).await)
    }
}

/// `None` if the port is none.
fn tcp_bind(address: &str, port: u32) -> Option<Bind> {
    u16::try_from(port).ok().map(|port| Bind::Tcp { host: address.to_owned(), port })
}
