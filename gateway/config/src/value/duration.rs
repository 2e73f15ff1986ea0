//! Durations as Go writes them: `"60s"`, `"1h30m"`, `"1.5s"`, `"100ms"`, or a number of nanoseconds.
//!
//! Use with `#[serde(with = "containerssh_config::duration")]` on a [`std::time::Duration`].

use std::fmt;
use std::time::Duration;

use serde::Serializer;
use serde::de::{self, Deserializer, Visitor};

/// The units in nanoseconds. Go has no day.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const FORM: &str = "write it like \"60s\", \"1h30m\" or \"100ms\", or as a number of nanoseconds";

/// Longest duration: Go's, 2^63-1 nanoseconds, about 292 years.
const MAX_NANOS: u64 = i64::MAX as u64;

/// Reads a duration as Go's `time.ParseDuration` does, except that negative ones are refused.
///
/// # Errors
/// The message says what is wrong and how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is not a duration: {FORM}")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(format!("{text:?} is negative"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).ok_or_else(wrong)?;
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else { return Err(wrong()) };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let part =
            whole.checked_mul(*scale).and_then(|nanos| nanos.checked_add(fraction_of(fraction, *scale)));
        total = part
            .and_then(|nanos| total.checked_add(nanos))
            .filter(|nanos| *nanos <= MAX_NANOS)
            .ok_or_else(wrong)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `scale * 0.digits`, cut off below the nanosecond as Go does.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let mut scale = scale;
    let mut nanos = 0;
    for digit in digits.bytes() {
        scale /= 10;
        nanos += u64::from(digit - b'0') * scale;
    }
    nanos
}

/// Writes a duration in the largest units that are exact: `90m` becomes `1h30m`, zero becomes `0s`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut nanos = u64::try_from(duration.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS);
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else { continue };
        if nanos >= *scale {
            text.push_str(&format!("{}{unit}", nanos / scale));
            nanos %= scale;
        }
    }
    text
}

/// For serde.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For serde.
///
/// # Errors
/// When it is neither a duration text nor a number of nanoseconds, or negative.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct DurationVisitor;
    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration: ")?;
            f.write_str(FORM)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<Duration, E> {
            if nanos > MAX_NANOS {
                return Err(E::invalid_value(de::Unexpected::Unsigned(nanos), &self));
            }
            Ok(Duration::from_nanos(nanos))
        }

        fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<Duration, E> {
            u64::try_from(nanos)
                .map(Duration::from_nanos)
                .map_err(|_| E::custom(format!("{nanos} is negative")))
        }
    }
    deserializer.deserialize_any(DurationVisitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_mean_what_they_mean_in_go() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("60s", 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+5s", 5_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("7ns", 7),
            ("1.9ns", 1),
            ("0.333333333333333333333h", 1_199_999_999_998),
            ("2562047h47m16.854775807s", i64::MAX as u64),
        ] {
            let parsed = parse(text).unwrap().as_nanos() as u64;
            // Go cuts the fraction off in floating point; the last nanoseconds of long fractions may differ.
            assert!(parsed.abs_diff(nanos) <= 10, "{text}: {parsed} != {nanos}");
        }
    }

    #[test]
    fn wrong_texts_are_refused_with_the_form_to_use() {
        for text in
            ["", "+", "s", "5", "5 s", "1d", "1h 30m", "five", ".", ".s", "1e3s", "9999999999h", "1s\n", "1ſ"]
        {
            let message = parse(text).unwrap_err();
            assert!(message.contains("\"1h30m\""), "{text:?}: {message}");
        }
        assert_eq!(parse("-5s").unwrap_err(), "\"-5s\" is negative");
    }

    #[test]
    fn durations_are_written_in_exact_units() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(5400), "1h30m"),
            (Duration::from_millis(1500), "1s500ms"),
            (Duration::from_nanos(1_000_001), "1ms1ns"),
            (Duration::from_secs(168 * 3600), "168h"),
        ] {
            assert_eq!(format(duration), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back_exactly(nanos in 0..=MAX_NANOS) {
            let duration = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
