//! From the session's tasks to its event stage: what was recorded, in the order of the record.
//!
//! This is all that events cost a session. Of contents, as much as an event may hold is copied (the stream's own buffers may
//! be larger than what is kept of them, and the bound on memory is exact); base64, JSON and digests are the stage's work.
//! Where no target wants contents nothing is copied, and where there is no target nothing happens at all.
//!
//! A place is reserved before a record is accepted and taken under the lock that gives the record its timestamp, so that
//! both orders are one. Reserving waits only while the stage is behind, which never waits for a target: a target that is
//! slow or away costs a session nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use containerssh_auditlog::sftp::{FileDecoder, Options};
use containerssh_auditlog::{IoStream, Payload};
use containerssh_config::EventKind;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::encode::text_bytes;
use crate::event::{FinishedRecord, Kinds, record_kind, stream_kind};

/// Bytes that one session may hold here: what its stage takes while the session's tasks produce as much again.
const CAPACITY: usize = 1024 * 1024;

/// Bytes that all sessions may hold here. Stages empty their feeds as soon as they run, so this is reached only if the
/// processors are far behind.
pub(crate) const MEMORY: usize = 64 * 1024 * 1024;

/// What an observation takes beside its contents, rounded up.
const OVERHEAD: usize = 256;

/// Channels that move files at once. Far more than a connection may open.
const MAX_FILES: usize = 256;

/// How long the disconnect waits for its record to be finished. A record that takes longer is on a disk that is full or
/// away, and a SIEM must not wait for that to know that the session is over.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// A session's way to its events. Clones share it; the session is over when the last is gone.
#[derive(Debug, Clone, Default)]
pub struct Feed(Option<Arc<Handle>>);

#[derive(Debug)]
struct Handle(Arc<Line>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Line {
    state: Mutex<State>,
    wake: Notify,
    room: Semaphore,
    /// Shared by all sessions.
    memory: Arc<Semaphore>,
    wants: Kinds,
    /// Most bytes of contents in an event.
    limit: usize,
    /// Whether there are `files` in the state.
    files: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Observation>,
    /// When the disconnect was recorded.
    ended: Option<u64>,
    record: Option<FinishedRecord>,
    closed: bool,
    /// The stage is gone.
    stopped: bool,
    /// Channels that move files: the stage needs all of their bytes.
    files: Vec<u64>,
}

/// Something that was recorded.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) at: u64,
    pub(crate) channel: Option<u64>,
    pub(crate) seen: Seen,
    weight: usize,
}

/// What was recorded.
#[derive(Debug)]
pub(crate) enum Seen {
    Record(Payload),
    Io { stream: IoStream, data: Bytes, length: u64 },
    RecordGap(String),
    RecordFailed(String),
}

/// What the stage is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Seen(Vec<Observation>),
    /// The session is over: when, and what became of its record.
    Over(Option<u64>, Option<FinishedRecord>),
}

/// Room for an observation. Given back if it is dropped.
#[derive(Debug, Default)]
#[must_use = "without a timestamp nothing is observed"]
pub struct Place<'a>(Option<Reserved<'a>>);

#[derive(Debug)]
struct Reserved<'a> {
    line: &'a Line,
    channel: Option<u64>,
    seen: Seen,
    weight: usize,
    room: SemaphorePermit<'a>,
    memory: SemaphorePermit<'a>,
}

impl Feed {
    /// For sessions of which no events are sent.
    #[must_use]
    pub fn disabled() -> Self {
        Self(None)
    }

    /// A feed, and what its stage takes from.
    pub(crate) fn new(wants: Kinds, limit: usize, memory: Arc<Semaphore>) -> (Self, Arc<Line>) {
        let line = Arc::new(Line {
            state: Mutex::default(),
            wake: Notify::new(),
            room: Semaphore::new(CAPACITY),
            memory,
            wants,
            limit,
            files: AtomicBool::new(false),
        });
        (Self(Some(Arc::new(Handle(Arc::clone(&line))))), line)
    }

    /// Room for a record that is about to be accepted. Secrets that may not be recorded must be out of it already.
    pub async fn record(&self, channel: Option<u64>, payload: &Payload) -> Place<'_> {
        let Some(line) = self.line() else { return Place(None) };
        if record_kind(payload).is_none() {
            return Place(None);
        }
        let weight = OVERHEAD + text_bytes(payload);
        line.reserve(channel, weight, || Seen::Record(payload.clone())).await
    }

    /// Room for bytes of a stream that are about to be accepted.
    pub async fn io(&self, channel: u64, stream: IoStream, data: &[u8]) -> Place<'_> {
        let Some(line) = self.line() else { return Place(None) };
        let kept = if line.follows_files(channel) {
            data
        } else if line.wants.has(stream_kind(stream)) {
            data.get(..line.limit).unwrap_or(data)
        } else {
            return Place(None);
        };
        let seen = || Seen::Io { stream, data: Bytes::copy_from_slice(kept), length: data.len() as u64 };
        line.reserve(Some(channel), OVERHEAD + kept.len(), seen).await
    }

    /// Records are missing from the session's record from now on, or until now; `reason` says what and why.
    pub fn record_gap(&self, at: u64, reason: &str) {
        self.tell(at, || Seen::RecordGap(reason.to_owned()));
    }

    /// The session cannot be recorded, and ends.
    pub fn record_failed(&self, reason: &str) {
        self.tell(crate::now(), || Seen::RecordFailed(reason.to_owned()));
    }

    /// The disconnect was recorded. Its event waits a while for [`Feed::record_finished`].
    pub fn disconnected(&self, at: u64) {
        if let Some(line) = self.line() {
            line.state().ended.get_or_insert(at);
            line.wake.notify_one();
        }
    }

    /// The session's record is complete and durable.
    pub fn record_finished(&self, record: FinishedRecord) {
        if let Some(line) = self.line() {
            line.state().record = Some(record);
            line.wake.notify_one();
        }
    }

    fn line(&self) -> Option<&Line> {
        self.0.as_ref().map(|handle| &*handle.0)
    }

    /// What happens at most a few times in a session, wherever it is, needs no room.
    fn tell(&self, at: u64, seen: impl FnOnce() -> Seen) {
        if let Some(line) = self.line() {
            line.push(Observation { at, channel: None, seen: seen(), weight: 0 });
        }
    }
}

impl Place<'_> {
    /// The record was accepted with this timestamp, in nanoseconds since 1970. Waits for nothing.
    pub fn accepted(self, at: u64) {
        let Some(Reserved { line, channel, seen, weight, room, memory }) = self.0 else { return };
        if line.push(Observation { at, channel, seen, weight }) {
            // Given back when the stage has taken it.
            room.forget();
            memory.forget();
        }
    }

    /// It is not recorded, as the policy allows, and happens all the same.
    pub fn unrecorded(self) {
        self.accepted(crate::now());
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reserve(&self, channel: Option<u64>, weight: usize, seen: impl FnOnce() -> Seen) -> Place<'_> {
        // What is larger than all the room there is waits for all of it, not for ever.
        let weight = weight.min(CAPACITY);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        // Both fail only when the stage is gone, and then there is nobody to tell.
        let Ok(room) = self.room.acquire_many(permits).await else { return Place(None) };
        let Ok(memory) = self.memory.acquire_many(permits).await else { return Place(None) };
        Place(Some(Reserved { line: self, channel, seen: seen(), weight, room, memory }))
    }

    fn follows_files(&self, channel: u64) -> bool {
        self.files.load(Ordering::Relaxed) && self.state().files.contains(&channel)
    }

    /// Notes which channels move files.
    fn notice_files(&self, state: &mut State, channel: u64, payload: &Payload) {
        if !self.wants.has(EventKind::Sftp) {
            return;
        }
        let known = state.files.contains(&channel);
        match payload {
            Payload::Close if known => state.files.retain(|open| *open != channel),
            request if !known && FileDecoder::for_request(request, Options::default()).is_some() => {
                // As many as the stage follows, and the oldest first, as it does.
                if state.files.len() >= MAX_FILES {
                    state.files.remove(0);
                }
                state.files.push(channel);
            }
            _ => return,
        }
        self.files.store(!state.files.is_empty(), Ordering::Relaxed);
    }

    /// Whether the stage will take it.
    fn push(&self, observation: Observation) -> bool {
        let mut state = self.state();
        if state.stopped {
            return false;
        }
        let first = state.waiting.is_empty();
        if let (Seen::Record(payload), Some(channel)) = (&observation.seen, observation.channel) {
            self.notice_files(&mut state, channel, payload);
        }
        state.waiting.push(observation);
        drop(state);
        if first {
            self.wake.notify_one();
        }
        true
    }

    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.wants.has(kind)
    }

    /// Most bytes of contents in an event.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The stage's next work. `deadline` is the stage's, set when the disconnect comes. Cancel safe.
    pub(crate) async fn next(&self, deadline: &mut Option<Instant>, stop: &CancellationToken) -> Next {
        loop {
            {
                let mut state = self.state();
                if !state.waiting.is_empty() {
                    return Next::Seen(std::mem::take(&mut state.waiting));
                }
                if state.ended.is_some() {
                    deadline.get_or_insert_with(|| Instant::now() + RECORD_WAIT);
                }
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
                let finished = state.ended.is_some() && state.record.is_some();
                if state.closed || finished || late || stop.is_cancelled() {
                    return Next::Over(state.ended, state.record.take());
                }
            }
            let late = async {
                match *deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = late => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Gives back what the stage has dealt with.
    pub(crate) fn release(&self, observation: &Observation) {
        self.room.add_permits(observation.weight);
        self.memory.add_permits(observation.weight);
    }

    /// The stage is gone: whoever waits or comes goes on without it. Returns how much it left.
    pub(crate) fn stop(&self) -> usize {
        let left = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.waiting)
        };
        self.room.close();
        for observation in &left {
            self.memory.add_permits(observation.weight);
        }
        left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(wants: &[EventKind]) -> (Feed, Arc<Line>, Arc<Semaphore>) {
        let memory = Arc::new(Semaphore::new(MEMORY));
        let (feed, line) = Feed::new(Kinds::included(Some(wants)), 1000, Arc::clone(&memory));
        (feed, line, memory)
    }

    async fn next(line: &Line) -> Next {
        line.next(&mut None, &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn contents_that_nobody_wants_are_not_even_copied() {
        let (feed, line, memory) = feed(&[EventKind::Stdin]);
        let place = feed.io(0, IoStream::Stdout, b"x").await;
        assert!(place.0.is_none());
        place.accepted(1);
        assert!(line.state().waiting.is_empty());
        assert_eq!(memory.available_permits(), MEMORY);
    }

    #[tokio::test]
    async fn of_contents_no_more_is_kept_than_an_event_holds() {
        let (feed, line, memory) = feed(&[EventKind::Stdout]);
        feed.io(3, IoStream::Stdout, &[7; 5000]).await.accepted(1);
        assert_eq!(memory.available_permits(), MEMORY - 1000 - OVERHEAD);
        let Next::Seen(seen) = next(&line).await else { panic!() };
        let [observation] = &seen[..] else { panic!() };
        assert!(matches!(&observation.seen, Seen::Io { data, length: 5000, .. } if data.len() == 1000));
        line.release(observation);
        assert_eq!(memory.available_permits(), MEMORY);
    }

    #[tokio::test]
    async fn of_channels_that_move_files_the_stage_gets_every_byte() {
        let (feed, line, _memory) = feed(&[EventKind::Sftp]);
        let sftp = Payload::ChannelRequestSubsystem { request_id: 1, subsystem: "sftp".into() };
        feed.record(Some(3), &sftp).await.accepted(1);
        assert!(feed.io(4, IoStream::Stdin, &[7; 5000]).await.0.is_none());
        feed.io(3, IoStream::Stdin, &[7; 5000]).await.accepted(2);
        feed.record(Some(3), &Payload::Close).await.accepted(3);
        assert!(feed.io(3, IoStream::Stdin, b"late").await.0.is_none());
        let Next::Seen(seen) = next(&line).await else { panic!() };
        assert!(matches!(&seen[1].seen, Seen::Io { data, .. } if data.len() == 5000));
    }

    #[tokio::test]
    async fn a_place_that_is_not_taken_is_given_back() {
        let (feed, line, memory) = feed(&[EventKind::Stdin]);
        drop(feed.io(0, IoStream::Stdin, b"x").await);
        assert_eq!((memory.available_permits(), line.room.available_permits()), (MEMORY, CAPACITY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_waits_for_its_stage_and_goes_on_when_the_stage_is_gone() {
        let (feed, line, memory) = feed(&[EventKind::Stdin]);
        let producer = tokio::spawn(async move {
            for at in 0..10_000 {
                feed.io(0, IoStream::Stdin, &[0; 1000]).await.accepted(at);
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!producer.is_finished());
        assert_eq!(line.stop(), CAPACITY / (1000 + OVERHEAD));
        producer.await.unwrap();
        assert_eq!(memory.available_permits(), MEMORY);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_record_but_not_for_ever() {
        let (feed, line, _memory) = feed(&[]);
        feed.disconnected(7);
        let start = Instant::now();
        assert!(matches!(next(&line).await, Next::Over(Some(7), None)));
        assert_eq!(start.elapsed(), RECORD_WAIT);
        feed.record_finished(FinishedRecord { bytes: Some(1), ..FinishedRecord::default() });
        let start = Instant::now();
        assert!(matches!(next(&line).await, Next::Over(Some(7), Some(_))));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_handle_ends_the_session() {
        let (feed, line, _memory) = feed(&[]);
        let other = feed.clone();
        drop(feed);
        assert!(tokio::time::timeout(Duration::from_secs(60), next(&line)).await.is_err());
        drop(other);
        assert!(matches!(next(&line).await, Next::Over(None, None)));
    }
}
