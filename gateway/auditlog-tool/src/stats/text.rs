//! The table for people. It grows line by line, so columns have a width from the start.

use std::collections::BTreeMap;

use containerssh_auditlog::text::visible;
use jiff::Timestamp;

use super::Total;
use super::summary::{Counts, Summary};

/// Of what a client chose, so much is shown, in characters.
const MAX_NAME: usize = 40;
/// Exit codes that are shown of one log.
const MAX_EXIT_CODES: usize = 3;

/// The names of the columns.
pub(super) fn head() -> String {
    row(&[
        "USER", "STARTED", "LASTED", "FROM", "LOGIN", "CHAN", "CMDS", "IN", "OUT", "ERR", "EXIT", "STATE",
        "FILE",
    ])
}

/// One log.
pub(super) fn line(file: &str, summary: &Summary) -> String {
    let counts = &summary.counts;
    let user = match (&summary.session.user, summary.session.authenticated) {
        (Some(user), true) => name(user),
        (Some(user), false) => format!("({})", name(user)),
        (None, _) => "-".to_owned(),
    };
    let login = format!("{}/{}", u8::from(summary.session.authenticated), counts.auth_attempts);
    row(&[
        &user,
        &summary.times.map_or_else(|| "-".to_owned(), |(first, _)| started(first)),
        &lasted(summary.duration()),
        &summary.remote.as_deref().map_or_else(|| "-".to_owned(), name),
        &login,
        &counts.channels.to_string(),
        &(counts.commands + counts.shells + counts.subsystems).to_string(),
        &size(counts.stdin),
        &size(counts.stdout),
        &size(counts.stderr),
        &exits(counts),
        &state(counts, summary.ended),
        &visible(file),
    ])
}

/// All logs together.
pub(super) fn total(total: &Total) -> String {
    let counts = &total.counts;
    let mut lines = format!(
        "\n{} of {}, {} in all: {}, {}; {} to log in, {} of them failed\n\
         {} in, {} out, {} errors; {}; exit {}\n",
        plural(total.logs, "log"),
        plural(total.users.len() as u64, "user"),
        lasted(total.duration),
        plural(counts.channels, "channel"),
        plural(counts.commands + counts.shells + counts.subsystems, "program"),
        plural(counts.auth_attempts, "attempt"),
        counts.auth_failures,
        size(counts.stdin),
        size(counts.stdout),
        size(counts.stderr),
        plural(counts.records, "record"),
        codes(&counts.exit_codes, counts.exit_signals, usize::MAX),
    );
    let doubtful = [
        (
            counts.gaps,
            "place where the gateway could not record everything",
            "places where the gateway could not record everything",
        ),
        (counts.damaged, "damaged place", "damaged places"),
        (total.unended, "log without its end", "logs without their end"),
    ];
    for (count, one, more) in doubtful.into_iter().filter(|(count, ..)| *count > 0) {
        lines.push_str(&format!("{count} {}\n", if count == 1 { one } else { more }));
    }
    lines
}

/// What a client chose, short and safe to show.
fn name(chosen: &str) -> String {
    let mut shown: String = chosen.chars().take(MAX_NAME).collect();
    if shown.len() < chosen.len() {
        shown.push('\u{2026}');
    }
    visible(&shown)
}

fn row<T: AsRef<str>>(cells: &[T; 13]) -> String {
    let [user, started, lasted, from, login, channels, commands, stdin, stdout, stderr, exit, state, file] =
        cells.each_ref().map(T::as_ref);
    format!(
        "{user:<12}  {started:<19}  {lasted:>9}  {from:<15}  {login:>5}  {channels:>4}  {commands:>4}  {stdin:>9}  {stdout:>9}  \
         {stderr:>9}  {exit:<10}  {state:<9}  {file}\n"
    )
}

/// Date and time in UTC, to the second.
fn started(time: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(time)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{time} ns"),
    }
}

/// Hours, minutes and seconds.
fn lasted(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Bytes, to three digits.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

fn exits(counts: &Counts) -> String {
    codes(&counts.exit_codes, counts.exit_signals, MAX_EXIT_CODES)
}

/// `0 ×12, 1, signal ×2`.
fn codes(codes: &BTreeMap<u32, u64>, signals: u64, most: usize) -> String {
    let times = |what: String, count: u64| if count == 1 { what } else { format!("{what} \u{d7}{count}") };
    let mut shown: Vec<String> =
        codes.iter().take(most).map(|(code, count)| times(code.to_string(), *count)).collect();
    if codes.len() > most {
        shown.push("\u{2026}".to_owned());
    }
    if signals > 0 {
        shown.push(times("signal".to_owned(), signals));
    }
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

fn state(counts: &Counts, ended: bool) -> String {
    let state: Vec<String> = [
        (counts.damaged > 0).then(|| "damaged".to_owned()),
        (counts.gaps > 0).then(|| "gaps".to_owned()),
        (!ended).then(|| "no end".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if state.is_empty() { "whole".to_owned() } else { state.join(", ") }
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(lasted(3_723 * 1_000_000_000 + 999_999_999), "1:02:03");
        let exits = BTreeMap::from([(0, 12), (1, 1), (2, 2), (130, 1)]);
        assert_eq!(codes(&exits, 2, 3), "0 \u{d7}12, 1, 2 \u{d7}2, \u{2026}, signal \u{d7}2");
        assert_eq!(codes(&BTreeMap::new(), 0, 3), "-");
    }
}
