//! One JSON object per log and line, and one with the total.

use serde::Serialize;

use crate::time;

use super::Total;
use super::summary::{Counts, Summary};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log<'l> {
    file: &'l str,
    connection_id: Option<&'l str>,
    user: Option<&'l str>,
    authenticated: bool,
    remote_addr: Option<&'l str>,
    country: Option<&'l str>,
    /// RFC 3339.
    started: Option<String>,
    ended: Option<String>,
    seconds: f64,
    #[serde(flatten)]
    counts: &'l Counts,
    /// The first of them.
    programs: &'l [String],
    /// With the record of the connection's end, without gaps and damage.
    whole: bool,
}

/// One log.
pub(super) fn line(file: &str, summary: &Summary) -> String {
    let counts = &summary.counts;
    to_line(&Log {
        file,
        connection_id: summary.session.connection.as_deref(),
        user: summary.session.user.as_deref(),
        authenticated: summary.session.authenticated,
        remote_addr: summary.remote.as_deref(),
        country: summary.country.as_deref(),
        started: summary.times.map(|(first, _)| time::text(first)),
        ended: summary.times.map(|(_, last)| time::text(last)),
        seconds: seconds(summary.duration()),
        counts,
        programs: &summary.commands,
        whole: summary.ended && counts.gaps == 0 && counts.damaged == 0,
    })
}

/// All logs together.
pub(super) fn total(total: &Total) -> String {
    #[derive(Serialize)]
    struct Line<'l> {
        total: All<'l>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct All<'l> {
        logs: u64,
        users: usize,
        seconds: f64,
        #[serde(flatten)]
        counts: &'l Counts,
        without_end: u64,
    }
    let Total { logs, users, duration, counts, unended } = total;
    let (users, seconds) = (users.len(), seconds(*duration));
    to_line(&Line { total: All { logs: *logs, users, seconds, counts, without_end: *unended } })
}

fn seconds(nanoseconds: u64) -> f64 {
    // Milliseconds: exact as a JSON number.
    (nanoseconds / 1_000_000) as f64 / 1e3
}

fn to_line(value: &impl Serialize) -> String {
    // Numbers, strings and maps with text keys: nothing here can fail.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}
