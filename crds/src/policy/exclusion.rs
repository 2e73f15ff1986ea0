//! Exceptions from a policy.
//!
//! A join cannot be relaxed from outside, and something that a namespace's owner could create would be no exception but
//! a hole. So an exception stands in the policy itself, says why, and ends.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::AuditPolicySpec;

/// Gateways that the policy does not cover for some time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// Namespace of the gateways.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,

    /// Name of the one gateway that is meant. Default: every gateway of the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub gateway: Option<String>,

    /// Why, for whoever audits the policies.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,

    /// When the policy holds again without anybody doing anything, such as 2026-12-31T23:59:59Z.
    pub expires_at: Time,
}

impl Exclusion {
    /// Whether it is in force at that time.
    #[must_use]
    pub fn active(&self, now: &Time) -> bool {
        *now < self.expires_at
    }

    fn means(&self, namespace: &str, gateway: &str) -> bool {
        self.namespace == namespace && self.gateway.as_deref().is_none_or(|name| name == gateway)
    }
}

impl AuditPolicySpec {
    /// The exclusion that keeps the policy from the gateway at that time: of several, the one that lasts longest.
    #[must_use]
    pub fn exclusion(&self, namespace: &str, gateway: &str, now: &Time) -> Option<&Exclusion> {
        self.exclude
            .iter()
            .filter(|exclusion| exclusion.means(namespace, gateway) && exclusion.active(now))
            .max_by(|a, b| a.expires_at.cmp(&b.expires_at))
    }

    /// When the first of the exclusions in force ends.
    #[must_use]
    pub fn next_expiry(&self, now: &Time) -> Option<&Time> {
        self.exclude
            .iter()
            .filter(|exclusion| exclusion.active(now))
            .map(|exclusion| &exclusion.expires_at)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn policy() -> AuditPolicySpec {
        serde_json::from_value(json!({"namespaces": ["a"], "exclude": [
            {"namespace": "a", "gateway": "one", "reason": "migration", "expiresAt": at(10)},
            {"namespace": "a", "gateway": "one", "reason": "longer", "expiresAt": at(20)},
            {"namespace": "b", "reason": "lab", "expiresAt": at(30)},
        ]}))
        .unwrap()
    }

    #[test]
    fn an_exclusion_holds_for_whom_it_names_and_until_it_ends() {
        let excluded = |namespace, gateway, second| {
            policy().exclusion(namespace, gateway, &at(second)).map(|found| found.reason.clone())
        };
        assert_eq!(excluded("a", "one", 5).as_deref(), Some("longer"));
        assert_eq!(excluded("a", "one", 20), None, "the moment it expires, the policy holds");
        assert_eq!(excluded("a", "other", 5), None);
        assert_eq!(excluded("b", "any", 29).as_deref(), Some("lab"));
    }

    #[test]
    fn the_next_expiry_is_that_of_an_exclusion_in_force() {
        assert_eq!(policy().next_expiry(&at(5)), Some(&at(10)));
        assert_eq!(policy().next_expiry(&at(10)), Some(&at(20)));
        assert_eq!(policy().next_expiry(&at(30)), None);
    }
}
