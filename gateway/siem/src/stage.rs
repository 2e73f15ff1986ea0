//! One task per session: makes events of what was recorded, and gives them to the targets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use containerssh_auditlog::sftp::{Channels, FileEvent, Operation, Options};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::EventKind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{
    Contents, Data, Ending, Event, MAX_USERNAME, Origin, What, forward_type, record_kind, start,
};
use crate::feed::{Line, Next, Observation, Seen};
use crate::queue::RouteId;
use crate::target::Target;

/// Observations between two looks at whether others want the processor.
const TURN: usize = 64;

/// Forwarded channels whose end is told as such. Far more than a connection may open.
const MAX_FORWARDS: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Stage {
    line: Arc<Line>,
    routes: Vec<Route>,
    origin: Arc<Origin>,
    /// When the connection was made, nanoseconds since 1970.
    started: u64,
    stop: CancellationToken,
    username: Option<Arc<str>>,
    exit_code: Option<u32>,
    /// Open channels that forward something, and what.
    forwards: HashMap<u64, &'static str>,
    /// Most bytes of contents in an event.
    limit: usize,
    /// What happens to files, if anybody wants to know.
    files: Option<Channels>,
    /// Channels whose streams stopped to be what they began as.
    unreadable: HashSet<u64>,
}

/// What a stage is told of its session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) origin: Origin,
    /// When the connection was made, nanoseconds since 1970.
    pub(crate) started: u64,
    pub(crate) stdout_recorded: bool,
}

/// A target, and the session's place in its queue.
#[derive(Debug)]
struct Route {
    target: Arc<Target>,
    id: RouteId,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.target.queue.leave(self.id);
    }
}

/// Lets the session go on whatever ends the stage, a panic included.
#[derive(Debug)]
struct Present(Arc<Line>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Stage {
    pub(crate) fn new(
        line: Arc<Line>,
        targets: &[Arc<Target>],
        session: Session,
        stop: CancellationToken,
    ) -> Self {
        let Session { origin, started, stdout_recorded } = session;
        let origin = Arc::new(origin);
        let route = |target: &Arc<Target>| Route {
            id: target.queue.join(Arc::clone(&origin)),
            target: Arc::clone(target),
        };
        let routes = targets.iter().map(route).collect();
        let options = Options { replies_recorded: stdout_recorded, ..Options::default() };
        let files = line.wants(EventKind::Sftp).then(|| Channels::new(options));
        Self {
            limit: line.limit(),
            line,
            routes,
            origin,
            started,
            stop,
            username: None,
            exit_code: None,
            forwards: HashMap::new(),
            files,
            unreadable: HashSet::new(),
        }
    }

    /// Runs until the session is over.
    pub(crate) async fn run(mut self) {
        let _present = Present(Arc::clone(&self.line));
        let mut deadline: Option<Instant> = None;
        loop {
            match self.line.next(&mut deadline, &self.stop).await {
                Next::Seen(batch) => {
                    for (number, observation) in batch.into_iter().enumerate() {
                        self.line.release(&observation);
                        self.take(observation);
                        if number % TURN == TURN - 1 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Next::Over(ended, record) => {
                    let at = ended.unwrap_or_else(crate::now);
                    self.files(None, at, &Payload::Disconnect);
                    let seconds = at.saturating_sub(self.started) as f64 / 1e9;
                    let ending = Ending { exit_code: self.exit_code, seconds, record };
                    self.emit(at, None, What::Disconnect(ending));
                    return;
                }
            }
        }
    }

    fn take(&mut self, observation: Observation) {
        let Observation { at, channel, seen, .. } = observation;
        match seen {
            Seen::Record(payload) => {
                // What a channel did is told before its end.
                self.files(channel, at, &payload);
                if let Some(what) = self.learn(channel, payload) {
                    self.emit(at, channel, what);
                }
            }
            Seen::Io { stream, data, length } => self.contents(at, channel, stream, data, length),
            Seen::RecordGap(reason) => self.emit(at, None, What::RecordGap(reason)),
            Seen::RecordFailed(reason) => self.emit(at, None, What::RecordFailed(reason)),
        }
    }

    /// Bytes of a stream: as they are, and as what they do to files.
    fn contents(&mut self, at: u64, channel: Option<u64>, stream: IoStream, data: Bytes, length: u64) {
        let whole = Payload::Io { stream, data: data.clone() };
        let understood = self.files(channel, at, &whole);
        let data = if data.len() > self.limit { data.slice(..self.limit) } else { data };
        let contents = What::Io(Contents { stream, data: Data::Shared(data), length });
        // Packets of a transfer that is told file by file are noise to whoever is told.
        self.emit_to(at, channel, contents, |target| !understood || !target.wants.has(EventKind::Sftp));
    }

    /// Follows what happens to files. Returns whether the channel's streams are understood.
    fn files(&mut self, channel: Option<u64>, at: u64, payload: &Payload) -> bool {
        let Some(files) = &mut self.files else { return false };
        let mut seen: Vec<(u64, FileEvent)> = Vec::new();
        files.push(channel, at, payload, &mut |channel, event| seen.push((channel, event)));
        let followed = channel.is_some_and(|channel| files.follows(channel));
        for (channel, event) in seen {
            if matches!(event.operation, Operation::Desynchronised { .. }) {
                self.unreadable.insert(channel);
            }
            self.emit(event.timestamp, Some(channel), What::File(Arc::new(event)));
        }
        if !followed && let Some(channel) = channel {
            self.unreadable.remove(&channel);
        }
        followed && channel.is_some_and(|channel| !self.unreadable.contains(&channel))
    }

    /// Takes from a record what later events say.
    fn learn(&mut self, channel: Option<u64>, payload: Payload) -> Option<What> {
        match &payload {
            Payload::HandshakeSuccessful { username } => {
                self.username = Some(start(username, MAX_USERNAME).into());
            }
            Payload::Exit { exit_status } => self.exit_code = Some(*exit_status),
            Payload::Close => {
                if let Some(forwarded) = channel.and_then(|channel| self.forwards.remove(&channel)) {
                    return Some(What::ForwardClose(forwarded));
                }
            }
            other => {
                if let (Some(channel), Some(forwarded)) = (channel, forward_type(other))
                    && self.forwards.len() < MAX_FORWARDS
                {
                    self.forwards.insert(channel, forwarded);
                }
            }
        }
        record_kind(&payload).map(|kind| What::Record(kind, Arc::new(payload)))
    }

    fn emit(&self, at: u64, channel: Option<u64>, what: What) {
        self.emit_to(at, channel, what, |_| true);
    }

    /// Gives an event to all targets that want its kind, and to which it is `fit`.
    fn emit_to(&self, at: u64, channel: Option<u64>, what: What, fit: impl Fn(&Target) -> bool) {
        let event =
            Event { origin: Arc::clone(&self.origin), username: self.username.clone(), at, channel, what };
        let wanted = |target: &Target| event.what.kind().is_none_or(|kind| target.wants.has(kind));
        for route in &self.routes {
            if wanted(&route.target) && fit(&route.target) {
                route.target.queue.push(route.id, event.clone());
            }
        }
    }
}
