//! What a line's options ask for, and whether it is so.

use std::net::IpAddr;

use super::address::{cidr, contains};
use crate::Restrictions;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// An option's name in lower case and its value, if it has one.
pub(super) type LineOption = (String, Option<String>);

/// Options of one line, reduced to what has to be checked at login.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The first reason why the line can never grant anything here.
    refused: Option<String>,
    restrictions: Restrictions,
    authority: bool,
    principals: Option<Vec<String>>,
    from: Vec<String>,
    expires: Vec<Timestamp>,
}

impl Conditions {
    pub(super) fn parse(options: &[LineOption]) -> Conditions {
        let mut conditions = Conditions::default();
        for (name, value) in options {
            match (name.as_str(), value.as_deref()) {
                // There is no ~/.ssh/rc, and what a security key has checked is not known: neither grants anything.
                ("no-user-rc" | "user-rc" | "no-touch-required", None) => {}
                ("restrict", None) => {
                    let restrictions = &mut conditions.restrictions;
                    restrictions.no_pty = true;
                    restrictions.no_port_forwarding = true;
                    restrictions.no_agent_forwarding = true;
                    restrictions.no_x11_forwarding = true;
                }
                ("no-pty", None) => conditions.restrictions.no_pty = true,
                ("pty", None) => conditions.restrictions.no_pty = false,
                ("no-port-forwarding", None) => conditions.restrictions.no_port_forwarding = true,
                ("port-forwarding", None) => conditions.restrictions.no_port_forwarding = false,
                ("no-agent-forwarding", None) => conditions.restrictions.no_agent_forwarding = true,
                ("agent-forwarding", None) => conditions.restrictions.no_agent_forwarding = false,
                ("no-x11-forwarding", None) => conditions.restrictions.no_x11_forwarding = true,
                ("x11-forwarding", None) => conditions.restrictions.no_x11_forwarding = false,
                ("permitopen", Some(place)) => {
                    conditions.restrictions.permit_open.get_or_insert_default().push(place.to_owned());
                }
                ("permitlisten", Some(place)) => {
                    conditions.restrictions.permit_listen.get_or_insert_default().push(place.to_owned());
                }
                ("command", Some(command)) => {
                    if conditions.restrictions.force_command.replace(command.to_owned()).is_some() {
                        conditions.refuse("it has several commands".to_owned());
                    }
                }
                ("cert-authority", None) => conditions.authority = true,
                ("principals", Some(names)) => {
                    let names =
                        names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
                    conditions.principals.get_or_insert_default().extend(names);
                }
                ("from", Some(patterns)) => match check_patterns(patterns) {
                    Ok(()) => conditions.from.push(patterns.to_owned()),
                    Err(reason) => conditions.refuse(reason),
                },
                ("expiry-time", Some(time)) => match parse_time(time) {
                    Some(time) => conditions.expires.push(time),
                    None => conditions
                        .refuse(format!("expiry-time {time:?} is not of the form YYYYMMDD[HHMM[SS]][Z]")),
                },
                ("", _) => conditions.refuse("an option is empty".to_owned()),
                _ => {
                    let name = containerssh_log::clean::text(name, 60);
                    conditions.refuse(format!("option {name:?} is not supported by this version"));
                }
            }
        }
        if conditions.principals.is_some() && !conditions.authority {
            conditions.refuse("it has principals, but is no cert-authority".to_owned());
        }
        conditions
    }

    /// Whether the line's key signs certificates rather than logging in itself.
    pub(super) fn is_authority(&self) -> bool {
        self.authority
    }

    /// The principals that an authority's certificates may be for; `None`: the user name.
    pub(super) fn principals(&self) -> Option<&[String]> {
        self.principals.as_deref()
    }

    fn refuse(&mut self, reason: String) {
        self.refused.get_or_insert(reason);
    }

    /// What the line restricts, if a client at this address may use it now; the error says why not.
    pub(super) fn check(&self, client: IpAddr, now: Timestamp) -> Result<Restrictions, String> {
        if let Some(reason) = &self.refused {
            return Err(reason.clone());
        }
        if let Some(expired) = self.expires.iter().find(|time| **time <= now) {
            return Err(format!("it expired at {expired}"));
        }
        if self.from.iter().any(|patterns| !matches(patterns, client.to_canonical())) {
            return Err("from does not allow the client's address".to_owned());
        }
        Ok(self.restrictions.clone())
    }
}

/// The patterns of a `from` option: whether it is an exclusion, and the pattern.
fn patterns(list: &str) -> impl Iterator<Item = (bool, &str)> {
    list.split(',')
        .map(str::trim)
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| pattern.strip_prefix('!').map_or((false, pattern), |pattern| (true, pattern)))
}

/// Host names are not looked up: whoever owns an address owns its reverse name. An allowed name therefore never
/// matches, but an excluded one would let in whom the line shuts out.
fn check_patterns(list: &str) -> Result<(), String> {
    for (excluded, pattern) in patterns(list) {
        if pattern.contains('/') && cidr(pattern).is_none() {
            return Err(format!("from has {pattern:?}, which is not a network such as 192.0.2.0/24"));
        }
        if excluded && !is_address_pattern(pattern) {
            return Err(format!(
                "from excludes the host name {pattern:?}, and names are not looked up: use addresses"
            ));
        }
    }
    Ok(())
}

fn is_address_pattern(pattern: &str) -> bool {
    pattern.chars().all(|character| character.is_ascii_hexdigit() || ".:*?/".contains(character))
}

fn matches(list: &str, client: IpAddr) -> bool {
    let mut allowed = false;
    let shown = client.to_string();
    for (excluded, pattern) in patterns(list) {
        let hit = match cidr(pattern) {
            Some(network) => contains(network, client),
            None => wildcard(pattern.to_ascii_lowercase().as_bytes(), shown.as_bytes()),
        };
        if hit && excluded {
            return false;
        }
        allowed |= hit;
    }
    allowed
}

/// `*` is any text and `?` any character. No recursion: where the rest does not fit, the last star takes one more
/// character, so that the work is at most the product of the lengths whatever the pattern.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(expected) if *expected == b'?' || text.get(at_text) == Some(expected) => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((star_pattern, star_text)) = star else { return false };
                star = Some((star_pattern, star_text + 1));
                at_pattern = star_pattern + 1;
                at_text = star_text + 1;
            }
        }
    }
    pattern.get(at_pattern..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// `YYYYMMDD[HHMM[SS]][Z]`: with `Z` in UTC, without in the system's time zone.
fn parse_time(text: &str) -> Option<Timestamp> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| -> Option<i8> {
        if from >= digits.len() { Some(0) } else { digits.get(from..to)?.parse().ok() }
    };
    let year: i16 = digits.get(..4)?.parse().ok()?;
    let (month, day, hour, minute, second) =
        (part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    zone.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, Option<&str>)], client: &str) -> Result<Restrictions, String> {
        let options: Vec<_> = options.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
        Conditions::parse(&options).check(client.parse().unwrap(), "2026-06-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn options_become_restrictions() {
        let none = Restrictions::default();
        assert_eq!(
            check(&[("no-user-rc", None), ("no-touch-required", None)], "192.0.2.1"),
            Ok(none.clone())
        );
        let all = Restrictions {
            no_pty: true,
            no_port_forwarding: true,
            no_agent_forwarding: true,
            no_x11_forwarding: true,
            ..none.clone()
        };
        assert_eq!(check(&[("restrict", None)], "192.0.2.1"), Ok(all.clone()));
        assert_eq!(check(&[("pty", None), ("restrict", None)], "192.0.2.1"), Ok(all.clone()));
        assert_eq!(
            check(&[("restrict", None), ("pty", None), ("port-forwarding", None)], "192.0.2.1"),
            Ok(Restrictions { no_pty: false, no_port_forwarding: false, ..all })
        );
        assert_eq!(
            check(
                &[("command", Some("id")), ("permitopen", Some("a:1")), ("permitopen", Some("b:2"))],
                "192.0.2.1"
            ),
            Ok(Restrictions {
                force_command: Some("id".into()),
                permit_open: Some(vec!["a:1".into(), "b:2".into()]),
                ..none
            })
        );
    }

    #[test]
    fn options_that_cannot_be_honoured_grant_nothing() {
        for option in [
            ("environment", Some("A=b")),
            ("principals", Some("a")),
            ("tunnel", Some("0")),
            ("verify-required", None),
            ("something-new", None),
            ("", None),
            // A value where none belongs, and none where one does.
            ("restrict", Some("x")),
            ("from", None),
        ] {
            assert!(check(&[option], "192.0.2.1").is_err(), "{option:?}");
        }
        assert_eq!(
            check(&[("tunnel", Some("x"))], "192.0.2.1").unwrap_err(),
            "option \"tunnel\" is not supported by this version"
        );
        // A later option does not heal an earlier one.
        assert!(check(&[("tunnel", Some("x")), ("pty", None)], "192.0.2.1").is_err());
        assert!(check(&[("command", Some("x")), ("command", Some("y"))], "192.0.2.1").is_err());
    }

    #[test]
    fn from_allows_addresses_networks_and_wildcards() {
        for (list, client, allowed) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.11", false),
            ("192.0.2.?", "192.0.2.9", true),
            ("192.0.2.?", "192.0.2.19", false),
            ("192.0.*", "192.0.2.19", true),
            ("*", "2001:db8::1", true),
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:DB8::1", "2001:db8::1", true),
            ("::/0", "::1", true),
            ("192.0.2.0/24", "::ffff:192.0.2.5", true),
            ("10.0.0.0/8, 192.0.2.7 ", "192.0.2.7", true),
            ("192.0.2.0/24,!192.0.2.7", "192.0.2.7", false),
            ("!192.0.2.7,192.0.2.0/24", "192.0.2.7", false),
            ("!192.0.2.7", "192.0.2.8", false),
            ("host.example.net", "192.0.2.7", false),
            ("", "192.0.2.7", false),
            ("*.*.*.*.*.*.*.*", "192.0.2.7", false),
        ] {
            assert_eq!(check(&[("from", Some(list))], client).is_ok(), allowed, "{list} {client}");
        }
        // Every from option has to allow it.
        assert!(check(&[("from", Some("192.0.2.7")), ("from", Some("192.0.2.8"))], "192.0.2.7").is_err());
    }

    #[test]
    fn from_patterns_that_cannot_be_judged_grant_nothing() {
        assert!(
            check(&[("from", Some("*,!evil.example.net"))], "192.0.2.7")
                .unwrap_err()
                .contains("names are not looked up")
        );
        assert!(
            check(&[("from", Some("192.0.2.7,10.0.0.0/33"))], "192.0.2.7")
                .unwrap_err()
                .contains("not a network")
        );
    }

    #[test]
    fn a_line_holds_until_it_expires() {
        for (time, valid) in [
            ("20260601115959Z", false),
            ("20260601120000Z", false),
            ("20260601120001Z", true),
            ("202606011201Z", true),
            ("20260601Z", false),
            ("20990101", true),
            ("20200101", false),
        ] {
            assert_eq!(check(&[("expiry-time", Some(time))], "192.0.2.1").is_ok(), valid, "{time}");
        }
        for wrong in [
            "",
            "2026",
            "20261301Z",
            "20260601ZZ",
            "2026060112Z",
            "202606011200000Z",
            "tomorrow",
            "２０２６０６０１",
        ] {
            assert!(
                check(&[("expiry-time", Some(wrong))], "192.0.2.1").unwrap_err().contains("YYYYMMDD"),
                "{wrong}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_wildcard_matches_like_the_obvious_recursion(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn obvious(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        (0..=text.len()).any(|skip| obvious(rest, &text[skip..]))
                    }
                    (Some((p, rest)), Some((t, text))) if *p == b'?' || p == t => obvious(rest, text),
                    _ => false,
                }
            }
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(wildcard(pattern, text), obvious(pattern, text));
        }
    }
}
