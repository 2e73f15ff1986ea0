//! The template that object keys begin with.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Longest template. S3 allows keys of 1024 bytes in all, and the values and the connection id come on top.
const MAX_TEMPLATE: usize = 512;

/// Placeholders of a template, in braces.
pub(crate) const PLACEHOLDERS: [&str; 6] = ["year", "month", "day", "namespace", "gateway", "username"];

/// A template such as `ssh/{namespace}/{year}/{month}/{day}/`: text and placeholders, checked when it is read.
///
/// Placeholders: `year`, `month`, `day` (of the connection's start, in UTC), `namespace`, `gateway`, `username`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPrefix(String);

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixPart<'a> {
    /// Stands as it is.
    Text(&'a str),
    /// Stands for a value: its name, without braces.
    Placeholder(&'a str),
}

impl KeyPrefix {
    /// The template as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it adds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts in order: text as it stands, and placeholders by name.
    pub fn parts(&self) -> impl Iterator<Item = PrefixPart<'_>> {
        // Text and placeholders alternate; braces were matched when the template was read.
        self.0.split(['{', '}']).enumerate().filter(|(_, text)| !text.is_empty()).map(|(index, text)| {
            if index % 2 == 0 { PrefixPart::Text(text) } else { PrefixPart::Placeholder(text) }
        })
    }

    /// Fills the template: `value` is asked for each placeholder, in order. What it returns is taken as it is, so
    /// whoever calls cleans values that come from clients.
    #[must_use]
    pub fn render(&self, mut value: impl FnMut(&str) -> String) -> String {
        let mut key = String::new();
        for part in self.parts() {
            match part {
                PrefixPart::Text(text) => key.push_str(text),
                PrefixPart::Placeholder(name) => key.push_str(&value(name)),
            }
        }
        key
    }
}

impl FromStr for KeyPrefix {
    type Err = String;

    fn from_str(template: &str) -> Result<KeyPrefix, String> {
        if template.len() > MAX_TEMPLATE {
            return Err(format!("is longer than {MAX_TEMPLATE} bytes"));
        }
        if template.starts_with('/') {
            return Err("must not begin with '/': object keys do not, and some stores would hide the record"
                .to_owned());
        }
        if template.chars().any(char::is_control) || template.contains("//") {
            return Err("must not hold control characters or empty parts".to_owned());
        }
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (_, from) = rest.split_at_checked(at).unwrap_or(("", rest));
            let name = from.strip_prefix('{').and_then(|after| after.split_once('}'));
            match name {
                Some((name, after)) if PLACEHOLDERS.contains(&name) => rest = after,
                Some((name, _)) => {
                    let shown: String = name.chars().take(40).collect();
                    return Err(format!("has no placeholder {{{shown}}}; there are {}", braced()));
                }
                None => {
                    return Err(format!("has a brace without its partner; placeholders are {}", braced()));
                }
            }
        }
        Ok(KeyPrefix(template.to_owned()))
    }
}

fn braced() -> String {
    PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ")
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for KeyPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeyPrefix, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_order_and_text_stays() {
        let prefix: KeyPrefix = "a/{year}-{month}/{username}/x".parse().unwrap();
        assert_eq!(prefix.render(|name| format!("<{name}>")), "a/<year>-<month>/<username>/x");
        assert_eq!(KeyPrefix::default().render(|_| String::new()), "");
    }

    #[test]
    fn a_value_with_braces_is_not_taken_for_a_placeholder() {
        let prefix: KeyPrefix = "{username}/{year}".parse().unwrap();
        assert_eq!(
            prefix.render(|name| if name == "username" { "{year}".into() } else { "26".into() }),
            "{year}/26"
        );
    }

    #[test]
    fn wrong_templates_are_refused() {
        for (template, message) in [
            ("{user}/", "has no placeholder {user}"),
            ("{year", "without its partner"),
            ("year}", "without its partner"),
            ("/logs/", "must not begin with '/'"),
            ("a//b", "empty parts"),
            ("a\nb", "control characters"),
            ("{{year}}", "has no placeholder {{year}"),
        ] {
            let error = template.parse::<KeyPrefix>().unwrap_err();
            assert!(error.contains(message), "{template}: {error}");
        }
    }
}
