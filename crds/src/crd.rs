//! The custom resource definitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::{AuditPolicy, SSHGateway};

/// Both definitions.
///
/// # Errors
/// Where a generated schema is not one that Kubernetes' types can hold.
pub fn definitions() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [SSHGateway::crd(), AuditPolicy::crd()].iter().map(tidy).collect()
}

/// Mends what the generator writes and the API server, or its user, is better off without.
///
/// * `nullable`, and `null` in an enum, make the API server keep an explicit `null`, which then confuses
///   `has()` in a rule. Without it the `null` that a template left behind is dropped, as users expect of absent fields.
/// * Doc comments break lines where the source does; `kubectl explain` breaks them where the terminal does.
fn tidy(crd: &CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    walk(&mut value);
    serde_json::from_value(value)
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // The keyword, not a property of that name: its value is a boolean.
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            // Upstream's texts with paragraphs may hold lists and tables: those stay.
            if let Some(Value::String(text)) = map.get_mut("description")
                && !text.contains("\n\n")
            {
                *text = text.replace('\n', " ");
            }
            // A page on the grammar of quantities, once for each of a pod's resources.
            if map.contains_key("x-kubernetes-int-or-string")
                && map
                    .get("description")
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.contains("<quantity>"))
            {
                map.insert("description".to_owned(), "A quantity, such as 500m or 128Mi.".into());
            }
            map.values_mut().for_each(walk);
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}
