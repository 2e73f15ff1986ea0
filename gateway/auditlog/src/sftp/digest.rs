//! SHA-256 of a file from pieces that come nearly in order.
//!
//! Clients keep dozens of requests in flight, and some start them from several threads, so pieces overtake each other
//! by a few packets. What is early is kept until its turn, within a window that all transfers of a decoder share; a
//! transfer that jumps about further has no digest.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::event::NoDigest;

/// Bytes that wait for earlier ones, over all transfers of a decoder: 64 requests of 64 KiB in the wrong order, twice
/// what OpenSSH has in flight by default.
pub(super) const WINDOW: usize = 4 << 20;
/// What an early piece costs besides its bytes, so that single bytes do not cheat the window.
const PIECE_OVERHEAD: usize = 96;

/// Room for early pieces.
#[derive(Debug)]
pub(super) struct Window {
    free: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { free: WINDOW }
    }
}

/// Whether a byte may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// Reading it again changes nothing.
    Ignored,
    /// Writing it again changes the file.
    Fatal,
}

/// The digest of the bytes from 0 up to where they have come without a gap.
#[derive(Debug)]
pub(super) struct Digest {
    state: Result<Running, NoDigest>,
    repeats: Repeats,
}

#[derive(Debug, Default)]
struct Running {
    hash: Sha256,
    at: u64,
    early: BTreeMap<u64, Vec<u8>>,
}

impl Digest {
    pub(super) fn new(repeats: Repeats) -> Self {
        Self { state: Ok(Running::default()), repeats }
    }

    /// Gives up, for the first reason that comes.
    pub(super) fn lose(&mut self, reason: NoDigest, window: &mut Window) {
        if let Ok(running) = &self.state {
            window.free += running.early.values().map(|piece| cost(piece.len())).sum::<usize>();
            self.state = Err(reason);
        }
    }

    pub(super) fn push(&mut self, offset: u64, bytes: &[u8], window: &mut Window) {
        let Ok(running) = &mut self.state else { return };
        if bytes.is_empty() {
            return;
        }
        let lost = if offset > running.at {
            if running.keep(offset, bytes, window) { None } else { Some(NoDigest::NotSequential) }
        } else if running.take(offset, bytes, self.repeats) && running.drain(self.repeats, window) {
            None
        } else {
            Some(NoDigest::Rewritten)
        };
        if let Some(reason) = lost {
            self.lose(reason, window);
        }
    }

    /// The digest of the file, given where it ends; gives the window back.
    pub(super) fn finish(mut self, end: u64, window: &mut Window) -> Result<[u8; 32], NoDigest> {
        let state = std::mem::replace(&mut self.state, Err(NoDigest::Gaps));
        let running = state?;
        window.free += running.early.values().map(|piece| cost(piece.len())).sum::<usize>();
        if running.at == end && running.early.is_empty() {
            return Ok(running.hash.finalize().into());
        }
        Err(match running.at {
            0 if end > 0 || !running.early.is_empty() => NoDigest::NotFromStart,
            // The record ends within a piece.
            at if at > end => NoDigest::EndNotSeen,
            _ => NoDigest::Gaps,
        })
    }
}

impl Running {
    /// Takes what is new of a piece that starts no later than where it goes on. `false`: it may not have come twice.
    fn take(&mut self, offset: u64, bytes: &[u8], repeats: Repeats) -> bool {
        let known = self.at.saturating_sub(offset);
        if known > 0 && repeats == Repeats::Fatal {
            return false;
        }
        let new = usize::try_from(known).ok().and_then(|known| bytes.get(known..)).unwrap_or_default();
        self.hash.update(new);
        self.at += new.len() as u64;
        true
    }

    /// Takes the early pieces whose turn it is.
    fn drain(&mut self, repeats: Repeats, window: &mut Window) -> bool {
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.at {
                return true;
            }
            let (offset, piece) = entry.remove_entry();
            window.free += cost(piece.len());
            if !self.take(offset, &piece, repeats) {
                return false;
            }
        }
        true
    }

    /// Keeps a piece for later. `false`: there is no room, or it came twice.
    fn keep(&mut self, offset: u64, bytes: &[u8], window: &mut Window) -> bool {
        // A packet comes in several pieces: most continue the one before.
        if let Some((start, piece)) = self.early.range_mut(..offset).next_back()
            && start.checked_add(piece.len() as u64) == Some(offset)
        {
            if window.free < bytes.len() {
                return false;
            }
            window.free -= bytes.len();
            piece.extend_from_slice(bytes);
            return true;
        }
        if window.free < cost(bytes.len()) || self.early.contains_key(&offset) {
            return false;
        }
        window.free -= cost(bytes.len());
        self.early.insert(offset, bytes.to_vec());
        true
    }
}

const fn cost(length: usize) -> usize {
    length + PIECE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    proptest! {
        #[test]
        fn any_order_within_the_window_gives_the_same_digest(
            cuts in prop::collection::vec(1_usize..50, 1..30),
            seed in any::<u64>(),
        ) {
            let file: Vec<u8> = (0..cuts.iter().sum::<usize>()).map(|at| at as u8).collect();
            let mut pieces = Vec::new();
            let mut at = 0;
            for cut in cuts {
                pieces.push((at as u64, &file[at..at + cut]));
                at += cut;
            }
            pieces.sort_by_key(|(at, _)| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for repeats in [Repeats::Ignored, Repeats::Fatal] {
                let (mut window, mut digest) = (Window::default(), Digest::new(repeats));
                pieces.iter().for_each(|(at, piece)| digest.push(*at, piece, &mut window));
                prop_assert_eq!(digest.finish(file.len() as u64, &mut window), Ok(sha256(&file)));
                prop_assert_eq!(window.free, WINDOW);
            }
        }
    }

    #[test]
    fn beyond_the_window_there_is_no_digest_and_no_memory_is_held() {
        let (mut window, mut digest) = (Window::default(), Digest::new(Repeats::Fatal));
        for at in 0..200 {
            digest.push(1 + at * (64 << 10), &[0; 64 << 10], &mut window);
        }
        assert_eq!(window.free, WINDOW);
        assert_eq!(digest.finish(1 + 200 * (64 << 10), &mut window), Err(NoDigest::NotSequential));
    }

    #[test]
    fn single_bytes_do_not_cheat_the_window() {
        let (mut window, mut digest) = (Window::default(), Digest::new(Repeats::Ignored));
        (1..200_000).for_each(|at| digest.push(at * 2, &[0], &mut window));
        assert!(digest.state.is_err());
    }

    #[test]
    fn a_byte_read_twice_counts_once_and_one_written_twice_forbids_a_digest() {
        let (mut window, mut read, mut written) =
            (Window::default(), Digest::new(Repeats::Ignored), Digest::new(Repeats::Fatal));
        for digest in [&mut read, &mut written] {
            digest.push(0, b"abcd", &mut window);
            digest.push(2, b"cdef", &mut window);
        }
        assert_eq!(read.finish(6, &mut window), Ok(sha256(b"abcdef")));
        assert_eq!(written.finish(6, &mut window), Err(NoDigest::Rewritten));
    }
}
