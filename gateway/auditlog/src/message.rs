//! A record: when, on which connection and channel, what.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::payload::Payload;

/// One record of an audit log.
///
/// `Serialize` gives the JSON object that ContainerSSH's decoder prints for it, keys in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The connection, 32 lowercase hexadecimal digits. Shared: every record of a log has the same.
    pub connection_id: Arc<str>,
    /// When it happened, in nanoseconds since 1970-01-01T00:00:00Z.
    pub timestamp: u64,
    /// What happened.
    pub payload: Payload,
    /// The channel it happened on; `None` if it concerns the whole connection.
    pub channel_id: Option<u64>,
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("connectionId", &*self.connection_id)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        map.serialize_entry("type", &self.payload.type_code())?;
        map.serialize_entry("typeId", self.payload.type_id())?;
        map.serialize_entry("typeName", self.payload.type_name())?;
        map.serialize_entry("payload", &self.payload)?;
        map.serialize_entry("channelId", &self.channel_id)?;
        map.end()
    }
}

/// Which of a program's three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoStream {
    /// From the user to the program.
    Stdin,
    /// From the program to the user.
    Stdout,
    /// From the program to the user, errors.
    Stderr,
}

impl IoStream {
    /// The number that stands for it in a record.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// The stream that a number stands for.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }

    /// `stdin`, `stdout` or `stderr`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A question of keyboard-interactive authentication (RFC 4256 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// What the user is asked.
    pub question: String,
    /// Whether the client may show what is typed.
    pub echo: bool,
}

/// An answer of keyboard-interactive authentication. A secret: `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What the user was asked.
    pub question: String,
    /// What the user answered.
    pub answer: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("question", &self.question).finish_non_exhaustive()
    }
}
