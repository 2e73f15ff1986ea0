//! What webhooks answer. Read by hand rather than derived: the errors have to name the field and must not quote its
//! value, which may be a secret.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use containerssh_backend::{FileValue, MetadataValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Configured;
use crate::{Identity, Verdict};

/// Most entries of metadata, and most of environment: they become labels and variables of one pod.
pub const MAX_ENTRIES: usize = 256;
/// Most files: each is written into the pod before the first program starts.
pub const MAX_FILES: usize = 64;
/// Longest key, name or path, in bytes: Linux's longest path.
pub const MAX_NAME: usize = 4096;
/// Longest value of metadata or environment, in bytes: Linux's longest variable (`MAX_ARG_STRLEN`).
pub const MAX_VALUE: usize = 128 * 1024;
/// Longest user name, in bytes. Longer than any directory allows.
const MAX_USERNAME: usize = 1024;

/// The answer's fields that count. A field that is there twice is an error of serde's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    success: Option<Value>,
    authenticated_username: Option<Value>,
    metadata: Option<Value>,
    environment: Option<Value>,
    files: Option<Value>,
}

/// A webhook's answer.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Box<Identity>),
    Rejected,
}

impl Answer {
    /// Reads an answer. The error completes the sentence "the answer ..." and holds no value.
    pub(super) fn parse(text: &[u8]) -> Result<Answer, String> {
        let wire: Wire = serde_json::from_slice(text).map_err(|error| explain(text, &error))?;
        match wire.success {
            None => return Err("has no field \"success\"".to_owned()),
            Some(Value::Bool(false)) => return Ok(Answer::Rejected),
            Some(Value::Bool(true)) => {}
            Some(other) => return Err(wrong_type("success", "true or false", &other)),
        }
        let authenticated_username = match wire.authenticated_username {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(name)) => username(name)?,
            Some(other) => return Err(wrong_type("authenticatedUsername", "a string", &other)),
        };
        let (metadata, environment, files) = values(wire.metadata, wire.environment, wire.files)?;
        Ok(Answer::Accepted(Box::new(Identity {
            authenticated_username,
            metadata,
            environment,
            files,
            ..Identity::default()
        })))
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, Answer::Accepted(_))
    }

    pub(super) fn into_verdict(self) -> Verdict {
        match self {
            Answer::Accepted(identity) => Verdict::Accepted(identity),
            Answer::Rejected => Verdict::Rejected,
        }
    }
}

type Texts = BTreeMap<String, MetadataValue>;

/// The three mappings that every answer may bring.
fn values(
    metadata_field: Option<Value>,
    environment_field: Option<Value>,
    files_field: Option<Value>,
) -> Result<(Texts, Texts, BTreeMap<String, FileValue>), String> {
    let mut metadata = BTreeMap::new();
    for (key, value, sensitive) in entries("metadata", metadata_field, MAX_ENTRIES)? {
        short("metadata", &value)?;
        metadata.insert(key, MetadataValue { value, sensitive });
    }
    let mut environment = BTreeMap::new();
    for (name, value, sensitive) in entries("environment", environment_field, MAX_ENTRIES)? {
        short("environment", &value)?;
        if name.contains('=') || value.contains('\0') {
            return Err("has an environment variable with '=' in its name or NUL in its value".to_owned());
        }
        environment.insert(name, MetadataValue { value, sensitive });
    }
    let mut files = BTreeMap::new();
    for (path, value, sensitive) in entries("files", files_field, MAX_FILES)? {
        if !path.starts_with('/') || path.ends_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!("has a file whose path is not absolute and plain: {}", shown(&path)));
        }
        let content = STANDARD
            .decode(&value)
            .map_err(|_| format!("has a file that is not base64: {}", shown(&path)))?;
        files.insert(path, FileValue { content: Bytes::from(content), sensitive });
    }
    Ok((metadata, environment, files))
}

/// What the configuration server answers.
#[derive(Deserialize)]
struct ConfigWire {
    config: Option<Value>,
    metadata: Option<Value>,
    environment: Option<Value>,
    files: Option<Value>,
}

/// Reads the configuration server's answer. The error completes the sentence "the answer ..." and holds no value.
pub(super) fn configured(text: &[u8]) -> Result<Configured, String> {
    let wire: ConfigWire = serde_json::from_slice(text).map_err(|error| explain(text, &error))?;
    let config = match wire.config {
        None | Some(Value::Null) => return Err("has no field \"config\"".to_owned()),
        Some(config @ Value::Object(_)) => config,
        Some(other) => return Err(wrong_type("config", "an object", &other)),
    };
    let (metadata, environment, files) = values(wire.metadata, wire.environment, wire.files)?;
    Ok(Configured { config, metadata, environment, files })
}

fn username(name: String) -> Result<String, String> {
    if name.len() > MAX_USERNAME || name.contains('\0') {
        return Err(format!("has an authenticatedUsername with NUL or longer than {MAX_USERNAME} bytes"));
    }
    Ok(name)
}

fn short(field: &str, value: &str) -> Result<(), String> {
    if value.len() <= MAX_VALUE {
        Ok(())
    } else {
        Err(format!("has a value in {field} longer than {MAX_VALUE} bytes"))
    }
}

/// The entries `{"key": {"value": "...", "sensitive": false}}` of a field.
fn entries(field: &str, value: Option<Value>, limit: usize) -> Result<Vec<(String, String, bool)>, String> {
    let map: Map<String, Value> = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type(field, "an object", &other)),
    };
    if map.len() > limit {
        return Err(format!("has more than {limit} entries in {field}"));
    }
    map.into_iter()
        .map(|(key, value)| {
            let at = format!("{field}[{}]", shown(&key));
            if key.is_empty() || key.len() > MAX_NAME || key.contains('\0') {
                return Err(format!(
                    "has a key in {field} that is empty, has a NUL or is longer than {MAX_NAME} bytes"
                ));
            }
            let Value::Object(mut entry) = value else { return Err(wrong_type(&at, "an object", &value)) };
            let text = match entry.remove("value") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text,
                Some(other) => return Err(wrong_type(&format!("{at}.value"), "a string", &other)),
            };
            let sensitive = match entry.remove("sensitive") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(sensitive)) => sensitive,
                Some(other) => return Err(wrong_type(&format!("{at}.sensitive"), "true or false", &other)),
            };
            Ok((key, text, sensitive))
        })
        .collect()
}

fn wrong_type(field: &str, expected: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("has {found} in {field}, which must be {expected}")
}

/// A key or path for an error message.
fn shown(name: &str) -> String {
    format!("\"{}\"", containerssh_log::clean::text(name, 100))
}

/// serde's message may quote what it found, so only its place is told.
fn explain(text: &[u8], error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        _ if text.trim_ascii_start().first() == Some(&b'<') => "is HTML or XML, not JSON".to_owned(),
        _ if text.trim_ascii().is_empty() => "is empty".to_owned(),
        serde_json::error::Category::Data if text.trim_ascii_start().first() == Some(&b'{') => {
            format!("has a field twice ({place})")
        }
        serde_json::error::Category::Data => "is not a JSON object".to_owned(),
        serde_json::error::Category::Eof => format!("is JSON that ends too early ({place})"),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            format!("is not valid JSON ({place})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(json: &str) -> Identity {
        match Answer::parse(json.as_bytes()) {
            Ok(Answer::Accepted(identity)) => *identity,
            other => panic!("{json}: {other:?}"),
        }
    }

    fn refused(json: &str) -> String {
        Answer::parse(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn success_alone_accepts_without_a_name() {
        assert_eq!(accepted(r#"{"success":true}"#), Identity::default());
        assert!(matches!(Answer::parse(br#"{"success":false}"#), Ok(Answer::Rejected)));
    }

    #[test]
    fn everything_an_answer_can_bring_is_taken_over() {
        let identity = accepted(
            r#"{"success":true,"authenticatedUsername":"alice","remoteAddress":"echoed","new":[1],
                "metadata":{"TEAM":{"value":"x","sensitive":true},"EMPTY":{}},
                "environment":{"LANG":{"value":"C"}},
                "files":{"/home/a/.k":{"value":"aGk=","sensitive":false}}}"#,
        );
        assert_eq!(identity.authenticated_username, "alice");
        assert_eq!(identity.metadata["TEAM"], MetadataValue { value: "x".into(), sensitive: true });
        assert_eq!(identity.metadata["EMPTY"], MetadataValue { value: String::new(), sensitive: false });
        assert_eq!(identity.environment["LANG"], MetadataValue { value: "C".into(), sensitive: false });
        assert_eq!(identity.files["/home/a/.k"].content, "hi");
    }

    #[test]
    fn null_is_absent_but_never_success() {
        let nulls = r#"{"success":true,"authenticatedUsername":null,"metadata":null,"environment":null,"files":null}"#;
        assert_eq!(accepted(nulls), Identity::default());
        assert_eq!(refused(r#"{"success":null}"#), "has no field \"success\"");
    }

    #[test]
    fn wrong_answers_are_named_without_their_values() {
        for (json, reason) in [
            (r#"{"success":"true"}"#, "has a string in success, which must be true or false"),
            (r#"{"success":1}"#, "has a number in success, which must be true or false"),
            (r#"{"Success":true}"#, "has no field \"success\""),
            (r#"{"success":false,"success":true}"#, "has a field twice (line 1 column 26)"),
            (
                r#"{"success":true,"authenticatedUsername":5}"#,
                "has a number in authenticatedUsername, which must be a string",
            ),
            (r#"{"success":true,"metadata":"hunter2"}"#, "has a string in metadata, which must be an object"),
            (
                r#"{"success":true,"metadata":{"K":"hunter2"}}"#,
                "has a string in metadata[\"K\"], which must be an object",
            ),
            (
                r#"{"success":true,"metadata":{"K":{"value":["hunter2"]}}}"#,
                "has an array in metadata[\"K\"].value, which must be a string",
            ),
            (
                r#"{"success":true,"environment":{"K":{"value":"v","sensitive":"no"}}}"#,
                "has a string in environment[\"K\"].sensitive, which must be true or false",
            ),
            (
                r#"{"success":true,"environment":{"A=B":{"value":"v"}}}"#,
                "has an environment variable with '=' in its name or NUL in its value",
            ),
            (
                r#"{"success":true,"environment":{"A":{"value":"v\u0000"}}}"#,
                "has an environment variable with '=' in its name or NUL in its value",
            ),
            (
                r#"{"success":true,"metadata":{"":{"value":"v"}}}"#,
                "has a key in metadata that is empty, has a NUL or is longer than 4096 bytes",
            ),
            (
                r#"{"success":true,"files":{"etc/x":{"value":"aGk="}}}"#,
                "has a file whose path is not absolute and plain: \"etc/x\"",
            ),
            (
                r#"{"success":true,"files":{"/a/../b":{"value":"aGk="}}}"#,
                "has a file whose path is not absolute and plain: \"/a/../b\"",
            ),
            (
                r#"{"success":true,"files":{"/a/":{"value":"aGk="}}}"#,
                "has a file whose path is not absolute and plain: \"/a/\"",
            ),
            (
                r#"{"success":true,"files":{"/a":{"value":"hunter2!"}}}"#,
                "has a file that is not base64: \"/a\"",
            ),
            (r#""hunter2""#, "is not a JSON object"),
            (r#"{"success":true"#, "is JSON that ends too early (line 1 column 15)"),
            (r#"{"success":true} hunter2"#, "is not valid JSON (line 1 column 18)"),
            ("<html>", "is HTML or XML, not JSON"),
            ("  ", "is empty"),
        ] {
            assert_eq!(refused(json), reason, "{json}");
        }
    }

    #[test]
    fn more_than_a_pod_can_take_is_refused() {
        let many = |field: &str, count: usize| {
            let entries: Vec<String> =
                (0..count).map(|index| format!(r#""/{index}":{{"value":""}}"#)).collect();
            format!(r#"{{"success":true,"{field}":{{{}}}}}"#, entries.join(","))
        };
        assert_eq!(accepted(&many("metadata", MAX_ENTRIES)).metadata.len(), MAX_ENTRIES);
        assert_eq!(refused(&many("metadata", MAX_ENTRIES + 1)), "has more than 256 entries in metadata");
        assert_eq!(refused(&many("files", MAX_FILES + 1)), "has more than 64 entries in files");
        let long =
            format!(r#"{{"success":true,"metadata":{{"K":{{"value":"{}"}}}}}}"#, "x".repeat(MAX_VALUE + 1));
        assert_eq!(refused(&long), "has a value in metadata longer than 131072 bytes");
        let name = format!(r#"{{"success":true,"authenticatedUsername":"{}"}}"#, "x".repeat(1025));
        assert_eq!(refused(&name), "has an authenticatedUsername with NUL or longer than 1024 bytes");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Answer::parse(&text);
        }
    }
}
