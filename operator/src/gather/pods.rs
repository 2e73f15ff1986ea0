//! What the gateway's pods say: which are ready, which policy they apply, how many sessions they carry.
//!
//! A rolled-out Secret is not a policy in force: the kubelet syncs volumes within a minute or so, and the gateway may
//! refuse a file it cannot read. Only the gateway itself knows, so it is asked (`/status`): over the pods' network, which
//! costs the apiserver nothing; the pods themselves are watched. The answers come from
//! pods in the team's namespace and are treated as claims: bounded in size and time, and used for status alone.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::reflector::Store};
use serde::Deserialize;

use crate::index::Name;

/// Port of the gateway's health endpoints.
pub const HEALTH_PORT: u16 = 7000;
/// A pod on the same network answers in milliseconds; one that does not is as good as silent.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Pods asked at once: enough that fifty silent pods do not hold a reconcile for long.
const ASK_AT_ONCE: usize = 8;
/// A status is some hundred bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// One gateway pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPod {
    pub name: String,
    pub ready: bool,
    /// Being deleted: finishing its sessions.
    pub leaving: bool,
    /// None = did not answer.
    pub report: Option<Report>,
    /// Why it is not ready, where Kubernetes knows.
    pub trouble: Option<String>,
}

/// The part of `/status` that the operator reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(default)]
    pub policy_hash: Option<String>,
    #[serde(default)]
    pub sessions: u64,
}

/// All pods of one gateway, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pods(pub Vec<GatewayPod>);

impl Pods {
    pub fn sessions(&self) -> u64 {
        self.0.iter().filter_map(|pod| pod.report.as_ref()).map(|report| report.sessions).sum()
    }

    /// How many were told to stop and finish their sessions.
    pub fn leaving(&self) -> u64 {
        self.0.iter().filter(|pod| pod.leaving).map(|_| 1).sum()
    }

    /// What those still carry.
    pub fn leaving_sessions(&self) -> u64 {
        let leaving = self.0.iter().filter(|pod| pod.leaving);
        leaving.filter_map(|pod| pod.report.as_ref()).map(|report| report.sessions).sum()
    }

    /// The first cause that keeps a pod from being ready.
    pub fn trouble(&self) -> Option<&str> {
        self.0.iter().filter(|pod| !pod.ready && !pod.leaving).find_map(|pod| pod.trouble.as_deref())
    }

    /// True when there is a ready pod and every ready pod applies the policy with this hash.
    pub fn all_apply(&self, hash: &str) -> bool {
        let mut ready = self.0.iter().filter(|pod| pod.ready && !pod.leaving).peekable();
        ready.peek().is_some()
            && ready.all(|pod| pod.report.as_ref().and_then(|r| r.policy_hash.as_deref()) == Some(hash))
    }
}

/// Every gateway pod of the watched scopes, as far as it is read here.
#[derive(Debug, Clone, Default)]
pub struct Watched(Vec<Store<Pod>>);

impl Watched {
    pub fn add(&mut self, store: Store<Pod>) {
        self.0.push(store);
    }

    pub async fn wait_until_ready(&self) {
        for store in &self.0 {
            // An error means that the watch has ended, which ends the operator anyway.
            let _ = store.wait_until_ready().await;
        }
    }

    /// The pods of one gateway.
    pub fn of(&self, gateway: &Name) -> Vec<Arc<Pod>> {
        self.0
            .iter()
            .flat_map(|store| store.state_filter(|pod| parent(pod).as_ref() == Some(gateway)))
            .collect()
    }
}

/// What finds every gateway pod.
pub const SELECTOR: &str =
    "app.kubernetes.io/name=containerssh-gateway,app.kubernetes.io/managed-by=containerssh-operator";

/// The gateway that a pod belongs to, as its labels say.
pub fn parent(pod: &Pod) -> Option<Name> {
    let instance = pod.metadata.labels.as_ref()?.get("app.kubernetes.io/instance")?;
    Some(Name::within(pod.metadata.namespace.clone()?, instance))
}

/// Drops what is not read: most of a pod is its spec.
pub fn slim(pod: &mut Pod) {
    pod.spec = None;
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
}

/// Asks those that run.
pub async fn gather(http: &reqwest::Client, pods: Vec<Arc<Pod>>) -> Pods {
    let mut pods: Vec<GatewayPod> = stream::iter(pods)
        .map(|pod| async move {
            let report = match address(&pod) {
                Some(ip) => ask(http, &ip).await,
                None => None,
            };
            GatewayPod {
                name: pod.name_any(),
                ready: is_ready(&pod),
                leaving: pod.metadata.deletion_timestamp.is_some(),
                trouble: trouble(&pod),
                report,
            }
        })
        .buffer_unordered(ASK_AT_ONCE)
        .collect()
        .await;
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Pods(pods)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// In words that do not change from one attempt to the next: a status that alternates between `ErrImagePull` and
/// `ImagePullBackOff` would be written every few seconds.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = (status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return condition.message.clone();
    }
    status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        match waiting.reason.as_deref()? {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
                Some(format!("image {} cannot be pulled", container.image))
            }
            "CrashLoopBackOff" => Some(match ended {
                Some(ended) => format!("the gateway crashes with exit code {}; see its log", ended.exit_code),
                None => "the gateway crashes; see its log".to_owned(),
            }),
            "ContainerCreating" | "PodInitializing" => None,
            other => Some(format!("{other}: {}", waiting.message.as_deref().unwrap_or("no message"))),
        }
    })
}

fn address(pod: &Pod) -> Option<std::net::IpAddr> {
    let status = pod.status.as_ref()?;
    (status.phase.as_deref() == Some("Running")).then_some(())?;
    status.pod_ip.as_deref()?.parse().ok()
}

async fn ask(http: &reqwest::Client, ip: &std::net::IpAddr) -> Option<Report> {
    let address = std::net::SocketAddr::new(*ip, HEALTH_PORT);
    tokio::time::timeout(ASK_TIMEOUT, fetch(http, &format!("http://{address}/status"))).await.ok()?
}

async fn fetch(http: &reqwest::Client, url: &str) -> Option<Report> {
    let mut response = http.get(url).send().await.ok()?;
    // A gateway that drains or is not ready answers 503 with the same body.
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).ok()
}

/// The client for [`gather`]: no proxy stands between us and a pod, and no pod may send us elsewhere.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(ASK_TIMEOUT)
        .timeout(ASK_TIMEOUT)
        .pool_max_idle_per_host(0)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, routing::get};

    fn pod(name: &str, ready: bool, hash: Option<&str>) -> GatewayPod {
        let report = hash.map(|hash| Report { policy_hash: Some(hash.into()), sessions: 2 });
        GatewayPod { name: name.into(), ready, leaving: false, report, trouble: None }
    }

    #[test]
    fn a_policy_is_in_force_only_when_every_ready_pod_says_so() {
        assert!(!Pods(vec![]).all_apply("h"));
        assert!(!Pods(vec![pod("a", false, Some("h"))]).all_apply("h"));
        assert!(Pods(vec![pod("a", true, Some("h")), pod("b", false, None)]).all_apply("h"));
        assert!(!Pods(vec![pod("a", true, Some("h")), pod("b", true, Some("old"))]).all_apply("h"));
        assert!(!Pods(vec![pod("a", true, Some("h")), pod("b", true, None)]).all_apply("h"));
    }

    #[test]
    fn a_pod_that_drains_counts_its_sessions_but_not_its_policy() {
        let mut old = pod("old", true, Some("old"));
        old.leaving = true;
        let pods = Pods(vec![pod("new", true, Some("h")), old]);
        assert!(pods.all_apply("h"));
        assert_eq!((pods.sessions(), pods.leaving(), pods.leaving_sessions()), (4, 1, 2));
    }

    #[test]
    fn a_pod_that_does_not_start_says_why_in_steady_words() {
        let waiting = |reason: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"status": {"containerStatuses": [{
                "name": "gateway", "image": "gw:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "back-off 5m20s"}},
                "lastState": {"terminated": {"exitCode": 64}},
            }]}}))
            .unwrap()
        };
        assert_eq!(trouble(&waiting("ErrImagePull")), trouble(&waiting("ImagePullBackOff")));
        assert_eq!(trouble(&waiting("ErrImagePull")).unwrap(), "image gw:1 cannot be pulled");
        assert!(trouble(&waiting("CrashLoopBackOff")).unwrap().contains("exit code 64"));
        assert_eq!(trouble(&waiting("ContainerCreating")), None);
    }

    async fn serve(router: Router) -> String {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/status")
    }

    #[tokio::test]
    async fn an_answer_with_unknown_fields_is_read_and_one_without_end_is_not() {
        let body = r#"{"ready":true,"policyHash":"h","sessions":3,"spool":{"bytes":1},"new":[]}"#;
        let url = serve(Router::new().route("/status", get(move || async move { body }))).await;
        let http = http_client().unwrap();
        assert_eq!(fetch(&http, &url).await, Some(Report { policy_hash: Some("h".into()), sessions: 3 }));
        let endless = axum::routing::get(|| async {
            axum::body::Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4096])))
        });
        let url = serve(Router::new().route("/status", endless)).await;
        assert_eq!(fetch(&http, &url).await, None);
    }

    #[tokio::test]
    async fn a_pod_that_sends_us_elsewhere_is_not_followed() {
        let url = serve(
            Router::new()
                .route("/status", get(|| async { axum::response::Redirect::temporary("/other") }))
                .route("/other", get(|| async { r#"{"policyHash":"h"}"# })),
        )
        .await;
        assert_eq!(fetch(&http_client().unwrap(), &url).await, None);
    }
}
