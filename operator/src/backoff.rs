//! Waiting longer after each failure of the same object, and not at all once it works.
//!
//! kube's error policy is told neither how often an object failed nor when it recovered, so the count lives here.
//! An entry exists only while its object fails; [`Backoff::forget`] drops it on success and [`Backoff::retain`] after a
//! deletion, which bounds the map by the number of failing objects.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Mutex,
    time::Duration,
};

/// The first wait: long enough for a missing Secret to arrive from the same `kubectl apply`.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest wait: an object that failed all night is still looked at often enough for a person who mends it,
/// and changes of what it refers to trigger a reconcile at once anyway.
pub const LONGEST: Duration = Duration::from_secs(300);
/// A quarter either way, so that a thousand objects that failed together do not come back together.
const JITTER: f64 = 0.25;

/// Failure counts per object.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: Mutex<HashMap<K, u32>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { failures: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// Counts one more failure and says how long to wait before the next try.
    pub fn failed(&self, key: K) -> Duration {
        let count = {
            let mut failures = lock(&self.failures);
            let count = failures.entry(key).or_insert(0);
            *count = count.saturating_add(1);
            *count
        };
        jittered(nth(count), JITTER)
    }

    /// Forgets every object but these.
    pub fn retain(&self, keys: &HashSet<K>) {
        lock(&self.failures).retain(|key, _| keys.contains(key));
    }

    /// The object works (or is gone): its next failure starts from the beginning.
    pub fn forget(&self, key: &K) {
        lock(&self.failures).remove(key);
    }
}

/// The wait after the `count`th failure in a row (1 = the first), without jitter.
fn nth(count: u32) -> Duration {
    let doublings = count.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

/// `base` changed by up to `share` either way.
pub fn jittered(base: Duration, share: f64) -> Duration {
    base.mul_f64(1.0 + share * (rand::random::<f64>() * 2.0 - 1.0))
}

/// A poisoned lock means that a panic happened between two statements that cannot leave the map half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_one_second_and_stop_at_five_minutes() {
        let waits: Vec<u64> = (1..=12).map(|count| nth(count).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn success_starts_over_and_objects_do_not_share_their_count() {
        let backoff = Backoff::default();
        for _ in 0..8 {
            backoff.failed("a");
        }
        assert!(backoff.failed("a") > Duration::from_secs(60));
        assert!(backoff.failed("b") < Duration::from_secs(2));
        backoff.forget(&"a");
        assert!(backoff.failed("a") < Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn no_count_overflows_or_leaves_the_bounds(count in any::<u32>()) {
            prop_assert!(nth(count) >= FIRST && nth(count) <= LONGEST);
        }

        #[test]
        fn jitter_stays_within_its_share(seconds in 1_u64..600) {
            let base = Duration::from_secs(seconds);
            let wait = jittered(base, JITTER);
            prop_assert!(wait >= base.mul_f64(0.74) && wait <= base.mul_f64(1.26));
        }
    }
}
