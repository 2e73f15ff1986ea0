//! `audit.spool`: the store between the session and its destination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;
use crate::value::ByteSize;
use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `audit.spool.onFull`: what happens when the spool is full.
    #[derive(Default)]
    pub enum OnFull {
        /// Sessions wait for room.
        #[default]
        Block = "block",
        /// As a failed record, by `audit.onFailure`.
        Deny = "deny",
        /// Records are dropped and the gap is recorded.
        Drop = "drop",
    }
}

keyword_enum! {
    /// `audit.spool.durability`: when a byte may be passed on.
    #[derive(Default)]
    pub enum Durability {
        /// As soon as its record is accepted; it is on the disk 100 ms later.
        #[default]
        Group = "group",
        /// Once its record is on the disk.
        Strict = "strict",
    }
}

/// `audit.spool`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Spool {
    /// Most bytes it may hold.
    pub size: ByteSize,
    /// What happens then.
    pub on_full: OnFull,
    /// What a power cut may cost.
    pub durability: Durability,
}

impl Default for Spool {
    fn default() -> Self {
        Self { size: ByteSize::gib(10), on_full: OnFull::default(), durability: Durability::default() }
    }
}

/// A spool smaller than this could not hold the records of the sessions it lets in.
const MIN_SPOOL: u64 = 16 * 1024 * 1024;

impl Spool {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.size.bytes() < MIN_SPOOL {
            problems.invalid("audit.spool.size", "must be at least 16Mi");
        }
    }
}
