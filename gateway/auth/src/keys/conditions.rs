//! What a line's options ask for, and whether it is so.

use std::net::IpAddr;

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
    no_pty: bool,
    from: Vec<String>,
    expires: Vec<Timestamp>,
}

impl Conditions {
    pub(super) fn parse(options: &[LineOption]) -> Conditions {
        let mut conditions = Conditions::default();
        for (name, value) in options {
            match (name.as_str(), value.as_deref()) {
                // Forwarding, X11, agents and ~/.ssh/rc do not exist here, so switching them off holds, switching them
                // on grants nothing, and limits to them are kept.
                (
                    "no-agent-forwarding"
                    | "no-port-forwarding"
                    | "no-x11-forwarding"
                    | "no-user-rc"
                    | "agent-forwarding"
                    | "port-forwarding"
                    | "x11-forwarding"
                    | "user-rc",
                    None,
                )
                | ("permitopen" | "permitlisten", Some(_)) => {}
                ("restrict" | "no-pty", None) => conditions.no_pty = true,
                ("pty", None) => conditions.no_pty = false,
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
        conditions
    }

    fn refuse(&mut self, reason: String) {
        self.refused.get_or_insert(reason);
    }

    /// Whether a client at this address may use the line now; the error says why not.
    pub(super) fn check(&self, client: IpAddr, now: Timestamp) -> Result<(), String> {
        if let Some(reason) = &self.refused {
            return Err(reason.clone());
        }
        if self.no_pty {
            return Err("it forbids terminals (restrict or no-pty), which this version cannot: \
                        write \"restrict,pty\" to allow them"
                .to_owned());
        }
        if let Some(expired) = self.expires.iter().find(|time| **time <= now) {
            return Err(format!("it expired at {expired}"));
        }
        if self.from.iter().any(|patterns| !matches(patterns, client.to_canonical())) {
            return Err("from does not allow the client's address".to_owned());
        }
        Ok(())
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

fn cidr(pattern: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = pattern.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

fn contains((network, length): (IpAddr, u32), client: IpAddr) -> bool {
    match (network, client) {
        (IpAddr::V4(network), IpAddr::V4(client)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (network.to_bits() ^ client.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(client)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (network.to_bits() ^ client.to_bits()) & mask == 0
        }
        _ => false,
    }
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

    fn check(options: &[(&str, Option<&str>)], client: &str) -> Result<(), String> {
        let options: Vec<_> = options.iter().map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned))).collect();
        Conditions::parse(&options).check(client.parse().unwrap(), "2026-06-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn options_about_what_does_not_exist_change_nothing() {
        for name in [
            "no-agent-forwarding",
            "no-port-forwarding",
            "no-x11-forwarding",
            "no-user-rc",
            "port-forwarding",
        ] {
            assert_eq!(check(&[(name, None)], "192.0.2.1"), Ok(()), "{name}");
        }
        assert_eq!(check(&[("permitopen", Some("a:1"))], "192.0.2.1"), Ok(()));
    }

    #[test]
    fn options_that_cannot_be_honoured_grant_nothing() {
        for option in [
            ("command", Some("backup")),
            ("environment", Some("A=b")),
            ("cert-authority", None),
            ("principals", Some("a")),
            ("tunnel", Some("0")),
            ("verify-required", None),
            ("no-touch-required", None),
            ("something-new", None),
            ("", None),
            // A value where none belongs, and none where one does.
            ("restrict", Some("x")),
            ("from", None),
        ] {
            assert!(check(&[option], "192.0.2.1").is_err(), "{option:?}");
        }
        assert_eq!(
            check(&[("command", Some("x"))], "192.0.2.1").unwrap_err(),
            "option \"command\" is not supported by this version"
        );
        // A later option does not heal an earlier one.
        assert!(check(&[("command", Some("x")), ("pty", None)], "192.0.2.1").is_err());
    }

    #[test]
    fn a_line_without_terminal_grants_nothing_until_it_allows_one() {
        assert!(check(&[("restrict", None)], "192.0.2.1").unwrap_err().contains("restrict,pty"));
        assert!(check(&[("no-pty", None)], "192.0.2.1").is_err());
        assert!(check(&[("pty", None), ("restrict", None)], "192.0.2.1").is_err());
        assert_eq!(check(&[("restrict", None), ("pty", None)], "192.0.2.1"), Ok(()));
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
