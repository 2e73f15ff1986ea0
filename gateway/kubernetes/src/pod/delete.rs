//! Removes a pod, for certain: asks until the cluster has taken the request or the pod is gone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::{Instant, sleep, timeout};

use crate::client;
use crate::codes::code;
use crate::limit::Limit;
use crate::metrics::Metrics;

/// Between attempts, doubling up to the second.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// A request to create the pod may have been cut off and still arrive, so for a pod of unknown id "not found" is no
/// answer at first. What comes even later is the sweep's.
const SETTLE: Duration = Duration::from_secs(5);

/// After this the sweep, which needs no memory per pod, takes over. Without a bound, a gateway that may not delete would
/// gather a task per connection.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);

/// The pod to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doomed {
    pub(crate) name: String,
    /// Its unique id, if its creation was confirmed: no other pod of that name is touched.
    pub(crate) uid: Option<String>,
    /// Its version, if it may go only as it was seen: whoever changes it meanwhile keeps it.
    pub(crate) version: Option<String>,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The cluster removes it.
    Taken,
    /// It is not there, or another pod of that name is.
    Absent,
    /// Ask again.
    Failed(String),
}

/// Removes `pod`, each attempt in its turn of `limit`; each may take `attempt`. A failure that lasts longer than `patience` is logged.
pub(crate) async fn remove(
    api: &Api<Pod>,
    pod: &Doomed,
    limit: &Limit,
    attempt: Duration,
    patience: Duration,
    metrics: &Metrics,
) {
    let begun = Instant::now();
    let mut delay = FIRST_DELAY;
    let mut complained = false;
    loop {
        limit.turn().await;
        let reason = match once(api, pod, attempt).await {
            Attempt::Taken => {
                tracing::info!(code = code::KUBERNETES_POD_REMOVE_SUCCESSFUL, podName = %pod.name, "The pod was removed");
                return;
            }
            Attempt::Absent if pod.uid.is_some() || begun.elapsed() >= SETTLE => return,
            Attempt::Absent => None,
            Attempt::Failed(reason) => Some(reason),
        };
        let given_up = begun.elapsed() >= GIVE_UP;
        if let Some(reason) = reason {
            metrics.removal_failed();
            if given_up || (begun.elapsed() >= patience && !std::mem::replace(&mut complained, true)) {
                tracing::error!(
                    code = code::KUBERNETES_POD_REMOVE_FAILED,
                    podName = %pod.name,
                    error = %reason,
                    "The pod could not be removed yet"
                );
            }
        }
        if given_up {
            return;
        }
        sleep(delay).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}

/// Asks once.
pub(crate) async fn once(api: &Api<Pod>, pod: &Doomed, attempt: Duration) -> Attempt {
    let (uid, resource_version) = (pod.uid.clone(), pod.version.clone());
    let conditional = uid.is_some() || resource_version.is_some();
    let preconditions = conditional.then_some(Preconditions { uid, resource_version });
    // No grace period here: the pod's own terminationGracePeriodSeconds is the configured one.
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    match timeout(attempt, api.delete(&pod.name, &parameters)).await {
        Ok(Ok(_)) => Attempt::Taken,
        Ok(Err(error)) => judge(&error),
        Err(_) => Attempt::Failed(format!("no answer from the cluster within {} s", attempt.as_secs_f64())),
    }
}

fn judge(error: &kube::Error) -> Attempt {
    match error {
        // 409: the precondition failed, so the pod that was meant is gone, or no longer as it was.
        kube::Error::Api(status) if status.code == 404 || status.code == 409 => Attempt::Absent,
        error => Attempt::Failed(client::describe(error)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_pod_that_is_not_there_is_removed_and_an_error_is_not() {
        let judged = |code: u16| judge(&kube::Error::Api(Status::failure("m", "r").with_code(code).boxed()));
        assert_eq!(judged(404), Attempt::Absent);
        assert_eq!(judged(409), Attempt::Absent);
        assert_eq!(judged(403), Attempt::Failed("m".to_owned()));
        assert_eq!(judged(500), Attempt::Failed("m".to_owned()));
    }
}
