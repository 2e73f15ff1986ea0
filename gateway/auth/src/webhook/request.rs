//! What the webhooks are asked: byte for byte what ContainerSSH sends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use containerssh_backend::MetadataValue;
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Attempt, Identity};

/// A request's body. It may hold a password, so it has no `Debug`.
#[derive(Clone)]
pub(super) struct Body {
    /// As it is sent.
    pub(super) sent: Bytes,
    /// Without what names the single connection: what two connections that ask the same have in common.
    pub(super) repeatable: Bytes,
}

/// The order of the fields is that of the wire.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    /// The client's address and port, such as `192.0.2.7:45760` or `[2001:db8::7]:45760`.
    remote_address: String,
    /// 32 lowercase hexadecimal digits; the same in every request about one connection.
    connection_id: &'a str,
    /// What earlier answers said of the user, without what is sensitive (`configserver.transmitSensitiveMetadata` sends that, too).
    /// Left out if there is nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, Entry<'a>>,
    /// Environment variables that earlier answers brought, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<&'a str, Entry<'a>>,
    /// Files that earlier answers brought, by absolute path, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<&'a str, Entry<'a>>,
    /// The client's identification string (RFC 4253 section 4.2).
    client_version: &'a str,
    /// The name that the client typed.
    username: &'a str,
    /// The name that authentication settled on. Left out if it named none.
    #[serde(skip_serializing_if = "str::is_empty")]
    authenticated_username: &'a str,
    /// The password, as base64: it need not be text.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<&'a str>,
    /// The key as in a file of authorized keys, without comment. The client has not proven yet to have it, and need not
    /// do so after this answer: `success` says that the key may log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<&'a str>,
}

/// A value, and whether it must not be passed on or shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Value")]
pub(super) struct Entry<'a> {
    /// Text; of files, their content as base64.
    value: Cow<'a, str>,
    /// Whether it must not be passed on or shown.
    sensitive: bool,
}

impl<'a> Entry<'a> {
    pub(super) fn of(value: &'a MetadataValue) -> Self {
        Entry { value: Cow::Borrowed(&value.value), sensitive: value.sensitive }
    }
}

/// The body of a password request.
pub(super) fn password(attempt: &Attempt, password: &[u8]) -> Body {
    let encoded = Zeroizing::new(STANDARD.encode(password));
    body(attempt, Some(&encoded), None)
}

/// The body of a public key request.
pub(super) fn public_key(attempt: &Attempt, authorized_key: &str) -> Body {
    body(attempt, None, Some(authorized_key))
}

/// The body of an authorization request.
pub(super) fn authorization(attempt: &Attempt, identity: &Identity) -> Body {
    both(of_user(attempt, identity, false), attempt)
}

/// The body of a request to the configuration server.
pub(super) fn configuration(attempt: &Attempt, identity: &Identity, sensitive: bool) -> Body {
    both(of_user(attempt, identity, sensitive), attempt)
}

fn of_user<'a>(attempt: &'a Attempt, identity: &'a Identity, sensitive: bool) -> Request<'a> {
    let texts = |values: &'a BTreeMap<String, MetadataValue>| {
        values
            .iter()
            .filter(|(_, value)| sensitive || !value.sensitive)
            .map(|(name, value)| (name.as_str(), Entry::of(value)))
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

fn body(attempt: &Attempt, password_base64: Option<&str>, public_key: Option<&str>) -> Body {
    both(Request { password_base64, public_key, ..base(attempt) }, attempt)
}

fn both(request: Request<'_>, attempt: &Attempt) -> Body {
    let sent = encode(&request);
    let remote_address = attempt.remote_addr.ip().to_canonical().to_string();
    Body { sent, repeatable: encode(&Request { remote_address, connection_id: "", ..request }) }
}

/// An address as ContainerSSH writes it: Go shows an IPv4 client of a dual-stack listener as IPv4.
pub(super) fn remote_address(attempt: &Attempt) -> String {
    let mut remote = attempt.remote_addr;
    remote.set_ip(remote.ip().to_canonical());
    remote.to_string()
}

fn base(attempt: &Attempt) -> Request<'_> {
    Request {
        remote_address: remote_address(attempt),
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

pub(super) fn encode(request: &impl Serialize) -> Bytes {
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
    use containerssh_backend::FileValue;

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
        let body = password(&attempt("127.0.0.1:45760", "foo"), b"secret\x07").sent;
        assert_eq!(
            body,
            "{\"remoteAddress\":\"127.0.0.1:45760\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
             \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\",\"username\":\"foo\",\
             \"passwordBase64\":\"c2VjcmV0Bw==\"}\n"
        );
    }

    #[test]
    fn a_public_key_request_is_byte_for_byte_the_reference_s() {
        let body = public_key(&attempt("[::1]:22", "foo"), "ssh-ed25519 AAAA").sent;
        assert_eq!(
            body,
            "{\"remoteAddress\":\"[::1]:22\",\"connectionId\":\"0123456789abcdef0123456789abcdef\",\
             \"clientVersion\":\"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\",\"username\":\"foo\",\
             \"publicKey\":\"ssh-ed25519 AAAA\"}\n"
        );
    }

    #[test]
    fn what_two_connections_ask_alike_differs_in_nothing_but_what_is_asked() {
        let other = Attempt { connection_id: "f".repeat(32), ..attempt("127.0.0.1:2", "foo") };
        let ask = |attempt: &Attempt, secret: &[u8]| password(attempt, secret).repeatable;
        let first = attempt("127.0.0.1:1", "foo");
        assert_eq!(ask(&first, b"x"), ask(&other, b"x"));
        assert_ne!(ask(&first, b"x"), ask(&first, b"y"));
        assert_ne!(ask(&first, b"x"), ask(&attempt("127.0.0.2:1", "foo"), b"x"));
        assert_ne!(ask(&first, b"x"), ask(&attempt("127.0.0.1:1", "bar"), b"x"));
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
        let body = configuration(&attempt("127.0.0.1:1", "foo"), &identity(), true).sent;
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
            let text = std::str::from_utf8(&body.sent).unwrap();
            assert!(text.contains("TEAM") && !text.contains("TOKEN") && !text.contains("secret"), "{text}");
        }
        let nobody = Identity::default();
        let body = authorization(&attempt("127.0.0.1:1", "foo"), &nobody).sent;
        assert!(body.ends_with(b"\"username\":\"foo\"}\n"), "{body:?}");
    }

    #[test]
    fn strange_user_names_are_escaped_as_go_does() {
        let body =
            public_key(&attempt("[::ffff:192.0.2.1]:1", "<a>&\u{2028}\u{2029}\"\\\n\u{1f}é"), "k").sent;
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains(r#""username":"\u003ca\u003e\u0026\u2028\u2029\"\\\n\u001fé""#), "{text}");
        assert!(text.contains(r#""remoteAddress":"192.0.2.1:1""#), "{text}");
    }

    #[test]
    fn an_empty_password_is_sent_as_one() {
        let body = password(&attempt("127.0.0.1:1", "foo"), b"").sent;
        assert!(body.ends_with(b",\"passwordBase64\":\"\"}\n"));
    }
}
