//! One watch over all pods of this process, for all its connections; and one for each connection to a persistent pod.
//!
//! A watch per connection would cost the API server and the gateway a connection each, for as long as each session lives.
//! One selects by the label of this run; each event is read ([`observe`]) and handed to the connection it concerns, which
//! keeps no more than the reading. Persistent pods may be of anybody's making and bear no label to select them by, so those
//! are watched by name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::meta;
use super::observation::{Observation, observe};
use crate::client;
use crate::codes::code;
use crate::identity::RunId;
use crate::metrics::Metrics;

/// So many failures in a row are an outage, not a hiccup.
const FAILURES_THAT_COUNT: u32 = 2;

/// The watch; it ends with the last clone of the [`Arc`] that holds it.
#[derive(Debug)]
pub(crate) struct PodWatch {
    subscribers: Arc<Subscribers>,
    _task: AbortOnDropHandle<()>,
}

/// Follows one pod, from before it is created.
#[derive(Debug)]
pub(crate) struct Subscription {
    name: String,
    receiver: watch::Receiver<Observation>,
    watch: Arc<PodWatch>,
}

impl PodWatch {
    /// Starts the watch over the pods of `run`.
    pub(crate) fn start(api: Api<Pod>, run: &RunId, metrics: Metrics) -> Arc<Self> {
        let selector = format!("{}={}", meta::GATEWAY_RUN, run.as_str());
        Self::over(api, watcher::Config::default().labels(&selector), Arc::default(), metrics)
    }

    /// Watches the one pod `name`, whosever it is, and follows it.
    pub(crate) fn of_one(api: Api<Pod>, name: &str, console: &str, metrics: Metrics) -> Subscription {
        let selector = format!("metadata.name={name}");
        let subscribers = Arc::<Subscribers>::default();
        // First: the pod is there already, and is perhaps shown only once.
        let receiver = subscribers.add(name, console);
        let watch = Self::over(api, watcher::Config::default().fields(&selector), subscribers, metrics);
        Subscription { name: name.to_owned(), receiver, watch }
    }

    fn over(
        api: Api<Pod>,
        config: watcher::Config,
        subscribers: Arc<Subscribers>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let task = follow(api, config, Arc::clone(&subscribers), metrics);
        Arc::new(Self { subscribers, _task: AbortOnDropHandle::new(tokio::spawn(task)) })
    }

    /// Follows the pod `name`, whose sessions run in the container `console`.
    pub(crate) fn subscribe(self: &Arc<Self>, name: &str, console: &str) -> Subscription {
        let receiver = self.subscribers.add(name, console);
        Subscription { name: name.to_owned(), receiver, watch: Arc::clone(self) }
    }
}

impl Subscription {
    /// A receiver of its own for each task that follows the pod.
    pub(crate) fn receiver(&self) -> watch::Receiver<Observation> {
        self.receiver.clone()
    }

    /// Why the watch fails at present, if it does.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.watch.subscribers.lock().trouble.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watch.subscribers.lock().pods.remove(&self.name);
    }
}

#[derive(Debug, Default)]
struct Subscribers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pods: HashMap<String, Entry>,
    trouble: Option<String>,
    /// Pods of the listing that is under way.
    listed: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    console: String,
    sender: watch::Sender<Observation>,
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; were it so, the state would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &str, console: &str) -> watch::Receiver<Observation> {
        let (sender, receiver) = watch::channel(Observation::Unseen);
        self.lock().pods.insert(name.to_owned(), Entry { console: console.to_owned(), sender });
        receiver
    }

    /// Takes one event of the watch in.
    fn take(&self, event: Event<Pod>) {
        let mut state = self.lock();
        state.trouble = None;
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(pod) => {
                state.listed.extend(pod.metadata.name.clone());
                state.apply(&pod);
            }
            Event::InitDone => state.listing_done(),
            Event::Apply(pod) => state.apply(&pod),
            Event::Delete(pod) => state.deleted(pod.metadata.name.as_deref().unwrap_or_default()),
        }
    }

    fn fail(&self, error: String) {
        self.lock().trouble = Some(error);
    }
}

impl State {
    fn apply(&self, pod: &Pod) {
        if let Some(entry) = pod.metadata.name.as_ref().and_then(|name| self.pods.get(name)) {
            entry.publish(observe(pod, &entry.console));
        }
    }

    fn deleted(&self, name: &str) {
        if let Some(entry) = self.pods.get(name) {
            entry.publish(Observation::Ended("The pod was deleted.".to_owned()));
        }
    }

    /// Deletions while the watch was away show only by absence. A pod that was never seen may still be coming.
    fn listing_done(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        for name in self.pods.keys().filter(|name| !listed.contains(*name)) {
            let seen = self.pods.get(name).is_some_and(|entry| *entry.sender.borrow() != Observation::Unseen);
            if seen {
                self.deleted(name);
            }
        }
    }
}

impl Entry {
    /// The first end is the one that counts: what follows (a deletion after an eviction) is its consequence.
    fn publish(&self, observation: Observation) {
        self.sender.send_if_modified(|current| {
            let news = *current != observation && !matches!(current, Observation::Ended(_));
            if news {
                *current = observation;
            }
            news
        });
    }
}

async fn follow(api: Api<Pod>, config: watcher::Config, subscribers: Arc<Subscribers>, metrics: Metrics) {
    let events = watcher(api, config).default_backoff().into_stream();
    futures::pin_mut!(events);
    let mut failures = 0_u32;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                failures = 0;
                subscribers.take(event);
            }
            Err(error) => {
                metrics.watch_failed();
                let reason = describe(&error);
                failures = failures.saturating_add(1);
                // A watch that breaks and comes back is ordinary. One that does not come back is said once: the watcher tries
                // again for as long as it lasts.
                if failures == FAILURES_THAT_COUNT {
                    tracing::warn!(code = code::KUBERNETES_WATCH_FAILED, error = %reason, "Cannot watch the gateway's pods");
                }
                subscribers.fail(reason);
            }
        }
    }
}

fn describe(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => client::describe(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn ready() -> serde_json::Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    #[test]
    fn each_connection_hears_of_its_own_pod() {
        let subscribers = Subscribers::default();
        let (a, b) = (subscribers.add("a", "shell"), subscribers.add("b", "shell"));
        subscribers.take(Event::Apply(pod("a", &ready())));
        assert_eq!(*a.borrow(), Observation::Ready);
        assert_eq!(*b.borrow(), Observation::Unseen);
        subscribers.take(Event::Delete(pod("b", &ready())));
        assert!(matches!(&*b.borrow(), Observation::Ended(_)));
    }

    #[test]
    fn a_pod_that_vanished_while_the_watch_was_away_has_ended() {
        let subscribers = Subscribers::default();
        let (seen, unseen, kept) = (
            subscribers.add("seen", "shell"),
            subscribers.add("unseen", "shell"),
            subscribers.add("kept", "shell"),
        );
        subscribers.take(Event::Apply(pod("seen", &ready())));
        subscribers.take(Event::Apply(pod("kept", &ready())));
        subscribers.take(Event::Init);
        subscribers.take(Event::InitApply(pod("kept", &ready())));
        subscribers.take(Event::InitDone);
        assert!(matches!(&*seen.borrow(), Observation::Ended(_)));
        assert_eq!(*unseen.borrow(), Observation::Unseen, "its creation is still on the way");
        assert_eq!(*kept.borrow(), Observation::Ready);
    }

    #[test]
    fn the_first_reason_for_an_end_stays() {
        let subscribers = Subscribers::default();
        let receiver = subscribers.add("a", "shell");
        subscribers.take(Event::Apply(pod("a", &json!({"phase": "Failed", "reason": "Evicted"}))));
        subscribers.take(Event::Delete(pod("a", &ready())));
        assert!(matches!(&*receiver.borrow(), Observation::Ended(reason) if reason.contains("Evicted")));
    }

    #[test]
    fn a_failure_of_the_watch_is_remembered_until_it_works_again() {
        let subscribers = Subscribers::default();
        subscribers.fail("pods is forbidden".to_owned());
        assert_eq!(subscribers.lock().trouble.as_deref(), Some("pods is forbidden"));
        subscribers.take(Event::InitDone);
        assert_eq!(subscribers.lock().trouble, None);
    }
}
