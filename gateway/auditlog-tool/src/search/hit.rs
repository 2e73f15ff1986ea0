//! What was found, and how it is printed.

use std::ops::Range;

use containerssh_auditlog::text::{lossy, visible};
use serde::Serialize;

use crate::time;

/// Of a long line, so much around the match is shown, in bytes.
const MAX_SHOWN: usize = 1_000;

/// How what was found came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The user saw it.
    Seen,
    /// The user typed or sent it.
    Typed,
    /// The client asked to run it.
    Command,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Typed => "typed",
            Self::Command => "command",
        }
    }
}

/// A line with a match.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) time: u64,
    pub(super) channel: Option<u64>,
    pub(super) kind: Kind,
    line: String,
}

impl Hit {
    pub(super) fn new(
        time: u64,
        channel: Option<u64>,
        kind: Kind,
        line: &[u8],
        matched: &Range<usize>,
    ) -> Self {
        Self { time, channel, kind, line: excerpt(line, matched) }
    }
}

/// The line, or the part around the match of one that is too long to be looked at.
fn excerpt(line: &[u8], matched: &Range<usize>) -> String {
    if line.len() <= MAX_SHOWN {
        return lossy(line);
    }
    let start = matched.start.saturating_sub(MAX_SHOWN / 4);
    let end = (start + MAX_SHOWN).min(line.len());
    let part = lossy(line.get(start..end).unwrap_or_default());
    let mark = |cut| if cut { "\u{2026}" } else { "" };
    format!("{}{part}{}", mark(start > 0), mark(end < line.len()))
}

/// Whose session a hit is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session<'s> {
    pub(super) file: &'s str,
    pub(super) connection: &'s str,
    pub(super) user: Option<&'s str>,
}

/// One line, columns separated by two blanks; nothing in it can act on a terminal.
pub(super) fn text(session: Session<'_>, hit: &Hit) -> String {
    let channel = hit.channel.map(|channel| format!("#{channel}")).unwrap_or_default();
    format!(
        "{}  {}  {}  {}  {channel:<3}  {:<7}  {}\n",
        visible(session.file),
        time::text(hit.time),
        session.user.map_or_else(|| "-".to_owned(), visible),
        visible(session.connection),
        hit.kind.name(),
        visible(&hit.line),
    )
}

/// One JSON object per line.
pub(super) fn json(session: Session<'_>, hit: &Hit) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Line<'l> {
        file: &'l str,
        connection_id: &'l str,
        user: Option<&'l str>,
        /// RFC 3339.
        time: String,
        /// Nanoseconds since 1970.
        timestamp: u64,
        channel_id: Option<u64>,
        #[serde(rename = "in")]
        kind: Kind,
        line: &'l str,
    }
    let line = Line {
        file: session.file,
        connection_id: session.connection,
        user: session.user,
        time: time::text(hit.time),
        timestamp: hit.time,
        channel_id: hit.channel,
        kind: hit.kind,
        line: &hit.line,
    };
    // Numbers, strings and fixed keys: nothing here can fail.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}
