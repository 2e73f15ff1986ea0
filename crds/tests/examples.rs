//! The worked examples of docs/audit-policy.md, each run through the merge: what the page says is what happens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it is all tests, helpers too"
)]

use containerssh_crds::{
    AuditPolicySpec, AuditTier,
    merge::{MergeError, Merged, PolicyBody, PolicyInput, baseline, merge},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/audit-policy.md");
/// What the first line of an example's block says.
const MARK: &str = "# Example: ";

/// The blocks, each with its title.
fn examples() -> Vec<(&'static str, Value)> {
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks
        .filter_map(|block| {
            let title = block.lines().next()?.strip_prefix(MARK)?;
            Some((title, serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{title}: {error}"))))
        })
        .collect()
}

fn run(example: &Value) -> Result<Merged, MergeError> {
    let policies: Vec<PolicyInput> = example["policies"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(age, policy)| {
            let spec: AuditPolicySpec = serde_json::from_value(policy.clone()).unwrap();
            PolicyInput {
                name: policy["name"].as_str().unwrap().to_owned(),
                uid: None,
                generation: None,
                // The page lists the oldest first.
                created: Some(Time(Timestamp::from_second(i64::try_from(age).unwrap()).unwrap())),
                priority: spec.priority(),
                body: PolicyBody::Readable { enforce: spec.enforce, default: spec.default },
            }
        })
        .collect();
    let wish: Option<AuditTier> =
        example.get("gateway").map(|wish| serde_json::from_value(wish.clone()).unwrap());
    merge(&policies, wish.as_ref(), &baseline())
}

/// Whether everything that is expected is there; what the page does not speak of may be anything.
fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| contains(a, b))
        }
        (found, expected) => found == expected,
    }
}

#[test]
fn what_the_page_says_is_what_happens() {
    let examples = examples();
    assert!(examples.len() >= 8, "only {} examples were found", examples.len());
    for (title, example) in examples {
        let known = ["policies", "gateway", "result", "why", "told", "refused"];
        for key in example.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "{title}: {key}");
        }
        let merged = match (run(&example), example.get("refused")) {
            (Ok(merged), None) => merged,
            (Err(error), Some(says)) => {
                assert!(error.to_string().contains(says.as_str().unwrap()), "{title}: {error}");
                continue;
            }
            (Ok(_), Some(says)) => panic!("{title}: was not refused, though {says}"),
            (Err(error), None) => panic!("{title}: {error}"),
        };
        let effective = serde_json::to_value(&merged.effective).unwrap();
        assert!(contains(&effective, &example["result"]), "{title}: {effective:#}");
        for (path, who) in example["why"].as_object().into_iter().flatten() {
            assert_eq!(merged.why.get(path).map(String::as_str), who.as_str(), "{title}: {path}");
        }
        let told: Vec<String> = merged.conflicts.iter().map(ToString::to_string).collect();
        let expected: Vec<&str> =
            example["told"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!(told.len(), expected.len(), "{title}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{title}: {told}");
        }
    }
}
