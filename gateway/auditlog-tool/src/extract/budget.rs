//! How much an extraction may write.

use std::str::FromStr;

/// What a file or a directory costs besides its content, in bytes: a block. Else a log could fill a disk with empty files.
const OVERHEAD: u64 = 4096;

/// A number of bytes: `4096`, `64KiB`, `10GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// Not a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("should be a number of bytes, such as 4096, 64KiB, 100MiB or 10GiB")]
pub(super) struct BadBytes;

impl FromStr for Bytes {
    type Err = BadBytes;

    fn from_str(text: &str) -> Result<Self, BadBytes> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1_u64 << 40)];
        let found = units.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let (number, size) = found.unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| BadBytes)?;
        number.checked_mul(size).map(Self).ok_or(BadBytes)
    }
}

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    pub(super) fn new(Bytes(left): Bytes) -> Self {
        Self { left }
    }

    /// For a file, and the directories it is in.
    pub(super) fn file(&mut self, parts: usize) -> bool {
        self.take(OVERHEAD.saturating_mul(parts.max(1) as u64))
    }

    /// For bytes, holes included. Takes nothing if they are too many.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_are_read_with_their_units() {
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        assert_eq!("10GiB".parse(), Ok(Bytes(10 << 30)));
        assert_eq!("64 KiB".parse(), Ok(Bytes(64 << 10)));
        for wrong in ["", "GiB", "-1", "1GB", "99999999999TiB"] {
            assert_eq!(wrong.parse::<Bytes>(), Err(BadBytes), "{wrong}");
        }
    }

    #[test]
    fn what_is_too_much_takes_nothing() {
        let mut budget = Budget::new(Bytes(10_000));
        assert!(budget.file(2) && !budget.take(2000) && budget.take(1808) && !budget.take(1));
    }
}
