//! A configuration as a tree that knows its lines.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::{Problem, Syntax};

/// Deepest nesting. A pod's specification reaches 13 levels; reading recurses, and a thread's stack (2 MiB) has to do.
const MAX_DEPTH: usize = 24;
/// Most values, aliases expanded: far more than any real file, far less than an alias bomb.
const MAX_NODES: usize = 100_000;
/// Most uses of anchors.
const MAX_ALIASES: usize = 1_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Line, from 1.
    pub(crate) line: u64,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) line: u64,
}

/// One step from a node to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// A path in the form in which it is shown: `a.b[0].c`.
pub(crate) fn show(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Reads a text. An empty one is an empty mapping.
pub(crate) fn read(text: &str, syntax: Syntax) -> Result<Node, Problem> {
    if syntax == Syntax::Json {
        // JSON is a subset of YAML, so one reader builds the tree and knows the lines; but a file that says it is JSON
        // has to be JSON.
        serde_json::from_str::<de::IgnoredAny>(text).map_err(|error| {
            Problem::at_line(Some(error.line() as u64), format!("is not valid JSON: {error}"))
        })?;
        return read_yaml(&ascii(text));
    }
    read_yaml(text)
}

/// The same JSON with every character beyond printable ASCII escaped. They occur only in strings, where YAML forbids
/// some of them (DEL) and takes others for line ends (U+2028).
fn ascii(json: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii() && character != '\u{7f}';
    if json.chars().all(plain) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    let mut units = [0; 2];
    for character in json.chars() {
        if plain(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Cow::Owned(escaped)
}

fn read_yaml(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: MAX_ALIASES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // `no` is a country, not a truth value.
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let located: Option<Located> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        Problem::at_line(line, explain(&error))
    })?;
    Ok(match located {
        Some(Located(node)) => node,
        None => Node { line: 1, value: Value::Map(Vec::new()) },
    })
}

/// What is wrong with a text, in words for whoever wrote it rather than for whoever calls the library.
fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("key {:?} is there twice", containerssh_log::clean::text(key, 100))
        }
        Error::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
        Error::MultipleDocuments { .. } => "holds more than one YAML document".to_owned(),
        Error::UnknownAnchor { .. } => "uses an alias (*name) whose anchor (&name) is not there".to_owned(),
        Error::NonFiniteFloat { .. } => "has a number that is not finite".to_owned(),
        Error::UnsupportedTag { .. } => "has a tag (!name), which means nothing here".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!(
            "is too large once its aliases are expanded, or nested too deeply (at most {MAX_NODES} values, {MAX_DEPTH} deep, \
             {MAX_ALIASES} aliases)"
        ),
        other => {
            let text = containerssh_log::clean::text(&other.to_string(), 500);
            // The line stands in front already.
            let message = text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message);
            format!("is not valid YAML: {message}")
        }
    }
}

impl Node {
    /// What it is, in words, for error messages. Never what it says: it may be a secret.
    pub(crate) fn kind(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Signed(value) => format!("the number {value}"),
            Value::Unsigned(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(_) => "a string".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The line of a path as shown, or of the nearest part of it that exists.
    pub(crate) fn line_of(&self, path: &str) -> Option<u64> {
        self.nearest(path, None)
    }

    fn nearest(&self, path: &str, line: Option<u64>) -> Option<u64> {
        match &self.value {
            Value::Map(entries) => {
                // Keys may hold dots themselves; the longest that fits is meant.
                let fitting = entries.iter().filter_map(|(key, node)| {
                    let rest = path.strip_prefix(key.name.as_str())?;
                    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                    ends.then(|| (key, node, rest.strip_prefix('.').unwrap_or(rest)))
                });
                match fitting.max_by_key(|(key, _, _)| key.name.len()) {
                    Some((key, _, "")) => Some(key.line),
                    Some((key, node, rest)) => node.nearest(rest, Some(key.line)),
                    None => line,
                }
            }
            Value::List(nodes) => {
                let found =
                    path.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(index, rest)| {
                        Some((
                            nodes.get(index.parse::<usize>().ok()?)?,
                            rest.strip_prefix('.').unwrap_or(rest),
                        ))
                    });
                match found {
                    Some((node, rest)) => node.nearest(rest, Some(node.line)),
                    None => line,
                }
            }
            _ => line,
        }
    }

    /// Takes out the innermost mapping entry on a path. Says whether there was one.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        let Some(last) = path.iter().rposition(|step| matches!(step, Step::Key(_))) else { return false };
        let mut node = self;
        for (index, step) in path.iter().enumerate() {
            match (step, &mut node.value) {
                (Step::Key(name), Value::Map(entries)) => {
                    let Some(at) = entries.iter().position(|(key, _)| key.name == *name) else {
                        return false;
                    };
                    if index == last {
                        entries.remove(at);
                        return true;
                    }
                    let Some((_, next)) = entries.get_mut(at) else { return false };
                    node = next;
                }
                (Step::Index(at), Value::List(nodes)) => {
                    let Some(next) = nodes.get_mut(*at) else { return false };
                    node = next;
                }
                _ => return false,
            }
        }
        false
    }
}

/// A [`Node`] as serde builds it.
struct Located(Node);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Located(Node { line: spanned.referenced.line(), value: spanned.value }))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(Located(node)) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let Located(node) = access.next_value()?;
            entries.push((Key { line: key.referenced.line(), name: key.value }, node));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_path_or_by_its_nearest_part() {
        let tree = read("a:\n  b.c: 1\n  b:\n    - x\n    - d:\n        e: 2\n", Syntax::Yaml).unwrap();
        for (path, line) in [
            ("a", Some(1)),
            ("a.b.c", Some(2)),
            ("a.b", Some(3)),
            ("a.b[0]", Some(4)),
            ("a.b[1].d.e", Some(6)),
            ("a.b[1].d.missing", Some(5)),
            ("a.b[7]", Some(3)),
            ("z", None),
        ] {
            assert_eq!(tree.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn removing_takes_the_innermost_entry_out() {
        let mut tree = read("a:\n  b: [1, {c: 2}]\n", Syntax::Yaml).unwrap();
        let path = |text: &[&str]| text.iter().map(|key| Step::Key((*key).to_owned())).collect::<Vec<_>>();
        assert!(!tree.remove(&[]));
        assert!(!tree.remove(&path(&["a", "x"])));
        let mut within = path(&["a", "b"]);
        within.extend([Step::Index(1), Step::Key("c".into())]);
        assert!(tree.remove(&within));
        assert!(tree.remove(&path(&["a", "b"])));
        assert!(!tree.remove(&path(&["a", "b"])));
    }
}
