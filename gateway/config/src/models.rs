//! `kubernetes.pod.mode` and what depends on it: which pod a session runs in, and what is checked of each choice.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kubernetes::Pod;
use crate::parse::Problems;
use crate::value::duration;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `kubernetes.pod.mode`
    #[derive(Default)]
    pub enum PodMode {
        /// One pod per SSH connection; sessions run in it.
        #[default]
        Connection = "connection",
        /// One pod per session channel; it goes with it.
        Session = "session",
        /// A pod that is there already, or that stays: `kubernetes.pod.metadata.name` names it.
        Persistent = "persistent",
    }
}

/// What stands for the user in `kubernetes.pod.metadata.name`.
pub const USERNAME_PLACEHOLDER: &str = "{username}";

/// Longest pod name that is also its host name.
const MAX_NAME: usize = 63;

/// The least room for a user's name: a digest of 16 digits, a letter and a dash.
const LEAST_USER: usize = 20;

/// More is a slip of the keyboard, which must not fill a cluster.
const MAX_WARM: u32 = 1000;

/// The least time between two looks for idle pods; a shorter timeout would mean nothing.
const LEAST_IDLE: Duration = Duration::from_secs(60);

/// `kubernetes.pod.warmPool`: pods that are started before anybody asks for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct WarmPool {
    /// How many are kept ready, by each gateway pod for itself. 0 for none.
    pub size: u32,
    /// A pod that has waited for so long is replaced: its image, its secrets and its node may have changed.
    #[schemars(with = "crate::schema::Duration")]
    #[serde(with = "duration")]
    pub max_age: Duration,
}

impl Default for WarmPool {
    fn default() -> Self {
        Self { size: 0, max_age: Duration::from_secs(3600) }
    }
}

impl WarmPool {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Pod {
    /// Whether the gateway makes pods, and so needs all of the template.
    #[must_use]
    pub fn creates_pods(&self) -> bool {
        self.mode != PodMode::Persistent || self.create_missing_pods
    }

    pub(crate) fn check_model(&self, problems: &mut Problems) {
        let mut wrong =
            |name: &str, message: &str| problems.invalid(format!("kubernetes.pod.{name}"), message);
        let restart = self.spec.restart_policy.as_deref().unwrap_or("Never");
        match self.mode {
            PodMode::Connection | PodMode::Session => {
                if self.metadata.name.is_some() {
                    wrong("metadata.name", "must not be set in this mode: each pod has a name of its own");
                }
                if self.create_missing_pods {
                    wrong("createMissingPods", "has an effect in mode \"persistent\" only: leave it out");
                }
                if !self.idle_timeout.is_zero() {
                    wrong("idleTimeout", "has an effect in mode \"persistent\" only: leave it out");
                }
                if self.mode == PodMode::Session && restart != "Never" {
                    wrong("spec.restartPolicy", "must be \"Never\", or left out, in mode \"session\"");
                }
            }
            PodMode::Persistent => {
                match self.metadata.name.as_deref() {
                    None | Some("") => {
                        wrong("metadata.name", "is missing: mode \"persistent\" needs the name of the pod");
                    }
                    Some(name) => {
                        if let Some(reason) = bad_pod_name(name) {
                            wrong("metadata.name", reason);
                        }
                    }
                }
                if !self.idle_timeout.is_zero() && !self.create_missing_pods {
                    wrong(
                        "idleTimeout",
                        "needs createMissingPods: only pods that the gateway made are removed",
                    );
                }
                if !self.idle_timeout.is_zero() && self.idle_timeout < LEAST_IDLE {
                    wrong("idleTimeout", "must be at least 1m, or 0 for never");
                }
                if self.warm_pool.size > 0 {
                    wrong("warmPool.size", "must be 0 in mode \"persistent\", whose pods are used again");
                }
            }
        }
        if self.warm_pool.size > MAX_WARM {
            wrong("warmPool.size", "must be at most 1000");
        }
        if self.warm_pool.max_age < LEAST_IDLE {
            wrong("warmPool.maxAge", "must be at least 1m");
        }
        self.check_exposed(problems);
    }

    /// The cluster would refuse each pod for a name that it does not take; better to say it once, now.
    fn check_exposed(&self, problems: &mut Problems) {
        let env =
            (&self.expose_auth_metadata_as_env, "exposeAuthMetadataAsEnv", is_variable as fn(&str) -> bool);
        let labels = (&self.expose_auth_metadata_as_labels, "exposeAuthMetadataAsLabels", is_qualified as _);
        let annotations =
            (&self.expose_auth_metadata_as_annotations, "exposeAuthMetadataAsAnnotations", is_qualified as _);
        for (names, list, is_valid) in [env, labels, annotations] {
            for (key, name) in names {
                let path = format!("kubernetes.pod.{list}.{key}");
                if name.is_empty() {
                    problems.invalid(path, "must not be empty");
                } else if !is_valid(name) {
                    problems.invalid(path, format!("{name:?} is not a name that the cluster takes there"));
                }
            }
        }
    }
}

fn bad_pod_name(name: &str) -> Option<&'static str> {
    let mut parts = name.split(USERNAME_PLACEHOLDER);
    let (before, after, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if more.is_some() {
        // With two in a row, two users could share a name.
        return Some("may have {username} in it once");
    }
    let rest = after.unwrap_or_default();
    let allowed = |text: &str| {
        text.chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-')
    };
    if !allowed(before) || !allowed(rest) {
        return Some("must be of lowercase letters, digits and dashes, with {username} at most once");
    }
    let edges = if after.is_some() { (before, rest) } else { (before, before) };
    if edges.0.starts_with('-') || edges.1.ends_with('-') {
        return Some("must not begin or end with a dash");
    }
    let room = if after.is_some() { MAX_NAME - LEAST_USER } else { MAX_NAME };
    (before.len() + rest.len() > room).then_some("is too long: a pod's name has at most 63 characters")
}

/// As the API server has it (`IsEnvVarName`), but for what no shell could read.
fn is_variable(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// As the API server has it (`IsQualifiedName`): an optional DNS name and a slash, then at most 63 characters.
fn is_qualified(name: &str) -> bool {
    let (prefix, name) = name.split_once('/').map_or((None, name), |(prefix, name)| (Some(prefix), name));
    let edge = |text: &str| {
        text.starts_with(|character: char| character.is_ascii_alphanumeric())
            && text.ends_with(|character: char| character.is_ascii_alphanumeric())
    };
    let characters = |text: &str, also: &str| {
        text.chars().all(|character| character.is_ascii_alphanumeric() || also.contains(character))
    };
    let dns = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                edge(label)
                    && characters(label, "-")
                    && !label.contains(|character: char| character.is_ascii_uppercase())
            })
    };
    prefix.is_none_or(dns) && name.len() <= 63 && edge(name) && characters(name, "-_.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods_are_what_the_cluster_takes_with_one_user_at_most() {
        for good in ["dev", "dev-{username}", "{username}", "{username}-box", "a-{username}-b", "0"] {
            assert_eq!(bad_pod_name(good), None, "{good}");
        }
        let long = format!("{}{{username}}", "a".repeat(44));
        let longer = "a".repeat(64);
        for bad in
            ["Dev", "-dev", "dev-", "a.b", "{user}", "{username}{username}", "{username}-", &long, &longer]
        {
            assert!(bad_pod_name(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn names_of_labels_are_qualified_names() {
        for good in ["team", "example.net/team", "a_b.c-d", "containerssh_team"] {
            assert!(is_qualified(good), "{good}");
        }
        for bad in ["", "-a", "a b", "Example.net/a", "a/b/c", "/a", "a/", &"a".repeat(64)] {
            assert!(!is_qualified(bad), "{bad}");
        }
    }
}
