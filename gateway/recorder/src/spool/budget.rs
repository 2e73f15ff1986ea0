//! How much the spool holds, how much it may, and who waits for room.
//!
//! The limit is where new bytes stop being accepted, checked at the tap. What was accepted before is always written, so
//! the spool may pass its limit by what the taps hold in memory, which has its own bound. The last part of the limit is
//! kept for everything that is not terminal or file content: who logged in and what they ran must not be crowded out
//! by somebody's download.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::RecordId;

/// What a record costs beside its own bytes: its sidecar, and the two inodes. One block of common file systems.
pub(crate) const OVERHEAD: u64 = 4096;

/// The most that is kept for records other than I/O. At some hundred bytes each that is a hundred thousand requests.
const RESERVE: u64 = 64 * 1024 * 1024;

/// Whether a record is content (terminal, files) or an event about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Bytes of a stream.
    Io,
    /// Everything else.
    Event,
}

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Go on.
    Free,
    /// The limit is reached, but finished records wait for their upload, which will free space.
    Awaited,
    /// The limit is reached by sessions that are still open: nothing is about to free space, so waiting for it could be
    /// waiting for oneself.
    Hopeless,
}

/// What the spool holds, for `/status` and the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Bytes on disk that count against the limit: records and what each costs beside them.
    pub bytes: u64,
    /// Records, open and finished.
    pub records: usize,
    /// Finished records that wait for their upload.
    pub waiting: usize,
    /// How long the oldest of those has been waiting.
    pub oldest_age: Option<Duration>,
}

/// One record's share.
#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    /// Since when it waits for its upload; `None` while its session is open.
    ready: Option<SystemTime>,
}

/// The account of one spool.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    waiting: AtomicU64,
    records: Mutex<HashMap<RecordId, Held>>,
    freed: Notify,
    /// Whether it was said that the spool is full, since it was last not.
    reported: AtomicBool,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            records: Mutex::default(),
            freed: Notify::new(),
            reported: AtomicBool::new(false),
        }
    }

    /// Bytes at most.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Space was freed: whoever waits looks again.
    fn freed(&self) {
        if self.room(Class::Io) == Room::Free {
            self.reported.store(false, Ordering::Relaxed);
        }
        self.freed.notify_waiters();
    }

    fn records(&self) -> MutexGuard<'_, HashMap<RecordId, Held>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record that starts; `false` if one of that id is there already.
    pub(crate) fn open(&self, id: &RecordId, bytes: u64) -> bool {
        let mut records = self.records();
        if records.contains_key(id) {
            return false;
        }
        records.insert(id.clone(), Held { bytes: bytes.saturating_add(OVERHEAD), ready: None });
        self.used.fetch_add(bytes.saturating_add(OVERHEAD), Ordering::AcqRel);
        true
    }

    /// A record's file is now this long.
    pub(crate) fn resize(&self, id: &RecordId, bytes: u64) {
        let bytes = bytes.saturating_add(OVERHEAD);
        let mut records = self.records();
        let Some(held) = records.get_mut(id) else { return };
        let before = std::mem::replace(&mut held.bytes, bytes);
        self.used.fetch_add(bytes, Ordering::AcqRel);
        self.used.fetch_sub(before, Ordering::AcqRel);
        drop(records);
        if bytes < before {
            self.freed();
        }
    }

    /// A record is finished and waits for its upload.
    pub(crate) fn ready(&self, id: &RecordId, since: SystemTime) {
        if let Some(held) = self.records().get_mut(id)
            && held.ready.replace(since).is_none()
        {
            self.waiting.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// For how long a finished record has been waiting.
    pub(crate) fn waited(&self, id: &RecordId, now: SystemTime) -> Option<Duration> {
        let since = self.records().get(id)?.ready?;
        // A clock that was set back is no reason for a negative time.
        Some(now.duration_since(since).unwrap_or_default())
    }

    /// A record has left the spool.
    pub(crate) fn remove(&self, id: &RecordId) {
        let Some(held) = self.records().remove(id) else { return };
        self.used.fetch_sub(held.bytes, Ordering::AcqRel);
        if held.ready.is_some() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.freed();
    }

    /// Whether a record of that class may be accepted. Cheap: called for every record.
    pub(crate) fn room(&self, class: Class) -> Room {
        let limit = match class {
            Class::Event => self.limit,
            Class::Io => self.limit - RESERVE.min(self.limit / 16),
        };
        if self.used.load(Ordering::Acquire) < limit {
            Room::Free
        } else if self.waiting.load(Ordering::Acquire) > 0 {
            Room::Awaited
        } else {
            Room::Hopeless
        }
    }

    /// Whether to say that the spool is full: once each time it fills up.
    pub(crate) fn report_full(&self) -> bool {
        !self.reported.swap(true, Ordering::Relaxed)
    }

    /// Waits while there is hope for room.
    pub(crate) async fn wait(&self, class: Class) -> Room {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that what is freed in between is not missed.
            freed.as_mut().enable();
            match self.room(class) {
                Room::Awaited => freed.await,
                other => return other,
            }
        }
    }

    /// Waits until no finished record is left.
    pub(crate) async fn delivered(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.waiting.load(Ordering::Acquire) == 0 {
                return;
            }
            freed.await;
        }
    }

    /// What is held now. Looks at every record: for scrapes and status pages.
    pub(crate) fn status(&self, now: SystemTime) -> SpoolStatus {
        let records = self.records();
        let oldest = records.values().filter_map(|held| held.ready).min();
        SpoolStatus {
            bytes: self.used.load(Ordering::Acquire),
            records: records.len(),
            waiting: records.values().filter(|held| held.ready.is_some()).count(),
            oldest_age: oldest.map(|since| now.duration_since(since).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn id(text: &str) -> RecordId {
        RecordId::parse(text).unwrap()
    }

    #[test]
    fn io_stops_before_events_do() {
        let budget = Budget::new(16 * OVERHEAD);
        assert!(budget.open(&id("a"), 14 * OVERHEAD));
        assert_eq!(budget.room(Class::Io), Room::Hopeless);
        assert_eq!(budget.room(Class::Event), Room::Free);
        budget.resize(&id("a"), 15 * OVERHEAD);
        assert_eq!(budget.room(Class::Event), Room::Hopeless);
        budget.ready(&id("a"), SystemTime::UNIX_EPOCH);
        assert_eq!(budget.room(Class::Event), Room::Awaited);
        budget.remove(&id("a"));
        assert_eq!(budget.room(Class::Io), Room::Free);
        assert_eq!(budget.status(SystemTime::UNIX_EPOCH), SpoolStatus::default());
    }

    #[test]
    fn status_tells_the_oldest_record_that_waits() {
        let budget = Budget::new(1 << 20);
        for (name, ready) in [("a", Some(7)), ("b", Some(3)), ("c", None)] {
            assert!(budget.open(&id(name), 100));
            if let Some(seconds) = ready {
                budget.ready(&id(name), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            }
        }
        let status = budget.status(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!(status.bytes, 3 * (100 + OVERHEAD));
        assert_eq!((status.records, status.waiting), (3, 2));
        assert_eq!(status.oldest_age, Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_id_is_held_once() {
        let budget = Budget::new(1 << 20);
        assert!(budget.open(&id("a"), 1));
        assert!(!budget.open(&id("a"), 1));
        assert_eq!(budget.status(SystemTime::now()).bytes, 1 + OVERHEAD);
    }

    #[tokio::test]
    async fn a_waiter_goes_on_when_an_upload_frees_space() {
        let budget = Arc::new(Budget::new(4 * OVERHEAD));
        assert!(budget.open(&id("a"), 9 * OVERHEAD));
        budget.ready(&id("a"), SystemTime::now());
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(Class::Io).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        budget.remove(&id("a"));
        assert_eq!(waiter.await.unwrap(), Room::Free);
    }

    #[tokio::test]
    async fn a_waiter_gives_up_when_nothing_is_left_to_upload() {
        let budget = Arc::new(Budget::new(4 * OVERHEAD));
        assert!(budget.open(&id("a"), 1));
        assert!(budget.open(&id("b"), 9 * OVERHEAD));
        budget.ready(&id("a"), SystemTime::now());
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(Class::Io).await }
        });
        tokio::task::yield_now().await;
        budget.remove(&id("a"));
        assert_eq!(waiter.await.unwrap(), Room::Hopeless);
    }
}
