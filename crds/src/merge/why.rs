//! Who decided what: for each field of the result, those whose value it is.
//!
//! Found by comparison, not by following the merge: a field is of whoever stated the value that came out. So this
//! cannot disagree with the result, and a field that is added later is explained without another line here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{EffectiveAudit, MergeError, PolicyInput, input::Tiers, with_records};
use crate::AuditTier;

/// Where nobody stated the value: it follows from that of other fields, or is the built-in one.
const BUILT_IN: &str = "built in";
/// Named at most, before the rest is counted: a cluster of a hundred policies must not make a status of a megabyte.
const NAMED: usize = 3;

/// One who states things.
struct Voice {
    name: String,
    tier: Value,
}

/// The explanation, by path of the field in the effective settings.
pub(super) fn why(
    tiers: &Tiers<'_>,
    wish: &AuditTier,
    baseline: &AuditTier,
    effective: &EffectiveAudit,
) -> Result<BTreeMap<String, String>, MergeError> {
    let voice = |name: String, tier: &AuditTier| -> Result<Voice, MergeError> {
        let mut tier = serde_json::to_value(tier)?;
        spell_out(&mut tier);
        Ok(Voice { name, tier })
    };
    let among = |policies: &[(&PolicyInput, &AuditTier)], tier: &str| {
        let named = |(policy, demands): &(&PolicyInput, &AuditTier)| {
            voice(format!("AuditPolicy {} ({tier})", policy.name), &with_records((*demands).clone()))
        };
        policies.iter().map(named).collect::<Result<Vec<_>, _>>()
    };
    let enforce = among(&tiers.enforce, "enforce")?;
    // In the order in which the first that states a field counts, if no policy enforces it.
    let otherwise = [
        vec![voice("spec.audit".to_owned(), &with_records(wish.clone()))?],
        among(&tiers.default, "default")?,
        vec![voice("the operator's baseline".to_owned(), baseline)?],
    ];
    let mut leaves = BTreeMap::new();
    flatten(&serde_json::to_value(effective)?, &mut String::new(), &mut leaves);
    Ok(leaves
        .into_iter()
        .map(|(path, value)| {
            let names = deciders(&path, &value, &enforce, &otherwise);
            (path, names)
        })
        .collect())
}

/// Who decided one field.
fn deciders(path: &str, value: &Value, enforce: &[Voice], otherwise: &[Vec<Voice>]) -> String {
    // Taken whole, with the name of whoever gave it.
    if let Some(from) =
        value.get("from").and_then(|from| serde_json::from_value::<super::Origin>(from.clone()).ok())
    {
        let enforced = enforce.iter().any(|voice| !at(&voice.tier, path).is_null());
        return match (&from.name, enforced) {
            (Some(name), true) => format!("AuditPolicy {name} (enforce)"),
            (Some(name), false) => format!("AuditPolicy {name} (default)"),
            (None, _) => from.to_string(),
        };
    }
    let stating = |voices: &[Voice]| -> Vec<String> {
        voices.iter().filter(|v| !at(&v.tier, path).is_null()).map(|v| v.name.clone()).collect()
    };
    let agreeing = |voices: &[Voice]| -> Vec<String> {
        voices.iter().filter(|v| at(&v.tier, path) == value).map(|v| v.name.clone()).collect()
    };
    let base = otherwise.iter().find(|voices| !stating(voices).is_empty());
    let mut names = if value.is_array() {
        // Lists are made from everybody's.
        let mut names = stating(enforce);
        // Below enforced recipients nobody had a say.
        if path != "encryptTo" || names.is_empty() {
            names.extend(base.map(|voices| stating(voices)).unwrap_or_default());
        }
        names
    } else {
        let enforced = agreeing(enforce);
        if enforced.is_empty() { base.map(|voices| agreeing(voices)).unwrap_or_default() } else { enforced }
    };
    if names.is_empty() {
        return BUILT_IN.to_owned();
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// The value at a dotted path, or null.
fn at<'a>(tier: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(tier, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// Demands in the words of the result: what is required is recorded.
fn spell_out(tier: &mut Value) {
    let Some(Value::Object(intercept)) = tier.get_mut("intercept") else { return };
    for demand in intercept.values_mut() {
        *demand = Value::Bool(demand == "Require");
    }
}

/// Every leaf with its path; what is taken whole is one leaf.
fn flatten(value: &Value, path: &mut String, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.contains_key("from") => {
            for (name, value) in map {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                flatten(value, path, leaves);
                path.truncate(length);
            }
        }
        leaf => {
            leaves.insert(path.clone(), leaf.clone());
        }
    }
}
