//! Codes made for given frequencies (RFC 1951 section 3.2.2).

use super::at;

/// A symbol's code, its bits in the order in which they are written, and how many there are. No bits: it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Code {
    pub(super) bits: u16,
    pub(super) length: u8,
}

/// Lengths of an optimal prefix code, none above `longest`; 0 for symbols that do not occur. Close to optimal if codes had
/// to be shortened for that.
pub(super) fn lengths<const N: usize>(frequencies: &[u32; N], longest: usize) -> [u8; N] {
    let mut result = [0; N];
    let mut used: Vec<(u32, usize)> = frequencies
        .iter()
        .enumerate()
        .filter(|(_, frequency)| **frequency > 0)
        .map(|(symbol, frequency)| (*frequency, symbol))
        .collect();
    used.sort_unstable();
    let mut counts = depths(&used);
    shorten(&mut counts, longest);
    // The rarest get the longest.
    let mut rarest_first = used.iter();
    for (length, count) in counts.iter().enumerate().rev() {
        for (_, symbol) in rarest_first.by_ref().take(*count as usize) {
            if let Some(slot) = result.get_mut(*symbol) {
                *slot = length as u8;
            }
        }
    }
    result
}

/// The deepest that a tree over one block's frequencies can be: its total is far below the 64th Fibonacci number.
const DEEPEST: usize = 64;

/// How many leaves Huffman's tree has at each depth; `used` is sorted by frequency.
fn depths(used: &[(u32, usize)]) -> [u32; DEEPEST] {
    let mut counts = [0; DEEPEST];
    if used.len() < 2 {
        // One symbol still takes a bit.
        counts[1] = used.len() as u32;
        return counts;
    }
    // Nodes come into being in order of their weight, so that the lightest two are always at the front of a queue: that of
    // leaves or that of nodes.
    let mut leaves = used.iter().map(|(frequency, _)| u64::from(*frequency)).peekable();
    let mut nodes: Vec<u64> = Vec::with_capacity(used.len() - 1);
    // Each node's parent; its depth, later.
    let mut parents: Vec<usize> = vec![0; used.len() - 1];
    let mut leaf_parents: Vec<usize> = Vec::with_capacity(used.len());
    let mut first = 0;
    for parent in 0..used.len() - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let leaf_is_lighter = match (leaves.peek(), nodes.get(first)) {
                (Some(leaf), Some(node)) => leaf <= node,
                (leaf, _) => leaf.is_some(),
            };
            if leaf_is_lighter {
                weight += leaves.next().unwrap_or_default();
                leaf_parents.push(parent);
            } else {
                weight += at(&nodes, first);
                if let Some(slot) = parents.get_mut(first) {
                    *slot = parent;
                }
                first += 1;
            }
        }
        nodes.push(weight);
    }
    let root = parents.len() - 1;
    let mut depth = vec![0; parents.len()];
    for node in (0..root).rev() {
        let above = at(&depth, at(&parents, node));
        if let Some(slot) = depth.get_mut(node) {
            *slot = above + 1;
        }
    }
    for parent in leaf_parents {
        if let Some(count) = counts.get_mut(at(&depth, parent) + 1) {
            *count += 1;
        }
    }
    counts
}

/// Changes how many codes of each length there are so that none is longer than `longest` and they still fill the code space
/// exactly.
fn shorten(counts: &mut [u32; DEEPEST], longest: usize) {
    let (kept, cut) = counts.split_at_mut(longest + 1);
    let too_long: u32 = cut.iter().sum();
    if too_long == 0 {
        return;
    }
    cut.fill(0);
    let Some((last, shorter)) = kept.split_last_mut() else { return };
    *last += too_long;
    // In units of the longest code.
    let weigh = |(length, count): (usize, &u32)| u64::from(*count) << (longest - length);
    let mut taken: u64 = shorter.iter().enumerate().map(weigh).sum::<u64>() + u64::from(*last);
    while taken > 1 << longest {
        // The longest of the shorter codes becomes two that are one longer; one of the longest moves under it.
        let Some(length) = shorter.iter().rposition(|count| *count > 0) else { return };
        *last -= 1;
        if let Some(count) = shorter.get_mut(length) {
            *count -= 1;
        }
        match shorter.get_mut(length + 1) {
            Some(count) => *count += 2,
            None => *last += 2,
        }
        taken -= 1;
    }
}

/// The codes of these lengths, at most 15 (RFC 1951 section 3.2.2).
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut counts = [0_u16; 16];
    for length in lengths {
        if let Some(count) = counts.get_mut(usize::from(*length)) {
            *count += 1;
        }
    }
    counts[0] = 0;
    let mut next = [0_u16; 16];
    let mut code = 0_u16;
    for (slot, count) in next.iter_mut().skip(1).zip(counts) {
        code = (code + count) << 1;
        *slot = code;
    }
    lengths.map(|length| match next.get_mut(usize::from(length)) {
        Some(next) if length > 0 => {
            let bits = next.reverse_bits() >> (16 - u32::from(length));
            *next += 1;
            Code { bits, length }
        }
        _ => Code::default(),
    })
}
