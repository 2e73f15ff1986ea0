//! What a connection's pod looks like: the template, plus what every connection's pod must have. Pure. Pods of other
//! kinds are made of the same parts in [`super::kinds`].
//!
//! Decisions that a reader of a template should know:
//! - `restartPolicy` is always `Never`: a console container that comes back would have lost the user's programs without a
//!   word.
//! - The service account's token is not mounted and service addresses are not put into the environment unless the
//!   template says so: a user's shell is no place for either.
//! - What authentication calls sensitive becomes an environment variable where it is asked for, but never a label or an
//!   annotation: whoever lists pods reads those.
//! - Values of environment variables arrive as they are: `$` is doubled, or the kubelet would expand `$(NAME)`.
//! - `idleCommand` is process 1 of its container, so it has to reap what users leave behind. A shell that waits does.
//! - The gateway's pod owns the guests in its own namespace, so that the cluster's garbage collector removes them with
//!   it, also when no gateway is left to sweep. Owners cannot be in another namespace.

use std::collections::BTreeMap;
use std::time::Duration;

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
    let mut labels = labels_of_user(settings, connection);
    labels.extend(labels_of_run(identity));
    labels.insert(meta::CONNECTION_ID.to_owned(), connection.connection_id.clone());
    Pod {
        metadata: ObjectMeta {
            name: Some(meta::name(&settings.metadata, &connection.connection_id)),
            owner_references: owners(settings, identity),
            ..metadata(settings, labels, annotations_of(settings, connection))
        },
        spec: Some(spec(settings, &environment(settings, connection), settings.deadline)),
        status: None,
    }
}

/// The template's metadata with `labels` and `annotations`. What begins like ours is ours to say: no template and no webhook
/// can hide a pod from its gateway's sweep.
pub(super) fn metadata(
    settings: &Settings,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> ObjectMeta {
    let template = settings.metadata.clone();
    let with = |own: Option<BTreeMap<String, String>>, more| {
        let mut all = own.unwrap_or_default();
        all.retain(|name, _| !name.starts_with(meta::OURS));
        all.extend(more);
        (!all.is_empty()).then_some(all)
    };
    ObjectMeta {
        name: None,
        generate_name: None,
        namespace: Some(settings.namespace.clone()),
        labels: with(template.labels, labels),
        annotations: with(template.annotations, annotations),
        ..template
    }
}

/// What authentication says, by whom the pod is for.
pub(super) fn labels_of_user(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    let mut labels = exposed_labels(settings, connection);
    let user = meta::user(connection);
    match meta::label(user) {
        Ok(value) => {
            labels.insert(meta::USERNAME.to_owned(), value);
        }
        Err(reason) => {
            labels.remove(meta::USERNAME);
            if reason == NoLabel::TooLong {
                notice!(
                    code = code::KUBERNETES_USERNAME_TOO_LONG,
                    connectionId = %connection.connection_id,
                    "The user's name does not fit into a label"
                );
            }
        }
    }
    // These are not authentication's to say.
    labels.retain(|name, _| !name.starts_with(meta::OURS) && name != meta::CONNECTION_ID);
    labels
}

pub(super) fn annotations_of(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    let mut annotations = exposed(&settings.expose.annotations, &connection.metadata, Sensitive::Left);
    annotations.retain(|name, _| !name.starts_with(meta::OURS));
    annotations.insert(meta::IP.to_owned(), meta::ip(connection.remote_addr.ip()));
    annotations
}

/// What every pod of a gateway has.
pub(super) fn labels_of_gateway(identity: &Identity) -> BTreeMap<String, String> {
    let fixed = [
        ("app.kubernetes.io/component", "guest"),
        ("app.kubernetes.io/managed-by", "containerssh"),
        ("app.kubernetes.io/name", "containerssh-guest"),
    ];
    let mut labels: BTreeMap<String, String> =
        fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    add(&mut labels, meta::GATEWAY, &identity.gateway);
    add(&mut labels, meta::GATEWAY_NAMESPACE, &identity.namespace);
    labels
}

/// What every pod has that ends with this run of the gateway.
pub(super) fn labels_of_run(identity: &Identity) -> BTreeMap<String, String> {
    let mut labels = labels_of_gateway(identity);
    labels.insert(meta::GATEWAY_RUN.to_owned(), identity.run.as_str().to_owned());
    if let Some(pod) = &identity.pod {
        add(&mut labels, meta::GATEWAY_POD, &pod.name);
        add(&mut labels, meta::GATEWAY_POD_UID, &pod.uid);
    }
    labels
}

fn add(labels: &mut BTreeMap<String, String>, key: &str, value: &str) {
    if let Ok(value) = meta::label(value) {
        labels.insert(key.to_owned(), value);
    }
}

fn exposed_labels(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    exposed(&settings.expose.labels, &connection.metadata, Sensitive::Left)
        .into_iter()
        .filter_map(|(name, value)| match meta::label(&value) {
            Ok(value) => Some((name, value)),
            Err(reason) => {
                notice!(
                    code = code::KUBERNETES_LABEL_DROPPED,
                    connectionId = %connection.connection_id,
                    label = %name,
                    %reason,
                    "A value from authentication cannot be a label"
                );
                None
            }
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sensitive {
    Taken,
    Left,
}

/// The values that `names` (key to name) asks for, by name.
fn exposed(
    names: &BTreeMap<String, String>,
    values: &BTreeMap<String, MetadataValue>,
    sensitive: Sensitive,
) -> BTreeMap<String, String> {
    names
        .iter()
        .filter_map(|(key, name)| values.get(key).map(|value| (name, value)))
        .filter(|(_, value)| !value.sensitive || sensitive == Sensitive::Taken)
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect()
}

/// The template's, and the gateway's pod where that can own it.
pub(super) fn owners(settings: &Settings, identity: &Identity) -> Option<Vec<OwnerReference>> {
    let mut owners = settings.metadata.owner_references.clone().unwrap_or_default();
    let pod = identity.pod.as_ref().filter(|_| settings.namespace == identity.namespace);
    owners.extend(pod.map(|pod| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        controller: None,
        block_owner_deletion: None,
    }));
    (!owners.is_empty()).then_some(owners)
}

/// The specification of a pod that serves one user and ends with them, at the latest after `deadline`.
pub(super) fn spec(
    settings: &Settings,
    env: &BTreeMap<String, String>,
    deadline: Option<Duration>,
) -> PodSpec {
    let mut spec = lasting_spec(settings);
    spec.restart_policy = Some("Never".to_owned());
    if let (None, Some(deadline)) = (spec.active_deadline_seconds, deadline) {
        spec.active_deadline_seconds = Some(i64::try_from(deadline.as_secs().max(1)).unwrap_or(i64::MAX));
    }
    let init = spec.init_containers.as_mut().map(|containers| containers.iter_mut()).into_iter().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        add_environment(container, env);
    }
    spec
}

/// The specification of a pod of any kind.
pub(super) fn lasting_spec(settings: &Settings) -> PodSpec {
    let mut spec = settings.spec.clone();
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    spec.automount_service_account_token.get_or_insert(false);
    spec.enable_service_links.get_or_insert(false);
    if let Some(console) = spec.containers.get_mut(settings.console) {
        console.command = Some(settings.idle_command.clone());
        console.args = None;
    }
    if let Some(agent) = &settings.agent {
        inject(&mut spec, settings.console, agent);
    }
    spec
}

/// From authentication; what is exposed by name comes last, because an administrator chose that name.
pub(crate) fn environment(settings: &Settings, connection: &ConnectionInfo) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        connection.environment.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
    env.extend(exposed(&settings.expose.env, &connection.metadata, Sensitive::Taken));
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
