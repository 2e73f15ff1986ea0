//! The webhooks as an OpenAPI 3.1 document, for whoever writes a server.
//!
//! Requests are described by the types that are sent. Answers are read by hand (so that errors name a field and quote no
//! value), so their description stands here, and a test reads what it promises.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{request, teardown};

/// A value, and whether it must not be passed on or shown.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[derive(Default)]
struct AnswerValue {
    /// Text; of files, their content as base64.
    value: String,
    /// Whether it must not be passed on to other webhooks, or become a label of a pod.
    sensitive: bool,
}

/// The answer to a question about a user. Unknown fields are ignored; a known one of another type denies.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
struct Answer {
    /// Whether the credential is good, or the user may come in.
    success: bool,
    /// The name that authentication settled on, if it is another than the typed one.
    #[serde(default)]
    authenticated_username: Option<String>,
    /// What is known of the user: for the other webhooks, and for labels, annotations and variables of the pod that are
    /// configured to show it.
    #[serde(default)]
    metadata: BTreeMap<String, AnswerValue>,
    /// Environment variables of the user's programs.
    #[serde(default)]
    environment: BTreeMap<String, AnswerValue>,
    /// Files for the user's pod, by absolute path.
    #[serde(default)]
    files: BTreeMap<String, AnswerValue>,
}

/// Settings of one connection's own.
#[derive(Serialize, Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct ConfigAnswer {
    /// Part of a configuration file: `backend`, `kubernetes`, `security` and `log.level`, in their usual form.
    config: Map<String, Value>,
    /// Metadata to add.
    #[serde(default)]
    metadata: BTreeMap<String, AnswerValue>,
    /// Environment variables to add.
    #[serde(default)]
    environment: BTreeMap<String, AnswerValue>,
    /// Files to add.
    #[serde(default)]
    files: BTreeMap<String, AnswerValue>,
}

/// What every request says of a connection.
const BASE: [&str; 4] = ["remoteAddress", "connectionId", "clientVersion", "username"];
/// What is known once somebody is authenticated; left out where there is nothing.
const KNOWN: [&str; 4] = ["authenticatedUsername", "metadata", "environment", "files"];

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let settings = || {
        // OpenAPI 3.1's own dialect is draft 2020-12; only the place of definitions is another.
        SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
    };
    let mut sent: SchemaGenerator = settings().for_serialize().into_generator();
    let mut read: SchemaGenerator = settings().for_deserialize().into_generator();
    let request = sent.root_schema_for::<request::Request<'_>>().to_value();
    let about = |description: &str, required: &[&str], optional: &[&str]| {
        part(&request, description, &[&BASE[..], required].concat(), optional)
    };
    let password = about("A password (RFC 4252 section 8).", &["passwordBase64"], &[]);
    let public_key = about("A public key (RFC 4252 section 7).", &["publicKey"], &[]);
    let known = about("Somebody whose credentials are good.", &[], &KNOWN);
    let end = bare(sent.root_schema_for::<teardown::Wire<'_>>().to_value());
    let answer = bare(read.root_schema_for::<Answer>().to_value());
    let config = bare(read.root_schema_for::<ConfigAnswer>().to_value());
    let mut schemas = json!({
        "PasswordRequest": password, "PublicKeyRequest": public_key, "UserRequest": known, "TeardownRequest": end,
        "Answer": answer, "ConfigAnswer": config,
    });
    if let Value::Object(schemas) = &mut schemas {
        schemas.extend(sent.take_definitions(true));
        schemas.extend(read.take_definitions(true));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Webhooks of containerssh-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the gateway asks its servers, on the wire as ContainerSSH does, and tells them. Status 200 is the \
                only answer; failures that may pass (no connection, no answer in time, 408, 425, 429, 5xx) are asked again, and \
                every doubt denies. See webhooks.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{
            "url": "{webhook}",
            "description": "The configured url",
            "variables": {"webhook": {"default": "http://127.0.0.1:8080"}},
        }],
        "security": [],
        "paths": {
            "/password": operation("password", "Whether a password is good", "PasswordRequest", "Answer", true),
            "/pubkey": operation("publicKey", "Whether a public key may log in", "PublicKeyRequest", "Answer", true),
            "/authz": operation(
                "authorization", "Whether somebody who is authenticated may come in", "UserRequest", "Answer", true,
            ),
            "/config": operation(
                "configuration", "Settings of a connection's own: asked at configserver.url, which need not end like this",
                "UserRequest", "ConfigAnswer", true,
            ),
            "/teardown": operation("teardown", "A connection has ended", "TeardownRequest", "", false),
        },
        "components": {"schemas": schemas},
    })
}

fn operation(id: &str, summary: &str, request: &str, answer: &str, cached: bool) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let heard = if answer.is_empty() {
        json!({"description": "It was heard. The body does not matter."})
    } else {
        json!({
            "description": "The answer, whether yes or no. Its media type does not matter; it has at most 1 MiB.",
            "content": {"application/json": {"schema": reference(answer)}},
        })
    };
    let headers = cached.then(|| {
        json!({"Cache-Control": {
            "description": "With max-age, a yes (and settings) is taken for the same question again for so many seconds, at most an \
                hour. The same question: all but connectionId and the client's port.",
            "schema": {"type": "string", "examples": ["max-age=60"]},
        }})
    });
    let heard = match (heard, headers) {
        (Value::Object(mut heard), Some(headers)) => {
            heard.insert("headers".to_owned(), headers);
            Value::Object(heard)
        }
        (heard, _) => heard,
    };
    json!({"post": {
        "operationId": id,
        "summary": summary,
        "requestBody": {"required": true, "content": {"application/json": {"schema": reference(request)}}},
        "responses": {"200": heard},
    }})
}

/// A schema without what only a document of its own has.
fn bare(mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        for name in ["$schema", "title", "components"] {
            schema.remove(name);
        }
    }
    schema
}

/// The same of some properties: all of `required` are always there.
fn part(whole: &Value, description: &str, required: &[&str], optional: &[&str]) -> Value {
    let property = |name: &&str| {
        let mut property =
            whole.get("properties").and_then(|all| all.get(*name)).cloned().unwrap_or_default();
        // What is always there here is never null.
        if let Some(kind) = property.get_mut("type").filter(|kind| kind.is_array()) {
            *kind = json!("string");
        }
        ((*name).to_owned(), property)
    };
    let properties: Map<String, Value> = required.iter().chain(optional).map(property).collect();
    json!({"type": "object", "description": description, "properties": properties, "required": required})
}

#[cfg(test)]
mod tests {
    use containerssh_backend::MetadataValue;

    use super::super::answer;
    use super::*;
    use crate::{Attempt, Identity};

    fn properties<'a>(document: &'a Value, name: &str) -> &'a Map<String, Value> {
        document["components"]["schemas"][name]["properties"].as_object().unwrap()
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn look(document: &Value, value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                    }
                    map.values().for_each(|value| look(document, value));
                }
                Value::Array(list) => list.iter().for_each(|value| look(document, value)),
                _ => {}
            }
        }
        let document = openapi();
        look(&document, &document);
    }

    #[test]
    fn what_is_sent_is_what_is_described() {
        let document = openapi();
        let attempt = Attempt {
            connection_id: "0".repeat(32),
            remote_addr: "192.0.2.7:1".parse().unwrap(),
            client_version: "SSH-2.0-x".into(),
            username: "alice".into(),
        };
        let value = MetadataValue { value: "x".into(), sensitive: false };
        let identity = Identity {
            authenticated_username: "a".into(),
            metadata: [("A".into(), value.clone())].into(),
            environment: [("B".into(), value)].into(),
            ..Identity::default()
        };
        for (name, body) in [
            ("PasswordRequest", request::password(&attempt, b"x")),
            ("PublicKeyRequest", request::public_key(&attempt, "ssh-ed25519 AAAA")),
            ("UserRequest", request::configuration(&attempt, &identity, true)),
        ] {
            let sent: Map<String, Value> = serde_json::from_slice(&body.sent).unwrap();
            let described = properties(&document, name);
            assert!(sent.keys().all(|key| described.contains_key(key)), "{name}: {sent:?}");
            let required = document["components"]["schemas"][name]["required"].as_array().unwrap();
            assert!(
                required.iter().all(|key| sent.contains_key(key.as_str().unwrap())),
                "{name}: {required:?}"
            );
            assert!(described.values().all(|property| property["description"].is_string()), "{described:?}");
        }
        assert!(properties(&document, "TeardownRequest").len() > 10);
    }

    #[test]
    fn what_is_described_of_answers_is_read() {
        let described = |name: &str| properties(&openapi(), name).keys().cloned().collect::<Vec<_>>();
        let value = json!({"K": {"value": "v", "sensitive": true}});
        let files = json!({"/k": {"value": "aGk="}});
        let mut answer = json!({"success": true, "authenticatedUsername": "a", "metadata": value, "environment": value,
            "files": files});
        for name in described("Answer") {
            assert!(!answer[&name].is_null(), "{name} is not tried here");
            // A known field of another type is noticed, so it is read.
            let mut wrong = answer.clone();
            wrong[&name] = json!(5);
            assert!(answer::Answer::parse(wrong.to_string().as_bytes()).is_err(), "{name}");
        }
        assert!(answer::Answer::parse(answer.to_string().as_bytes()).is_ok());
        answer["config"] = json!({});
        for name in described("ConfigAnswer") {
            let mut wrong = answer.clone();
            wrong[&name] = json!(5);
            assert!(answer::configured(wrong.to_string().as_bytes()).is_err(), "{name}");
        }
        assert!(answer::configured(answer.to_string().as_bytes()).is_ok());
    }
}
