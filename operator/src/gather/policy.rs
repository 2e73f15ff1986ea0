//! An AuditPolicy as watched: decoded, or what is known of it all the same.
//!
//! One undecodable object must not end the watch of all, which is what kube's `DeserializeGuard` is for. But of a
//! policy that guard keeps only the metadata, and a policy that cannot be read may enforce anything on anyone: it would
//! hold back every gateway of the cluster. Which namespaces it selects is mostly still readable, so that is kept, and
//! the doubt stays where it belongs.

use std::{borrow::Cow, collections::BTreeMap};

use containerssh_crds::{AuditPolicy, AuditPolicySpec, matches};
use kube::{Resource, api::ObjectMeta};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// An AuditPolicy, or the reason why it is none.
#[derive(Debug, Clone)]
pub struct GuardedPolicy(pub Result<AuditPolicy, InvalidPolicy>);

/// An AuditPolicy that cannot be decoded.
#[derive(Debug, Clone)]
pub struct InvalidPolicy {
    /// What is wrong.
    pub error: String,
    pub metadata: ObjectMeta,
    /// Which namespaces it selects; None = that cannot be read either, so all.
    selection: Option<AuditPolicySpec>,
}

impl InvalidPolicy {
    /// Whether it may bind the namespace of this name with these labels. Its exclusions do not count: what cannot be
    /// read grants nothing.
    pub fn may_cover(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.selection.as_ref().is_none_or(|selection| matches(selection, namespace, labels))
    }
}

/// The parts of a spec that say where it holds.
fn selection(object: &Value) -> Option<AuditPolicySpec> {
    let spec = object.get("spec")?;
    let part = |name: &str| spec.get(name).filter(|value| !value.is_null()).cloned();
    let namespaces = match part("namespaces") {
        Some(value) => serde_json::from_value(value).ok()?,
        None => Vec::new(),
    };
    let namespace_selector = match part("namespaceSelector") {
        Some(value) => Some(serde_json::from_value(value).ok()?),
        None => None,
    };
    if namespaces.is_empty() && namespace_selector.is_none() {
        // A later release may select by something else.
        return None;
    }
    Some(AuditPolicySpec { namespaces, namespace_selector, ..AuditPolicySpec::default() })
}

impl<'de> Deserialize<'de> for GuardedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        match AuditPolicy::deserialize(&object) {
            Ok(policy) => Ok(Self(Ok(policy))),
            Err(error) => {
                let metadata = object.get("metadata").cloned().unwrap_or_default();
                let metadata = serde_json::from_value(metadata).map_err(D::Error::custom)?;
                let selection = selection(&object);
                Ok(Self(Err(InvalidPolicy { error: error.to_string(), metadata, selection })))
            }
        }
    }
}

impl Resource for GuardedPolicy {
    type DynamicType = ();
    type Scope = <AuditPolicy as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        AuditPolicy::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        AuditPolicy::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        AuditPolicy::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        AuditPolicy::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, AuditPolicy::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, AuditPolicy::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(spec: &Value) -> GuardedPolicy {
        serde_json::from_value(json!({
            "apiVersion": "containerssh.io/v1alpha1", "kind": "AuditPolicy",
            "metadata": {"name": "new", "uid": "u"}, "spec": spec,
        }))
        .unwrap()
    }

    fn covers(spec: &Value, namespace: &str) -> bool {
        read(spec)
            .0
            .unwrap_err()
            .may_cover(namespace, &BTreeMap::from([("env".to_owned(), "prod".to_owned())]))
    }

    #[test]
    fn a_policy_that_can_be_read_is_one() {
        let policy = read(&json!({"namespaces": ["a"], "enforce": {"onFailure": "Deny"}}));
        assert_eq!(policy.meta().name.as_deref(), Some("new"));
        assert!(policy.0.is_ok());
    }

    #[test]
    fn one_that_cannot_binds_where_it_is_known_to_hold_and_everywhere_in_doubt() {
        let enforce = json!({"onFailure": "Explode"});
        assert!(covers(&json!({"namespaces": ["a"], "enforce": enforce}), "a"));
        assert!(!covers(&json!({"namespaces": ["a"], "enforce": enforce}), "b"));
        let selected =
            |value: &str| json!({"namespaceSelector": {"matchLabels": {"env": value}}, "enforce": enforce});
        assert!(covers(&selected("prod"), "x") && !covers(&selected("lab"), "x"));
        for doubtful in [
            json!({"namespaces": "a", "enforce": enforce}),
            json!({"namespaces": ["a"], "namespaceSelector": {"matchLabels": ["x"]}}),
            json!({"enforce": enforce}),
            json!("text"),
            json!(null),
        ] {
            assert!(covers(&doubtful, "b"), "{doubtful}");
        }
    }

    #[test]
    fn an_exclusion_in_a_policy_that_cannot_be_read_excludes_nobody() {
        let spec = json!({"namespaces": ["a"], "enforce": {"onFailure": "Explode"},
            "exclude": [{"namespace": "a", "reason": "r", "expiresAt": "2999-01-01T00:00:00Z"}]});
        assert!(covers(&spec, "a"));
    }
}
