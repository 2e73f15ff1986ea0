//! Amounts of storage: `10Gi`, `500M`, or a plain number of bytes.
//!
//! A Kubernetes quantity, less the forms that make no sense for bytes (milli, exponents, signs, zero). Kept as
//! the number it means, because policies compare sizes and text does not compare.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The pattern that the API server checks on the textual form; [`Size::from_str`] accepts exactly this.
const PATTERN: &str = r"^[1-9][0-9]{0,18}(\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$";
/// Longest text that the pattern admits.
const MAX_LENGTH: usize = 31;
/// Largest size (8 EiB - 1): what Kubernetes can hold in a quantity.
const MAX: u64 = i64::MAX as u64;

const UNITS: [(&str, u64); 11] = [
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

/// An amount of storage in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// That many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: write a positive number with a unit such as Mi, Gi, M or G, for instance 10Gi")]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    /// A fraction of a byte rounds up, as Kubernetes rounds quantities.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SizeError(text.chars().take(MAX_LENGTH).collect());
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, u128::from(*unit))))
            .ok_or_else(error)?;
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if (1..=9).contains(&fraction.len()) => (whole, fraction),
            Some(_) => return Err(error()),
            None => (number, ""),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !(1..=19).contains(&whole.len()) || whole.starts_with('0') || !digits(whole) || !digits(fraction) {
            return Err(error());
        }
        // At most 28 digits times 2^50 may pass 2^128, so the product is checked, not assumed.
        let scale = (0..fraction.len()).fold(1u128, |scale, _| scale * 10);
        let number: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
        let bytes = number.checked_mul(unit).ok_or_else(error)?.div_ceil(scale);
        u64::try_from(bytes).ok().filter(|bytes| *bytes <= MAX).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    /// The largest binary unit that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().filter(|(suffix, _)| suffix.ends_with('i'));
        match binary.into_iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as 10Gi, or a number of bytes")]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes @ 1..=MAX) => Ok(Self(bytes)),
            Raw::Number(bytes) => Err(de::Error::custom(SizeError(bytes.to_string()))),
            Raw::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "pattern": PATTERN,
            "maxLength": MAX_LENGTH,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_quantities_and_plain_numbers() {
        for (value, bytes) in [
            (json!("10Gi"), 10 << 30),
            (json!("500M"), 500_000_000),
            (json!("1.5Gi"), 3 << 29),
            (json!("1.1k"), 1_100),
            (json!("1.0000001k"), 1_001),
            (json!("4096"), 4096),
            (json!(4096), 4096),
        ] {
            assert_eq!(serde_json::from_value::<Size>(value.clone()).unwrap().bytes(), bytes, "{value}");
        }
    }

    #[test]
    fn refuses_nonsense_and_says_how() {
        for value in [
            json!(""),
            json!("0"),
            json!(0),
            json!("-1"),
            json!("10GB"),
            json!("1e3"),
            json!("1."),
            json!("999999999999999Pi"),
            json!("Gi"),
            json!("10m"),
        ] {
            let error = serde_json::from_value::<Size>(value.clone()).unwrap_err().to_string();
            assert!(error.contains("10Gi"), "{value}: {error}");
        }
    }

    proptest! {
        #[test]
        fn survives_its_own_writing(bytes in 1..=MAX) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Size>();
        }
    }
}
