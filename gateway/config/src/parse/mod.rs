//! From text to a validated configuration, with every error placed.
//!
//! Text becomes a small tree that knows its lines ([`node`]), and the tree is deserialised by a `serde` deserializer of
//! our own ([`de`]). That detour is what makes the errors good: serde itself neither knows lines nor collects
//! unknown keys, and `deny_unknown_fields` does not reach into Kubernetes' types.

mod de;
mod error;
mod legacy;
mod node;
mod reference;
mod spelling;

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::Config;

pub use error::{ConfigError, Problem, Warning};

pub(crate) use error::Problems;

/// Largest configuration: as much as a Kubernetes ConfigMap or Secret can hold, where it usually comes from.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// After so many type errors the rest is left for the next try: each costs another pass.
const MAX_TYPE_ERRORS: usize = 20;

/// What a configuration is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// YAML 1.2, with anchors and merge keys.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Syntax {
    /// ContainerSSH's rule: JSON if the name ends in `.json`, YAML otherwise.
    #[must_use]
    pub fn of(path: &Path) -> Syntax {
        match path.extension() {
            Some(extension) if extension == "json" => Syntax::Json,
            _ => Syntax::Yaml,
        }
    }
}

pub(crate) fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigError> {
    let name = path.display().to_string();
    let failed = |message: String| ConfigError::single(&name, Problem::at_line(None, message));
    let file = std::fs::File::open(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(failed(too_large()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        ConfigError::single(&name, Problem::at_line(Some(line), "is not valid UTF-8".to_owned()))
    })?;
    parse(&text, &name, Syntax::of(path))
}

fn too_large() -> String {
    format!("is larger than {MAX_CONFIG_BYTES} bytes")
}

pub(crate) fn parse(
    text: &str,
    source_name: &str,
    syntax: Syntax,
) -> Result<(Config, Vec<Warning>), ConfigError> {
    if text.len() > MAX_CONFIG_BYTES {
        return Err(ConfigError::single(source_name, Problem::at_line(None, too_large())));
    }
    let mut tree = node::read(text, syntax).map_err(|problem| ConfigError::single(source_name, problem))?;
    let mut problems = Problems::default();
    let mut warnings = Vec::new();
    legacy::normalize(&mut tree, &mut problems, &mut warnings);
    spelling::normalize(&mut tree, &mut problems);
    let config = deserialize(&mut tree, &mut problems);
    if let Some(config) = config {
        let mut rules = Problems::default();
        config.check(&mut rules);
        problems.add_rules(rules, &tree);
        if problems.is_empty() {
            return Ok((config, warnings));
        }
    }
    Err(problems.into_error(source_name))
}

/// Deserialises the tree. An entry of the wrong type is noted and taken out, so that the next pass finds the next one.
fn deserialize(tree: &mut node::Node, problems: &mut Problems) -> Option<Config> {
    for _ in 0..MAX_TYPE_ERRORS {
        let unknown = std::cell::RefCell::new(Vec::new());
        let result = Config::deserialize(de::Deserializer::root(tree, &unknown));
        match result {
            Ok(config) => {
                // Only the last pass counts: the ones before saw the same keys.
                for problem in unknown.into_inner() {
                    problems.push(problem);
                }
                return Some(config);
            }
            Err(error) => {
                let (problem, path) = error.into_problem();
                problems.push(problem);
                if !tree.remove(&path) {
                    return None;
                }
            }
        }
    }
    None
}
