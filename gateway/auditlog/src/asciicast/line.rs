//! The lines of a cast file in either version.

use serde::Serialize;

use super::Version;

/// What the first line tells.
pub(super) struct Header<'a> {
    pub(super) size: (u32, u32),
    /// Seconds since 1970.
    pub(super) timestamp: u64,
    pub(super) command: Option<&'a str>,
    /// The client's TERM; empty if unknown.
    pub(super) term: &'a str,
}

#[derive(Serialize)]
struct HeaderV2<'a> {
    version: u8,
    width: u32,
    height: u32,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    env: Env<'a>,
}

#[derive(Serialize)]
struct Env<'a> {
    #[serde(rename = "TERM", skip_serializing_if = "str::is_empty")]
    term: &'a str,
}

#[derive(Serialize)]
struct HeaderV3<'a> {
    version: u8,
    term: Term<'a>,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
}

#[derive(Serialize)]
struct Term<'a> {
    cols: u32,
    rows: u32,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    term: &'a str,
}

impl Header<'_> {
    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) {
        let (timestamp, command) = (self.timestamp, self.command);
        let (width, height) = self.size;
        match version {
            Version::V2 => {
                let env = Env { term: self.term };
                line(&HeaderV2 { version: 2, width, height, timestamp, command, env }, out);
            }
            Version::V3 => {
                let term = Term { cols: width, rows: height, term: self.term };
                line(&HeaderV3 { version: 3, term, timestamp, command }, out);
            }
        }
    }
}

/// Writes events with their times.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Of the event before, in microseconds since the start.
    previous: u64,
}

impl Clock {
    /// One event, `since_start` in nanoseconds: never earlier than the one before, which players could not show.
    pub(super) fn event(
        &mut self,
        version: Version,
        since_start: u64,
        kind: &str,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        // Microseconds: more than any player resolves, and exact as a JSON number. Differences are taken between whole
        // microseconds, so that a long session of version 3 does not drift.
        let now = self.previous.max(since_start / 1_000);
        let time = match version {
            Version::V2 => now,
            Version::V3 => now - self.previous,
        };
        self.previous = now;
        line(&(time as f64 / 1e6, kind, text), out);
    }
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    // Numbers, strings and maps with text keys, into a Vec: nothing here can fail.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}
