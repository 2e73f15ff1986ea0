//! What the gateway may do: handle the pods of its users, in their namespace, and nothing else.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::api::ObjectMeta;

use super::Inputs;

/// The ServiceAccount, unless the team brings its own.
pub fn service_account(inputs: &Inputs) -> Option<ServiceAccount> {
    let template = inputs.spec().template.as_ref();
    if template.is_some_and(|template| template.service_account_name.is_some()) {
        return None;
    }
    let annotations =
        template.map(|template| template.service_account_annotations.clone()).unwrap_or_default();
    Some(ServiceAccount {
        metadata: ObjectMeta {
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..inputs.meta(&service_account_name(inputs))
        },
        ..ServiceAccount::default()
    })
}

pub fn service_account_name(inputs: &Inputs) -> String {
    let chosen = inputs.spec().template.as_ref().and_then(|template| template.service_account_name.clone());
    chosen.unwrap_or_else(|| format!("{}-gateway", inputs.owner.name.name))
}

/// The Role in the namespace of the users' pods.
pub fn role(inputs: &Inputs) -> Role {
    Role {
        metadata: inputs.meta_in(inputs.pods_namespace(), &role_name(inputs)),
        rules: Some(vec![
            rule("", &["pods"], &["create", "delete", "get", "list", "watch"]),
            // Over WebSocket the apiserver asked for `get` until 1.34 and asks for `create` since 1.35.
            rule("", &["pods/exec"], &["create", "get"]),
        ]),
    }
}

pub fn role_binding(inputs: &Inputs) -> RoleBinding {
    RoleBinding {
        metadata: inputs.meta_in(inputs.pods_namespace(), &role_name(inputs)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: role_name(inputs),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: service_account_name(inputs),
            namespace: Some(inputs.owner.namespace().to_owned()),
            ..Subject::default()
        }]),
    }
}

/// Gateways of one name in several namespaces may share a namespace of pods.
fn role_name(inputs: &Inputs) -> String {
    let (namespace, name) = (inputs.owner.namespace(), &inputs.owner.name.name);
    if inputs.pods_namespace() == namespace {
        format!("{name}-gateway")
    } else {
        format!("{namespace}-{name}-gateway")
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
