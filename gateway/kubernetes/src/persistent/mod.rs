//! Mode `persistent`: connections use a pod that was there before and stays.
//!
//! `kubernetes.pod.metadata.name` names it, with `{username}` in it for a pod per user. With `createMissingPods` a pod that
//! is not there is made; whichever of two connections comes second uses what the first has made, for the API server gives
//! each name once. Such a pod belongs to no gateway process: neither connections nor gateways that end remove it, nor do
//! sweeps, unless it has an idle timeout ([`idle`]).
//!
//! # Whose pods may be used
//! A name without a user in it is the administrator's word: that pod is used, whoever made it. A name with `{username}` is in
//! part the user's word, and must not lead them into any pod of the namespace whose name they can guess (the gateway's
//! own, say): there the pod must bear the label `containerssh.io/mode: persistent`, as those that the gateway makes do.
//! Pods of connections and of the pool are nobody else's, whatever their names.

pub(crate) mod idle;

use std::time::Duration;

use containerssh_backend::{BackendError, ConnectionInfo, ProgressSender};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep, timeout};

use crate::client;
use crate::codes::code;
use crate::guest::{PodGuest, Tenure};
use crate::identity::Identity;
use crate::pod::create::{self, Judgement};
use crate::pod::delete::{self, Doomed};
use crate::pod::watch::PodWatch;
use crate::pod::{kinds, manifest, meta, wait};
use crate::settings::Settings;
use crate::start::Starter;
pub(crate) use idle::Visit;

/// Between looks at a pod that is on its way out, or at a cluster that is busy.
const PAUSE: Duration = Duration::from_millis(500);

/// What to do about the pod of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Use it: programs run in this container of the pod with this unique id.
    Use {
        uid: Option<String>,
        container: String,
    },
    Create,
    /// It has ended and is ours: remove it, to make it anew.
    Replace(Doomed),
    /// It is being deleted: its name is not free yet.
    Wait,
    Refuse(String),
}

/// The guest of `connection` in its persistent pod.
pub(crate) async fn attach(
    starter: &Starter,
    connection: &ConnectionInfo,
    progress: &ProgressSender,
) -> Result<PodGuest, BackendError> {
    let template = starter.settings.metadata.name.as_deref().unwrap_or_default();
    let name = meta::persistent_name(template, meta::user(connection));
    let id = &connection.connection_id;
    match enter(starter, connection, progress, &name).await {
        Ok(guest) => {
            tracing::info!(code = code::KUBERNETES_POD_ATTACH, connectionId = %id, podName = %name, "The pod is ready");
            guest.prepare(connection, progress).await?;
            Ok(guest)
        }
        Err(error) => {
            tracing::error!(code = code::KUBERNETES_POD_ATTACH_FAILED, connectionId = %id, podName = %name, %error, "No pod");
            Err(error)
        }
    }
}

async fn enter(
    starter: &Starter,
    connection: &ConnectionInfo,
    progress: &ProgressSender,
    name: &str,
) -> Result<PodGuest, BackendError> {
    let settings = &starter.settings;
    let timeouts = &settings.timeouts;
    let deadline = Instant::now() + timeouts.pod_start;
    let api = starter.api();
    let mut reason = "no answer from the cluster".to_owned();
    loop {
        if Instant::now() >= deadline {
            let seconds = timeouts.pod_start.as_secs_f64();
            let text = format!("The pod {name} could not be used within {seconds} s: {reason}");
            return Err(BackendError::StartTimeout(text));
        }
        let found = match timeout(timeouts.http, api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => match create::judge(&error) {
                Judgement::No(_) | Judgement::Exists => {
                    let text = format!("The pod {name} cannot be looked at: {}", client::describe(&error));
                    return Err(BackendError::StartFailed(text));
                }
                Judgement::Again(busy) => {
                    reason = busy;
                    sleep(PAUSE).await;
                    continue;
                }
            },
            Err(_) => continue,
        };
        match decide(settings, &starter.process.identity, name, found.as_ref()) {
            Step::Refuse(reason) => return Err(BackendError::StartFailed(reason)),
            Step::Wait => {
                progress.report("waiting until the pod's predecessor is gone");
                reason = "its predecessor is being deleted".to_owned();
                sleep(PAUSE).await;
            }
            Step::Replace(doomed) => {
                // Whatever comes of it shows when we look again.
                let _ = delete::once(&api, &doomed, timeouts.http).await;
                sleep(PAUSE).await;
            }
            Step::Create => {
                progress.report("creating the pod");
                starter.cluster.limit.turn().await;
                let now = Timestamp::now().to_string();
                let pod = kinds::persistent(settings, &starter.process.identity, connection, name, &now);
                match create::once(&api, &pod, timeouts.http).await {
                    // Another connection may have been first, which is just as well.
                    Ok(_) | Err(Judgement::Exists) => {}
                    Err(Judgement::No(reason)) => return Err(BackendError::StartFailed(reason)),
                    Err(Judgement::Again(busy)) => {
                        reason = busy;
                        sleep(PAUSE).await;
                    }
                }
            }
            Step::Use { uid, container } => {
                let Some(visit) = Visit::begin(starter, name, uid).await else {
                    // It went while we looked at it.
                    continue;
                };
                let process = &starter.process;
                let subscription = PodWatch::of_one(api.clone(), name, &container, process.metrics.clone());
                let ready = wait::ready(subscription.receiver(), progress, deadline).await;
                ready.map_err(|why| why.into_error(name, timeouts.pod_start, subscription.trouble()))?;
                let target = starter.target(name.to_owned(), container);
                let env = manifest::environment(settings, connection);
                let settings = settings.clone();
                return Ok(PodGuest::new(target, settings, subscription, Tenure::Visit(visit), env, process));
            }
        }
    }
}

fn decide(settings: &Settings, identity: &Identity, name: &str, found: Option<&Pod>) -> Step {
    let namespace = &settings.namespace;
    let Some(pod) = found else {
        if settings.create_missing {
            return Step::Create;
        }
        return Step::Refuse(format!("There is no pod {name} in the namespace {namespace}."));
    };
    let label =
        |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    if label(meta::GATEWAY_RUN).is_some() {
        return Step::Refuse(format!("The pod {name} in the namespace {namespace} belongs to a connection."));
    }
    let persistent = label(meta::MODE) == Some(kinds::PERSISTENT);
    if settings.metadata.name.as_deref() != Some(name) && !persistent {
        return Step::Refuse(format!(
            "The pod {name} in the namespace {namespace} is not for users: it lacks the label {}={}.",
            meta::MODE,
            kinds::PERSISTENT
        ));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if settings.create_missing {
            return Step::Wait;
        }
        return Step::Refuse(format!("The pod {name} in the namespace {namespace} is being deleted."));
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if matches!(phase, "Failed" | "Succeeded") {
        let is_ours =
            |key: &str, value: &str| meta::label(value).is_ok_and(|value| label(key) == Some(&value));
        let ours = persistent
            && is_ours(meta::GATEWAY, &identity.gateway)
            && is_ours(meta::GATEWAY_NAMESPACE, &identity.namespace);
        if ours && settings.create_missing {
            let (uid, version) = (pod.metadata.uid.clone(), pod.metadata.resource_version.clone());
            return Step::Replace(Doomed { name: name.to_owned(), uid, version });
        }
        return Step::Refuse(format!("The pod {name} in the namespace {namespace} has ended ({phase})."));
    }
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    match containers.get(settings.console) {
        Some(container) => Step::Use { uid: pod.metadata.uid.clone(), container: container.name.clone() },
        None => Step::Refuse(format!(
            "The pod {name} has {} containers; kubernetes.pod.consoleContainerNumber is {}, counted from 0.",
            containers.len(),
            settings.console
        )),
    }
}

#[cfg(test)]
mod tests {
    use containerssh_config::PodMode;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{connection, identity, kubernetes};

    fn settings(name: &str, create: bool) -> Settings {
        let mut config = kubernetes();
        config.pod.mode = PodMode::Persistent;
        config.pod.metadata.name = Some(name.to_owned());
        config.pod.create_missing_pods = create;
        Settings::new(&config).unwrap()
    }

    fn pod(metadata: &Value, phase: &str) -> Pod {
        let mut metadata = metadata.clone();
        metadata["uid"] = "u".into();
        metadata["resourceVersion"] = "7".into();
        serde_json::from_value(json!({
            "metadata": metadata, "status": {"phase": phase},
            "spec": {"containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "x"}]},
        }))
        .unwrap()
    }

    fn refused(step: Step) -> String {
        match step {
            Step::Refuse(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn of_user() -> Pod {
        let settings = settings("dev-{username}", true);
        let mut pod =
            kinds::persistent(&settings, &identity(), &connection(), "dev-a", "2026-01-01T00:00:00Z");
        pod.status = Some(Default::default());
        pod
    }

    #[test]
    fn a_pod_that_is_not_there_is_made_only_where_that_is_allowed() {
        assert_eq!(decide(&settings("box", true), &identity(), "box", None), Step::Create);
        let reason = refused(decide(&settings("box", false), &identity(), "box", None));
        assert_eq!(reason, "There is no pod box in the namespace guests.");
    }

    #[test]
    fn a_pod_of_a_fixed_name_is_used_whoever_made_it_by_the_containers_number() {
        let foreign = pod(&json!({}), "Running");
        let used = decide(&settings("box", false), &identity(), "box", Some(&foreign));
        assert_eq!(used, Step::Use { uid: Some("u".to_owned()), container: "main".to_owned() });
        let mut second = settings("box", false);
        second.console = 1;
        let used = decide(&second, &identity(), "box", Some(&foreign));
        assert!(matches!(used, Step::Use { container, .. } if container == "side"));
        second.console = 2;
        assert!(refused(decide(&second, &identity(), "box", Some(&foreign))).contains("2 containers"));
    }

    #[test]
    fn a_users_name_leads_into_no_pod_that_is_not_meant_for_it() {
        let settings = settings("{username}", true);
        let gateway = pod(&json!({"labels": {"app.kubernetes.io/name": "containerssh-gateway"}}), "Running");
        assert!(refused(decide(&settings, &identity(), "dev-0", Some(&gateway))).contains("not for users"));
        let meant = pod(&json!({"labels": {"containerssh.io/mode": "persistent"}}), "Running");
        assert!(matches!(decide(&settings, &identity(), "alice", Some(&meant)), Step::Use { .. }));
        let connections = manifest::build(&settings, &identity(), &connection());
        assert!(
            refused(decide(&settings, &identity(), "x", Some(&connections)))
                .contains("belongs to a connection")
        );
    }

    #[test]
    fn a_pod_that_ended_is_made_anew_if_it_is_ours() {
        let settings = settings("dev-{username}", true);
        let mut ended = of_user();
        ended.metadata.uid = Some("u".to_owned());
        ended.metadata.resource_version = Some("7".to_owned());
        ended.status.as_mut().unwrap().phase = Some("Failed".to_owned());
        let doomed =
            Doomed { name: "dev-a".to_owned(), uid: Some("u".to_owned()), version: Some("7".to_owned()) };
        assert_eq!(decide(&settings, &identity(), "dev-a", Some(&ended)), Step::Replace(doomed));
        let mut other = identity();
        other.gateway = "other".to_owned();
        assert!(refused(decide(&settings, &other, "dev-a", Some(&ended))).contains("has ended (Failed)"));
    }

    #[test]
    fn a_name_that_is_not_free_yet_is_waited_for() {
        let leaving = pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), "Running");
        assert_eq!(decide(&settings("box", true), &identity(), "box", Some(&leaving)), Step::Wait);
        let reason = refused(decide(&settings("box", false), &identity(), "box", Some(&leaving)));
        assert!(reason.contains("is being deleted"));
    }
}
