//! Places along a chain that are kept for the manifest.

use crate::hash::Hash;

/// The state of the chain after a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// Where the member ends in the file, bytes.
    pub end: u64,
    /// Its number, from 0.
    pub member: u32,
    /// Its digest.
    pub head: Hash,
}

/// Marks kept for a record: 26 KB in memory at most, and as many stretches can be told apart by the manifest alone.
pub const MAX_MARKS: usize = 512;

/// Evenly spread places along a chain: every member's while they are few, then every second, every fourth and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    kept: Vec<Mark>,
    /// The last of `kept` is that of the last member and will be replaced, for its number is none to be kept.
    passing: bool,
    /// Numbers to be kept are multiples of 2 to this.
    shift: u32,
}

impl Marks {
    pub(super) fn kept(&self) -> &[Mark] {
        &self.kept
    }

    fn is_kept(&self, member: u32) -> bool {
        member.trailing_zeros().min(31) >= self.shift || member == 0
    }

    pub(super) fn add(&mut self, mark: Mark) {
        if self.passing {
            self.kept.pop();
        }
        if self.kept.len() >= MAX_MARKS {
            self.shift += 1;
            let shift = self.shift;
            self.kept.retain(|mark| mark.member == 0 || mark.member.trailing_zeros() >= shift);
        }
        self.passing = !self.is_kept(mark.member);
        self.kept.push(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_few_even_and_end_with_the_last_member() {
        let mut marks = Marks::default();
        for member in 0..10_000_u32 {
            let head = Hash::of_member(&member.to_le_bytes());
            marks.add(Mark { end: u64::from(member) + 1, member, head });
            let kept = marks.kept();
            assert!(kept.len() <= MAX_MARKS + 1, "{}", kept.len());
            assert_eq!(kept.last().unwrap().member, member);
            assert!(kept.is_sorted_by_key(|mark| mark.member));
            assert!(kept.windows(2).all(|pair| pair[1].member - pair[0].member <= 64));
        }
        assert!(marks.kept().len() > MAX_MARKS / 3);
    }
}
