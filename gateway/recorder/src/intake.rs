//! Between the pumps and the writer: the order of records, their timestamps, and the bound on memory.
//!
//! A connection holds at most [`CAPACITY`] bytes here and in the writer together, and all connections together at most
//! `SpoolSettings::memory_limit`. Whoever comes while that is used up waits: this is how a slow disk slows a session
//! down instead of filling memory. Room is given back when a segment is in the file, not when the writer takes it.
//!
//! Records are encoded under one short lock, and their timestamps are taken under it: the order in the file, the order
//! of timestamps and the order of acceptance are one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use containerssh_auditlog::{Encoder, IoStream, Payload};
use containerssh_siem::{Feed, Place};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::segment::{Lost, SEGMENT_BYTES, Segment};
use crate::spool::sidecar::User;
use crate::spool::sync::Synced;

/// Bytes that one connection may hold: the segment being filled, the one being written, and as much again, so that
/// the two overlap without waiting for each other.
pub(crate) const CAPACITY: usize = 1024 * 1024;

/// The most data in one record. SSH packets are smaller; what is longer is cut, and each piece can be held.
const MAX_DATA: usize = SEGMENT_BYTES;

/// What an I/O record takes beside its data, rounded up.
const IO_OVERHEAD: usize = 160;

/// The connection's record takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write this.
    Segment(Segment),
    /// Store who authenticated.
    User(User),
    /// Everything accepted before was handed over: make it durable and answer.
    Flush(Vec<oneshot::Sender<Synced>>),
    /// The connection is over. What is left, and the end of the record is yet to be added to it.
    Close(Ending),
}

/// The last of a connection.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Records that are not cut yet; may be empty.
    pub(crate) segment: Segment,
    /// What was lost and is not told yet.
    pub(crate) lost: Lost,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Intake {
    encoder: Encoder,
    inner: Mutex<Inner>,
    /// Bytes that this connection may still hold.
    room: Semaphore,
    /// Bytes that all connections together may still hold.
    memory: Arc<Semaphore>,
    /// Rung for the writer.
    work: Notify,
    /// The record cannot be written: nothing is accepted any more and nobody waits.
    stopped: CancellationToken,
    /// Told of what is accepted, in the same order.
    feed: Feed,
}

#[derive(Debug, Default)]
struct Inner {
    open: Segment,
    sealed: VecDeque<Segment>,
    /// A buffer to be used again while the connection is busy.
    spare: Option<Vec<u8>>,
    /// The last timestamp, nanoseconds since 1970.
    last: u64,
    lost: Lost,
    user: Option<User>,
    flushes: Vec<oneshot::Sender<Synced>>,
    closed: bool,
}

impl Inner {
    /// The time of a record: never before the one of the record before it, even if the clock is set back.
    fn tick(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last = self.last.max(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        self.last
    }

    fn take_open(&mut self) -> Segment {
        let next = self.spare.take().map_or_else(Segment::default, Segment::reusing);
        std::mem::replace(&mut self.open, next)
    }
}

impl Intake {
    /// For the connection with this id. `memory` is shared by all connections and holds at least [`CAPACITY`] in all.
    pub(crate) fn new(connection_id: &str, memory: Arc<Semaphore>) -> Self {
        Self {
            encoder: Encoder::new(connection_id),
            inner: Mutex::default(),
            room: Semaphore::new(CAPACITY),
            memory,
            work: Notify::new(),
            stopped: CancellationToken::new(),
            feed: Feed::disabled(),
        }
    }

    /// Tells `feed` of what is accepted.
    pub(crate) fn feeding(self, feed: Feed) -> Self {
        Self { feed, ..self }
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts an event.
    pub(crate) async fn record(&self, channel: Option<u64>, payload: &Payload) -> Result<(), Stopped> {
        // Events are few: encoding one twice is cheaper than knowing the size of every type beforehand.
        let mut measured = Vec::new();
        self.encoder.record(&mut measured, u64::MAX, channel, payload);
        let weight = self.reserve(measured.len()).await?;
        drop(measured);
        let place = self.place(weight, self.feed.record(channel, payload)).await?;
        self.append(weight, 0, place, |encoder, buffer, at| encoder.record(buffer, at, channel, payload))
    }

    /// Accepts bytes of a stream.
    pub(crate) async fn io(&self, channel: u64, stream: IoStream, data: &[u8]) -> Result<(), Stopped> {
        for piece in data.chunks(MAX_DATA) {
            let weight = self.reserve(piece.len() + IO_OVERHEAD).await?;
            let place = self.place(weight, self.feed.io(channel, stream, piece)).await?;
            self.append(weight, piece.len() as u64, place, |encoder, buffer, at| {
                encoder.io(buffer, at, Some(channel), stream, piece);
            })?;
        }
        Ok(())
    }

    /// Notes that something was not recorded. The next record is preceded by one that says so.
    pub(crate) fn lose(&self, lost: Lost) {
        self.inner().lost.add(lost);
    }

    /// Who authenticated. Asked again, the last answer counts.
    pub(crate) fn authenticated(&self, user: User) {
        self.inner().user = Some(user);
        self.work.notify_one();
    }

    /// Asks for everything accepted so far to be made durable.
    pub(crate) fn flush(&self) -> oneshot::Receiver<Synced> {
        let (done, outcome) = oneshot::channel();
        self.inner().flushes.push(done);
        self.work.notify_one();
        outcome
    }

    /// Ends the connection's record: nothing is accepted from now on.
    pub(crate) fn close(&self) {
        self.inner().closed = true;
        self.stopped.cancel();
        self.work.notify_one();
    }

    /// Nothing can be written: nothing is accepted, whoever waits is sent away. The writer still gets what was accepted.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Waits for memory.
    async fn reserve(&self, weight: usize) -> Result<usize, Stopped> {
        // What is larger than all the room there is must wait for all of it, not for ever.
        let weight = weight.min(CAPACITY);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        if self.stopped.is_cancelled() {
            return Err(Stopped);
        }
        // Own room first: a connection that waits for its own writer must not hold what others could use.
        let room = tokio::select! {
            biased;
            room = self.room.acquire_many(permits) => room.map_err(|_| Stopped)?,
            () = self.stopped.cancelled() => return Err(Stopped),
        };
        let memory = tokio::select! {
            biased;
            memory = self.memory.acquire_many(permits) => memory.map_err(|_| Stopped)?,
            () = self.stopped.cancelled() => return Err(Stopped),
        };
        room.forget();
        memory.forget();
        Ok(weight)
    }

    /// Waits for a place in the feed, which only a stage that is behind makes longer than nothing.
    async fn place<'a>(
        &self,
        weight: usize,
        place: impl Future<Output = Place<'a>>,
    ) -> Result<Place<'a>, Stopped> {
        tokio::select! {
            biased;
            place = place => Ok(place),
            () = self.stopped.cancelled() => {
                self.release(weight);
                Err(Stopped)
            }
        }
    }

    fn append(
        &self,
        weight: usize,
        bytes: u64,
        place: Place<'_>,
        encode: impl FnOnce(&Encoder, &mut Vec<u8>, u64),
    ) -> Result<(), Stopped> {
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.closed || self.stopped.is_cancelled() {
            drop(inner);
            self.release(weight);
            return Err(Stopped);
        }
        let at = inner.tick();
        let idle = inner.open.is_empty();
        let lost = std::mem::take(&mut inner.lost);
        if !lost.is_empty() {
            gap(&self.encoder, inner.open.buffer(now), at, &lost);
            self.feed.record_gap(at, &lost.text());
            inner.open.count_gap(lost);
        }
        place.accepted(at);
        encode(&self.encoder, inner.open.buffer(now), at);
        inner.open.count(bytes, weight);
        let full = inner.open.is_full();
        if full {
            let segment = inner.take_open();
            inner.sealed.push_back(segment);
        }
        drop(inner);
        // The writer is woken to time a segment's age or to write it, not for each record in between.
        if idle || full {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Gives back what a segment held.
    pub(crate) fn release(&self, weight: usize) {
        self.room.add_permits(weight);
        self.memory.add_permits(weight);
    }

    /// Gives back a segment that was written, and keeps its buffer if the connection is busy.
    pub(crate) fn recycle(&self, segment: Segment) {
        self.release(segment.weight());
        let mut inner = self.inner();
        if !inner.open.is_empty() || !inner.sealed.is_empty() {
            inner.spare = Some(segment.into_buffer());
        }
    }

    /// The writer's next work. Cancel safe. After `Close` there is no more.
    pub(crate) async fn next(&self) -> Work {
        loop {
            let due = match self.ready() {
                Ok(work) => return work,
                Err(due) => due,
            };
            match due {
                None => self.work.notified().await,
                Some(due) => tokio::select! {
                    () = self.work.notified() => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// What can be done now, or when there will be something by age alone.
    fn ready(&self) -> Result<Work, Option<Instant>> {
        let mut inner = self.inner();
        if let Some(segment) = inner.sealed.pop_front() {
            return Ok(Work::Segment(segment));
        }
        if let Some(user) = inner.user.take() {
            return Ok(Work::User(user));
        }
        let asked = !inner.flushes.is_empty();
        let due = inner.open.due();
        if due.is_some_and(|due| asked || (due <= Instant::now() && !inner.closed)) {
            return Ok(Work::Segment(inner.take_open()));
        }
        if asked {
            return Ok(Work::Flush(std::mem::take(&mut inner.flushes)));
        }
        if inner.closed {
            let (segment, lost) = (inner.take_open(), std::mem::take(&mut inner.lost));
            return Ok(Work::Close(Ending { segment, lost }));
        }
        if due.is_none() {
            // Idle: keep nothing.
            inner.spare = None;
            if inner.open.is_empty() {
                inner.open = Segment::default();
            }
        }
        Err(due)
    }

    /// A segment that tells of a gap and nothing else.
    pub(crate) fn gap_alone(&self, lost: Lost) -> Segment {
        let at = self.inner().tick();
        let mut segment = Segment::default();
        gap(&self.encoder, segment.buffer(Instant::now()), at, &lost);
        segment.count_gap(lost);
        segment
    }

    /// Completes the record: the gap that is still to be told, the disconnect, the end of the array.
    pub(crate) fn end(&self, ending: Ending) -> Segment {
        let Ending { mut segment, lost } = ending;
        let now = Instant::now();
        let at = self.inner().tick();
        if !lost.is_empty() {
            gap(&self.encoder, segment.buffer(now), at, &lost);
            self.feed.record_gap(at, &lost.text());
            segment.count_gap(lost);
        }
        self.encoder.record(segment.buffer(now), at, None, &Payload::Disconnect);
        self.feed.disconnected(at);
        segment.count(0, 0);
        segment.close(now);
        segment
    }
}

/// Says what is missing. A failed request without a number: every reader of the format shows the reason, none takes it
/// for something the client did, and no new type has to be taught to anybody.
fn gap(encoder: &Encoder, buffer: &mut Vec<u8>, at: u64, lost: &Lost) {
    encoder.record(buffer, at, None, &Payload::RequestFailed { request_id: 0, reason: lost.text() });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use containerssh_auditlog::Version;

    use super::*;
    use crate::segment::SEGMENT_AGE;

    fn intake(memory: usize) -> Arc<Intake> {
        Arc::new(Intake::new("c", Arc::new(Semaphore::new(memory))))
    }

    fn segment(work: Work) -> Segment {
        match work {
            Work::Segment(segment) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_keystroke_reaches_the_writer_after_the_age_of_a_segment() {
        let intake = intake(CAPACITY);
        intake.io(0, IoStream::Stdin, b"x").await.unwrap();
        let start = Instant::now();
        let work = intake.next().await;
        assert_eq!(start.elapsed(), SEGMENT_AGE);
        assert!(segment(work).content(Version::V1, false).len() > 60);
    }

    #[tokio::test(start_paused = true)]
    async fn bulk_data_reaches_the_writer_by_size_alone() {
        let intake = intake(CAPACITY);
        let start = Instant::now();
        for _ in 0..9 {
            intake.io(0, IoStream::Stdout, &[7; 32 * 1024]).await.unwrap();
        }
        let segment = segment(intake.next().await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(
            (SEGMENT_BYTES..SEGMENT_BYTES + 33 * 1024).contains(&segment.content(Version::V1, false).len())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_holds_no_more_than_its_capacity_until_something_is_written() {
        let intake = intake(16 * CAPACITY);
        let producer = tokio::spawn({
            let intake = intake.clone();
            async move {
                for at in 0..100u64 {
                    intake.io(at, IoStream::Stdout, &[7; 32 * 1024]).await.unwrap();
                }
            }
        });
        // Taking without giving back does not make room.
        let mut held = Vec::new();
        while let Ok(work) = tokio::time::timeout(Duration::from_secs(5), intake.next()).await {
            held.push(segment(work));
        }
        let weight: usize = held.iter().map(Segment::weight).sum();
        assert!(weight <= CAPACITY && weight > CAPACITY - 40 * 1024, "{weight}");
        assert!(!producer.is_finished());
        for segment in held {
            intake.recycle(segment);
        }
        while let Ok(work) = tokio::time::timeout(Duration::from_secs(5), intake.next()).await {
            intake.recycle(segment(work));
        }
        producer.await.unwrap();
        assert_eq!(intake.room.available_permits(), CAPACITY);
        assert_eq!(intake.memory.available_permits(), 16 * CAPACITY);
    }

    #[tokio::test(start_paused = true)]
    async fn all_connections_together_hold_no_more_than_the_memory_limit() {
        let memory = Arc::new(Semaphore::new(CAPACITY));
        let one = Arc::new(Intake::new("1", memory.clone()));
        let two = Arc::new(Intake::new("2", memory.clone()));
        while tokio::time::timeout(Duration::from_secs(1), one.io(0, IoStream::Stdout, &[7; 65_000]))
            .await
            .is_ok()
        {}
        let waiting = tokio::time::timeout(Duration::from_secs(1), two.io(0, IoStream::Stdout, &[7; 65_000]));
        assert!(waiting.await.is_err(), "the other connection's memory is used up");
        one.recycle(segment(one.next().await));
        two.io(0, IoStream::Stdout, &[7; 65_000]).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_is_sent_away_when_nothing_can_be_written() {
        let intake = intake(CAPACITY);
        let producer = tokio::spawn({
            let intake = intake.clone();
            async move { while intake.io(0, IoStream::Stdout, &[7; 65_000]).await.is_ok() {} }
        });
        tokio::task::yield_now().await;
        intake.stop();
        producer.await.unwrap();
        assert_eq!(intake.record(None, &Payload::Close).await, Err(Stopped));
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let intake = intake(CAPACITY);
        for _ in 0..20 {
            intake.io(0, IoStream::Stdout, &[7; 32 * 1024]).await.unwrap();
        }
        tokio::time::pause();
        while let Ok(work) = tokio::time::timeout(Duration::from_secs(1), intake.next()).await {
            intake.recycle(segment(work));
        }
        let inner = intake.inner();
        assert!(inner.spare.is_none());
        assert_eq!(inner.open.content(Version::V1, true).len(), 0);
    }

    #[tokio::test]
    async fn a_loss_is_told_before_the_next_record() {
        let intake = intake(CAPACITY);
        intake.lose(Lost { records: 3, bytes: 9, reason: Some("why".into()) });
        intake.record(None, &Payload::Close).await.unwrap();
        intake.close();
        let Work::Close(ending) = intake.next().await else { panic!() };
        let content = String::from_utf8_lossy(intake.end(ending).content(Version::V1, true)).into_owned();
        let gap = content.find("audit gap: 3 records with 9 bytes").unwrap();
        assert!(gap < content.rfind("payload").unwrap());
        assert_eq!(content.matches("connectionId").count(), 3);
    }
}
