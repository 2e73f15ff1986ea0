//! What a connection's pod looks like: the template, plus what every connection's pod must have. Pure.
//!
//! Decisions that a reader of a template should know:
//! - `restartPolicy` is always `Never`: a console container that comes back would have lost the user's programs without a
//!   word.
//! - The service account's token is not mounted and service addresses are not put into the environment unless the
//!   template says so: a user's shell is no place for either.
//! - Values of environment variables arrive as they are: `$` is doubled, or the kubelet would expand `$(NAME)`.
//! - `idleCommand` is process 1 of its container, so it has to reap what users leave behind. A shell that waits does.
//! - The gateway's pod owns the guests in its own namespace, so that the cluster's garbage collector removes them with
//!   it, also when no gateway is left to sweep. Owners cannot be in another namespace.

use std::collections::BTreeMap;

use containerssh_backend::{ConnectionInfo, MetadataValue};
use containerssh_log::notice;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::meta::{self, NoLabel};
use crate::agent::manifest::inject;
use crate::codes::code;
use crate::identity::Identity;
use crate::settings::Settings;

/// Seconds between TERM and KILL when the template says nothing: `idleCommand` ends at once, the rest is the users', who
/// are gone.
const GRACE_SECONDS: i64 = 5;

/// Builds the pod of `connection`.
pub(crate) fn build(settings: &Settings, identity: &Identity, connection: &ConnectionInfo) -> Pod {
    Pod {
        metadata: metadata(settings, identity, connection),
        spec: Some(spec(settings, connection)),
        status: None,
    }
}

fn metadata(settings: &Settings, identity: &Identity, connection: &ConnectionInfo) -> ObjectMeta {
    let template = settings.metadata.clone();
    let mut labels = template.labels.clone().unwrap_or_default();
    labels.extend(exposed_labels(settings, connection));
    labels.extend(labels_of(identity, connection));
    let mut annotations = template.annotations.clone().unwrap_or_default();
    annotations.extend(exposed(&settings.expose.annotations, &connection.metadata));
    annotations.insert(meta::IP.to_owned(), meta::ip(connection.remote_addr.ip()));

    let mut owners = template.owner_references.clone().unwrap_or_default();
    owners.extend(owner(settings, identity));
    ObjectMeta {
        name: Some(meta::name(&template, &connection.connection_id)),
        generate_name: None,
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: (!owners.is_empty()).then_some(owners),
        ..template
    }
}

/// Ours come last: no template and no webhook can hide a pod from its gateway's sweep.
fn labels_of(identity: &Identity, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/component", "guest"),
        ("app.kubernetes.io/managed-by", "containerssh"),
        ("app.kubernetes.io/name", "containerssh-guest"),
        (meta::CONNECTION_ID, connection.connection_id.as_str()),
        (meta::GATEWAY_RUN, identity.run.as_str()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();

    let mut add = |key: &str, value: &str| match meta::label(value) {
        Ok(value) => {
            labels.insert(key.to_owned(), value);
            true
        }
        Err(_) => false,
    };
    add(meta::GATEWAY, &identity.gateway);
    add(meta::GATEWAY_NAMESPACE, &identity.namespace);
    if let Some(pod) = &identity.pod {
        add(meta::GATEWAY_POD, &pod.name);
        add(meta::GATEWAY_POD_UID, &pod.uid);
    }
    let user = meta::user(connection);
    if !add(meta::USERNAME, user) && meta::label(user) == Err(NoLabel::TooLong) {
        notice!(
            code = code::KUBERNETES_USERNAME_TOO_LONG,
            connectionId = %connection.connection_id,
            "The user's name does not fit into a label"
        );
    }
    labels
}

fn exposed_labels(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    exposed(&settings.expose.labels, &connection.metadata)
        .into_iter()
        .filter_map(|(name, value)| match meta::label(&value) {
            Ok(value) => Some((name, value)),
            Err(_) => {
                notice!(
                    code = code::KUBERNETES_LABEL_DROPPED,
                    connectionId = %connection.connection_id,
                    label = %name,
                    "A value from authentication cannot be a label"
                );
                None
            }
        })
        .collect()
}

/// The values that `names` (key to name) asks for, by name. A sensitive value is there only because it was named.
fn exposed(
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, MetadataValue>,
) -> BTreeMap<String, String> {
    names
        .iter()
        .filter_map(|(key, name)| values.get(key).map(|value| (name.clone(), value.value.clone())))
        .collect()
}

fn owner(settings: &Settings, identity: &Identity) -> Option<OwnerReference> {
    let pod = identity.pod.as_ref().filter(|_| settings.namespace == identity.namespace)?;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        controller: None,
        block_owner_deletion: None,
    })
}

fn spec(settings: &Settings, connection: &ConnectionInfo) -> PodSpec {
    let mut spec = settings.spec.clone();
    spec.restart_policy = Some("Never".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    spec.automount_service_account_token.get_or_insert(false);
    spec.enable_service_links.get_or_insert(false);
    if let (None, Some(deadline)) = (spec.active_deadline_seconds, settings.deadline) {
        spec.active_deadline_seconds = Some(i64::try_from(deadline.as_secs().max(1)).unwrap_or(i64::MAX));
    }
    if let Some(console) = spec.containers.get_mut(settings.console) {
        console.command = Some(settings.idle_command.clone());
        console.args = None;
    }
    if let Some(agent) = &settings.agent {
        inject(&mut spec, settings.console, agent);
    }
    let env = environment(settings, connection);
    let init = spec.init_containers.as_mut().map(|containers| containers.iter_mut()).into_iter().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        add_environment(container, &env);
    }
    spec
}

/// From authentication; what is exposed by name comes last, because an administrator chose that name.
fn environment(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        connection.environment.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
    env.extend(exposed(&settings.expose.env, &connection.metadata));
    env
}

fn add_environment(container: &mut Container, env: &BTreeMap<String, String>) {
    if env.is_empty() {
        return;
    }
    let variables = container.env.get_or_insert_default();
    variables.retain(|variable| !env.contains_key(&variable.name));
    variables.extend(env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Some(value.replace('$', "$$")),
        value_from: None,
    }));
}

#[cfg(test)]
mod tests;
