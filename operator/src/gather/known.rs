//! What was found out about referenced objects that nobody has touched since: that they exist, and which host keys they hold
//! (their public side). Nothing secret is kept.
//!
//! The watch that tells of a change forgets first and marks the gateways then, so that the look that follows reads anew. A
//! read that began before a change must not be kept after it: each change moves an epoch on, and what was read in an
//! older one is not kept.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use crate::{backoff::lock, index::Target, plan::hostkeys::Stored};

/// Bounded by the objects that exist: one that is deleted is forgotten.
#[derive(Debug, Default)]
pub struct Known(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    existing: HashSet<Target>,
    host_keys: HashMap<Target, Stored>,
}

/// When a read began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

impl Known {
    pub fn epoch(&self) -> Epoch {
        Epoch(lock(&self.0).epoch)
    }

    pub fn exists(&self, target: &Target) -> bool {
        lock(&self.0).existing.contains(target)
    }

    pub fn host_keys(&self, target: &Target) -> Option<Stored> {
        lock(&self.0).host_keys.get(target).cloned()
    }

    pub fn keep_existing(&self, since: Epoch, target: Target) {
        let mut inner = lock(&self.0);
        if inner.epoch == since.0 {
            inner.existing.insert(target);
        }
    }

    pub fn keep_host_keys(&self, since: Epoch, target: Target, keys: Stored) {
        let mut inner = lock(&self.0);
        if inner.epoch == since.0 {
            inner.host_keys.insert(target, keys);
        }
    }

    /// The object has changed, or is gone.
    pub fn forget(&self, target: &Target) {
        let mut inner = lock(&self.0);
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.existing.remove(target);
        inner.host_keys.remove(target);
    }

    /// Any may have changed.
    pub fn clear(&self) {
        let mut inner = lock(&self.0);
        *inner = Inner { epoch: inner.epoch.wrapping_add(1), ..Inner::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Kind, Name};

    fn target() -> Target {
        (Kind::Secret, Name::within("ns", "s"))
    }

    #[test]
    fn a_change_is_forgotten_and_a_read_from_before_it_is_not_kept() {
        let known = Known::default();
        let before = known.epoch();
        known.keep_existing(before, target());
        assert!(known.exists(&target()));
        known.forget(&target());
        assert!(!known.exists(&target()));
        known.keep_existing(before, target());
        assert!(!known.exists(&target()), "read before the change");
        known.keep_existing(known.epoch(), target());
        known.clear();
        assert!(!known.exists(&target()));
    }
}
