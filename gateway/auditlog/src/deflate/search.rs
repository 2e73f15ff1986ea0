//! Finds what was there before: the next match from a place on.

/// How far back a match may lie (RFC 1951 section 3.2.5).
const WINDOW: u32 = 32 << 10;
/// The longest match.
const MAX_LENGTH: usize = 258;
/// Bits of a hash. Twice 64 KiB of tables stay in a core's own cache; one bit more finds 1 % more and is slower.
const HASH_BITS: u32 = 14;
/// A match from this length on is taken without a look at the next byte: a longer one saves little.
const LONG_ENOUGH: usize = 32;
/// Four bytes from farther away than this cost more bits than four bytes of text.
const FAR: usize = 4 << 10;
/// Every so many bytes inside a match are entered, so that what lies inside can be found by what comes later.
const STRIDE: usize = 8;
/// After 2^this many bytes without a match every second byte is looked at, and so on: data that has none is passed quickly.
const PATIENCE: u32 = 7;
/// The last bytes are not searched from: hashing reads eight of them, at two places.
const TAIL: usize = 12;

/// A match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where it begins in the content.
    pub(super) start: usize,
    /// 4 to 258 bytes.
    pub(super) length: usize,
    /// 1 to 32,768: how far back the same bytes lie.
    pub(super) distance: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// Where bytes were seen last, by their hashes. A position is kept plus [`BASE`], so that 0 is out of reach of all.
pub(super) struct Tables {
    eight: Box<[u32]>,
    four: Box<[u32]>,
}

const BASE: u32 = WINDOW + 1;

/// What the tables knew of a place.
#[derive(Clone, Copy)]
struct Known {
    /// The eight bytes there.
    bytes: u64,
    /// How far back eight bytes of that hash were, and four.
    eight: u32,
    four: u32,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self { eight: vec![0; 1 << HASH_BITS].into(), four: vec![0; 1 << HASH_BITS].into() }
    }

    pub(super) fn clear(&mut self) {
        self.eight.fill(0);
        self.four.fill(0);
    }

    /// The first match worth taking that begins at `from` or after.
    pub(super) fn next(&mut self, content: &[u8], from: usize) -> Option<Found> {
        let mut position = from;
        let limit = content.len().saturating_sub(TAIL);
        while position < limit {
            let known = self.look_up(content, position);
            let (mut length, mut distance) = longest(content, position, known);
            if length == 0 || (length == 4 && distance > FAR) {
                position += 1 + ((position - from) >> PATIENCE);
                continue;
            }
            while length < LONG_ENOUGH && position + 1 < limit {
                let known = self.look_up(content, position + 1);
                let (later_length, later_distance) = longest(content, position + 1, known);
                if later_length <= length {
                    break;
                }
                (length, distance) = (later_length, later_distance);
                position += 1;
            }
            let end = position + length;
            let mut start = position;
            while start > from
                && start > distance
                && length < MAX_LENGTH
                && content.get(start - 1) == content.get(start - 1 - distance)
            {
                start -= 1;
                length += 1;
            }
            self.enter_inside(content, position, end.min(limit));
            return Some(Found { start, length, distance, end });
        }
        None
    }

    /// What is known of the bytes at `position`, which are entered there.
    #[inline(always)]
    fn look_up(&mut self, content: &[u8], position: usize) -> Known {
        let bytes = eight_bytes(content, position);
        let key = (position as u32).wrapping_add(BASE);
        let back =
            |slot: Option<&mut u32>| slot.map_or(0, |slot| key.wrapping_sub(std::mem::replace(slot, key)));
        let eight = back(self.eight.get_mut(hash_eight(bytes)));
        let four = back(self.four.get_mut(hash_four(bytes)));
        Known { bytes, eight, four }
    }

    /// Enters some of the bytes of a match that was found at `position`.
    #[inline(always)]
    fn enter_inside(&mut self, content: &[u8], position: usize, end: usize) {
        let mut inside = position + 2;
        while inside < end {
            let slot = self.eight.get_mut(hash_eight(eight_bytes(content, inside)));
            slot.into_iter().for_each(|slot| *slot = (inside as u32).wrapping_add(BASE));
            inside += STRIDE;
        }
        for last in [end.saturating_sub(2), end.saturating_sub(1)] {
            if last > position {
                self.look_up(content, last);
            }
        }
    }
}

/// The longer way of going on at `position`: length and distance, or zeros.
#[inline(always)]
fn longest(content: &[u8], position: usize, known: Known) -> (usize, usize) {
    let reaches = |distance: u32| distance.wrapping_sub(1) < WINDOW;
    // A distance never reaches before the content's start: the tables are empty before it.
    let before = |distance: u32| eight_bytes(content, position.wrapping_sub(distance as usize));
    if reaches(known.eight) && before(known.eight) == known.bytes {
        let distance = known.eight as usize;
        return (8 + common(content, position + 8, distance, MAX_LENGTH - 8), distance);
    }
    if reaches(known.four) {
        let difference = before(known.four) ^ known.bytes;
        if difference as u32 == 0 {
            let same = difference.trailing_zeros() as usize / 8;
            let distance = known.four as usize;
            let more = if same == 8 { common(content, position + 8, distance, MAX_LENGTH - 8) } else { 0 };
            return (same + more, distance);
        }
    }
    (0, 0)
}

/// How many bytes from `position` on are as they were `distance` bytes before; at most `most`.
#[inline(always)]
fn common(content: &[u8], position: usize, distance: usize, most: usize) -> usize {
    let end = content.len().min(position + most);
    let mut here = position;
    while here + 8 <= end {
        let difference = eight_bytes(content, here) ^ eight_bytes(content, here - distance);
        if difference != 0 {
            return here - position + difference.trailing_zeros() as usize / 8;
        }
        here += 8;
    }
    while here < end && content.get(here) == content.get(here - distance) {
        here += 1;
    }
    here - position
}

#[inline(always)]
fn eight_bytes(content: &[u8], position: usize) -> u64 {
    content.get(position..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

// Multiplicative hashing: the high bits of a product with 2^64, or 2^32, over the golden ratio depend on all bits.

#[inline(always)]
fn hash_eight(bytes: u64) -> usize {
    (bytes.wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - HASH_BITS)) as usize
}

#[inline(always)]
fn hash_four(bytes: u64) -> usize {
    ((bytes as u32).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}
