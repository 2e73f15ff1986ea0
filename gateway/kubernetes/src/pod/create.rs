//! Creates a pod, once, however often it has to ask.

use std::time::Duration;

use containerssh_backend::BackendError;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::meta;
use crate::client;
use crate::limit::Limit;

/// Between attempts, doubling up to the second.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(5);

/// What an error says about asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// There is a pod of that name: perhaps ours, from an attempt whose answer was lost.
    Exists,
    /// The cluster was busy or out of reach.
    Again(String),
    /// It said no: admission, quota, permissions, an impossible template.
    No(String),
}

/// Creates `pod` before `deadline`, each attempt in its turn of `limit`; each may take `attempt`. Returns its unique id.
pub(crate) async fn create(
    api: &Api<Pod>,
    pod: &Pod,
    limit: &Limit,
    deadline: Instant,
    attempt: Duration,
) -> Result<Option<String>, BackendError> {
    let mut delay = FIRST_DELAY;
    loop {
        if timeout_at(deadline, limit.turn()).await.is_err() {
            let reason = "The pod could not be created in time: too many connections start at once.";
            return Err(BackendError::StartTimeout(reason.to_owned()));
        }
        let reason = match once(api, pod, attempt).await {
            Ok(uid) => return Ok(uid),
            Err(Judgement::Exists) => match existing(api, pod, attempt).await? {
                Some(uid) => return Ok(Some(uid)),
                None => "the pod could not be read".to_owned(),
            },
            Err(Judgement::No(reason)) => return Err(BackendError::StartFailed(reason)),
            Err(Judgement::Again(reason)) => reason,
        };
        if Instant::now() + delay >= deadline {
            return Err(BackendError::StartTimeout(format!(
                "The pod could not be created in time: {reason}"
            )));
        }
        sleep(delay).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}

/// Asks once. Returns the pod's unique id.
pub(crate) async fn once(api: &Api<Pod>, pod: &Pod, attempt: Duration) -> Result<Option<String>, Judgement> {
    match timeout(attempt, api.create(&PostParams::default(), pod)).await {
        Ok(Ok(created)) => Ok(created.metadata.uid),
        Ok(Err(error)) => Err(judge(&error)),
        Err(_) => {
            Err(Judgement::Again(format!("no answer from the cluster within {} s", attempt.as_secs_f64())))
        }
    }
}

/// The unique id of the pod that is there already, if it is this connection's.
async fn existing(api: &Api<Pod>, wanted: &Pod, attempt: Duration) -> Result<Option<String>, BackendError> {
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let Ok(Ok(Some(found))) = timeout(attempt, api.get_opt(name)).await else { return Ok(None) };
    if is_same(wanted, &found) {
        return Ok(found.metadata.uid);
    }
    Err(BackendError::StartFailed(format!("There is another pod named {name} in the namespace.")))
}

fn is_same(wanted: &Pod, found: &Pod) -> bool {
    let label =
        |pod: &Pod, key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    [meta::CONNECTION_ID, meta::GATEWAY_RUN]
        .iter()
        .all(|key| label(wanted, key).is_some() && label(wanted, key) == label(found, key))
}

/// What `error` says about asking again.
pub(crate) fn judge(error: &kube::Error) -> Judgement {
    let kube::Error::Api(status) = error else {
        return Judgement::Again(client::describe(error));
    };
    if status.is_already_exists() {
        return Judgement::Exists;
    }
    match status.code {
        // 409 without AlreadyExists: two pods were counted against one quota at once.
        409 | 429 | 500..=599 => Judgement::Again(status.message.clone()),
        _ => Judgement::No(format!("The cluster refused the pod: {}", status.message)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn judged(code: u16, reason: &str) -> Judgement {
        judge(&kube::Error::Api(Status::failure("m", reason).with_code(code).boxed()))
    }

    #[test]
    fn a_refusal_is_final_and_a_busy_cluster_is_not() {
        let no = Judgement::No("The cluster refused the pod: m".to_owned());
        for (code, reason) in [
            (403, "Forbidden"),
            (422, "Invalid"),
            (400, "BadRequest"),
            (404, "NotFound"),
            (401, "Unauthorized"),
        ] {
            assert_eq!(judged(code, reason), no, "{code}");
        }
        for (code, reason) in
            [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable"), (409, "Conflict")]
        {
            assert_eq!(judged(code, reason), Judgement::Again("m".to_owned()), "{code}");
        }
        assert_eq!(judged(409, "AlreadyExists"), Judgement::Exists);
    }

    #[test]
    fn a_pod_is_ours_by_connection_and_run() {
        let pod = |id: &str, run: Option<&str>| -> Pod {
            let mut labels = json!({meta::CONNECTION_ID: id});
            if let Some(run) = run {
                labels[meta::GATEWAY_RUN] = run.into();
            }
            serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()
        };
        assert!(is_same(&pod("1", Some("a")), &pod("1", Some("a"))));
        for other in [pod("2", Some("a")), pod("1", Some("b")), pod("1", None), Pod::default()] {
            assert!(!is_same(&pod("1", Some("a")), &other));
        }
        assert!(!is_same(&Pod::default(), &Pod::default()));
    }
}
