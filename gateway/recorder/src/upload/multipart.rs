//! How an object is cut into parts. Pure.
//!
//! S3's rules: 1 to 10,000 parts numbered from 1, each of 5 MiB to 5 GiB except the last, which may be smaller.

use std::ops::Range;

/// The smallest part that S3 takes, save for the last.
pub(crate) const MIN_PART: u64 = 5 * 1024 * 1024;
/// The largest part, and the largest object that one `PutObject` can hold.
pub(crate) const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;
/// The largest part number.
const MAX_PARTS: u64 = 10_000;

/// How to upload an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// One `PutObject`.
    Whole,
    /// A multipart upload.
    Parts(Vec<Part>),
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// From 1, in order. (The reference starts at 0, which S3 refuses.)
    pub(crate) number: i32,
    /// The bytes of the file.
    pub(crate) bytes: Range<u64>,
}

/// Plans the upload of `size` bytes in parts of `part_size`, which is clamped to what S3 takes and grows where 10,000
/// parts would not be enough. A file smaller than one part goes up whole. What is left over after the last full part
/// becomes a part of its own.
pub(crate) fn plan(size: u64, part_size: u64) -> Plan {
    let part_size = part_size.max(size.div_ceil(MAX_PARTS)).clamp(MIN_PART, MAX_PART);
    if size <= part_size {
        return Plan::Whole;
    }
    let starts = (0..size).step_by(usize::try_from(part_size).unwrap_or(usize::MAX));
    Plan::Parts(
        starts
            .zip(1..)
            .map(|(start, number)| Part { number, bytes: start..start.saturating_add(part_size).min(size) })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn up_to_one_part_goes_up_whole() {
        assert_eq!(plan(0, MIN_PART), Plan::Whole);
        assert_eq!(plan(MIN_PART, MIN_PART), Plan::Whole);
    }

    #[test]
    fn one_byte_more_makes_two_parts_numbered_from_one() {
        assert_eq!(
            plan(MIN_PART + 1, MIN_PART),
            Plan::Parts(vec![
                Part { number: 1, bytes: 0..MIN_PART },
                Part { number: 2, bytes: MIN_PART..MIN_PART + 1 },
            ])
        );
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_in_order_within_the_limits(size in 0u64..40_000_000_000_000, part_size: u64) {
            match plan(size, part_size) {
                Plan::Whole => prop_assert!(size <= MAX_PART),
                Plan::Parts(parts) => {
                    prop_assert!(parts.len() <= 10_000);
                    let mut at = 0;
                    for (index, part) in parts.iter().enumerate() {
                        prop_assert_eq!(part.number, i32::try_from(index).unwrap() + 1);
                        prop_assert_eq!(part.bytes.start, at);
                        let length = part.bytes.end - part.bytes.start;
                        prop_assert!(length <= MAX_PART && length > 0);
                        prop_assert!(length >= MIN_PART || index + 1 == parts.len());
                        at = part.bytes.end;
                    }
                    prop_assert_eq!(at, size);
                }
            }
        }
    }
}
