//! One block: what was found in a stretch of content, and the bits that say so (RFC 1951 sections 3.2.3 to 3.2.7).

use super::at;
use super::bits::{Bits, Carry};
use super::huffman::{Code, codes, lengths};

/// Matches in a block. Few enough that codes follow a change of what the text is, enough that a code's description (about
/// 80 bytes) does not count.
const MATCHES: usize = 12_000;
/// Symbols for literals, the end of the block and lengths (the last two stand for nothing, but have a fixed code); for
/// distances; for lengths of codes.
const LITERALS: usize = 288;
const DISTANCES: usize = 30;
const CODE_LENGTHS: usize = 19;
const END_OF_BLOCK: usize = 256;
/// The longest code of a symbol, and of a code's length.
const LONGEST: usize = 15;
const LONGEST_OF_LENGTHS: usize = 7;
/// In which order the lengths of code-length codes are written.
const ORDER: [usize; CODE_LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The shortest match with each length symbol, from symbol 257 on.
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// The longest match.
const MAX_LENGTH: usize = 258;
/// Literals put between two flushes: 3 of 15 bits after at most 7.
const LITERALS_AT_ONCE: usize = 3;

/// Literals, and the match that ends them.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    literals: u32,
    length: u16,
    /// Distance minus 1, so that it fits.
    distance: u16,
}

/// What was found, and how often each symbol is needed for it.
pub(super) struct Block {
    sequences: Vec<Sequence>,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    /// Symbol, minus 257, of each match length.
    length_symbols: [u8; MAX_LENGTH + 1],
}

/// The codes of a block.
struct Codes {
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
}

impl Block {
    pub(super) fn new() -> Self {
        let mut length_symbols = [0; MAX_LENGTH + 1];
        for (symbol, base) in LENGTH_BASE.iter().enumerate() {
            length_symbols.iter_mut().skip(usize::from(*base)).for_each(|slot| *slot = symbol as u8);
        }
        Self {
            sequences: Vec::with_capacity(MATCHES),
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            length_symbols,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.sequences.len() >= MATCHES
    }

    /// Notes literals and the match after them.
    #[inline(always)]
    pub(super) fn add(&mut self, literals: &[u8], length: usize, distance: usize) {
        self.add_literals(literals);
        let symbol = END_OF_BLOCK + 1 + usize::from(at(&self.length_symbols, length));
        count(&mut self.literals, symbol);
        let distance = (distance - 1) as u16;
        count(&mut self.distances, distance_symbol(distance));
        self.sequences.push(Sequence { literals: literals.len() as u32, length: length as u16, distance });
    }

    /// Notes literals that no match follows.
    #[inline(always)]
    pub(super) fn add_literals(&mut self, literals: &[u8]) {
        for byte in literals {
            count(&mut self.literals, usize::from(*byte));
        }
    }

    /// Appends all of it, which stands for `content`, and starts anew.
    pub(super) fn write(&mut self, content: &[u8], last: bool, carry: &mut Carry, out: &mut Vec<u8>) {
        count(&mut self.literals, END_OF_BLOCK);
        let literals = lengths(&self.literals, LONGEST);
        let mut distances = lengths(&self.distances, LONGEST);
        // One distance has to have a code, even if none is used.
        if distances == [0; DISTANCES] {
            distances[0] = 1;
        }
        let description = Description::of(&literals, &distances);
        let fixed_literals = fixed_lengths();
        let fixed_distances = [5; DISTANCES];
        let own = description.size() + self.size(&literals, &distances);
        let fixed = self.size(&fixed_literals, &fixed_distances);
        let is_own = own < fixed;
        carry.append(3 + own.min(fixed), out, |bits| {
            bits.put(u64::from(last), 1);
            bits.put(if is_own { 2 } else { 1 }, 2);
            let codes = if is_own {
                description.write(bits);
                Codes { literals: codes(&literals), distances: codes(&distances) }
            } else {
                Codes { literals: codes(&fixed_literals), distances: codes(&fixed_distances) }
            };
            self.write_symbols(content, &codes, bits);
        });
        self.sequences.clear();
        self.literals = [0; LITERALS];
        self.distances = [0; DISTANCES];
    }

    /// Bits that the symbols take with codes of these lengths.
    fn size(&self, literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> u64 {
        let sum = |counts: &[u32], bits: &mut dyn Iterator<Item = u8>| -> u64 {
            counts.iter().zip(bits).map(|(count, bits)| u64::from(*count) * u64::from(bits)).sum()
        };
        let (_, matches) = self.literals.split_at(END_OF_BLOCK + 1);
        sum(&self.literals, &mut literals.iter().copied())
            + sum(matches, &mut LENGTH_EXTRA.iter().copied())
            + sum(&self.distances, &mut distances.iter().copied())
            + sum(&self.distances, &mut (0..DISTANCES).map(distance_extra))
    }

    #[inline(never)]
    fn write_symbols(&self, content: &[u8], codes: &Codes, bits: &mut Bits<'_>) {
        // Code and extra bits of each match length in one.
        let mut of_length = [(0_u32, 0_u32); MAX_LENGTH + 1];
        for (length, (slot, symbol)) in of_length.iter_mut().zip(&self.length_symbols).enumerate() {
            let symbol = usize::from(*symbol);
            let code = at(&codes.literals, END_OF_BLOCK + 1 + symbol);
            let extra = (length as u32).saturating_sub(u32::from(at(&LENGTH_BASE, symbol)));
            let width = u32::from(code.length);
            *slot = (u32::from(code.bits) | extra << width, width + u32::from(at(&LENGTH_EXTRA, symbol)));
        }
        let mut rest = content;
        for sequence in &self.sequences {
            let (literals, after) = rest.split_at_checked(sequence.literals as usize).unwrap_or_default();
            write_literals(literals, codes, bits);
            rest = after.split_at_checked(usize::from(sequence.length)).unwrap_or_default().1;
            let (value, width) = at(&of_length, usize::from(sequence.length));
            bits.put(u64::from(value), width);
            let symbol = distance_symbol(sequence.distance);
            let code = at(&codes.distances, symbol);
            bits.put(u64::from(code.bits), u32::from(code.length));
            let extra = u32::from(distance_extra(symbol));
            bits.put(u64::from(sequence.distance) & ((1 << extra) - 1), extra);
            bits.flush();
        }
        write_literals(rest, codes, bits);
        let end = codes.literals[END_OF_BLOCK];
        bits.put(u64::from(end.bits), u32::from(end.length));
        bits.flush();
    }
}

#[inline(always)]
fn write_literals(literals: &[u8], codes: &Codes, bits: &mut Bits<'_>) {
    for some in literals.chunks(LITERALS_AT_ONCE) {
        for byte in some {
            let code = at(&codes.literals, usize::from(*byte));
            bits.put(u64::from(code.bits), u32::from(code.length));
        }
        bits.flush();
    }
}

#[inline(always)]
fn count(counts: &mut [u32], symbol: usize) {
    if let Some(count) = counts.get_mut(symbol) {
        *count += 1;
    }
}

/// The symbol of a distance, given minus 1. Two symbols share each power of two: the next bit tells them apart, the bits
/// below it are the extra bits.
#[inline(always)]
fn distance_symbol(distance: u16) -> usize {
    if distance < 4 {
        return usize::from(distance);
    }
    let power = 15 - distance.leading_zeros();
    (2 * power + u32::from(distance >> (power - 1) & 1)) as usize
}

#[inline(always)]
fn distance_extra(symbol: usize) -> u8 {
    (symbol / 2).saturating_sub(1) as u8
}

/// The lengths of the code that needs no description (RFC 1951 section 3.2.6).
fn fixed_lengths() -> [u8; LITERALS] {
    std::array::from_fn(|symbol| match symbol {
        0..=143 => 8,
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    })
}

/// What stands before a block with codes of its own: their lengths, themselves coded (RFC 1951 section 3.2.7).
struct Description {
    literals: usize,
    distances: usize,
    /// Symbol, extra bits, how many.
    runs: Vec<(usize, u8, u8)>,
    lengths: [u8; CODE_LENGTHS],
    /// How many of `lengths` are written, in their order.
    written: usize,
}

impl Description {
    fn of(literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> Self {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|length| *length > 0).map_or(least, |last| least.max(last + 1))
        };
        let (literal_count, distance_count) = (used(literals, END_OF_BLOCK + 1), used(distances, 1));
        let all: Vec<u8> = literals
            .iter()
            .take(literal_count)
            .chain(distances.iter().take(distance_count))
            .copied()
            .collect();
        let mut runs = Vec::with_capacity(all.len());
        for same in all.chunk_by(|a, b| a == b) {
            run(at(same, 0), same.len(), &mut runs);
        }
        let mut frequencies = [0; CODE_LENGTHS];
        for (symbol, ..) in &runs {
            count(&mut frequencies, *symbol);
        }
        let lengths = lengths(&frequencies, LONGEST_OF_LENGTHS);
        let written =
            ORDER.iter().rposition(|symbol| at(&lengths, *symbol) > 0).map_or(4, |last| 4.max(last + 1));
        Self { literals: literal_count, distances: distance_count, runs, lengths, written }
    }

    /// In bits.
    fn size(&self) -> u64 {
        let of_run = |(symbol, _, extra): &(usize, u8, u8)| u64::from(at(&self.lengths, *symbol) + extra);
        14 + 3 * self.written as u64 + self.runs.iter().map(of_run).sum::<u64>()
    }

    fn write(&self, bits: &mut Bits<'_>) {
        bits.put((self.literals - (END_OF_BLOCK + 1)) as u64, 5);
        bits.put((self.distances - 1) as u64, 5);
        bits.put((self.written - 4) as u64, 4);
        bits.flush();
        for symbol in ORDER.iter().take(self.written) {
            bits.put(u64::from(at(&self.lengths, *symbol)), 3);
            bits.flush();
        }
        let codes = codes(&self.lengths);
        for (symbol, value, extra) in &self.runs {
            let code = at(&codes, *symbol);
            bits.put(u64::from(code.bits), u32::from(code.length));
            bits.put(u64::from(*value), u32::from(*extra));
            bits.flush();
        }
    }
}

/// Appends the symbols that say `count` times `length`.
fn run(length: u8, mut count: usize, runs: &mut Vec<(usize, u8, u8)>) {
    let own = (usize::from(length), 0, 0);
    if length == 0 {
        while count >= 11 {
            let some = count.min(138);
            runs.push((18, (some - 11) as u8, 7));
            count -= some;
        }
        if count >= 3 {
            runs.push((17, (count - 3) as u8, 3));
            count = 0;
        }
    } else if count >= 4 {
        runs.push(own);
        count -= 1;
        while count >= 3 {
            let some = count.min(6);
            runs.push((16, (some - 3) as u8, 2));
            count -= some;
        }
    }
    runs.extend(std::iter::repeat_n(own, count));
}
