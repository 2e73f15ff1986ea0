//! What holds for a gateway that no AuditPolicy covers, and beneath those that are covered.
//!
//! The baseline is the operator's own configuration: one tier, as in a policy, over the built-in one. Whoever installs
//! the operator gives it, once, and it is read at the start: a file that is wrong must stop a rollout, not weaken what
//! is recorded.

use std::{fs, path::Path};

use clap::ValueEnum;
use containerssh_crds::{AuditFormat, AuditTier, Demand, merge};
use serde_json::Value;

/// What holds for a gateway that no AuditPolicy covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoPolicy {
    Baseline,
    Deny,
}

/// What holds where policies say nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    pub no_policy: NoPolicy,
    pub baseline: AuditTier,
}

impl Default for Fallback {
    fn default() -> Self {
        Self { no_policy: NoPolicy::Baseline, baseline: merge::baseline() }
    }
}

/// Longest file: a tier with certificates and room to spare.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a baseline: the fields of a policy's tier, in YAML. An empty file is the built-in baseline.
///
/// # Errors
/// A sentence that says where and what.
pub fn read(path: &Path) -> Result<AuditTier, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let size = fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if size > MAX_BYTES {
        return Err(wrong(&format!("{size} bytes are more than a baseline can need ({MAX_BYTES})")));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    parse(&text).map_err(|error| wrong(&error))
}

fn parse(text: &str) -> Result<AuditTier, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(merge::baseline());
    }
    let given: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let tier: AuditTier = serde_json::from_value(given.clone()).map_err(|error| error.to_string())?;
    let understood = serde_json::to_value(&tier).map_err(|error| error.to_string())?;
    // The API server refuses unknown fields of a policy; here nobody else would.
    if let Some(path) = unknown(&given, &understood, "") {
        return Err(format!(
            "{path} is no field of a policy's tier; see kubectl explain auditpolicy.spec.enforce"
        ));
    }
    let requires = tier.intercept.is_some_and(|i| {
        [i.stdin, i.stdout, i.stderr, i.passwords, i.forwarding].contains(&Some(Demand::Require))
    });
    let records = tier.format.is_some_and(|format| format != AuditFormat::None);
    if (requires || !tier.events.is_empty()) && !records {
        return Err(
            "intercept: Require and events need format: Binary, for a baseline records nothing of itself"
                .to_owned(),
        );
    }
    if records && tier.storage.is_none() {
        return Err(
            "a format needs storage.s3, for a baseline has nobody else who would say where records go"
                .to_owned(),
        );
    }
    Ok(merge::over(&tier, &merge::baseline()))
}

/// The first key that was given and not understood. What was left out because it says nothing counts as understood.
fn unknown(given: &Value, understood: &Value, path: &str) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.get(name) {
                Some(known) => unknown(value, known, &path),
                None if value.is_null() || value.as_array().is_some_and(Vec::is_empty) => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => (given.iter().zip(known).enumerate())
            .find_map(|(i, (given, known))| unknown(given, known, &format!("{path}[{i}]"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerssh_crds::{OnFailure, OnFull};

    #[test]
    fn what_a_file_leaves_out_is_built_in() {
        assert_eq!(parse("# nothing\n").unwrap(), merge::baseline());
        let tier = parse("spool: {onFull: Deny}\n").unwrap();
        assert_eq!(tier.spool.unwrap().on_full, Some(OnFull::Deny));
        assert_eq!((tier.on_failure, tier.format), (Some(OnFailure::Deny), Some(AuditFormat::None)));
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_where_it_is_wrong() {
        for (text, says) in [
            ("onFailur: Deny", "onFailur is no field"),
            ("spool: {medium: Persistent, sice: 1Gi}", "spool.sice is no field"),
            ("onFailure: Maybe", "unknown variant `Maybe`"),
            ("intercept: {stdin: Require}", "need format: Binary"),
            ("format: Binary", "needs storage.s3"),
            ("[a", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/baseline.yaml")).unwrap_err();
        assert!(error.starts_with("/nowhere/baseline.yaml: "), "{error}");
    }
}
