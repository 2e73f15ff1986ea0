//! `audit.formatVersion`: which version of ContainerSSH's binary format is written.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The version that stands in a record's header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormatVersion {
    /// One CBOR array of records.
    #[default]
    V1,
    /// Records one after the other.
    V2,
}

impl FormatVersion {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

impl Serialize for FormatVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for FormatVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            other => Err(de::Error::custom(format!("must be 1 or 2, but is {other}"))),
        }
    }
}
