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

/// The Roles with their bindings: one in the namespace of the users' pods, and if that is another one than the gateway's, one
/// to see the gateway's own pods, whose absence tells the sweep that a peer has died.
pub fn roles(inputs: &Inputs) -> Vec<(Role, RoleBinding)> {
    let (namespace, name) = (inputs.owner.namespace(), &inputs.owner.name.name);
    let backend = &inputs.spec().backend.kubernetes;
    let mut verbs = vec!["create", "delete", "get", "list", "watch"];
    // To note on a pod of the warm pool whose it is now, and on a persistent one that it is in use.
    if backend.warm_pool.is_some()
        || backend.persistent.as_ref().is_some_and(|pods| pods.idle_timeout.is_some())
    {
        verbs.push("patch");
    }
    let guests = vec![
        rule("", &["pods"], &verbs),
        // Over WebSocket the apiserver asked for `get` until 1.34 and asks for `create` since 1.35.
        rule("", &["pods/exec"], &["create", "get"]),
    ];
    if inputs.pods_namespace() == namespace {
        return vec![granted(inputs, namespace, &format!("{name}-gateway"), guests)];
    }
    vec![
        // Gateways of one name in several namespaces may share a namespace of pods.
        granted(inputs, inputs.pods_namespace(), &format!("{namespace}-{name}-gateway"), guests),
        granted(inputs, namespace, &format!("{name}-gateway"), vec![rule("", &["pods"], &["get"])]),
    ]
}

/// A Role and its binding to the gateway's account.
fn granted(inputs: &Inputs, namespace: &str, name: &str, rules: Vec<PolicyRule>) -> (Role, RoleBinding) {
    let role = Role { metadata: inputs.meta_in(namespace, name), rules: Some(rules) };
    let binding = RoleBinding {
        metadata: inputs.meta_in(namespace, name),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: service_account_name(inputs),
            namespace: Some(inputs.owner.namespace().to_owned()),
            ..Subject::default()
        }]),
    };
    (role, binding)
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
