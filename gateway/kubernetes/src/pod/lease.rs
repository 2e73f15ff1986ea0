//! Who answers for a pod: from before the request that creates it until the cluster has taken the request that removes it.
//!
//! A [`Lease`] is taken first and the pod is created under it. However the lease ends (a failed start, a client that
//! left, a session that is over, a panic), its drop hands the pod to a background task that removes it. The names of
//! live leases are what the sweep must not touch.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::delete::{self, Doomed};
use crate::limit::Limit;
use crate::metrics::Metrics;
use crate::settings::Timeouts;

/// All leases of this process, and the removals under way.
#[derive(Debug)]
pub(crate) struct Leases {
    live: Mutex<HashSet<(String, String)>>,
    removals: TaskTracker,
    runtime: Handle,
    metrics: Metrics,
}

/// The right and the duty to one pod.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Arc<Leases>,
    api: Api<Pod>,
    limit: Arc<Limit>,
    namespace: String,
    name: String,
    uid: OnceLock<String>,
    timeouts: Timeouts,
    ended: AtomicBool,
}

impl Leases {
    /// Removals run on the current runtime.
    pub(crate) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            live: Mutex::default(),
            removals: TaskTracker::new(),
            runtime: Handle::current(),
            metrics,
        })
    }

    /// Takes the pod `name` on, which need not exist yet.
    pub(crate) fn take(
        self: &Arc<Self>,
        api: Api<Pod>,
        limit: Arc<Limit>,
        namespace: &str,
        name: &str,
        timeouts: Timeouts,
    ) -> Lease {
        self.live().insert((namespace.to_owned(), name.to_owned()));
        self.metrics.pod_claimed();
        Lease {
            leases: Arc::clone(self),
            api,
            limit,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: OnceLock::new(),
            timeouts,
            ended: AtomicBool::new(false),
        }
    }

    /// Whether this process answers for that pod.
    pub(crate) fn covers(&self, namespace: &str, name: &str) -> bool {
        self.live().contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Waits until every removal and every other task under way is done, at most until `deadline`. Returns how many are not.
    pub(crate) async fn drain(&self, deadline: Instant) -> usize {
        self.removals.close();
        // What is not done by then is the sweep's, of a peer or of the next start.
        let _ = timeout_at(deadline, self.removals.wait()).await;
        self.removals.reopen();
        self.removals.len()
    }

    /// What has to be done before the process ends, besides removals.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.removals.clone()
    }

    fn live(&self) -> MutexGuard<'_, HashSet<(String, String)>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The pod's unique id, once its creation is confirmed.
    pub(crate) fn confirm(&self, uid: Option<String>) {
        if let Some(uid) = uid {
            // A second confirmation would be of the same pod.
            let _ = self.uid.set(uid);
        }
    }

    /// The pod's unique id, if it is known.
    pub(crate) fn uid(&self) -> Option<&str> {
        self.uid.get().map(String::as_str)
    }

    /// Removes the pod. Returns when the cluster has taken the request, or after `patience`: the task goes on.
    pub(crate) async fn end(&self, patience: Duration) {
        if let Some(removal) = self.begin_removal() {
            let _ = timeout(patience, removal).await;
        }
    }

    fn begin_removal(&self) -> Option<JoinHandle<()>> {
        if self.ended.swap(true, Ordering::AcqRel) {
            return None;
        }
        let pod = Doomed { name: self.name.clone(), uid: self.uid.get().cloned(), version: None };
        let (leases, api, timeouts) = (Arc::clone(&self.leases), self.api.clone(), self.timeouts.clone());
        let limit = Arc::clone(&self.limit);
        let key = (self.namespace.clone(), self.name.clone());
        leases.metrics.removal_begun();
        let task = async move {
            delete::remove(&api, &pod, &limit, timeouts.http, timeouts.pod_stop, &leases.metrics).await;
            leases.live().remove(&key);
            leases.metrics.removal_ended();
        };
        Some(self.leases.removals.spawn_on(task, &self.leases.runtime))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Dropping the handle detaches the task.
        drop(self.begin_removal());
    }
}
