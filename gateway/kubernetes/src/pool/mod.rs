//! The warm pool: pods that are started before anybody asks for one (`kubernetes.pod.warmPool`).
//!
//! Each gateway pod has a pool of its own. A shared one would need a claim that two gateways race for at each login and
//! somebody who is elected to refill it; of its own, a gateway takes a pod out of memory, and what a dead gateway leaves is
//! removed by the sweep like all its other pods, because warm pods bear the same marks.
//!
//! # What holds
//! - A pod is given away once: claiming moves it out of the pool, and it is removed with its connection.
//! - It is given away only alive: the API server itself, asked to note whose it is, must still have that very pod and see
//!   it ready. Otherwise the next is tried, and at last a pod is started as if there were no pool.
//! - A pod of the pool is under a [lease](crate::pod::lease) from before it is created, like any other.
//! - Only pods of the same template (a digest, and the same connection to the cluster) are given away; another
//!   configuration drains the pool as soon as it is in force.
//! - If an agent runs the programs, it has been started and reached: a pod without it is not ready, and one that loses it
//!   is removed.
//!
//! What shall be done is a pure function of what there is ([`plan`]); the keeper does it whenever something changes.

mod claim;
mod plan;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerssh_backend::progress;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Terms;
use crate::codes::code;
use crate::metrics::Metrics;
use crate::pod::kinds;
use crate::start::{Started, Starter};
use plan::{Failures, Life, Plan, Seen, Want, plan};

/// What pods of the pool must have in common with what a connection would start: cluster and template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// [`crate::start::Cluster::id`].
    pub(crate) cluster: u64,
    /// [`kinds::digest`].
    pub(crate) template: String,
    /// What their agents have been told.
    pub(crate) agent: Option<Terms>,
}

/// The pool of this process.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    target: Option<Target>,
    pods: BTreeMap<u64, Entry>,
    next: u64,
    failures: u32,
    failed_at: Option<Instant>,
    /// The process ends: nothing is begun any more.
    closed: bool,
}

/// What the pool shall be.
#[derive(Debug, Clone)]
struct Target {
    starter: Starter,
    key: Key,
    want: Want,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    born: Instant,
    life: Life,
    /// Of a pod that is ready.
    started: Option<Started>,
    /// Starts the pod, then waits for its end.
    _task: AbortOnDropHandle<()>,
}

impl Pool {
    /// An empty one, which stays so until [`Pool::keep`].
    pub(crate) fn new(metrics: Metrics) -> Arc<Self> {
        let shared = Shared { state: Mutex::default(), changed: Notify::new(), metrics };
        Arc::new(Self { shared: Arc::new(shared), keeper: Mutex::default() })
    }

    /// Keeps what `starter` says from now on. Pods of another template go.
    pub(crate) fn keep(&self, starter: &Starter) {
        let warm = &starter.settings.warm;
        let target = starter.key.clone().map(|key| Target {
            starter: starter.clone(),
            key,
            want: Want { size: usize::try_from(warm.size).unwrap_or(usize::MAX), max_age: warm.max_age },
        });
        let wanted = target.is_some();
        {
            let mut state = self.shared.lock();
            if state.closed {
                return;
            }
            let same = match (&state.target, &target) {
                (Some(old), Some(new)) => old.key == new.key,
                (old, new) => old.is_none() && new.is_none(),
            };
            state.target = target;
            if !same {
                // Another template may do better.
                (state.failures, state.failed_at) = (0, None);
            }
        }
        self.shared.changed.notify_one();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted && keeper.is_none() {
            *keeper = Some(AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&self.shared)))));
        }
    }

    /// Gives all pods up, for the end of the process.
    pub(crate) fn close(&self) {
        let pods = {
            let mut state = self.shared.lock();
            (state.target, state.closed) = (None, true);
            std::mem::take(&mut state.pods)
        };
        // Their leases end, outside the lock.
        drop(pods);
        self.shared.metrics.warm_pods(0, 0);
    }

    /// Takes a pod that is ready out of the pool: the oldest.
    fn take(&self, key: &Key) -> Option<Started> {
        let entry = {
            let mut state = self.shared.lock();
            let ready = |entry: &Entry| {
                entry.key == *key
                    && entry.life == Life::Ready
                    && entry.started.as_ref().is_some_and(Started::is_alive)
            };
            let id = state.pods.iter().find(|(_, entry)| ready(entry)).map(|(id, _)| *id)?;
            state.pods.remove(&id)
        };
        self.shared.count();
        self.shared.changed.notify_one();
        entry?.started
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        let state = self.lock();
        let count = |life: Life| state.pods.values().filter(|entry| entry.life == life).count();
        self.metrics.warm_pods(count(Life::Starting), count(Life::Ready));
    }

    /// Does what there is to do; says when to look again.
    fn step(self: &Arc<Self>) -> Option<Duration> {
        let mut removed = Vec::new();
        let again = {
            let mut state = self.lock();
            let Plan { create, remove, again } = state.plan();
            removed.extend(remove.iter().filter_map(|id| state.pods.remove(id)));
            for _ in 0..create {
                self.begin(&mut state);
            }
            again
        };
        // Their leases end, outside the lock.
        drop(removed);
        self.count();
        again
    }

    fn begin(self: &Arc<Self>, state: &mut State) {
        let Some(target) = &state.target else { return };
        let (starter, key, id) = (target.starter.clone(), target.key.clone(), state.next);
        state.next += 1;
        let task = AbortOnDropHandle::new(tokio::spawn(run(Arc::clone(self), starter, id)));
        let entry = Entry { key, born: Instant::now(), life: Life::Starting, started: None, _task: task };
        state.pods.insert(id, entry);
    }
}

impl State {
    fn plan(&self) -> Plan {
        let now = Instant::now();
        let key = self.target.as_ref().map(|target| &target.key);
        let seen: Vec<Seen> = (self.pods.iter())
            .map(|(id, entry)| Seen {
                id: *id,
                current: Some(&entry.key) == key,
                life: entry.life,
                age: now.saturating_duration_since(entry.born),
            })
            .collect();
        let ago = self.failed_at.map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        let failures = Failures { count: self.failures, ago };
        plan(&seen, self.target.as_ref().map(|target| target.want), failures)
    }
}

async fn keep(shared: Arc<Shared>) {
    loop {
        let again = shared.step();
        let wait = async {
            match again {
                Some(again) => sleep(again).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = wait => {}
        }
    }
}

/// The life of one pod, until it is claimed or removed: then this task is aborted.
async fn run(shared: Arc<Shared>, starter: Starter, id: u64) {
    let settings = &starter.settings;
    let pod = kinds::warm(settings, &starter.process.identity, rand::random::<u128>() >> 32);
    let (reporter, _) = progress();
    let deadline = Instant::now() + settings.timeouts.pod_start;
    let started = match starter.start(&pod, &reporter, deadline).await {
        Ok(started) => {
            let target = starter.target(started.name.clone(), settings.console_name.clone());
            starter.agent(&target).await.map(|agent| Started { agent, ..started })
        }
        Err(error) => Err(error.into_inner()),
    };
    let end = match started {
        Ok(started) => {
            let end = started.ended();
            let mut state = shared.lock();
            (state.failures, state.failed_at) = (0, None);
            if let Some(entry) = state.pods.get_mut(&id) {
                entry.life = Life::Ready;
                entry.started = Some(started);
            }
            end
        }
        Err(error) => {
            shared.metrics.warm_start_failed();
            tracing::warn!(
                code = code::KUBERNETES_POOL_START_FAILED,
                podName = pod.metadata.name.unwrap_or_default(),
                %error,
                "No pod for the warm pool"
            );
            let mut state = shared.lock();
            state.failures = state.failures.saturating_add(1);
            state.failed_at = Some(Instant::now());
            if let Some(entry) = state.pods.get_mut(&id) {
                entry.life = Life::Ended;
            }
            drop(state);
            shared.changed.notify_one();
            return;
        }
    };
    shared.count();
    shared.changed.notify_one();
    end.await;
    if let Some(entry) = shared.lock().pods.get_mut(&id) {
        entry.life = Life::Ended;
    }
    shared.changed.notify_one();
}
