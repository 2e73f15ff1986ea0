//! What was shown on a terminal, as lines that the user saw.
//!
//! A line counts as seen as it stood on the screen whenever it was about to change in any way but to grow: before
//! a character of it was written over or erased, before it scrolled away or another screen took its place, and at the end. So a
//! text is found that was gone a moment later, and one that was put together by moving the cursor, as it looked; lines that the
//! terminal wrapped are one line.
//!
//! Emulating a terminal character by character ([`Watched`]) takes its time. Most output, though, is text that begins where the last one
//! ended, line under line, and for this the screen needs no picture: [`Plain`] takes it as it comes, for as long as nothing else
//! comes, and gives the emulator the last screenful only when it is needed again.

mod modes;
mod plain;
mod rows;
pub(super) mod sequence;
mod watched;

use containerssh_auditlog::text::Joiner;

use plain::Plain;
use watched::Watched;

use super::Search;

/// Output from this length on may be worth leaving the emulator for, in bytes.
const WORTH_IT: usize = 512;
/// Where plain text is often interrupted, going back and forth costs more than it saves, for the emulator has to be told the last
/// screenful each time. After a stretch shorter than a screenful the emulator keeps at it for this long, in bytes, and for twice as long
/// each time again;
const FIRST_WAIT: usize = 2 << 10;
/// up to this.
const LONGEST_WAIT: usize = 64 << 10;

/// The screen of one channel.
pub(super) struct Seen {
    joiner: Joiner,
    watched: Watched,
    /// What the emulator has yet to be told.
    plain: Option<Plain>,
    /// The start of something that may be plain, once the rest of it has come.
    held: String,
    /// So much the emulator shows before plain text is tried again, in bytes; and what is left of that.
    wait: usize,
    left: usize,
}

impl Seen {
    /// A terminal of this size, in characters.
    pub(super) fn new(columns: u32, rows: u32) -> Self {
        Self {
            joiner: Joiner::default(),
            watched: Watched::new(columns, rows),
            plain: None,
            held: String::new(),
            wait: 0,
            left: 0,
        }
    }

    /// Cells of the screen: what the memory for it is proportional to.
    pub(super) fn cells(&self) -> usize {
        self.watched.cells()
    }

    pub(super) fn push(&mut self, data: &[u8], time: u64, search: &mut Search<'_>) {
        let text = self.joiner.push(data);
        self.show(&text, time, search);
    }

    pub(super) fn resize(&mut self, columns: u32, rows: u32, search: &mut Search<'_>) {
        self.settle(search);
        self.watched.resize(columns, rows, search);
    }

    pub(super) fn finish(&mut self, search: &mut Search<'_>) {
        let rest = self.joiner.finish();
        self.show(&rest, self.watched.time(), search);
        self.settle(search);
        self.watched.finish(search);
    }

    fn show(&mut self, text: &str, time: u64, search: &mut Search<'_>) {
        // Looking whether the screen is as simple as it must be costs as much as there are cells.
        let worth_it = WORTH_IT.max(self.watched.cells() / 8);
        let mut joined = std::mem::take(&mut self.held);
        let mut rest = if joined.is_empty() {
            text
        } else {
            joined.push_str(text);
            &joined
        };
        self.watched.set_time(time);
        while !rest.is_empty() {
            if self.plain.is_none() && self.left == 0 && rest.len() >= worth_it {
                self.plain = self.watched.go_plain(search);
            }
            if let Some(plain) = &mut self.plain {
                rest = plain.take(rest, time, search);
                if plain::may_go_on(rest) && plain.make_room(search) {
                    rest.clone_into(&mut self.held);
                    return;
                }
                self.leave_plain(search);
            }
            let before = rest.len();
            rest = self.watched.show(rest, worth_it.max(self.left), search);
            self.left = self.left.saturating_sub(before - rest.len());
        }
    }

    /// Lets the emulator know the screen, with all that has come.
    fn settle(&mut self, search: &mut Search<'_>) {
        self.leave_plain(search);
        let held = std::mem::take(&mut self.held);
        self.watched.show(&held, usize::MAX, search);
    }

    fn leave_plain(&mut self, search: &mut Search<'_>) {
        if let Some(mut plain) = self.plain.take() {
            plain.search(search);
            self.wait = match plain.length() < self.watched.cells() {
                true => (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT),
                false => 0,
            };
            self.left = self.wait;
            self.watched.catch_up(&plain);
        }
    }
}

#[cfg(test)]
mod tests;
