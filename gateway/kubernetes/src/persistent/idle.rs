//! When a persistent pod may go: `kubernetes.pod.idleTimeout`.
//!
//! Several gateways may use one pod, and any may die, so nobody's memory decides but the pod itself: each visit notes the
//! time on it, at its begin, now and then, and at its end. The sweep removes a pod whose last note is too old, on condition
//! that nobody has written on it meanwhile: whoever comes at that moment either finds it kept or finds it gone, and makes
//! another. The gateways' clocks are compared with each other, so the timeout is at least a minute.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::client;
use crate::codes::code;
use crate::pod::{kinds, meta};
use crate::start::Starter;

/// Between notes: a quarter of the timeout, within these.
const LEAST_INTERVAL: Duration = Duration::from_secs(10);
const GREATEST_INTERVAL: Duration = Duration::from_secs(60);

/// A connection's use of a persistent pod.
#[derive(Debug)]
pub(crate) struct Visit {
    noting: Option<(Notebook, AbortOnDropHandle<()>)>,
}

/// Where the use of one pod is noted.
#[derive(Debug, Clone)]
struct Notebook {
    api: Api<Pod>,
    name: String,
    uid: Option<String>,
    idle: Duration,
    attempt: Duration,
}

/// What came of a note.
enum Noted {
    Yes,
    /// That pod is no more.
    Gone,
    No(String),
}

impl Visit {
    /// Notes that the pod `name` with the unique id `uid` is in use, and goes on doing so. `None` if it is gone.
    pub(crate) async fn begin(starter: &Starter, name: &str, uid: Option<String>) -> Option<Self> {
        let settings = &starter.settings;
        let Some(idle) = settings.idle_timeout else { return Some(Self { noting: None }) };
        let notebook = Notebook {
            api: starter.api(),
            name: name.to_owned(),
            uid,
            idle,
            attempt: settings.timeouts.http,
        };
        let noted = notebook.note().await;
        if matches!(noted, Noted::Gone) {
            return None;
        }
        let mut complained = false;
        notebook.complain(&noted, &mut complained);
        let task = tokio::spawn(notebook.clone().keep_noting(complained));
        Some(Self { noting: Some((notebook, AbortOnDropHandle::new(task))) })
    }

    /// The connection is over: from now on the pod is idle, as far as it is concerned.
    pub(crate) async fn end(&self) {
        if let Some((notebook, task)) = &self.noting {
            task.abort();
            // The one before counts if this fails.
            let _ = notebook.note().await;
        }
    }
}

impl Notebook {
    async fn keep_noting(self, mut complained: bool) {
        let interval = (self.idle / 4).clamp(LEAST_INTERVAL, GREATEST_INTERVAL);
        loop {
            sleep(interval).await;
            let noted = self.note().await;
            self.complain(&noted, &mut complained);
            if matches!(noted, Noted::Gone) {
                return;
            }
        }
    }

    async fn note(&self) -> Noted {
        let patch = Patch::Merge(patch(&Timestamp::now().to_string(), self.idle, self.uid.as_deref()));
        let parameters = PatchParams::default();
        let request = self.api.patch_metadata(&self.name, &parameters, &patch);
        match timeout(self.attempt, request).await {
            Ok(Ok(_)) => Noted::Yes,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Noted::Gone,
            Ok(Err(error)) => Noted::No(client::describe(&error)),
            Err(_) => Noted::No("no answer from the cluster".to_owned()),
        }
    }

    /// Says once that notes fail.
    fn complain(&self, noted: &Noted, complained: &mut bool) {
        if let (Noted::No(error), false) =
            (noted, std::mem::replace(complained, matches!(noted, Noted::No(_))))
        {
            tracing::warn!(code = code::KUBERNETES_POD_NOT_NOTED, podName = %self.name, error, "The use of a pod could not be noted");
        }
    }
}

fn patch(now: &str, idle: Duration, uid: Option<&str>) -> Value {
    let mut metadata = json!({"annotations": kinds::used(now, idle)});
    if let (Some(uid), Some(metadata)) = (uid, metadata.as_object_mut()) {
        metadata.insert("uid".to_owned(), uid.into());
    }
    json!({ "metadata": metadata })
}

/// Whether nobody has used the pod for longer than it says. Doubt keeps it.
pub(crate) fn is_over(pod: &ObjectMeta, now: Timestamp) -> bool {
    let annotation = |key: &str| pod.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let last = annotation(meta::LAST_USED).and_then(|text| text.parse::<Timestamp>().ok());
    let idle = annotation(meta::IDLE_TIMEOUT).and_then(|text| text.parse::<i64>().ok());
    let (Some(last), Some(idle)) = (last, idle) else { return false };
    idle > 0 && now.duration_since(last).as_secs() > idle
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(last: &str, idle: &str) -> ObjectMeta {
        serde_json::from_value(json!({"annotations": {meta::LAST_USED: last, meta::IDLE_TIMEOUT: idle}}))
            .unwrap()
    }

    fn over(pod: &ObjectMeta) -> bool {
        is_over(pod, "2026-01-01T01:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_pod_is_idle_when_its_last_note_is_older_than_it_says() {
        assert!(over(&pod("2026-01-01T00:00:00Z", "3599")));
        assert!(!over(&pod("2026-01-01T00:00:00Z", "3600")));
        assert!(!over(&pod("2026-01-01T02:00:00Z", "60")), "another gateway's clock is ahead");
    }

    #[test]
    fn doubt_keeps_a_pod() {
        assert!(!over(&ObjectMeta::default()));
        for (last, idle) in [
            ("yesterday", "60"),
            ("2026-01-01T00:00:00Z", ""),
            ("2026-01-01T00:00:00Z", "0"),
            ("2026-01-01T00:00:00Z", "-5"),
        ] {
            assert!(!over(&pod(last, idle)), "{last} {idle}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_noted_now_keeps_a_pod_for_its_time(after in 0..100_000_i64, idle in 60..100_000_u64) {
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            let metadata = patch(&now.to_string(), Duration::from_secs(idle), Some("u"))["metadata"].clone();
            let noted: ObjectMeta = serde_json::from_value(metadata).unwrap();
            let later = Timestamp::from_second(1_700_000_000 + after).unwrap();
            prop_assert_eq!(is_over(&noted, later), after > i64::try_from(idle).unwrap());
        }

        #[test]
        fn any_annotation_is_read(last in "\\PC{0,40}", idle in "\\PC{0,24}") {
            let _ = over(&pod(&last, &idle));
        }
    }
}
