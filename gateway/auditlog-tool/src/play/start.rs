//! Times as the command line has them.

use std::str::FromStr;

use jiff::Timestamp;

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// Nanoseconds from the beginning.
    After(u64),
    /// Nanoseconds since 1970.
    Moment(u64),
}

impl StartAt {
    /// In nanoseconds from the beginning, for a session that began then (nanoseconds since 1970).
    pub(crate) fn from(self, beginning: u64) -> u64 {
        match self {
            Self::After(time) => time,
            Self::Moment(moment) => moment.saturating_sub(beginning),
        }
    }
}

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return u64::try_from(moment.as_nanosecond())
                .map(Self::Moment)
                .map_err(|_| "before 1970 nothing was recorded".to_owned());
        }
        let parsed = if text.contains(':') { clock(text) } else { duration(text).ok() };
        parsed.map(Self::After).ok_or_else(|| {
            "neither a time from the beginning (90s, 1:30, 1:02:03) nor a moment (2026-11-21T09:45:38Z)"
                .to_owned()
        })
    }
}

/// `m:ss` or `h:mm:ss`, in nanoseconds.
fn clock(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    let seconds = parts.iter().try_fold(0_u64, |sum, part| {
        let number: u64 = part.parse().ok()?;
        sum.checked_mul(60)?.checked_add(number)
    })?;
    seconds.checked_mul(1_000_000_000)
}

/// A time such as `2s`, `500ms`, `1.5`, `3m` or `1h`, in nanoseconds; without a unit it is in seconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let wrong = || "not a time, such as 2s, 500ms, 1.5 or 3m".to_owned();
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.get(number.len()..).unwrap_or_default() {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return Err(wrong()),
    };
    let value: f64 = number.parse().map_err(|_| wrong())?;
    // Numbers too large become the largest, which is as good as for ever.
    if value.is_finite() && value >= 0.0 { Ok((value * unit) as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn times_are_read_in_each_of_their_forms() {
        for (text, expected) in
            [("90s", 90), ("90", 90), ("1:30", 90), ("1:02:03", 3_723), ("2m", 120), ("1h", 3_600)]
        {
            assert_eq!(text.parse(), Ok(StartAt::After(expected * SECOND)), "{text}");
        }
        assert_eq!(duration("500ms"), Ok(SECOND / 2));
        assert_eq!(duration("1.5"), Ok(SECOND * 3 / 2));
        let moment: StartAt = "2020-09-13T12:26:42Z".parse().unwrap();
        assert_eq!(moment, StartAt::Moment(1_600_000_002 * SECOND));
        assert_eq!(moment.from(1_600_000_000 * SECOND), 2 * SECOND);
        assert_eq!(moment.from(1_700_000_000 * SECOND), 0);
    }

    #[test]
    fn anything_else_says_what_a_time_looks_like() {
        for text in ["", "x", "-1", "1:2:3:4", "1:x", "5 parsecs", "inf", "NaN", "99999999999999999999:00"] {
            assert!(text.parse::<StartAt>().unwrap_err().contains("1:02:03"), "{text}");
        }
    }
}
