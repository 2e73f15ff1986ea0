//! One object of a listing: what its key and its metadata tell.

use std::collections::HashMap;

use containerssh_s3::names::decoded;
use jiff::Timestamp;

use super::location::Said;

/// What an object is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// An audit log.
    Record,
    /// The asciicast of one channel.
    Cast,
    /// What a record is, signed or not.
    Manifest,
}

/// Digits of a connection id.
const ID_DIGITS: usize = 32;

/// An object as a listing shows it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// When it was stored.
    pub(crate) stored: Option<Timestamp>,
}

impl Listed {
    /// The last segment of the key.
    pub(crate) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    pub(crate) fn kind(&self) -> Kind {
        let name = self.name();
        if name.ends_with(containerssh_auditlog::manifest::SUFFIX) {
            Kind::Manifest
        } else if name.ends_with(".cast") {
            Kind::Cast
        } else {
            Kind::Record
        }
    }

    /// The connection, where the name begins with an id as gateways give them.
    pub(crate) fn connection(&self) -> Option<&str> {
        let id = self.name().get(..ID_DIGITS)?;
        id.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(id)
    }
}

/// What is known of the record in an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) started: Option<Timestamp>,
    pub(crate) user: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) gateway: Option<String>,
    pub(crate) authenticated: Option<bool>,
    pub(crate) interrupted: bool,
    /// Of the object, hexadecimal.
    pub(crate) sha256: Option<String>,
}

impl About {
    /// By the key alone.
    pub(crate) fn of_key(said: &Said) -> Self {
        Self {
            user: said.user.clone(),
            namespace: said.namespace.clone(),
            gateway: said.gateway.clone(),
            ..Self::default()
        }
    }

    /// By the key and the object's metadata, which knows better.
    pub(crate) fn of_metadata(said: &Said, metadata: &HashMap<String, String>) -> Self {
        let text = |name: &str| metadata.get(name).map(|value| decoded(value));
        Self {
            started: text("timestamp").and_then(|time| Timestamp::from_second(time.parse().ok()?).ok()),
            user: text("username").or_else(|| said.user.clone()),
            ip: text("ip"),
            namespace: text("namespace").or_else(|| said.namespace.clone()),
            gateway: text("gateway").or_else(|| said.gateway.clone()),
            authenticated: text("authenticated").map(|said| said == "true"),
            interrupted: metadata.get("interrupted").is_some_and(|said| said == "true"),
            sha256: text("sha256"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: &str) -> Listed {
        Listed { key: key.to_owned(), bytes: 1, stored: None }
    }

    #[test]
    fn names_tell_what_an_object_is() {
        let id = "0123456789abcdef0123456789abcdef";
        for (suffix, kind) in [
            ("", Kind::Record),
            ("-00112233445566778899aabbccddeeff", Kind::Record),
            ("-0.cast", Kind::Cast),
            (".manifest.json", Kind::Manifest),
        ] {
            let listed = listed(&format!("a/b/{id}{suffix}"));
            assert_eq!((listed.kind(), listed.connection()), (kind, Some(id)));
        }
        assert_eq!(listed("a/b/other").connection(), None);
        assert_eq!(listed(id).name(), id);
    }

    #[test]
    fn metadata_knows_better_than_the_key() {
        let said = Said { user: Some("cut~off".into()), gateway: Some("dev".into()), ..Said::default() };
        let metadata = [("username", "j%C3%B6rg"), ("timestamp", "1778328000"), ("authenticated", "true")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let about = About::of_metadata(&said, &metadata);
        assert_eq!(about.user.as_deref(), Some("jörg"));
        assert_eq!(about.gateway.as_deref(), Some("dev"));
        assert_eq!(about.started.unwrap().to_string(), "2026-05-09T12:00:00Z");
        assert_eq!(about.authenticated, Some(true));
    }
}
