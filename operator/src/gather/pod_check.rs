//! Would the apiserver take the users' pods? Asked by a dry run, when the operator can still tell the author, rather
//! than found out by the first user who logs in.
//!
//! The dry run passes every admission step of the target namespace: PodSecurity, quotas, webhooks. It costs as much as
//! a create, so its answer is kept: a good one for as long as the pod is the same, a bad one for a minute, because
//! quotas and labels of the namespace change.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

use containerssh_crds::{PodSpecDocument, PodTemplate, SSHGateway, conditions::Reason};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::Status,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    MANAGER,
    apply::CALL_TIMEOUT,
    backoff::lock,
    error::{Error, describe},
    finding::{Finding, Subject},
    index::Name,
};

/// A good answer is asked for again after so long: admission rules change as well.
const KEEP_GOOD: Duration = Duration::from_secs(3600);
const KEEP_BAD: Duration = Duration::from_secs(60);

/// Answers so far, one for each gateway.
#[derive(Debug, Default)]
pub struct PodChecks(Mutex<HashMap<Name, Answer>>);

#[derive(Debug, Clone)]
struct Answer {
    digest: [u8; 32],
    asked: Instant,
    finding: Option<Finding>,
}

impl PodChecks {
    /// None = the apiserver would take the pod.
    pub async fn check(
        &self,
        client: &Client,
        gateway: &SSHGateway,
        name: &Name,
        namespace: &str,
    ) -> Result<Option<Finding>, Error> {
        let pod = sample(&gateway.spec.backend.kubernetes.pod_template, namespace);
        let digest: [u8; 32] = Sha256::digest(pod.to_string().as_bytes()).into();
        let known = lock(&self.0).get(name).filter(|answer| answer.digest == digest).cloned();
        if let Some(answer) = known {
            let keep = if answer.finding.is_none() { KEEP_GOOD } else { KEEP_BAD };
            if answer.asked.elapsed() < keep {
                return Ok(answer.finding);
            }
        }
        let finding = ask(client, pod, namespace).await?;
        lock(&self.0)
            .insert(name.clone(), Answer { digest, asked: Instant::now(), finding: finding.clone() });
        Ok(finding)
    }

    /// Forgets every gateway but these.
    pub fn retain(&self, names: &HashSet<Name>) {
        lock(&self.0).retain(|name, _| names.contains(name));
    }
}

/// A pod such as users get, as far as admission looks at it.
fn sample(template: &PodTemplate, namespace: &str) -> Value {
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut spec = Value::Object(template.spec.0.clone());
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("restartPolicy".to_owned(), json!("Never"));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "containerssh-check-",
            "namespace": namespace,
            "labels": metadata.labels,
            "annotations": metadata.annotations,
        },
        "spec": spec,
    })
}

/// The namespace goes, or the API server has not noticed yet that there is a new one of its name: nothing that the author could
/// mend, and over soon.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

async fn ask(client: &Client, pod: Value, namespace: &str) -> Result<Option<Finding>, Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
    let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
    let what = || format!("try out the pod template in {namespace}");
    let pod: DynamicObject = match serde_json::from_value(pod) {
        Ok(pod) => pod,
        Err(error) => return Err(Error::render("a pod for a dry run", error)),
    };
    let answer = match tokio::time::timeout(CALL_TIMEOUT, api.create(&params, &pod)).await {
        Ok(answer) => answer,
        Err(_elapsed) => return Err(Error::Timeout { what: what(), after: CALL_TIMEOUT }),
    };
    match answer {
        Ok(_) => Ok(None),
        // Invalid, forbidden by a policy or a quota, malformed, or the namespace is gone: the author's to mend.
        Err(kube::Error::Api(status))
            if matches!(status.code, 400 | 403 | 404 | 422) && !is_terminating(&status) =>
        {
            let error = kube::Error::Api(status);
            Ok(Some(Finding::new(
                Subject::Accepted,
                Reason::InvalidPodTemplate,
                format!(
                    "backend.kubernetes.podTemplate: the API server refuses such a pod in namespace {namespace}: {}",
                    describe(&error)
                ),
            )))
        }
        Err(error) => Err(Error::api(what(), error)),
    }
}

/// The pod spec as this release knows it. A field that it does not know would silently be missing from the users'
/// pods, so it is refused instead.
pub fn known_fields(document: &PodSpecDocument) -> Result<PodSpec, Finding> {
    let refuse = |message: String| Finding::new(Subject::Accepted, Reason::InvalidPodTemplate, message);
    let typed = document.typed().map_err(|error| {
        refuse(format!("backend.kubernetes.podTemplate.spec: {error}; see kubectl explain pod.spec"))
    })?;
    let back = serde_json::to_value(&typed).unwrap_or_default();
    match lost(&Value::Object(document.0.clone()), &back, "backend.kubernetes.podTemplate.spec") {
        None => Ok(typed),
        Some(path) => Err(refuse(format!(
            "{path} is not known to this release and would be missing from the users' pods; remove it or upgrade the operator"
        ))),
    }
}

/// The volumes that a team adds to the gateway's own pods, as this release knows them.
pub fn known_volumes(gateway: &SSHGateway) -> Result<Vec<Volume>, Finding> {
    let refuse = |message: String| Finding::new(Subject::Accepted, Reason::InvalidPodTemplate, message);
    let wanted = gateway.spec.template.iter().flat_map(|template| &template.volumes);
    (wanted.enumerate())
        .map(|(number, document)| {
            let path = format!("template.volumes[{number}]");
            let original = Value::Object(document.0.clone());
            let typed: Volume = serde_json::from_value(original.clone())
                .map_err(|error| refuse(format!("{path}: {error}; see kubectl explain pod.spec.volumes")))?;
            let back = serde_json::to_value(&typed).unwrap_or_default();
            match lost(&original, &back, &path) {
                None => Ok(typed),
                Some(path) => Err(refuse(format!(
                    "{path} is not known to this release; remove it or upgrade the operator"
                ))),
            }
        })
        .collect()
}

/// Path of the first value of `original` that is not in `back`. Empty values count as absent on both sides.
fn lost(original: &Value, back: &Value, path: &str) -> Option<String> {
    match (original, back) {
        (Value::Object(original), back) => original.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match back.get(key) {
                Some(back) => lost(value, back, &path),
                None => (!is_empty(value)).then_some(path),
            }
        }),
        (Value::Array(original), Value::Array(back)) => (original.iter().zip(back).enumerate())
            .find_map(|(number, (original, back))| lost(original, back, &format!("{path}[{number}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> PodSpecDocument {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_field_of_the_future_is_refused_by_its_path() {
        let spec = document(json!({
            "containers": [{"name": "shell", "image": "x", "resources": {"limits": {"cpu": "1"}}, "sandbox": {"deep": true}}]
        }));
        let finding = known_fields(&spec).unwrap_err();
        assert!(finding.message.contains("podTemplate.spec.containers[0].sandbox is not known"), "{finding}");
    }

    #[test]
    fn a_wrong_type_is_refused_by_its_field() {
        let finding =
            known_fields(&document(json!({"containers": [{"name": "shell", "tty": "yes"}]}))).unwrap_err();
        assert_eq!(finding.reason, Reason::InvalidPodTemplate);
        assert!(finding.message.contains("boolean"), "{finding}");
    }

    #[test]
    fn everything_that_is_known_passes_whatever_its_form() {
        let spec = document(json!({
            "containers": [{
                "name": "shell", "image": "x", "env": [], "command": null,
                "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": "web"}},
                "resources": {"requests": {"memory": "1.5Gi"}},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeSelector": {},
        }));
        assert_eq!(known_fields(&spec).unwrap().containers.len(), 1);
    }
}
