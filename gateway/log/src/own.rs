//! Levels of single connections: somebody's trouble is looked at closely without everybody else's lines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::Level;

/// By connection id. Of the process, like the log itself.
static LEVELS: RwLock<BTreeMap<String, Level>> = RwLock::new(BTreeMap::new());
/// How many there are: most of the time none, and then no line waits for a lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A connection's own level, until this is dropped.
#[derive(Debug)]
pub struct OwnLevel(String);

impl OwnLevel {
    /// Shows events that carry this id as `connectionId` from `level` on, whatever the log's level is.
    #[must_use]
    pub fn set(connection_id: &str, level: Level) -> Self {
        change(|levels| levels.insert(connection_id.to_owned(), level));
        Self(connection_id.to_owned())
    }
}

impl Drop for OwnLevel {
    fn drop(&mut self) {
        change(|levels| levels.remove(&self.0));
    }
}

fn change(change: impl FnOnce(&mut BTreeMap<String, Level>) -> Option<Level>) {
    {
        let mut levels = LEVELS.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut levels);
        COUNT.store(levels.len(), Ordering::Relaxed);
    }
    // `tracing` remembers per call site whether anybody listens.
    tracing::callsite::rebuild_interest_cache();
}

/// A connection's own level, if it has one.
pub(crate) fn of(connection_id: &str) -> Option<Level> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    LEVELS.read().unwrap_or_else(PoisonError::into_inner).get(connection_id).copied()
}

/// The lowest of them all.
pub(crate) fn lowest() -> Option<Level> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    LEVELS.read().unwrap_or_else(PoisonError::into_inner).values().min().copied()
}
