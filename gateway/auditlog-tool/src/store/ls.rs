//! `ls`: which records there are.
//!
//! What the keys tell decides as much as it can: with the gateway's template as location, a day is one prefix. What is left
//! is asked of each object, sixteen at a time. Objects are printed as they are found.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::client::{Store, StoreArgs, StoreError};
use super::location::{Location, Wanted};
use super::object::{About, Kind, Listed};
use crate::error::ToolError;
use crate::outcome::Outcome;
use crate::output::Output;

/// Objects whose metadata is asked for before any of them is printed.
const BATCH: usize = 64;

/// The arguments of `ls`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Where: s3://bucket/prefix, best with the placeholders of the gateway's audit.s3.prefix, such as
    /// 's3://audit/{year}/{month}/{day}/'
    #[arg(value_name = "LOCATION")]
    location: Location,
    #[command(flatten)]
    filter: Filter,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Ask every object for its start, user, address and gateway, even where nothing depends on it
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only connections of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only connections to this gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Only connections to gateways in this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only connections that began then or later: 2026-05-09 (UTC) or 2026-05-09T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = first_moment)]
    since: Option<Timestamp>,
    /// Only connections that began before the end of that day, or before that moment
    #[arg(long, value_name = "TIME", value_parser = last_moment)]
    until: Option<Timestamp>,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    /// Columns: start (or when it was stored), bytes, user, gateway, location
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// An object as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    location: String,
    kind: Kind,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
}

/// Prints the records that are wanted.
pub(crate) fn run(args: &LsArgs, output: &mut Output) -> Result<Outcome, ToolError> {
    let store = Store::open(&args.store)?;
    let search =
        Search { store: &store, location: &args.location, filter: &args.filter, always_ask: args.long };
    let mut found = false;
    search.each(None, |listed, about| {
        if listed.kind() == Kind::Manifest {
            return Ok(());
        }
        found = true;
        output.write(&args.line(listed, about))
    })?;
    Ok(if found { Outcome::Done } else { Outcome::NotFound })
}

impl LsArgs {
    fn line(&self, listed: &Listed, about: &About) -> Vec<u8> {
        let location = format!("s3://{}/{}", self.location.bucket, listed.key);
        let mut line = match self.format {
            Format::Json => serde_json::to_vec(&Line {
                location,
                kind: listed.kind(),
                bytes: listed.bytes,
                connection_id: listed.connection(),
                stored: listed.stored,
                started: about.started,
                username: about.user.as_deref(),
                authenticated: about.authenticated,
                ip: about.ip.as_deref(),
                namespace: about.namespace.as_deref(),
                gateway: about.gateway.as_deref(),
                interrupted: about.interrupted,
                sha256: about.sha256.as_deref(),
            })
            // Strings and numbers always have a JSON form.
            .unwrap_or_default(),
            Format::Text => {
                let time = about.started.or(listed.stored);
                let time = time.map_or_else(|| "-".to_owned(), |time| time.strftime("%FT%TZ").to_string());
                let or = |text: &Option<String>| {
                    text.as_deref().map_or_else(|| "-".to_owned(), containerssh_auditlog::text::visible)
                };
                let gateway = match (&about.namespace, &about.gateway) {
                    (Some(namespace), Some(gateway)) => format!("{namespace}/{gateway}"),
                    (_, gateway) => or(gateway),
                };
                let gateway = containerssh_auditlog::text::visible(&gateway);
                let location = containerssh_auditlog::text::visible(&location);
                format!("{time:20}  {:>12}  {:16}  {gateway:24}  {location}", listed.bytes, or(&about.user))
                    .into_bytes()
            }
        };
        line.push(b'\n');
        line
    }
}

/// A walk through what lies at a location.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) store: &'a Store,
    pub(super) location: &'a Location,
    pub(super) filter: &'a Filter,
    /// Whether metadata is asked for even if nothing depends on it.
    pub(super) always_ask: bool,
}

impl Search<'_> {
    /// Hands on every wanted object, in the order of keys. `name` limits it to names that begin so.
    pub(super) fn each(
        &self,
        name: Option<&str>,
        mut each: impl FnMut(&Listed, &About) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let wanted = self.filter.wanted();
        for prefix in self.location.prefixes(&wanted) {
            let prefix = self.with_name(prefix, name);
            let mut continuation = None;
            loop {
                let (mut page, next) = self.store.page(&self.location.bucket, &prefix, continuation)?;
                // A record is stored after its connection began.
                page.retain(|listed| {
                    let too_old =
                        self.filter.since.zip(listed.stored).is_some_and(|(since, stored)| stored < since);
                    !too_old && name.is_none_or(|name| listed.name().starts_with(name))
                });
                for batch in page.chunks(BATCH) {
                    self.batch(batch, &mut each)?;
                }
                match next {
                    Some(next) => continuation = Some(next),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// The whole prefix of a name, where the template was filled to its end.
    fn with_name(&self, mut prefix: String, name: Option<&str>) -> String {
        let filled = self.location.said(&prefix);
        let complete = self.location.template.render(|placeholder| match placeholder {
            "year" => filled.date.map_or_else(String::new, |date| format!("{:04}", date.year())),
            "month" => filled.date.map_or_else(String::new, |date| format!("{:02}", date.month())),
            "day" => filled.date.map_or_else(String::new, |date| format!("{:02}", date.day())),
            "namespace" => filled.namespace.clone().unwrap_or_default(),
            "gateway" => filled.gateway.clone().unwrap_or_default(),
            _ => filled.user.as_deref().map(containerssh_s3::names::key_segment).unwrap_or_default(),
        });
        // A location may also name the beginning of an id itself; then there is nothing to add.
        if complete == prefix && (prefix.is_empty() || prefix.ends_with('/')) {
            prefix.push_str(name.unwrap_or_default());
        }
        prefix
    }

    fn batch(
        &self,
        batch: &[Listed],
        each: &mut impl FnMut(&Listed, &About) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let by_key: Vec<About> =
            batch.iter().map(|listed| About::of_key(&self.location.said(&listed.key))).collect();
        // What the key already rules out need not be asked.
        let candidates: Vec<(&Listed, About)> =
            batch.iter().zip(by_key).filter(|(_, about)| self.filter.may_be(about)).collect();
        let ask: Vec<&str> = candidates
            .iter()
            .filter(|(_, about)| self.always_ask || !self.filter.is_decided(about))
            .map(|(listed, _)| listed.key.as_str())
            .collect();
        let mut answers = self.store.metadata(&self.location.bucket, &ask)?.into_iter();
        for (listed, about) in candidates {
            let asked = self.always_ask || !self.filter.is_decided(&about);
            let about = match asked.then(|| answers.next()).flatten() {
                Some(Some(metadata)) => About::of_metadata(&self.location.said(&listed.key), &metadata),
                // It has gone meanwhile.
                Some(None) => continue,
                None => about,
            };
            if self.filter.may_be(&about) && (!asked || self.filter.is_decided(&about)) {
                each(listed, &about)?;
            }
        }
        Ok(())
    }
}

impl Filter {
    fn wanted(&self) -> Wanted<'_> {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        let last = self.until.map_or_else(|| day(Timestamp::now()), day);
        Wanted {
            namespace: self.namespace.as_deref(),
            gateway: self.gateway.as_deref(),
            user: self.user.as_deref(),
            days: self.since.map(|since| (day(since), last)),
        }
    }

    /// Whether nothing that is known speaks against it.
    fn may_be(&self, about: &About) -> bool {
        let differs = |wanted: &Option<String>, known: &Option<String>| matches!((wanted, known), (Some(a), Some(b)) if a != b);
        !(differs(&self.user, &about.user)
            || differs(&self.gateway, &about.gateway)
            || differs(&self.namespace, &about.namespace)
            || self.since.zip(about.started).is_some_and(|(since, started)| started < since)
            || self.until.zip(about.started).is_some_and(|(until, started)| started > until))
    }

    /// Whether everything that matters is known.
    fn is_decided(&self, about: &About) -> bool {
        let known = |wanted: &Option<String>, known: &Option<String>| wanted.is_none() || known.is_some();
        known(&self.user, &about.user)
            && known(&self.gateway, &about.gateway)
            && known(&self.namespace, &about.namespace)
            && (about.started.is_some() || (self.since.is_none() && self.until.is_none()))
    }
}

fn first_moment(text: &str) -> Result<Timestamp, String> {
    moment(text, |day| day.to_zoned(TimeZone::UTC))
}

fn last_moment(text: &str) -> Result<Timestamp, String> {
    moment(text, |day| day.at(23, 59, 59, 999_999_999).to_zoned(TimeZone::UTC))
}

fn moment(
    text: &str,
    of_day: impl Fn(Date) -> Result<jiff::Zoned, jiff::Error>,
) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let day = text.parse::<Date>().map_err(|_| "write 2026-05-09 or 2026-05-09T12:00:00Z".to_owned())?;
    of_day(day).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_meant_from_its_first_to_its_last_moment() {
        assert_eq!(first_moment("2026-05-09").unwrap().to_string(), "2026-05-09T00:00:00Z");
        assert_eq!(last_moment("2026-05-09").unwrap().to_string(), "2026-05-09T23:59:59.999999999Z");
        assert_eq!(first_moment("2026-05-09T12:00:00+02:00").unwrap().to_string(), "2026-05-09T10:00:00Z");
        assert!(first_moment("yesterday").is_err());
    }

    #[test]
    fn what_is_not_known_rules_nothing_out_and_decides_nothing() {
        let filter = Filter { user: Some("alice".into()), ..Filter::default() };
        let about = |user: Option<&str>| About { user: user.map(str::to_owned), ..About::default() };
        for (user, may_be, decided) in
            [(None, true, false), (Some("alice"), true, true), (Some("bob"), false, true)]
        {
            assert_eq!(filter.may_be(&about(user)), may_be, "{user:?}");
            assert_eq!(filter.is_decided(&about(user)), decided, "{user:?}");
        }
    }
}
