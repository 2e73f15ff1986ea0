//! The PodDisruptionBudget: draining a node ends the sessions of one gateway pod at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use containerssh_crds::defaults;

use super::Inputs;

/// None when the team switched it off.
pub fn disruption_budget(inputs: &Inputs) -> Option<PodDisruptionBudget> {
    let wanted = inputs.spec().pod_disruption_budget.unwrap_or_default();
    (wanted.enabled != Some(false)).then(|| PodDisruptionBudget {
        metadata: inputs.meta(&inputs.owner.name.name),
        spec: Some(PodDisruptionBudgetSpec {
            // Not minAvailable: that would block node drains for ever where there is one replica.
            max_unavailable: Some(IntOrString::Int(
                wanted.max_unavailable.unwrap_or(defaults::MAX_UNAVAILABLE),
            )),
            selector: Some(LabelSelector {
                match_labels: Some(inputs.owner.selector_labels()),
                ..LabelSelector::default()
            }),
            // A pod that is not ready serves nobody, and must not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
