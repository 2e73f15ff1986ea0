//! Which bytes of a file have passed.

/// Ranges that are told apart. A transfer has one, a resumed or parallel one a few; who jumps about more is told so
/// (`rangesOmitted`) instead of filling the memory.
const MAX_RANGES: usize = 64;

/// Ascending ranges without their ends, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
    omitted: bool,
}

impl Ranges {
    pub(super) fn add(&mut self, start: u64, length: u64) {
        let end = start.saturating_add(length);
        if start == end {
            return;
        }
        // Nearly always the continuation of the last one.
        if let Some(last) = self.ranges.last_mut()
            && last.0 <= start
            && start <= last.1
        {
            last.1 = last.1.max(end);
            return;
        }
        let first = self.ranges.partition_point(|range| range.1 < start);
        let behind = self.ranges.partition_point(|range| range.0 <= end);
        match self.ranges.get(first..behind).unwrap_or_default() {
            [] if self.ranges.len() < MAX_RANGES => self.ranges.insert(first, (start, end)),
            [] => self.omitted = true,
            [from, .., to] | [from @ to] => {
                let joined = (start.min(from.0), end.max(to.1));
                self.ranges.splice(first..behind, [joined]);
            }
        }
    }

    /// The end of what is covered from byte 0 on.
    pub(super) fn contiguous(&self) -> u64 {
        self.ranges.first().filter(|range| range.0 == 0).map_or(0, |range| range.1)
    }

    /// Whether everything that passed is in one piece from byte 0 on.
    pub(super) fn is_prefix(&self) -> bool {
        !self.omitted
            && match self.ranges.as_slice() {
                [] => true,
                [only] => only.0 == 0,
                _ => false,
            }
    }

    pub(super) fn into_parts(self) -> (Vec<(u64, u64)>, bool) {
        (self.ranges, self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_all_bytes(parts in prop::collection::vec((0_u64..120, 0_u64..20), 0..40)) {
            let mut ranges = Ranges::default();
            let mut set = [false; 160];
            for (start, length) in parts {
                ranges.add(start, length);
                (start..start + length).for_each(|at| set[at as usize] = true);
            }
            let (ranges, omitted) = ranges.into_parts();
            prop_assert!(!omitted);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (at, passed) in set.iter().enumerate() {
                let at = at as u64;
                prop_assert_eq!(ranges.iter().any(|range| range.0 <= at && at < range.1), *passed);
            }
        }
    }

    #[test]
    fn a_million_scattered_bytes_take_no_memory_and_say_so() {
        let mut ranges = Ranges::default();
        (0..1_000_000).for_each(|at| ranges.add(at * 2, 1));
        assert!(!ranges.is_prefix());
        let (ranges, omitted) = ranges.into_parts();
        assert_eq!((ranges.len(), omitted), (MAX_RANGES, true));
    }
}
