//! What has to be looked at again, and why: the set of objects waiting for a reconcile, and who refers to what.
//!
//! Both are filled by the watches on every replica, leader or not, so that a new leader starts warm. Neither can
//! grow beyond the number of objects that exist: [`Dirty`] is a set, and [`References`] holds for each object
//! what it refers to *now*.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt, stream};
use kube::{
    Resource, ResourceExt,
    runtime::reflector::{Lookup, ObjectRef},
};
use tokio::sync::Notify;

use crate::backoff::lock;

/// An object's place, without its kind. Cluster-scoped objects have no namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub namespace: Option<String>,
    pub name: String,
}

impl Name {
    pub fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace(), name: object.name_any() }
    }

    pub fn within(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), name: name.into() }
    }

    pub fn to_ref<K: Resource + Lookup<DynamicType = <K as Resource>::DynamicType>>(&self) -> ObjectRef<K>
    where
        <K as Lookup>::DynamicType: Default,
    {
        let reference = ObjectRef::new(&self.name);
        match &self.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Objects that wait for a reconcile. Marking one twice is marking it once: a burst of a thousand events about
/// one object costs one reconcile, and a standby replica, which takes nothing out, holds at most every object.
#[derive(Debug, Default)]
pub struct Dirty {
    marked: Mutex<Marked>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Marked {
    waiting: HashSet<Name>,
    /// How often each object was marked: what was found out before its last mark may be wrong.
    turns: HashMap<Name, u64>,
}

impl Marked {
    fn mark(&mut self, name: Name) {
        let turn = self.turns.entry(name.clone()).or_default();
        *turn = turn.wrapping_add(1);
        self.waiting.insert(name);
    }
}

impl Dirty {
    pub fn mark(&self, name: Name) {
        lock(&self.marked).mark(name);
        self.bell.notify_one();
    }

    pub fn mark_all(&self, names: impl IntoIterator<Item = Name>) {
        let mut marked = lock(&self.marked);
        names.into_iter().for_each(|name| marked.mark(name));
        drop(marked);
        self.bell.notify_one();
    }

    pub fn len(&self) -> usize {
        lock(&self.marked).waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Differs from an earlier answer if the object was marked meanwhile.
    pub fn turn(&self, name: &Name) -> u64 {
        lock(&self.marked).turns.get(name).copied().unwrap_or_default()
    }

    /// Forgets the turns of every object for which `keep` is false and that does not wait.
    pub fn retain(&self, keep: impl Fn(&Name) -> bool) {
        let Marked { waiting, turns } = &mut *lock(&self.marked);
        turns.retain(|name, _| keep(name) || waiting.contains(name));
    }

    /// Everything marked since the last call; waits until there is something.
    async fn take(&self) -> HashSet<Name> {
        loop {
            let batch = std::mem::take(&mut lock(&self.marked).waiting);
            if !batch.is_empty() {
                return batch;
            }
            // A mark between the look and the wait is not lost: Notify stores one permit.
            self.bell.notified().await;
        }
    }
}

/// The marks as they come; endless.
pub fn marks(dirty: Arc<Dirty>) -> impl Stream<Item = Name> + Send {
    stream::unfold(dirty, |dirty| async move {
        let batch = dirty.take().await;
        Some((stream::iter(batch), dirty))
    })
    .flatten()
}

/// Kind of an object that a gateway or a policy can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Secret,
    ConfigMap,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// One Secret or ConfigMap.
pub type Target = (Kind, Name);

/// Who refers to what, both ways.
#[derive(Debug, Default)]
pub struct References {
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_referrer: HashMap<Name, HashSet<Target>>,
    by_target: HashMap<Target, HashSet<Name>>,
}

impl References {
    /// `referrer` refers to exactly `targets` from now on; an empty set forgets it.
    pub fn set(&self, referrer: &Name, targets: HashSet<Target>) {
        let mut maps = lock(&self.maps);
        for old in maps.by_referrer.remove(referrer).unwrap_or_default() {
            if let Some(referrers) = maps.by_target.get_mut(&old) {
                referrers.remove(referrer);
                if referrers.is_empty() {
                    maps.by_target.remove(&old);
                }
            }
        }
        for target in &targets {
            maps.by_target.entry(target.clone()).or_default().insert(referrer.clone());
        }
        if !targets.is_empty() {
            maps.by_referrer.insert(referrer.clone(), targets);
        }
    }

    /// Forgets every referrer but those that `keep` is true for.
    pub fn retain(&self, keep: impl Fn(&Name) -> bool) {
        let gone: Vec<Name> =
            lock(&self.maps).by_referrer.keys().filter(|name| !keep(name)).cloned().collect();
        for name in gone {
            self.set(&name, HashSet::new());
        }
    }

    /// Everything that refers to `target`.
    pub fn referrers(&self, target: &Target) -> Vec<Name> {
        lock(&self.maps)
            .by_target
            .get(target)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(name: &str) -> Target {
        (Kind::Secret, Name::within("ns", name))
    }

    #[test]
    fn a_changed_reference_leaves_no_trace_of_the_old_one() {
        let index = References::default();
        let gateway = Name::within("ns", "gw");
        index.set(&gateway, [target("old")].into());
        index.set(&gateway, [target("new")].into());
        assert!(index.referrers(&target("old")).is_empty());
        assert_eq!(index.referrers(&target("new")), vec![gateway.clone()]);
        index.set(&gateway, HashSet::new());
        assert!(lock(&index.maps).by_target.is_empty() && lock(&index.maps).by_referrer.is_empty());
    }

    #[test]
    fn what_is_gone_refers_to_nothing() {
        let index = References::default();
        let (here, gone) = (Name::within("ns", "here"), Name::within("ns", "gone"));
        index.set(&here, [target("s")].into());
        index.set(&gone, [target("s")].into());
        index.retain(|name| *name == here);
        assert_eq!(index.referrers(&target("s")), vec![here]);
    }

    #[test]
    fn a_secret_and_a_config_map_of_one_name_are_two_targets() {
        let index = References::default();
        index.set(&Name::within("ns", "gw"), [(Kind::ConfigMap, Name::within("ns", "keys"))].into());
        assert!(index.referrers(&target("keys")).is_empty());
    }

    #[tokio::test]
    async fn marks_made_before_anybody_listens_come_out_once() {
        let dirty = Arc::new(Dirty::default());
        for _ in 0..3 {
            dirty.mark(Name::within("ns", "gw"));
        }
        dirty.mark(Name { namespace: None, name: "policy".into() });
        assert_eq!(dirty.len(), 2);
        let mut stream = std::pin::pin!(marks(Arc::clone(&dirty)));
        let mut seen = [stream.next().await.unwrap(), stream.next().await.unwrap()];
        seen.sort();
        assert_eq!(seen.iter().map(Name::to_string).collect::<Vec<_>>(), ["policy", "ns/gw"]);
        assert!(dirty.is_empty());
        assert!(futures::poll!(stream.next()).is_pending());
        dirty.mark(Name::within("ns", "later"));
        assert_eq!(stream.next().await.unwrap().name, "later");
    }

    #[test]
    fn a_mark_ends_what_was_known_of_its_object_and_of_no_other() {
        let dirty = Dirty::default();
        let (one, other) = (Name::within("ns", "one"), Name::within("ns", "other"));
        let before = (dirty.turn(&one), dirty.turn(&other));
        dirty.mark_all([one.clone()]);
        assert_ne!(dirty.turn(&one), before.0);
        assert_eq!(dirty.turn(&other), before.1);
        let turn = dirty.turn(&one);
        dirty.retain(|_| false);
        assert_eq!(dirty.turn(&one), turn, "it still waits");
    }

    proptest! {
        /// Whatever the order of updates, the two maps say the same.
        #[test]
        fn both_directions_agree(updates in prop::collection::vec((0_u8..4, prop::collection::hash_set(0_u8..5, 0..4)), 0..30)) {
            let index = References::default();
            let mut last: HashMap<Name, HashSet<Target>> = HashMap::new();
            for (referrer, targets) in updates {
                let referrer = Name::within("ns", format!("gw{referrer}"));
                let targets: HashSet<Target> = targets.into_iter().map(|n| target(&format!("s{n}"))).collect();
                index.set(&referrer, targets.clone());
                last.insert(referrer, targets);
            }
            for n in 0..5_u8 {
                let wanted = target(&format!("s{n}"));
                let mut expected: Vec<Name> = last.iter().filter(|(_, t)| t.contains(&wanted)).map(|(r, _)| r.clone()).collect();
                let mut found = index.referrers(&wanted);
                expected.sort();
                found.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
