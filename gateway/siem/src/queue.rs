//! What waits for one target: bounded, fair, in order, and honest about what it could not hold.
//!
//! A session never waits for a target. What does not fit is dropped, the newest first: a consumer then knows the beginning
//! of what happened, and what is missing is one range per session. The session's next events are dropped as well until
//! half of the queue is free again; then a `gap` event tells the range, and the stream goes on behind it. Whatever has
//! a number was sent or is in a told range.
//!
//! One session must not be able to hide another one, nor its own doings, behind a flood: contents may fill three quarters
//! of the queue, the rest is for what happened; and each session may hold an eighth.
//!
//! Keystrokes that come while the session's last event still waits are added to it: one event and one number for what
//! was typed within the batch's delay, in its order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::encode;
use crate::event::{Event, Gap, Origin, What};
use crate::metrics::TargetMetrics;

/// Small contents are joined up to so many bytes: a screenful, which a person reads as one.
const JOINED: usize = 4096;

/// The part of the queue that one session may hold.
const SHARE: usize = 8;

/// Sessions that ended with a gap that could not be told yet. Those beyond are told as a number.
const UNTOLD: usize = 4096;

/// What is of no session: recovered records, and gaps of sessions that are not remembered.
const NO_SESSION: RouteId = RouteId(0);

/// A session in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RouteId(u64);

/// An event with its place.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) event: Event,
    /// Counts the session's events at this target, from 1; 0 for what is of no session.
    pub(crate) sequence: u64,
    route: RouteId,
    size: usize,
    queued: Instant,
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// How long the first one waits for others.
    pub(crate) delay: Duration,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Rung for the one who takes.
    wake: Notify,
    limit: usize,
    batch: Limits,
    metrics: TargetMetrics,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<Item>,
    /// Items that were ever taken from the front: `items[0]` is number `taken`.
    taken: u64,
    /// Bytes of what waits or is being sent.
    used: usize,
    /// Of it, what waits.
    waiting: usize,
    /// Events that wait or are being sent.
    count: usize,
    routes: HashMap<RouteId, Route>,
    last_route: u64,
    /// Sessions with a gap to tell, in the order in which they got it.
    gaps: VecDeque<RouteId>,
    /// Gaps of sessions that are not remembered.
    untold: Gap,
    /// When the oldest of those being sent happened.
    sending: Option<u64>,
    /// Nothing comes any more, and nothing waits for company.
    closed: bool,
}

#[derive(Debug)]
struct Route {
    origin: Arc<Origin>,
    username: Option<Arc<str>>,
    next: u64,
    /// Bytes it holds.
    held: usize,
    /// The number of its last item, to which contents may be added.
    tail: Option<u64>,
    gap: Option<Gap>,
    /// Its session is over.
    left: bool,
}

impl Route {
    fn new(origin: Arc<Origin>) -> Self {
        Self { origin, username: None, next: 1, held: 0, tail: None, gap: None, left: false }
    }
}

impl Queue {
    pub(crate) fn new(limit: usize, batch: Limits, metrics: TargetMetrics) -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            taken: 0,
            used: 0,
            waiting: 0,
            count: 0,
            routes: HashMap::from([(NO_SESSION, Route::new(Arc::default()))]),
            last_route: NO_SESSION.0,
            gaps: VecDeque::new(),
            untold: Gap::default(),
            sending: None,
            closed: false,
        };
        Self { inner: Mutex::new(inner), wake: Notify::new(), limit, batch, metrics }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(crate) fn join(&self, origin: Arc<Origin>) -> RouteId {
        let mut inner = self.inner();
        inner.last_route += 1;
        let route = RouteId(inner.last_route);
        inner.routes.insert(route, Route::new(origin));
        route
    }

    /// A session is over.
    pub(crate) fn leave(&self, route: RouteId) {
        let mut inner = self.inner();
        if let Some(route) = inner.routes.get_mut(&route) {
            route.left = true;
        }
        inner.forget_if_done(route);
        // The longest untold are no longer told apart: the bound on memory while a target is away.
        while inner.gaps.len() > UNTOLD {
            inner.merge_oldest_gap();
        }
    }

    /// An event of a session.
    pub(crate) fn push(&self, route: RouteId, event: Event) {
        let mut inner = self.inner();
        if inner.closed {
            self.metrics.dropped_stopped(1);
            return;
        }
        if inner.join(route, &event, self.limit, self.batch.bytes) {
            return;
        }
        if inner.put(route, event, self.limit) == Put::Dropped {
            self.metrics.dropped_full(1);
        }
        let worth_waking = inner.items.len() == 1 || inner.is_full_batch(self.batch);
        drop(inner);
        if worth_waking {
            self.wake.notify_one();
        }
    }

    /// An event of no session that is open.
    pub(crate) fn push_alone(&self, event: Event) {
        self.push(NO_SESSION, event);
    }

    /// The next batch, in order; `None` when there is nothing any more and nothing to come. Cancel safe. What is taken
    /// counts until it is [released](Self::release).
    pub(crate) async fn take(&self) -> Option<Vec<Item>> {
        loop {
            let due = {
                let mut inner = self.inner();
                inner.tell(self.limit);
                let first = inner.items.front().map(|item| item.queued + self.batch.delay);
                match first {
                    Some(due) if inner.closed || inner.is_full_batch(self.batch) || due <= Instant::now() => {
                        return Some(inner.take(self.batch));
                    }
                    None if inner.closed => return None,
                    due => due,
                }
            };
            match due {
                None => self.wake.notified().await,
                Some(due) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// Gives back the room of what was sent, or given up.
    pub(crate) fn release<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        let mut inner = self.inner();
        for item in items {
            inner.used = inner.used.saturating_sub(item.size);
            inner.count = inner.count.saturating_sub(1);
            if let Some(route) = inner.routes.get_mut(&item.route) {
                route.held = route.held.saturating_sub(item.size);
            }
            inner.forget_if_done(item.route);
        }
    }

    /// Everything that was taken is dealt with.
    pub(crate) fn sent(&self) {
        self.inner().sending = None;
    }

    /// Nothing comes any more: what is there is sent, then [`Queue::take`] ends.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        drop(inner);
        self.wake.notify_one();
    }

    /// Gives up what is there. Returns how many events that were.
    pub(crate) fn abandon(&self) -> u64 {
        let mut inner = self.inner();
        inner.closed = true;
        let lost = inner.items.len() as u64;
        let items = std::mem::take(&mut inner.items);
        inner.taken += lost;
        inner.waiting = 0;
        drop(inner);
        self.release(&items);
        lost
    }

    /// Bytes and events that wait or are being sent, and when the oldest of them happened.
    pub(crate) fn status(&self) -> (usize, usize, Option<u64>) {
        let inner = self.inner();
        let oldest = inner.sending.or_else(|| inner.items.front().map(|item| item.event.at));
        (inner.used, inner.count, oldest)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Put {
    Queued,
    Dropped,
}

impl Inner {
    /// Adds contents to the session's last event, if they are small and it waits.
    fn join(&mut self, route: RouteId, event: &Event, limit: usize, batch: usize) -> bool {
        let What::Io(more) = &event.what else { return false };
        let added = more.data.as_slice().len();
        let Some(owner) = self.routes.get_mut(&route) else { return false };
        let Some(tail) = owner.tail.and_then(|tail| tail.checked_sub(self.taken)) else { return false };
        let Some(item) = usize::try_from(tail).ok().and_then(|tail| self.items.get_mut(tail)) else {
            return false;
        };
        let What::Io(present) = &mut item.event.what else { return false };
        let length = present.data.as_slice().len();
        let fits = length + added <= JOINED.min(batch) && self.used + 2 * added <= limit;
        let whole = present.length == length as u64 && more.length == added as u64;
        if !fits || !whole || present.stream != more.stream || item.event.channel != event.channel {
            return false;
        }
        present.data.join(more.data.as_slice());
        present.length += more.length;
        let size = encode::size(&item.event);
        let grown = size.saturating_sub(item.size);
        item.size = size;
        owner.held += grown;
        self.used += grown;
        self.waiting += grown;
        true
    }

    /// Queues an event behind the gap before it, or makes it part of the gap.
    fn put(&mut self, route: RouteId, event: Event, limit: usize) -> Put {
        let size = encode::size(&event);
        let gap = self.routes.get(&route).is_some_and(|owner| owner.gap.is_some());
        if gap && self.is_relieved(route, limit) {
            self.tell_gap(route);
        }
        let Some(owner) = self.routes.get_mut(&route) else { return Put::Dropped };
        if let Some(name) = &event.username {
            owner.username = Some(Arc::clone(name));
        }
        let room = if event.what.is_contents() { limit / 4 * 3 } else { limit };
        // The largest single event is larger than the share of a small queue, and nobody may hide behind that.
        let share = owner.held == 0 || owner.held + size <= limit / SHARE;
        let fits = self.used + size <= room && share;
        if route == NO_SESSION {
            if fits {
                self.queue(route, event, 0, size);
                return Put::Queued;
            }
            self.untold.events += 1;
            return Put::Dropped;
        }
        let sequence = owner.next;
        owner.next += 1;
        match &mut owner.gap {
            None if fits => {
                self.queue(route, event, sequence, size);
                return Put::Queued;
            }
            None => {
                let bytes = event.what.content_bytes();
                owner.gap = Some(Gap { events: 1, bytes, range: Some((sequence, sequence)), sessions: 1 });
                owner.tail = None;
                self.gaps.push_back(route);
            }
            Some(gap) => {
                gap.events += 1;
                gap.bytes = gap.bytes.saturating_add(event.what.content_bytes());
                gap.range = gap.range.map(|(first, _)| (first, sequence));
            }
        }
        Put::Dropped
    }

    fn queue(&mut self, route: RouteId, event: Event, sequence: u64, size: usize) {
        let number = self.taken + self.items.len() as u64;
        if let Some(owner) = self.routes.get_mut(&route) {
            owner.held += size;
            owner.tail = (route != NO_SESSION).then_some(number);
        }
        self.used += size;
        self.waiting += size;
        self.count += 1;
        self.items.push_back(Item { event, sequence, route, size, queued: Instant::now() });
    }

    /// Whether there is so much room again that a gap may end. Half, so that a slow target is not told of a gap after
    /// each event.
    fn is_relieved(&self, route: RouteId, limit: usize) -> bool {
        let held = self.routes.get(&route).map_or(0, |owner| owner.held);
        self.used <= limit / 2 && held <= limit / SHARE / 2
    }

    /// Queues the gap of a session.
    fn tell_gap(&mut self, route: RouteId) {
        let Some(owner) = self.routes.get_mut(&route) else { return };
        let Some(gap) = owner.gap.take() else { return };
        let sequence = owner.next;
        owner.next += 1;
        let (origin, username) = (Arc::clone(&owner.origin), owner.username.clone());
        self.gaps.retain(|waiting| *waiting != route);
        self.queue_gap(route, origin, username, gap, sequence);
    }

    fn queue_gap(
        &mut self,
        route: RouteId,
        origin: Arc<Origin>,
        username: Option<Arc<str>>,
        gap: Gap,
        sequence: u64,
    ) {
        let event = Event { origin, username, at: crate::now(), channel: None, what: What::Gap(gap) };
        let size = encode::size(&event);
        self.queue(route, event, sequence, size);
    }

    /// Queues all gaps that there is room for.
    fn tell(&mut self, limit: usize) {
        if self.used > limit / 2 {
            return;
        }
        let mut tried = self.gaps.len();
        while tried > 0
            && let Some(route) = self.gaps.front().copied()
        {
            tried -= 1;
            if self.is_relieved(route, limit) {
                self.tell_gap(route);
            } else {
                self.gaps.rotate_left(1);
            }
        }
        if self.untold.events > 0 {
            let gap = std::mem::take(&mut self.untold);
            self.queue_gap(NO_SESSION, Arc::default(), None, gap, 0);
        }
    }

    /// Forgets which session the oldest gap was of.
    fn merge_oldest_gap(&mut self) {
        let Some(id) = self.gaps.pop_front() else { return };
        let Some(route) = self.routes.get_mut(&id) else { return };
        if let Some(gap) = route.gap.take() {
            self.untold.events += gap.events;
            self.untold.bytes = self.untold.bytes.saturating_add(gap.bytes);
            self.untold.sessions += gap.sessions;
        }
        self.forget_if_done(id);
    }

    fn forget_if_done(&mut self, id: RouteId) {
        let done = |route: &Route| route.left && route.held == 0 && route.gap.is_none();
        if self.routes.get(&id).is_some_and(done) {
            self.routes.remove(&id);
        }
    }

    fn is_full_batch(&self, batch: Limits) -> bool {
        self.items.len() >= batch.events || self.waiting >= batch.bytes
    }

    fn take(&mut self, batch: Limits) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut bytes = 0_usize;
        while let Some(item) = self.items.pop_front() {
            bytes += item.size;
            if !taken.is_empty() && bytes > batch.bytes {
                self.items.push_front(item);
                break;
            }
            self.waiting = self.waiting.saturating_sub(item.size);
            taken.push(item);
            if taken.len() >= batch.events {
                break;
            }
        }
        self.taken += taken.len() as u64;
        self.sending = taken.first().map(|item| item.event.at);
        if self.items.is_empty() {
            // A burst must not keep its memory for ever.
            self.items.shrink_to(64);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
