//! ContainerSSH's levels (those of syslog, RFC 5424 section 6.2.1) and formats.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A word that is not in the list of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {allowed}")]
pub struct UnknownKeyword {
    /// What was there, shortened.
    pub found: String,
    /// The allowed words, separated by commas.
    pub allowed: &'static str,
}

/// How bad it is. The order is that of badness: `Debug < Emerg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug = 0,
    /// Ordinary events, one or more per connection.
    Info = 1,
    /// Ordinary events that an administrator wants to see.
    #[default]
    Notice = 2,
    /// Something is not as it should be, and work goes on.
    Warning = 3,
    /// Something failed.
    Error = 4,
    /// The program cannot do its work.
    Crit = 5,
    /// Somebody has to act at once.
    Alert = 6,
    /// The program is unusable.
    Emerg = 7,
}

impl Level {
    /// All levels, least bad first.
    pub const ALL: [Level; 8] = [
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warning,
        Level::Error,
        Level::Crit,
        Level::Alert,
        Level::Emerg,
    ];

    /// The name as configured and as written into lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Crit => "crit",
            Level::Alert => "alert",
            Level::Emerg => "emerg",
        }
    }

    /// By syslog number: 7 is debug, 0 is emerg.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Level> {
        let index = 7_usize.checked_sub(usize::try_from(number).ok()?)?;
        Level::ALL.get(index).copied()
    }

    pub(crate) fn from_index(index: u8) -> Level {
        Level::ALL.get(usize::from(index)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const LEVELS: &str = "debug, info, notice, warning, error, crit, alert, emerg, or 7 to 0";

impl FromStr for Level {
    type Err = UnknownKeyword;

    fn from_str(text: &str) -> Result<Level, UnknownKeyword> {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .or_else(|| text.parse().ok().and_then(Level::from_number))
            .ok_or_else(|| UnknownKeyword { found: shorten(text), allowed: LEVELS })
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        struct LevelVisitor;
        impl Visitor<'_> for LevelVisitor {
            type Value = Level;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a log level: ")?;
                f.write_str(LEVELS)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Level, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Level, E> {
                Level::from_number(number)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Level, E> {
                u64::try_from(number)
                    .ok()
                    .and_then(Level::from_number)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(LevelVisitor)
    }
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// One JSON object per line: `timestamp`, `level`, `code`, `message`, `details`.
    #[default]
    Ljson,
    /// `TIMESTAMP<tab>LEVEL<tab>MESSAGE (label=value label=value)`.
    Text,
}

impl Format {
    /// The name as configured.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Ljson => "ljson",
            Format::Text => "text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownKeyword;

    fn from_str(text: &str) -> Result<Format, UnknownKeyword> {
        match text {
            "ljson" => Ok(Format::Ljson),
            "text" => Ok(Format::Text),
            other => Err(UnknownKeyword { found: shorten(other), allowed: "ljson, text" }),
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An error message repeats what was wrong, not a whole file.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_and_a_syslog_number() {
        for (index, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!((7 - index).to_string().parse(), Ok(level));
            assert_eq!(serde_json::from_str::<Level>(&format!("{}", 7 - index)).unwrap(), level);
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
        }
    }

    #[test]
    fn worse_levels_are_greater() {
        assert!(
            Level::Debug < Level::Notice && Level::Notice < Level::Warning && Level::Alert < Level::Emerg
        );
    }

    #[test]
    fn unknown_words_and_numbers_are_refused_with_the_list() {
        for wrong in ["", "Notice", "warn", "8", "-1", "trace"] {
            let error = wrong.parse::<Level>().unwrap_err().to_string();
            assert!(error.contains("debug, info, notice"), "{error}");
        }
        assert!(serde_json::from_str::<Level>("8").is_err());
        assert!(serde_json::from_str::<Level>("-1").is_err());
        assert!(serde_json::from_str::<Level>("true").is_err());
        assert_eq!("json".parse::<Format>().unwrap_err().to_string(), "\"json\" is not one of ljson, text");
    }

    #[test]
    fn an_error_shows_only_the_beginning_of_a_long_word() {
        assert!("x".repeat(1000).parse::<Level>().unwrap_err().to_string().len() < 200);
    }
}
