//! A channel as frames: what changed on the screen, at most thirty times a second.
//!
//! The page gets no terminal emulator, and none of the escape sequences: it gets rows of styled text, rendered here. A frame
//! holds what makes the next screen out of the one before:
//!
//! 1. `gone`: rows that left at the top. They become history, the rest moves up. A row that is what stood there before is
//!    [`Gone::Same`].
//! 2. `size`, if it is another: rows that appear, here and where others left, are empty.
//! 3. `changed`: rows that then differ, by number.
//! 4. the cursor.

use avt::Line;
use containerssh_auditlog::asciicast::Change;

use crate::screen::{Run, Screen, runs};

/// Changes this close in time are one frame, in nanoseconds: what a viewer can tell apart.
const EXPOSURE: u64 = 33_000_000;
/// Rows of history that one frame collects at most: a flood becomes many frames instead of a large one.
const MAX_GONE: usize = 1_000;

/// A row of the screen.
pub(crate) type Row = Vec<Run>;

/// What changed on the screen.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    pub(crate) gone: Vec<Gone>,
    pub(crate) changed: Vec<(usize, Row)>,
    /// Column and row, if it is shown.
    pub(crate) cursor: Option<(usize, usize)>,
    /// Columns and rows, if they are others than before.
    pub(crate) size: Option<(usize, usize)>,
}

/// A row that left the screen.
#[derive(Debug, PartialEq)]
pub(crate) enum Gone {
    /// As it stood at this place in the frame before.
    Same,
    Row(Row),
}

/// Turns changes into frames.
pub(crate) struct Film {
    screen: Screen,
    rows: Vec<Row>,
    size: Option<(usize, usize)>,
    gone: Vec<Row>,
    /// First and last time of what is not yet in a frame.
    exposed: Option<(u64, u64)>,
}

impl Film {
    pub(crate) fn new() -> Self {
        Self { screen: Screen::new(0, 0), rows: Vec::new(), size: None, gone: Vec::new(), exposed: None }
    }

    /// Takes in a change; hands over the frames that are complete by then. Times must not go back.
    pub(crate) fn push(&mut self, time: u64, change: &Change, mut frame: impl FnMut(Frame)) {
        if self.exposed.is_some_and(|(first, _)| time - first >= EXPOSURE)
            && let Some(complete) = self.finish()
        {
            frame(complete);
        }
        let first = self.exposed.map_or(time, |(first, _)| first);
        self.exposed = Some((first, time));
        match change {
            Change::Output(text) => {
                // In pieces: each can push away as many lines as it has characters.
                let mut rest = &**text;
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_GONE));
                    let gone = &mut self.gone;
                    self.screen.feed_with(piece, |line: &Line| gone.push(runs(line)));
                    rest = after;
                    if self.gone.len() >= MAX_GONE
                        && let Some(complete) = self.finish()
                    {
                        frame(complete);
                        self.exposed = Some((time, time));
                    }
                }
            }
            Change::Size(columns, rows) => {
                let gone = &mut self.gone;
                self.screen.resize_with(*columns, *rows, |line: &Line| gone.push(runs(line)));
            }
            Change::Input(_) => {}
        }
    }

    /// What is not yet in a frame.
    pub(crate) fn finish(&mut self) -> Option<Frame> {
        let (_, time) = self.exposed.take()?;
        let rows: Vec<Row> = self.screen.lines().map(runs).collect();
        let left = self.gone.len().min(self.rows.len());
        let mut before = std::mem::take(&mut self.rows);
        let stayed = before.split_off(left);
        let stood = before.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let gone = self
            .gone
            .drain(..)
            .zip(stood)
            .map(|(row, stood)| if Some(&row) == stood.as_ref() { Gone::Same } else { Gone::Row(row) })
            .collect();
        let mut changed = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            if stayed.get(number).map_or(!row.is_empty(), |stayed| stayed != row) {
                changed.push((number, row.clone()));
            }
        }
        self.rows = rows;
        let size = Some(self.screen.size()).filter(|size| self.size != Some(*size));
        self.size = Some(self.screen.size());
        Some(Frame { time, gone, changed, cursor: self.screen.cursor(), size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// What the page does with frames.
    #[derive(Default)]
    struct Viewer {
        history: Vec<Row>,
        rows: Vec<Row>,
        height: usize,
    }

    impl Viewer {
        fn show(&mut self, frame: Frame) {
            let mut left = std::mem::take(&mut self.rows).into_iter();
            for gone in frame.gone {
                let stood = left.next();
                self.history.push(match gone {
                    Gone::Same => stood.unwrap(),
                    Gone::Row(row) => row,
                });
            }
            self.rows = left.collect();
            self.height = frame.size.map_or(self.height, |(_, rows)| rows);
            self.rows.resize(self.height, Row::new());
            for (number, row) in frame.changed {
                self.rows[number] = row;
            }
        }
    }

    fn text(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| row.iter().map(|run| run.text.as_str()).collect()).collect()
    }

    fn output(text: &str) -> Change {
        Change::Output(text.to_owned())
    }

    fn filmed(changes: &[(u64, Change)]) -> Vec<Frame> {
        let (mut film, mut frames) = (Film::new(), Vec::new());
        for (time, change) in changes {
            film.push(*time, change, |frame| frames.push(frame));
        }
        frames.extend(film.finish());
        frames
    }

    #[test]
    fn what_is_printed_at_once_is_one_frame_and_only_changes_are_kept() {
        let frames = filmed(&[
            (0, Change::Size(20, 3)),
            (0, output("one\r\ntwo")),
            (10 * MS, output("\r\nthr")),
            (20 * MS, output("ee")),
            (90 * MS, output("\r\nfour")),
        ]);
        assert_eq!(frames.iter().map(|frame| frame.time / MS).collect::<Vec<_>>(), [20, 90]);
        assert_eq!(frames[0].changed.len(), 3);
        assert_eq!(frames[0].size, Some((20, 3)));
        assert_eq!(frames[1].gone, [Gone::Same]);
        assert_eq!(frames[1].changed.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
        assert_eq!((frames[1].size, frames[1].cursor), (None, Some((4, 2))));
    }

    #[test]
    fn lines_that_rushed_through_between_two_frames_are_in_the_history() {
        let flood: String = (0..5_000).map(|number| format!("line {number}\r\n")).collect();
        let frames = filmed(&[(0, Change::Size(20, 4)), (0, output(&flood))]);
        assert!(frames.iter().all(|frame| frame.gone.len() <= 2 * MAX_GONE));
        let mut viewer = Viewer::default();
        frames.into_iter().for_each(|frame| viewer.show(frame));
        let expected: Vec<String> = (0..5_000).map(|number| format!("line {number}")).collect();
        assert_eq!(text(&viewer.history), expected[..4_997]);
        assert_eq!(text(&viewer.rows), ["line 4997", "line 4998", "line 4999", ""]);
    }

    proptest! {
        /// Whatever is printed: who applies the frames sees what the model shows.
        #[test]
        fn frames_give_the_screen_again(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[a-z\u{6f22}\r\n]{0,30}",
                    "\u{1b}\\[[0-9;?]{0,6}[A-Za-z]",
                    Just("\u{1b}[?1049h".to_owned()),
                    Just("\u{1b}[?1049l".to_owned()),
                    Just("\u{1b}[2J".to_owned()),
                    (1..30_u32, 1..9_u32).prop_map(|(columns, rows)| format!("size {columns} {rows}")),
                ],
                0..40,
            ),
        ) {
            let (mut film, mut viewer, mut time) = (Film::new(), Viewer::default(), 0);
            for piece in pieces {
                let change = match piece.strip_prefix("size ").and_then(|size| size.split_once(' ')) {
                    Some((columns, rows)) => Change::Size(columns.parse().unwrap(), rows.parse().unwrap()),
                    None => Change::Output(piece),
                };
                film.push(time, &change, |frame| viewer.show(frame));
                time += 20 * MS;
            }
            if let Some(frame) = film.finish() {
                viewer.show(frame);
                prop_assert_eq!(viewer.rows, film.screen.lines().map(runs).collect::<Vec<_>>());
            }
        }
    }
}
