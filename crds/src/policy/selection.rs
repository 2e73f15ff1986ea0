//! Which namespaces a policy covers.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt as _};

use super::AuditPolicySpec;

/// Whether the policy covers the namespace of this name with these labels.
///
/// A selector that cannot be understood (the schema refuses it, so it comes from a newer version) covers every
/// namespace: a policy in doubt binds.
#[must_use]
pub fn matches(policy: &AuditPolicySpec, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    policy.namespaces.iter().any(|name| name == namespace)
        || policy.namespace_selector.as_ref().is_some_and(|selector| {
            Selector::try_from(selector.clone()).map_or(true, |selector| selector.matches(labels))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn policy(spec: Value) -> AuditPolicySpec {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn covers_named_namespaces_whatever_their_labels() {
        let policy = policy(json!({"namespaces": ["payments"]}));
        assert!(matches(&policy, "payments", &labels(&[])));
        assert!(!matches(&policy, "payments-2", &labels(&[])));
    }

    #[test]
    fn covers_the_union_of_names_and_selector() {
        let policy = policy(json!({
            "namespaces": ["payments"], "namespaceSelector": {"matchLabels": {"environment": "production"}}
        }));
        assert!(matches(&policy, "payments", &labels(&[])));
        assert!(matches(&policy, "shop", &labels(&[("environment", "production")])));
        assert!(!matches(&policy, "shop", &labels(&[("environment", "staging")])));
    }

    #[test]
    fn an_empty_selector_covers_everything_and_none_covers_nothing() {
        assert!(matches(&policy(json!({"namespaceSelector": {}})), "any", &labels(&[])));
        assert!(!matches(&policy(json!({})), "any", &labels(&[("a", "b")])));
    }

    #[test]
    fn expressions_mean_what_kubernetes_means() {
        let with = |operator: &str, values: Option<&[&str]>| {
            let mut expression = json!({"key": "tier", "operator": operator});
            if let Some(values) = values {
                expression["values"] = json!(values);
            }
            policy(json!({"namespaceSelector": {"matchExpressions": [expression]}}))
        };
        let cases = [
            (with("In", Some(&["a", "b"])), true, false),
            (with("NotIn", Some(&["a"])), false, true),
            (with("NotIn", Some(&["b"])), true, true),
            (with("Exists", None), true, false),
            (with("DoesNotExist", None), false, true),
        ];
        for (policy, labelled, bare) in cases {
            assert_eq!(matches(&policy, "x", &labels(&[("tier", "a")])), labelled, "{policy:?}");
            assert_eq!(matches(&policy, "x", &labels(&[])), bare, "{policy:?}");
        }
    }

    #[test]
    fn a_selector_from_the_future_binds() {
        let policy =
            policy(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}));
        assert!(matches(&policy, "any", &labels(&[])));
    }
}
