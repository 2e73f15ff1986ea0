//! Finds and removes pods whose gateway is dead: a killed process answers for nothing any more.
//!
//! Each gateway pod sweeps for all replicas of its gateway, at start and every minute. A pod is removed only when it is
//! *known* that nobody serves it:
//! - it carries this run's id, and this run does not answer for it (a creation that arrived after its connection had gone);
//! - it carries this gateway pod's unique id and another run's (this pod's container was restarted);
//! - it names a gateway pod that the API server says is not there, is another one by now, or has ended.
//!
//! Persistent pods end with no gateway; they are removed when they have been idle for as long as they say
//! ([`crate::persistent::idle`]).
//!
//! Whatever cannot be read or asked is kept: a missing label, a refused request. A pod that is kept wrongly ends by its
//! `activeDeadlineSeconds`; one that is removed wrongly takes a user's session with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, Client};
use tokio::time::{sleep, timeout};

use crate::client;
use crate::codes::code;
use crate::identity::{Identity, PodIdentity};
use crate::metrics::Metrics;
use crate::persistent::idle;
use crate::pod::delete::{self, Attempt, Doomed};
use crate::pod::lease::Leases;
use crate::pod::{kinds, meta};

/// Between sweeps. Leftovers are rare and have a deadline of their own; this bounds what a crash costs.
const INTERVAL: Duration = Duration::from_secs(60);

/// Spread over this, so that replicas that started together do not sweep together.
const JITTER: Duration = Duration::from_secs(20);

/// Pods read at once.
const PAGE: u32 = 500;

/// What a sweep needs.
#[derive(Clone)]
pub(crate) struct Sweep {
    pub(crate) client: Client,
    /// Where the guests are.
    pub(crate) namespace: String,
    pub(crate) identity: Identity,
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Metrics,
    /// How long one request may take.
    pub(crate) attempt: Duration,
}

/// What is to become of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Keep,
    Remove(&'static str),
    /// Unless somebody writes on it meanwhile.
    RemoveUnchanged(&'static str),
    /// Depends on whether that gateway pod lives.
    Ask(PodIdentity),
}

impl Sweep {
    /// Sweeps for ever.
    pub(crate) async fn run(self) {
        loop {
            self.once().await;
            sleep(INTERVAL + JITTER.mul_f64(rand::random::<f64>())).await;
        }
    }

    /// Sweeps once.
    pub(crate) async fn once(&self) {
        let Some(selector) = selector(&self.identity) else { return };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut asked = HashMap::new();
        let mut page = ListParams::default().labels(&selector).limit(PAGE);
        loop {
            let pods = match timeout(self.attempt, api.list_metadata(&page)).await {
                Ok(Ok(pods)) => pods,
                Ok(Err(error)) => return failed("list pods", &client::describe(&error)),
                Err(_) => return failed("list pods", "no answer from the cluster"),
            };
            for pod in &pods.items {
                self.consider(&api, pod, &mut asked).await;
            }
            match pods.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return,
            }
        }
    }

    async fn consider(
        &self,
        api: &Api<Pod>,
        pod: &PartialObjectMeta<Pod>,
        asked: &mut HashMap<(String, String), Option<&'static str>>,
    ) {
        let Some(name) = pod.metadata.name.as_deref() else { return };
        let covered = self.leases.covers(&self.namespace, name);
        let mut version = None;
        let reason = match judge(&pod.metadata, &self.identity, covered, Timestamp::now()) {
            Verdict::Keep => None,
            Verdict::Remove(reason) => Some(reason),
            Verdict::RemoveUnchanged(reason) => {
                version = pod.metadata.resource_version.clone();
                version.is_some().then_some(reason)
            }
            Verdict::Ask(gateway) => {
                let key = (gateway.name.clone(), gateway.uid.clone());
                match asked.get(&key) {
                    Some(answer) => *answer,
                    None => {
                        let answer = self.is_dead(&gateway).await;
                        asked.insert(key, answer);
                        answer
                    }
                }
            }
        };
        let Some(reason) = reason else { return };
        let doomed = Doomed { name: name.to_owned(), uid: pod.metadata.uid.clone(), version };
        match delete::once(api, &doomed, self.attempt).await {
            Attempt::Taken => {
                self.metrics.swept();
                tracing::warn!(code = code::KUBERNETES_SWEEP_REMOVED, podName = %name, reason, "A leftover pod was removed");
            }
            Attempt::Absent => {}
            Attempt::Failed(error) => failed("remove a leftover pod", &error),
        }
    }

    /// Why that gateway pod is certainly dead; `None` if it is not certain.
    async fn is_dead(&self, gateway: &PodIdentity) -> Option<&'static str> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.identity.namespace);
        match timeout(self.attempt, api.get_opt(&gateway.name)).await {
            Ok(Ok(found)) => death(found.as_ref(), gateway),
            Ok(Err(error)) => {
                failed("look for another gateway pod", &client::describe(&error));
                None
            }
            Err(_) => {
                failed("look for another gateway pod", "no answer from the cluster");
                None
            }
        }
    }
}

fn failed(what: &str, error: &str) {
    tracing::warn!(code = code::KUBERNETES_SWEEP_FAILED, error, "The sweep could not {what}");
}

/// All pods of this gateway; `None` if they cannot be told from others'.
fn selector(identity: &Identity) -> Option<String> {
    let gateway = meta::label(&identity.gateway).ok()?;
    let namespace = meta::label(&identity.namespace).ok()?;
    Some(format!("{}={gateway},{}={namespace}", meta::GATEWAY, meta::GATEWAY_NAMESPACE))
}

fn judge(pod: &ObjectMeta, identity: &Identity, covered: bool, now: Timestamp) -> Verdict {
    let none = BTreeMap::new();
    let labels = pod.labels.as_ref().unwrap_or(&none);
    let label = |key: &str| labels.get(key).map(String::as_str);
    if pod.deletion_timestamp.is_some() || covered {
        return Verdict::Keep;
    }
    if label(meta::MODE) == Some(kinds::PERSISTENT) {
        let over = idle::is_over(pod, now);
        return if over { Verdict::RemoveUnchanged("nobody uses it any more") } else { Verdict::Keep };
    }
    let Some(run) = label(meta::GATEWAY_RUN) else { return Verdict::Keep };
    if run == identity.run.as_str() {
        return Verdict::Remove("its connection is gone");
    }
    let (Some(name), Some(uid)) = (label(meta::GATEWAY_POD), label(meta::GATEWAY_POD_UID)) else {
        return Verdict::Keep;
    };
    match &identity.pod {
        Some(own) if own.uid == uid => Verdict::Remove("the gateway was restarted"),
        _ => Verdict::Ask(PodIdentity { name: name.to_owned(), uid: uid.to_owned() }),
    }
}

fn death(found: Option<&Pod>, gateway: &PodIdentity) -> Option<&'static str> {
    let Some(found) = found else { return Some("its gateway pod is gone") };
    if found.metadata.uid.as_deref().is_some_and(|uid| uid != gateway.uid) {
        return Some("its gateway pod was replaced");
    }
    let phase = found.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded")).then_some("its gateway pod has ended")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::manifest;
    use crate::settings::Settings;
    use crate::testing::{connection, identity, kubernetes};

    fn judge(pod: &ObjectMeta, identity: &Identity, covered: bool) -> Verdict {
        super::judge(pod, identity, covered, Timestamp::UNIX_EPOCH)
    }

    /// The pod that `identity` makes.
    fn pod_of(identity: &Identity) -> ObjectMeta {
        manifest::build(&Settings::new(&kubernetes()).unwrap(), identity, &connection()).metadata
    }

    fn peer() -> Identity {
        let mut peer = identity();
        peer.pod = Some(PodIdentity { name: "dev-1".to_owned(), uid: "9f".to_owned() });
        peer.run = crate::identity::RunId::fixed("00000000000000bb");
        peer
    }

    #[test]
    fn a_pod_this_run_answers_for_is_kept_and_any_other_of_this_run_is_not() {
        assert_eq!(judge(&pod_of(&identity()), &identity(), true), Verdict::Keep);
        assert_eq!(
            judge(&pod_of(&identity()), &identity(), false),
            Verdict::Remove("its connection is gone")
        );
    }

    #[test]
    fn a_pod_of_an_earlier_run_in_the_same_gateway_pod_is_removed() {
        let mut earlier = identity();
        earlier.run = crate::identity::RunId::fixed("00000000000000cc");
        assert_eq!(
            judge(&pod_of(&earlier), &identity(), false),
            Verdict::Remove("the gateway was restarted")
        );
    }

    #[test]
    fn a_peers_pod_depends_on_the_peer() {
        let gateway = peer().pod.unwrap();
        assert_eq!(judge(&pod_of(&peer()), &identity(), false), Verdict::Ask(gateway.clone()));

        let found = |value| serde_json::from_value::<Pod>(value).unwrap();
        assert_eq!(death(None, &gateway), Some("its gateway pod is gone"));
        let replaced = found(json!({"metadata": {"uid": "new"}, "status": {"phase": "Running"}}));
        assert_eq!(death(Some(&replaced), &gateway), Some("its gateway pod was replaced"));
        for phase in ["Failed", "Succeeded"] {
            let ended = found(json!({"metadata": {"uid": "9f"}, "status": {"phase": phase}}));
            assert_eq!(death(Some(&ended), &gateway), Some("its gateway pod has ended"));
        }
        for phase in ["Running", "Pending", "Unknown"] {
            let alive = found(json!({"metadata": {"uid": "9f"}, "status": {"phase": phase}}));
            assert_eq!(death(Some(&alive), &gateway), None, "{phase}");
        }
        assert_eq!(death(Some(&Pod::default()), &gateway), None, "without an id it may be the same");
    }

    #[test]
    fn a_warm_pod_lives_and_dies_with_its_gateway() {
        let mut config = kubernetes();
        config.pod.warm_pool.size = 1;
        let warm = |of: &Identity| kinds::warm(&Settings::new(&config).unwrap(), of, 1).metadata;
        assert_eq!(judge(&warm(&identity()), &identity(), true), Verdict::Keep);
        let mut earlier = identity();
        earlier.run = crate::identity::RunId::fixed("00000000000000cc");
        assert_eq!(judge(&warm(&earlier), &identity(), false), Verdict::Remove("the gateway was restarted"));
        assert_eq!(judge(&warm(&peer()), &identity(), false), Verdict::Ask(peer().pod.unwrap()));
    }

    #[test]
    fn a_persistent_pod_goes_when_it_is_idle_unless_somebody_comes() {
        let mut config = kubernetes();
        config.pod.mode = containerssh_config::PodMode::Persistent;
        config.pod.create_missing_pods = true;
        config.pod.metadata.name = Some("box".to_owned());
        let pod = |config: &containerssh_config::Kubernetes| {
            let settings = Settings::new(config).unwrap();
            kinds::persistent(&settings, &identity(), &connection(), "box", "2026-01-01T00:00:00Z").metadata
        };
        let (soon, late) = ("2026-01-01T00:30:00Z".parse().unwrap(), "2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(
            super::judge(&pod(&config), &identity(), false, late),
            Verdict::Keep,
            "never, unless asked for"
        );
        config.pod.idle_timeout = Duration::from_secs(3600);
        assert_eq!(super::judge(&pod(&config), &identity(), false, soon), Verdict::Keep);
        assert_eq!(
            super::judge(&pod(&config), &identity(), false, late),
            Verdict::RemoveUnchanged("nobody uses it any more")
        );
    }

    #[test]
    fn doubt_keeps_a_pod() {
        let mut pod = pod_of(&peer());
        pod.labels.as_mut().unwrap().remove(meta::GATEWAY_POD_UID);
        assert_eq!(judge(&pod, &identity(), false), Verdict::Keep);
        pod.labels = None;
        assert_eq!(judge(&pod, &identity(), false), Verdict::Keep);
        let mut outside = peer();
        outside.pod = None;
        assert_eq!(judge(&pod_of(&outside), &identity(), false), Verdict::Keep);
        let mut leaving = pod_of(&identity());
        leaving.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(judge(&leaving, &identity(), false), Verdict::Keep);
    }

    #[test]
    fn only_pods_of_the_same_gateway_are_looked_at() {
        let selector = selector(&identity()).unwrap();
        assert_eq!(selector, "containerssh.io/gateway=dev,containerssh.io/gateway-namespace=ssh");
        let labels = pod_of(&identity()).labels.unwrap();
        for part in selector.split(',') {
            let (key, value) = part.split_once('=').unwrap();
            assert_eq!(labels[key], value);
        }
        let nameless = Identity { gateway: String::new(), ..identity() };
        assert_eq!(super::selector(&nameless), None);
    }
}
