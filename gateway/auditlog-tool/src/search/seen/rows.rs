//! What is known about each row of the screen besides its characters.

use std::collections::VecDeque;
use std::ops::Range;

use crate::search::batch::Sink;

/// A match that comes back to its row within this time, in nanoseconds, is still the same: programs repaint what they
/// show. Nobody types a line again that fast.
const REPAINT: u64 = 1_000_000_000;

/// How a row differs from what has been searched of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    #[default]
    None,
    /// Characters are gone.
    Shrunk,
    /// Characters have come.
    Grown,
}

/// One row.
#[derive(Debug, Default)]
pub(super) struct Row {
    change: Change,
    /// When the first of the changes came, and the last.
    began: u64,
    changed: u64,
    /// The run of characters, printed one after another without moving the cursor, that made it grow last.
    run: u64,
    /// It had grown before that run.
    grown_before_run: bool,
    /// What was found in it and may be found again.
    held: Option<Held>,
}

/// What happened to some rows since they were searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) change: Change,
    /// When the first of the changes came, and the last.
    began: u64,
    changed: u64,
}

impl Changes {
    /// Something came at this time.
    pub(super) fn at(time: u64) -> Self {
        Self { change: Change::Grown, began: time, changed: time }
    }
}

/// A match that is in the row, or was until just now.
#[derive(Debug)]
struct Held {
    /// The text that matched.
    text: String,
    /// The line when it was reported.
    first: String,
    /// What the line has come to look like since, if it does not look the same.
    last: Option<Look>,
    /// When the line was about to change.
    until: u64,
}

#[derive(Debug)]
struct Look {
    time: u64,
    line: String,
    matched: Range<usize>,
}

impl Row {
    pub(super) fn change(&self) -> Change {
        self.change
    }

    /// Characters have come, as part of this run.
    pub(super) fn grow(&mut self, run: u64, time: u64) {
        self.grown_before_run |= self.change == Change::Grown && self.run != run;
        self.run = run;
        self.note(Change::Grown, time);
    }

    /// Characters are gone.
    pub(super) fn shrink(&mut self, time: u64) {
        self.note(Change::Shrunk, time);
    }

    fn note(&mut self, change: Change, time: u64) {
        if self.change == Change::None {
            self.began = time;
        }
        self.change = self.change.max(change);
        self.changed = time;
    }

    /// Has grown by more than what this run printed: while a run writes over a row, the mixture of old and new is nothing to look at.
    pub(super) fn grown_before(&self, run: u64) -> bool {
        self.change == Change::Grown && (self.grown_before_run || self.run != run)
    }

    /// The row has been searched.
    pub(super) fn settle(&mut self) {
        self.change = Change::None;
        self.grown_before_run = false;
    }

    /// Takes in a match. A program that repaints its screen or counts up in place shows the same match in a hundred lines that differ a
    /// little: the first of them is reported at once, and the last when it goes.
    pub(super) fn hold(
        &mut self,
        line: &str,
        matched: Range<usize>,
        Changes { change, began, changed }: Changes,
        now: u64,
        sink: &mut dyn Sink,
    ) {
        let text = line.get(matched.clone()).unwrap_or_default();
        match &mut self.held {
            Some(held) if held.text == text && began <= held.until.saturating_add(REPAINT) => {
                held.until = now;
                // What is left of a line that is being erased tells nothing new.
                if change == Change::Grown {
                    let look = Look { time: changed, line: line.to_owned(), matched };
                    held.last = Some(look).filter(|look| look.line != held.first);
                }
            }
            _ => {
                self.report(sink);
                sink.found(changed, line.as_bytes(), matched);
                let (text, first) = (text.to_owned(), line.to_owned());
                self.held = Some(Held { text, first, last: None, until: now });
            }
        }
    }

    /// The row goes, or what comes to stand in it is something else.
    pub(super) fn leave(&mut self, sink: &mut dyn Sink) {
        self.report(sink);
        self.held = None;
    }

    /// What the line came to look like is final.
    fn report(&mut self, sink: &mut dyn Sink) {
        if let Some(Look { time, line, matched }) = self.held.as_mut().and_then(|held| held.last.take()) {
            sink.found(time, line.as_bytes(), matched);
        }
    }
}

/// The rows of a screen, from the top.
#[derive(Debug)]
pub(super) struct Rows(VecDeque<Row>);

impl Rows {
    pub(super) fn new(count: usize) -> Self {
        Self(std::iter::repeat_with(Row::default).take(count).collect())
    }

    pub(super) fn get(&self, row: usize) -> Option<&Row> {
        self.0.get(row)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get_mut(&mut self, row: usize) -> Option<&mut Row> {
        self.0.get_mut(row)
    }

    /// What happened to these rows.
    pub(super) fn changes(&self, range: Range<usize>) -> Option<Changes> {
        let rows = self.0.iter().take(range.end).skip(range.start);
        let changes = rows.filter(|row| row.change != Change::None).map(|row| Changes {
            change: row.change,
            began: row.began,
            changed: row.changed,
        });
        changes.reduce(|a, b| Changes {
            change: a.change.max(b.change),
            began: a.began.min(b.began),
            changed: a.changed.max(b.changed),
        })
    }

    pub(super) fn range_mut(&mut self, range: Range<usize>) -> impl Iterator<Item = &mut Row> {
        self.0.iter_mut().take(range.end).skip(range.start)
    }

    /// The first row leaves, and an empty one comes at the end.
    pub(super) fn scroll(&mut self, sink: &mut dyn Sink) {
        if let Some(mut first) = self.0.pop_front() {
            first.leave(sink);
        }
        self.0.push_back(Row::default());
    }
}
