//! Where a record lies in the bucket: a prefix template and the connection id.
//!
//! The template and everything that fills it, save for the user name, is fixed when the connection opens and stored
//! beside the record, so that neither a policy change nor a restart moves a record that is under way. The user name is
//! known once authentication succeeds and is filled in at the upload.
//!
//! Nothing a client sends can leave the prefix: a user name becomes one path segment, every byte of it outside a small
//! safe set percent-encoded, its length bounded.

use containerssh_config::{KeyPrefix, PrefixPart};
use containerssh_s3::names::key_segment;

/// What stands for `{username}` when nobody authenticated. Parentheses never occur in an encoded name, so no user can
/// be called that.
const NOBODY: &str = "(unauthenticated)";

/// Digits of a connection id.
const ID_DIGITS: usize = 32;

/// What fills the template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The gateway's namespace.
    pub(crate) namespace: &'a str,
    /// The gateway's name.
    pub(crate) gateway: &'a str,
    /// When the connection opened; its date in UTC counts.
    pub(crate) started: jiff::Timestamp,
    /// Who authenticated; empty if nobody did.
    pub(crate) username: &'a str,
}

/// An object's whole key. A prefix that does not end in `/` gets one, so that the name, which begins with the connection
/// id, is always the last path segment.
pub(crate) fn key(prefix: &KeyPrefix, place: Place<'_>, name: &str) -> String {
    let date = place.started.to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut key = prefix.render(|name| match name {
        "year" => format!("{:04}", date.year()),
        "month" => format!("{:02}", date.month()),
        "day" => format!("{:02}", date.day()),
        "namespace" => place.namespace.to_owned(),
        "gateway" => place.gateway.to_owned(),
        _ if place.username.is_empty() => NOBODY.to_owned(),
        _ => key_segment(place.username),
    });
    if !key.is_empty() && !key.ends_with('/') {
        key.push('/');
    }
    key.push_str(name);
    key
}

/// What all keys of a prefix begin with.
pub(crate) fn fixed_part(prefix: &KeyPrefix) -> &str {
    match prefix.parts().next() {
        Some(PrefixPart::Text(text)) => text,
        _ => "",
    }
}

/// Whether a key can only be that of a record below this prefix: every placeholder could have made what stands there
/// (`namespace` and `gateway` those of this one), and the name begins with a connection id.
pub(crate) fn is_ours(prefix: &KeyPrefix, (namespace, gateway): (&str, &str), key: &str) -> bool {
    let Some((above, name)) = key.rsplit_once('/').map_or(Some(("", key)), Some) else { return false };
    let is_id = name
        .get(..ID_DIGITS)
        .is_some_and(|id| id.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)));
    let mut rest = above;
    let trimmed = prefix.as_str().strip_suffix('/').unwrap_or(prefix.as_str());
    let Ok(trimmed) = trimmed.parse::<KeyPrefix>() else { return false };
    for part in trimmed.parts() {
        let after = match part {
            PrefixPart::Text(text) => rest.strip_prefix(text),
            PrefixPart::Placeholder("year") => strip_digits(rest, 4),
            PrefixPart::Placeholder("month" | "day") => strip_digits(rest, 2),
            PrefixPart::Placeholder("namespace") => rest.strip_prefix(namespace),
            PrefixPart::Placeholder("gateway") => rest.strip_prefix(gateway),
            // A user: whatever is left of the segment, which the text after it may cut short again.
            PrefixPart::Placeholder(_) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (end > 0).then(|| rest.get(end..)).flatten()
            }
        };
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    is_id && rest.is_empty()
}

fn strip_digits(text: &str, count: usize) -> Option<&str> {
    let (digits, rest) = text.split_at_checked(count)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use containerssh_s3::names::MAX_NAME;
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn key_of(prefix: &str, username: &str) -> String {
        let started = "2026-05-09T23:59:59Z".parse().unwrap();
        key(&prefix.parse().unwrap(), Place { namespace: "team-a", gateway: "dev", started, username }, ID)
    }

    #[test]
    fn without_a_prefix_the_key_is_the_connection_id_as_in_the_reference() {
        assert_eq!(key_of("", "alice"), ID);
    }

    #[test]
    fn every_placeholder_is_filled_in_with_dates_in_utc() {
        let key = key_of("containerssh/{year}/{month}/{day}/{namespace}/{gateway}/{username}", "alice");
        assert_eq!(key, format!("containerssh/2026/05/09/team-a/dev/alice/{ID}"));
    }

    #[test]
    fn a_prefix_with_a_slash_gets_no_second_one() {
        assert_eq!(key_of("logs/", ""), format!("logs/{ID}"));
        assert_eq!(key_of("logs-{year}", ""), format!("logs-2026/{ID}"));
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        assert_eq!(key_of("{username}", "../../etc/passwd"), format!("..%2F..%2Fetc%2Fpasswd/{ID}"));
        assert_eq!(key_of("{username}", ".."), format!("%2E%2E/{ID}"));
        assert_eq!(key_of("{username}", "{year}\n"), format!("%7Byear%7D%0A/{ID}"));
        assert_eq!(key_of("{username}", "jörg"), format!("j%C3%B6rg/{ID}"));
    }

    #[test]
    fn nobody_can_be_called_like_nobody() {
        assert_eq!(key_of("{username}", ""), format!("(unauthenticated)/{ID}"));
        assert_ne!(key_of("{username}", "(unauthenticated)"), key_of("{username}", ""));
    }

    #[test]
    fn a_key_of_ours_is_known_and_others_are_not() {
        const PREFIX: &str = "ssh/{namespace}/{gateway}/{year}-{month}/{username}/";
        let prefix: KeyPrefix = PREFIX.parse().unwrap();
        let ours = |key: &str| is_ours(&prefix, ("team-a", "dev"), key);
        let key = key_of(PREFIX, "alice");
        assert!(ours(&key) && ours(&format!("{key}-0.cast")) && ours(&key_of(PREFIX, "")), "{key}");
        for other in [
            key.replace("team-a", "team-b"),
            key.replace("dev", "prod"),
            key.replace("2026", "20xx"),
            key.replace("alice", "alice/more"),
            key.replace("alice/", ""),
            key.replace(ID, "backup.tar"),
            key.replace("ssh/", "other/"),
            ID.to_owned(),
        ] {
            assert!(!ours(&other), "{other}");
        }
        assert_eq!(fixed_part(&prefix), "ssh/");
        assert!(is_ours(&KeyPrefix::default(), ("", ""), ID));
        assert!(!is_ours(&KeyPrefix::default(), ("", ""), &format!("x/{ID}")));
        assert!(is_ours(&"logs".parse().unwrap(), ("", ""), &format!("logs/{ID}")));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = (key_of("{username}", &"a".repeat(4000)), key_of("{username}", &"a".repeat(4001)));
        assert_eq!(one.len(), MAX_NAME + 1 + ID.len());
        assert_ne!(one, two);
    }

    proptest! {
        #[test]
        fn any_name_makes_one_bounded_segment(name in "\\PC{1,400}") {
            let key = key_of("p/{username}/q", &name);
            let parts: Vec<&str> = key.split('/').collect();
            prop_assert_eq!(parts.len(), 4);
            prop_assert_eq!((parts[0], parts[2], parts[3]), ("p", "q", ID));
            prop_assert!(!parts[1].is_empty() && parts[1].len() <= MAX_NAME && parts[1].is_ascii());
            prop_assert!(parts[1] != "." && parts[1] != "..");
        }
    }
}
