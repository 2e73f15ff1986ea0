//! Durations as people write them in manifests: `30s`, `12h`, `1h30m`.
//!
//! A subset of Go's syntax: whole numbers only, units `h`, `m`, `s`, `ms`. Fractions and nanoseconds would
//! buy nothing here and cost exactness.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern that the API server checks; [`Span::from_str`] accepts exactly this.
const PATTERN: &str = "^([0-9]{1,9}(h|m|s|ms))+$";
/// Longest text: four units of nine digits each fit, and the sum stays far below `u64` milliseconds.
const MAX_LENGTH: usize = 44;

/// A duration, whole milliseconds, written like `30s`, `12h` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// The duration itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The duration, or nothing where zero stands for "no limit".
    #[must_use]
    pub fn nonzero(self) -> Option<Self> {
        (!self.0.is_zero()).then_some(self)
    }
}

impl From<Duration> for Span {
    /// Cuts to whole milliseconds.
    fn from(duration: Duration) -> Self {
        Self(Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: write whole numbers with units h, m, s or ms, such as 30s, 12h or 1h30m")]
pub struct DurationError(String);

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || DurationError(text.chars().take(MAX_LENGTH).collect());
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(error());
        }
        let mut rest = text;
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            if !(1..=9).contains(&number.len()) {
                return Err(error());
            }
            let number: u64 = number.parse().map_err(|_| error())?;
            let units = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(units);
            let unit: u64 = match unit {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1_000,
                "ms" => 1,
                _ => return Err(error()),
            };
            millis = number.checked_mul(unit).and_then(|n| millis.checked_add(n)).ok_or_else(error)?;
            rest = tail;
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = millis;
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            let count = rest / size;
            rest %= size;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("30s", 30_000),
            ("12h", 43_200_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("0s", 0),
            ("1m5ms", 60_005),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().get(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else_and_says_how() {
        for text in
            ["", "30", "s", "1.5h", "-3s", "3 s", "1d", "9999999999h", "1h30", "5sm", "１s", &"1h".repeat(40)]
        {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("such as 30s"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn survives_its_own_writing(millis in 0..=999_999_999u64 * 3_600_000) {
            let span = Span::from(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Span>();
        }
    }
}
