//! Where records lie: a bucket, and a template for what their keys begin with.

use std::ffi::OsStr;
use std::str::FromStr;

use containerssh_config::{KeyPrefix, PrefixPart};
use containerssh_s3::names::{decoded, key_segment};
use jiff::civil::Date;

const SCHEME: &str = "s3://";

/// Days that a listing goes through one by one; for longer spans, or without a span, everything is listed.
const MAX_DAYS: usize = 1_000;

/// `s3://bucket/prefix`. The prefix may be the gateway's own template: `s3://audit/ssh/{year}/{month}/{day}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) bucket: String,
    pub(crate) template: KeyPrefix,
}

/// Whether an input is meant to lie in a store.
pub(crate) fn is_location(text: &OsStr) -> bool {
    text.as_encoded_bytes().starts_with(SCHEME.as_bytes())
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, prefix) = split(text)?;
        Ok(Self { bucket: bucket.to_owned(), template: prefix.parse()? })
    }
}

/// Bucket and the rest.
fn split(text: &str) -> Result<(&str, &str), String> {
    let rest = text.strip_prefix(SCHEME).ok_or("must begin with s3://, such as s3://bucket/prefix/")?;
    let (bucket, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        Err("names no bucket: write s3://bucket/prefix/".to_owned())
    } else {
        Ok((bucket, rest))
    }
}

/// `s3://bucket/key`: one object. Braces in it are just braces.
pub(crate) fn object(text: &str) -> Result<(&str, &str), String> {
    match split(text)? {
        (_, "") => Err("names no object: write s3://bucket/key".to_owned()),
        found => Ok(found),
    }
}

/// What is known of wanted records before any is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) namespace: Option<&'a str>,
    pub(crate) gateway: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    /// First and last day of the connections' starts, in UTC.
    pub(crate) days: Option<(Date, Date)>,
}

/// What a key says of its record, as far as the template has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) namespace: Option<String>,
    pub(crate) gateway: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) date: Option<Date>,
}

impl Location {
    /// What wanted keys begin with: few long prefixes rather than one short one, as far as the template allows.
    pub(crate) fn prefixes(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let dated = self.template.parts().any(|part| part == PrefixPart::Placeholder("year"));
        let mut prefixes: Vec<String> = match wanted.days {
            Some((first, last)) if dated => {
                let days = || first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last);
                if days().take(MAX_DAYS + 1).count() > MAX_DAYS {
                    vec![self.prefix(wanted, None)]
                } else {
                    days().map(|day| self.prefix(wanted, Some(day))).collect()
                }
            }
            _ => vec![self.prefix(wanted, None)],
        };
        // A template without {day} has the same prefix for many days, one after the other.
        prefixes.dedup();
        prefixes
    }

    /// The template, filled as far as possible from its start.
    fn prefix(&self, wanted: &Wanted<'_>, day: Option<Date>) -> String {
        let mut prefix = String::new();
        for part in self.template.parts() {
            let value = match part {
                PrefixPart::Text(text) => Some(text.to_owned()),
                PrefixPart::Placeholder("year") => day.map(|day| format!("{:04}", day.year())),
                PrefixPart::Placeholder("month") => day.map(|day| format!("{:02}", day.month())),
                PrefixPart::Placeholder("day") => day.map(|day| format!("{:02}", day.day())),
                PrefixPart::Placeholder("namespace") => wanted.namespace.map(str::to_owned),
                PrefixPart::Placeholder("gateway") => wanted.gateway.map(str::to_owned),
                PrefixPart::Placeholder(_) => wanted.user.map(key_segment),
            };
            match value {
                Some(value) => prefix.push_str(&value),
                None => break,
            }
        }
        prefix
    }

    /// What a key says. Nothing where it does not follow the template.
    pub(crate) fn said(&self, key: &str) -> Said {
        let mut said = Said::default();
        let (mut year, mut month, mut day) = (None, None, None);
        let parts: Vec<PrefixPart<'_>> = self.template.parts().collect();
        let mut rest = key;
        for (index, part) in parts.iter().enumerate() {
            let PrefixPart::Placeholder(name) = part else {
                let PrefixPart::Text(text) = part else { continue };
                match rest.strip_prefix(text) {
                    Some(after) => rest = after,
                    None => return Said::default(),
                }
                continue;
            };
            // Values hold no slash; they end where the template's next text begins, or with the segment.
            let end = match parts.get(index + 1) {
                Some(PrefixPart::Text(text)) => rest.find(text),
                _ => None,
            };
            let end = end.or_else(|| rest.find('/')).unwrap_or(rest.len());
            let Some((value, after)) = rest.split_at_checked(end) else { return Said::default() };
            rest = after;
            match *name {
                "year" => year = value.parse().ok(),
                "month" => month = value.parse().ok(),
                "day" => day = value.parse().ok(),
                "namespace" => said.namespace = Some(value.to_owned()),
                "gateway" => said.gateway = Some(value.to_owned()),
                // Long names are cut and end with a digest, and nobody's is in parentheses.
                _ if value.contains('~') || value.starts_with('(') => {}
                _ => said.user = Some(decoded(value)),
            }
        }
        if let (Some(year), Some(month), Some(day)) = (year, month, day) {
            said.date = Date::new(year, month, day).ok();
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn a_location_is_a_bucket_and_a_template() {
        let plain = location("s3://audit");
        assert_eq!((plain.bucket.as_str(), plain.template.as_str()), ("audit", ""));
        assert_eq!(location("s3://audit/ssh/{year}/").template.as_str(), "ssh/{year}/");
        for (wrong, expected) in [
            ("audit", "must begin with s3://"),
            ("s3:///x", "names no bucket"),
            ("s3://a/{hour}/", "has no placeholder {hour}"),
        ] {
            let error = wrong.parse::<Location>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(object("s3://a/b/{c}").unwrap(), ("a", "b/{c}"));
        assert!(object("s3://a/").is_err());
    }

    #[test]
    fn days_become_prefixes_and_a_month_becomes_one() {
        let wanted = Wanted { days: Some((day("2026-04-29"), day("2026-05-02"))), ..Wanted::default() };
        assert_eq!(
            location("s3://a/x/{year}/{month}/{day}/").prefixes(&wanted),
            ["x/2026/04/29/", "x/2026/04/30/", "x/2026/05/01/", "x/2026/05/02/"]
        );
        assert_eq!(location("s3://a/{year}-{month}/").prefixes(&wanted), ["2026-04/", "2026-05/"]);
        assert_eq!(location("s3://a/x/").prefixes(&wanted), ["x/"]);
        let years = Wanted { days: Some((day("1970-01-01"), day("2026-05-02"))), ..Wanted::default() };
        assert_eq!(location("s3://a/x/{year}/").prefixes(&years), ["x/"]);
    }

    #[test]
    fn a_prefix_ends_before_the_first_thing_that_is_not_known() {
        let location = location("s3://a/{namespace}/{gateway}/{username}/{year}/");
        let wanted = Wanted { namespace: Some("team"), user: Some("jörg"), ..Wanted::default() };
        assert_eq!(location.prefixes(&wanted), ["team/"]);
        let wanted = Wanted { gateway: Some("dev"), ..wanted };
        assert_eq!(location.prefixes(&wanted), ["team/dev/j%C3%B6rg/"]);
    }

    #[test]
    fn a_key_says_what_the_template_asks_for() {
        let location = location("s3://a/ssh/{namespace}/{gateway}/{year}-{month}-{day}/{username}/");
        let said = location.said("ssh/team/dev/2026-05-09/j%C3%B6rg/0123");
        assert_eq!(said.namespace.as_deref(), Some("team"));
        assert_eq!(said.gateway.as_deref(), Some("dev"));
        assert_eq!(said.user.as_deref(), Some("jörg"));
        assert_eq!(said.date, Some(day("2026-05-09")));
        assert_eq!(location.said("other/team/dev/2026-05-09/x/0123"), Said::default());
        assert_eq!(location.said("ssh/t/d/2026-13-09/(unauthenticated)/0").user, None);
    }
}
