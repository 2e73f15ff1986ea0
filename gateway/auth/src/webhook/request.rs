//! What the webhooks are asked: byte for byte what ContainerSSH sends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Attempt, Identity};

/// The order of the fields is that of the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    remote_address: String,
    connection_id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, Entry<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'a str, Entry<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<&'a str, Entry<'a>>,
    client_version: &'a str,
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    authenticated_username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
}

#[derive(Serialize)]
struct Entry<'a> {
    value: Cow<'a, str>,
    sensitive: bool,
}

/// The body of a password request.
pub(super) fn password(attempt: &Attempt, password: &[u8]) -> Bytes {
    let encoded = Zeroizing::new(STANDARD.encode(password));
    body(attempt, Some(&encoded), None)
}

/// The body of a public key request.
pub(super) fn public_key(attempt: &Attempt, authorized_key: &str) -> Bytes {
    body(attempt, None, Some(authorized_key))
}

/// The body of an authorization request.
pub(super) fn authorization(attempt: &Attempt, identity: &Identity) -> Bytes {
    encode(&of_user(attempt, identity, false))
}

/// The body of a request to the configuration server.
pub(super) fn configuration(attempt: &Attempt, identity: &Identity, sensitive: bool) -> Bytes {
    encode(&of_user(attempt, identity, sensitive))
}

fn of_user<'a>(attempt: &'a Attempt, identity: &'a Identity, sensitive: bool) -> Request<'a> {
    let texts = |values: &'a BTreeMap<String, containerssh_backend::MetadataValue>| {
        values
            .iter()
            .filter(|(_, value)| sensitive || !value.sensitive)
            .map(|(name, value)| {
                (name.as_str(), Entry { value: Cow::Borrowed(&value.value), sensitive: value.sensitive })
            })
            .collect()
    };
    let files = identity
        .files
        .iter()
        .filter(|(_, file)| sensitive || !file.sensitive)
        .map(|(path, file)| {
            (path.as_str(), Entry { value: STANDARD.encode(&file.content).into(), sensitive: file.sensitive })
        })
        .collect();
    Request {
        metadata: texts(&identity.metadata),
        environment: texts(&identity.environment),
        files,
        authenticated_username: &identity.authenticated_username,
        ..base(attempt)
    }
}

fn body(attempt: &Attempt, password_base64: Option<&str>, public_key: Option<&str>) -> Bytes {
    encode(&Request { password_base64, public_key, ..base(attempt) })
}

fn base(attempt: &Attempt) -> Request<'_> {
    let mut remote = attempt.remote_addr;
    // Go shows an IPv4 client of a dual-stack listener as IPv4.
    remote.set_ip(remote.ip().to_canonical());
    Request {
        remote_address: remote.to_string(),
        connection_id: &attempt.connection_id,
        metadata: BTreeMap::new(),
        environment: BTreeMap::new(),
        files: BTreeMap::new(),
        client_version: &attempt.client_version,
        username: &attempt.username,
        authenticated_username: "",
        password_base64: None,
        public_key: None,
    }
}

fn encode(request: &Request<'_>) -> Bytes {
    // Strings always have a JSON form.
    let json = Zeroizing::new(serde_json::to_string(request).unwrap_or_default());
    // The buffer may hold a password and is wiped when the last attempt is over.
    Bytes::from_owner(Zeroizing::new(like_go(&json)))
}

/// Go escapes what browsers could take for markup or a line end. These characters occur only within strings.
fn like_go(json: &str) -> Vec<u8> {
    // Enough for the common case in one allocation: growing would leave copies of the password behind.
    let mut bytes = Vec::with_capacity(json.len() + 64);
    let mut buffer = [0; 4];
    for character in json.chars() {
        match character {
            '<' => bytes.extend_from_slice(b"\\u003c"),
            '>' => bytes.extend_from_slice(b"\\u003e"),
            '&' => bytes.extend_from_slice(b"\\u0026"),
            '\u{2028}' => bytes.extend_from_slice(b"\\u2028"),
            '\u{2029}' => bytes.extend_from_slice(b"\\u2029"),
            other => bytes.extend_from_slice(other.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use containerssh_backend::{FileValue, MetadataValue};

    use super::*;

    fn attempt(remote: &str, username: &str) -> Attempt {
        Attempt {
            connection_id: "0123456789abcdef0123456789abcdef".into(),
            remote_addr: remote.parse().unwrap(),
            client_version: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10".into(),
            username: username.into(),
        }
    }

    #[test]
    fn a_password_request_is_byte_for_byte_the_reference_s() {
        let body = password(&attempt("127.0.0.1:45760", "foo"), b"secret\x07");
        assert_eq!(
            body,
            "{\"remoteAddress\":\"127.0.0.1:45760\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
             \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\",\"username\":\"foo\",\
             \"passwordBase64\":\"c2VjcmV0Bw==\"}\n"
        );
    }

    #[test]
    fn a_public_key_request_is_byte_for_byte_the_reference_s() {
        let body = public_key(&attempt("[::1]:22", "foo"), "ssh-ed25519 AAAA");
        assert_eq!(
            body,
            "{\"remoteAddress\":\"[::1]:22\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
             \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\",\"username\":\"foo\",\
             \"publicKey\":\"ssh-ed25519 AAAA\"}\n"
        );
    }

    fn identity() -> Identity {
        let value = |value: &str, sensitive| MetadataValue { value: value.into(), sensitive };
        Identity {
            authenticated_username: "foo@example".into(),
            metadata: [("TEAM".into(), value("x", false)), ("TOKEN".into(), value("secret", true))].into(),
            environment: [("LANG".into(), value("C", false))].into(),
            files: [("/f".into(), FileValue { content: Bytes::from_static(b"hi"), sensitive: false })].into(),
            ..Identity::default()
        }
    }

    #[test]
    fn a_configuration_request_is_byte_for_byte_the_reference_s() {
        let body = configuration(&attempt("127.0.0.1:1", "foo"), &identity(), true);
        assert_eq!(
            body,
            "{\"remoteAddress\":\"127.0.0.1:1\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
             \"metadata\":{\"TEAM\":{\"value\":\"x\",\"sensitive\":false},\"TOKEN\":{\"value\":\"secret\",\"sensitive\":true}},\
             \"environment\":{\"LANG\":{\"value\":\"C\",\"sensitive\":false}},\
             \"files\":{\"/f\":{\"value\":\"aGk=\",\"sensitive\":false}},\
             \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\",\"username\":\"foo\",\
             \"authenticatedUsername\":\"foo@example\"}\n"
        );
    }

    #[test]
    fn what_is_sensitive_goes_no_further_unless_asked_for() {
        for body in [
            authorization(&attempt("127.0.0.1:1", "foo"), &identity()),
            configuration(&attempt("127.0.0.1:1", "foo"), &identity(), false),
        ] {
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains("TEAM") && !text.contains("TOKEN") && !text.contains("secret"), "{text}");
        }
        let nobody = Identity::default();
        let body = authorization(&attempt("127.0.0.1:1", "foo"), &nobody);
        assert!(body.ends_with(b"\"username\":\"foo\"}\n"), "{body:?}");
    }

    #[test]
    fn strange_user_names_are_escaped_as_go_does() {
        let body = public_key(&attempt("[::ffff:192.0.2.1]:1", "<a>&\u{2028}\u{2029}\"\\\n\u{1f}é"), "k");
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains(r#""username":"\u003ca\u003e\u0026\u2028\u2029\"\\\n\u001fé""#), "{text}");
        assert!(text.contains(r#""remoteAddress":"192.0.2.1:1""#), "{text}");
    }

    #[test]
    fn an_empty_password_is_sent_as_one() {
        let body = password(&attempt("127.0.0.1:1", "foo"), b"");
        assert!(body.ends_with(b",\"passwordBase64\":\"\"}\n"));
    }
}
