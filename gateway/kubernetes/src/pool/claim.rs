//! Gives a pod of the pool to a connection.

use containerssh_backend::ConnectionInfo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use tokio::time::timeout;

use super::Pool;
use crate::client;
use crate::codes::code;
use crate::metrics::Claim;
use crate::pod::kinds;
use crate::pod::observation::{Observation, observe};
use crate::start::{Started, Starter};

/// Pods that are tried for one connection. More dead ones in a row mean that something else is wrong, and a pod of its own
/// is what finds out.
const ATTEMPTS: usize = 3;

/// Why a pod was not given.
enum Refused {
    /// It is gone or as good as gone: another may do.
    Gone(String),
    /// The next would fare the same.
    All(String),
}

impl Pool {
    /// A pod for `connection`, noted as its own, if there is one ready.
    pub(crate) async fn claim(
        &self,
        starter: &Starter,
        connection: &ConnectionInfo,
        channel: Option<u64>,
    ) -> Option<Started> {
        let key = starter.key.as_ref()?;
        let metrics = &self.shared.metrics;
        for _ in 0..ATTEMPTS {
            let Some(started) = self.take(key) else {
                metrics.warm_claim(Claim::missed);
                return None;
            };
            let reason = match note(starter, connection, channel, &started).await {
                Ok(()) => {
                    metrics.warm_claim(Claim::claimed);
                    tracing::info!(
                        code = code::KUBERNETES_POOL_CLAIMED,
                        connectionId = %connection.connection_id,
                        podName = %started.name,
                        "A pod of the warm pool"
                    );
                    return Some(started);
                }
                Err(reason) => reason,
            };
            metrics.warm_claim(Claim::failed);
            let (again, error) = match reason {
                Refused::Gone(error) => (true, error),
                Refused::All(error) => (false, error),
            };
            tracing::warn!(
                code = code::KUBERNETES_POOL_CLAIM_FAILED,
                connectionId = %connection.connection_id,
                podName = %started.name,
                error,
                "A pod of the warm pool could not be used"
            );
            if !again {
                return None;
            }
        }
        None
    }
}

/// Writes on the pod whose it is, and looks at what the API server then has.
async fn note(
    starter: &Starter,
    connection: &ConnectionInfo,
    channel: Option<u64>,
    started: &Started,
) -> Result<(), Refused> {
    let settings = &starter.settings;
    let patch = Patch::Merge(kinds::claim(settings, connection, channel, started.lease.uid()));
    let parameters = PatchParams::default();
    let api = starter.api();
    let request = api.patch(&started.name, &parameters, &patch);
    match timeout(settings.timeouts.http, request).await {
        Ok(Ok(pod)) => judge(&pod, &settings.console_name),
        Ok(Err(error)) => Err(match &error {
            // 409: another pod of that name.
            kube::Error::Api(status) if status.code == 404 || status.code == 409 => {
                Refused::Gone(client::describe(&error))
            }
            error => Refused::All(client::describe(error)),
        }),
        Err(_) => Err(Refused::All("no answer from the cluster".to_owned())),
    }
}

fn judge(pod: &Pod, console: &str) -> Result<(), Refused> {
    match observe(pod, console) {
        Observation::Ready => Ok(()),
        Observation::Ended(reason) => Err(Refused::Gone(reason)),
        Observation::Starting { doing, .. } => Err(Refused::Gone(doing)),
        Observation::Unseen => Err(Refused::Gone("it has no status".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_pod_that_is_ready_now_is_given() {
        let pod = |ready: &str, deleted: Option<&str>| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "deletionTimestamp": deleted},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        assert!(judge(&pod("True", None), "shell").is_ok());
        for half_dead in [pod("False", None), pod("True", Some("2026-01-01T00:00:00Z")), Pod::default()] {
            assert!(matches!(judge(&half_dead, "shell"), Err(Refused::Gone(_))));
        }
    }
}
