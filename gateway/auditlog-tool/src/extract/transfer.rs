//! Which transfer is meant.

use std::fmt;
use std::str::FromStr;

use containerssh_auditlog::sftp::{Direction, Operation, RemotePath, Transferred};

/// A transfer of a log: channel and number, `2.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TransferId {
    pub(super) channel: u64,
    pub(super) transfer: u64,
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.channel, self.transfer)
    }
}

/// Not the number of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("should be a channel and a number as --list shows them, such as 2.0")]
pub(super) struct BadTransferId;

impl FromStr for TransferId {
    type Err = BadTransferId;

    fn from_str(text: &str) -> Result<Self, BadTransferId> {
        let (channel, transfer) = text.split_once('.').ok_or(BadTransferId)?;
        let number = |text: &str| text.parse().map_err(|_| BadTransferId);
        Ok(Self { channel: number(channel)?, transfer: number(transfer)? })
    }
}

/// What the end of a transfer tells, per direction.
pub(super) fn ended(
    operation: &Operation,
) -> Option<(u64, Option<&RemotePath>, impl Iterator<Item = (Direction, &Transferred)>)> {
    let Operation::Close { path, transfer, read, written, .. } = operation else { return None };
    let ways = [(Direction::Read, read.as_ref()), (Direction::Written, written.as_ref())];
    let ways = ways.into_iter().filter_map(|(way, moved)| Some((way, moved?)));
    Some((*transfer, path.as_ref(), ways))
}

/// As users speak of it.
pub(super) const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Read => "download",
        Direction::Written => "upload",
    }
}
