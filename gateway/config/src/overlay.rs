//! What a configuration server says of one connection, laid over the configuration in force.
//!
//! # What counts
//! `backend`, `kubernetes`, `security` and `log.level`; anything else concerns the whole process, the recording or the login
//! itself, and is refused rather than ignored. Mappings are merged key by key, lists are replaced, and explicit values count
//! even where they are zero: `maxSessions: 0` means none.
//!
//! # Servers written with ContainerSSH's Go library
//! They marshal a whole structure, so that every section is there and what nobody has set is zero. Such an answer is known
//! by a section without effect whose values are all zero; in it, zero values count as unset, as they do for ContainerSSH.
//!
//! # Policies
//! Nothing here reaches `audit` or `session`. Where an audit policy is in force, an answer can take away and change what it
//! left, and give back nothing that it took: no subsystem is added, and no forwarding or execution model that the policy
//! does not allow. Nor can the connection be served elsewhere, where the policy's records and keys would be within reach:
//! see `audit/allow.rs`. Such an answer is refused rather than trimmed, so that whoever runs the server learns of it.

use serde_json::{Map, Value};

use crate::Config;
use crate::audit::exceeded;
use crate::parse::{ConfigError, Problem, Syntax};

/// What errors name as their source.
const SOURCE: &str = "configuration server";

/// Sections that count as a whole.
const SECTIONS: [&str; 3] = ["backend", "kubernetes", "security"];

/// Sections that ContainerSSH has, and that have no effect for a single connection.
const WITHOUT_EFFECT: [&str; 11] = [
    "listen",
    "ssh",
    "configserver",
    "auth",
    "metrics",
    "geoip",
    "audit",
    "health",
    "docker",
    "sshproxy",
    "dockerrun",
];

/// Mappings with keys of the user's own below `kubernetes.pod`: here an empty one means none.
const FREE: [&str; 6] = [
    "subsystems",
    "exposeAuthMetadataAsEnv",
    "exposeAuthMetadataAsLabels",
    "exposeAuthMetadataAsAnnotations",
    "labels",
    "annotations",
];

impl Config {
    /// This configuration with what a configuration server said of one connection laid over it, checked like a file.
    ///
    /// # Errors
    /// All that is wrong with the result, each with its key.
    pub fn overlaid(&self, answer: &Value) -> Result<Config, ConfigError> {
        let failed = |path: &str, message: &str| {
            ConfigError::single(SOURCE, Problem::invalid(None, path.to_owned(), message))
        };
        let Value::Object(answer) = answer else { return Err(failed("", "must be a mapping")) };
        let mut answer = answer.clone();
        if answer.iter().any(|(key, value)| WITHOUT_EFFECT.contains(&key.as_str()) && is_unset(value)) {
            answer.retain(|_, value| !prune(value));
        }
        let mut base = serde_json::to_value(self).map_err(|error| failed("", &error.to_string()))?;
        for (key, value) in answer {
            // Of other backends the parser says that they are not there.
            let elsewhere = ["docker", "sshproxy", "dockerrun"].contains(&key.as_str());
            if WITHOUT_EFFECT.contains(&key.as_str()) && !elsewhere {
                return Err(failed(&key, "has no effect for a single connection: leave it out"));
            }
            if key == "log" {
                let other = value.as_object().and_then(|log| log.keys().find(|key| *key != "level"));
                if let Some(other) = other {
                    return Err(failed(
                        &format!("log.{other}"),
                        "has no effect for a single connection: leave it out",
                    ));
                }
            } else if !SECTIONS.contains(&key.as_str()) && base.get(&key).is_some() {
                return Err(failed(&key, "cannot be set for a single connection: leave it out"));
            }
            if let Value::Object(base) = &mut base {
                merge(base, key, value, false);
            }
        }
        // JSON always has a form as text.
        let text = base.to_string();
        let config = Config::parse(&text, SOURCE, Syntax::Json).map_err(ConfigError::without_lines)?;
        if let Some((path, why)) = exceeded(self, &config) {
            return Err(failed(&path, why));
        }
        Ok(config)
    }
}

/// Lays a value over an entry. `free` says that an empty mapping stands for itself.
fn merge(base: &mut Map<String, Value>, key: String, value: Value, free: bool) {
    match (base.get_mut(&key), value) {
        // As in a file: a key without a value says nothing.
        (_, Value::Null) => {}
        (Some(Value::Object(there)), Value::Object(value)) => {
            if free && value.is_empty() {
                there.clear();
            }
            for (key, value) in value {
                let free = FREE.contains(&key.as_str());
                merge(there, key, value, free);
            }
        }
        (_, value) => {
            base.insert(key, value);
        }
    }
}

/// Whether nothing is set in a value, as Go sees it.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_unset),
    }
}

/// Takes out what is not set, and says whether nothing is left. Elements of lists stay as they are.
fn prune(value: &mut Value) -> bool {
    if let Value::Object(map) = value {
        map.retain(|key, value| {
            // Go's zero of a level is the highest.
            let zero_level = key == "level" && *value == Value::String("emerg".to_owned());
            !zero_level && !prune(value)
        });
    }
    is_unset(value)
}
