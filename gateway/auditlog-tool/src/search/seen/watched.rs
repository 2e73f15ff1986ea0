//! A terminal that notices what it is about to lose.
//!
//! Each control function is looked at before the emulator carries it out: the rows that it writes over, erases or moves are
//! searched first, as whole lines. Printing a character where there is none only makes its row grow; that is searched when
//! something happens to the row.

use std::ops::Range;

use avt::parser::{DecMode, EdScope, ElScope, Function, State};
use avt::{Cell, Line, Observation, Observer, Parser, Terminal};
use unicode_width::UnicodeWidthChar;

use crate::screen;
use crate::search::Search;

use super::modes::Modes;
use super::plain::{self, Plain};
use super::rows::{Change, Changes, Row, Rows};

/// Of a line that is longer than the screen, this much that scrolled away is kept, in bytes: a match up to this length is found
/// even if the screen never held all of it.
const MAX_PREFIX: usize = 4 << 10;
/// What stands for this long has been seen as it is, in nanoseconds: eyes are not faster.
const SETTLED: u64 = 50_000_000;

/// The emulator, and what is known about its rows.
pub(super) struct Watched {
    terminal: Terminal,
    parser: Parser,
    rows: Rows,
    modes: Modes,
    /// The start of the line in the first row that has scrolled away.
    prefix: String,
    /// So much of the prefix has been searched.
    prefix_known: usize,
    time: u64,
    /// Counts the runs of characters that are printed without moving the cursor.
    run: u64,
    /// Memory for the characters that are printed at once.
    printed: Vec<u8>,
}

impl Watched {
    pub(super) fn new(columns: u32, rows: u32) -> Self {
        let (columns, rows) = screen::size(columns, rows);
        Self {
            terminal: screen::terminal(columns, rows),
            parser: Parser::new(),
            rows: Rows::new(rows),
            modes: Modes::new(rows),
            prefix: String::new(),
            prefix_known: 0,
            time: 0,
            run: 0,
            printed: Vec::new(),
        }
    }

    pub(super) fn cells(&self) -> usize {
        let (columns, rows) = self.terminal.size();
        columns * rows
    }

    pub(super) fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn set_time(&mut self, time: u64) {
        if time.saturating_sub(self.time) > SETTLED {
            self.run += 1;
        }
        self.time = time;
    }

    pub(super) fn resize(&mut self, columns: u32, rows: u32, search: &mut Search<'_>) {
        self.leave_rows(0..self.rows.len(), search);
        let (columns, rows) = screen::size(columns, rows);
        self.terminal.resize(columns, rows);
        self.rows = Rows::new(rows);
        self.modes.resize(rows);
        self.forget_prefix();
    }

    pub(super) fn finish(&mut self, search: &mut Search<'_>) {
        self.leave_rows(0..self.rows.len(), search);
    }

    /// Shows text. After so many bytes and a line end it stops where the emulator may no longer be needed; returns the rest.
    pub(super) fn show<'t>(&mut self, text: &'t str, look_again: usize, search: &mut Search<'_>) -> &'t str {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (run, length) = self.fits(rest);
            if length > 0 {
                self.print_run(&run, search);
                self.printed = run;
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            let Some(function) = self.parser.feed(first) else { continue };
            let line_end = matches!(function, Function::Lf);
            self.execute(function, search);
            let shown = text.len() - rest.len();
            if line_end && shown > look_again && rest.len() >= look_again && self.is_plain() {
                return rest;
            }
        }
        ""
    }

    /// The printable ASCII characters at the start of this text that stand on the row of the cursor as they are, without moving
    /// anything: they need not be looked at one by one. Colours between them, which nobody asks for here, are left out. And how
    /// long the text is that they stand for, in bytes.
    fn fits(&mut self, text: &str) -> (Vec<u8>, usize) {
        if self.parser.state != State::Ground || !self.modes.prints_as_it_is() {
            return (Vec::new(), 0);
        }
        let mut run = std::mem::take(&mut self.printed);
        run.clear();
        let room = self.terminal.size().0.saturating_sub(self.terminal.cursor().col);
        let mut rest = text.as_bytes();
        loop {
            let room = room - run.len();
            let (plain, after) = rest.split_at(plain::printable(rest.get(..room).unwrap_or(rest)));
            run.extend_from_slice(plain);
            match plain::colours(after) {
                0 => return (run, text.len() - after.len()),
                length => rest = after.get(length..).unwrap_or_default(),
            }
        }
    }

    // To and from plain text.

    /// Text would stand where it is printed, and there is nothing right of the cursor or below.
    fn is_plain(&self) -> bool {
        let cursor = self.terminal.cursor();
        self.parser.state == State::Ground
            && self.modes.are_plain()
            && self
                .line(cursor.row)
                .is_some_and(|line| !line.is_wrapped() && is_blank(line, cursor.col..line.len()))
            && (cursor.row + 1..self.rows.len())
                .all(|row| self.line(row).is_some_and(|line| is_blank(line, 0..line.len())))
    }

    /// Hands over to plain text, if that can take over.
    pub(super) fn go_plain(&mut self, search: &mut Search<'_>) -> Option<Plain> {
        if !self.is_plain() {
            return None;
        }
        let cursor = self.terminal.cursor();
        let line = self.logical_line(cursor.row);
        self.leave_rows(0..line.start, search);
        // What is on the line of the cursor goes on growing.
        let mut text = self.text(line.start..cursor.row, false);
        text.extend(
            self.cells_of(cursor.row).take(cursor.col).filter(|cell| cell.width() > 0).map(Cell::char),
        );
        let known = self.known(&line).min(text.len());
        for row in self.rows.range_mut(line) {
            row.leave(search.sink);
            row.settle();
        }
        Some(Plain::new(&text, known, cursor.col, self.terminal.size()))
    }

    /// Shows what plain text has gone by.
    pub(super) fn catch_up(&mut self, plain: &Plain) {
        self.terminal.feed_with(plain.news().as_str(), Gone { prefix: &mut self.prefix });
        self.trim_prefix();
        self.prefix_known = self.prefix.len();
        self.rows = Rows::new(self.rows.len());
        let (text, known) = plain.unfinished();
        let line = self.logical_line(self.terminal.cursor().row);
        if line.start == 0 {
            self.prefix_known = known.min(self.prefix.len());
        }
        self.run += 1;
        if text.len() > known {
            let (run, time) = (self.run, self.time);
            self.rows.range_mut(line).for_each(|row| row.grow(run, time));
            self.run += 1;
        }
    }

    // What a function is about to do.

    fn execute(&mut self, function: Function, search: &mut Search<'_>) {
        let rows = self.rows.len();
        let cursor = self.terminal.cursor();
        let (top, bottom) = self.modes.margins();
        let below = cursor.row..if cursor.row <= bottom { bottom + 1 } else { rows };
        match &function {
            Function::Print(character) => return self.print(*character, search),
            Function::Sgr(_) | Function::Osc(_) | Function::Gzd4(_) => {}
            Function::El(ElScope::ToRight) => self.erase(cursor.row, cursor.col..usize::MAX, search),
            Function::El(ElScope::ToLeft) => self.erase(cursor.row, 0..cursor.col + 1, search),
            Function::El(ElScope::All) => self.erase(cursor.row, 0..usize::MAX, search),
            Function::Ech(count) => {
                let count = usize::from(*count).max(1);
                self.erase(cursor.row, cursor.col..cursor.col + count, search);
            }
            Function::Ed(EdScope::Below) => {
                self.erase(cursor.row, cursor.col..usize::MAX, search);
                self.search_rows(cursor.row + 1..rows, search);
            }
            Function::Ed(EdScope::Above) => {
                self.erase(cursor.row, 0..cursor.col + 1, search);
                self.search_rows(0..cursor.row, search);
            }
            Function::Ed(EdScope::All) => self.search_rows(0..rows, search),
            Function::Decaln | Function::Ris => self.leave_rows(0..rows, search),
            Function::Decset(modes) | Function::Decrst(modes) => {
                // Some of them move the cursor.
                if !modes
                    .as_slice()
                    .iter()
                    .all(|mode| matches!(mode, DecMode::CursorKeys | DecMode::TextCursorEnable))
                {
                    self.run += 1;
                }
                let switches = |mode: &DecMode| {
                    matches!(mode, DecMode::AltScreenBuffer | DecMode::SaveCursorAltScreenBuffer)
                };
                if modes.as_slice().iter().any(switches) {
                    self.leave_rows(0..rows, search);
                    self.forget_prefix();
                }
            }
            Function::Dch(_) | Function::Ich(_) => {
                self.search_line(cursor.row, Change::Grown, search);
                let (run, time) = (self.run, self.time);
                if let Some(row) = self.rows.get_mut(cursor.row) {
                    row.grow(run, time);
                }
            }
            Function::Rep(count) => return self.repeat(*count, search),
            Function::Il(_) | Function::Dl(_) => self.leave_rows(below, search),
            Function::Su(_) | Function::Sd(_) => self.leave_rows(top..bottom + 1, search),
            other => {
                // What comes next may be printed over another row of the line, of which it would have to be known that this one grew.
                if leaves_row(other) && self.logical_line(cursor.row).len() > 1 {
                    self.search_line(cursor.row, Change::Grown, search);
                }
                self.run += 1;
                match other {
                    Function::Lf | Function::Nel if cursor.row == bottom => self.scroll(false, search),
                    Function::Ri if cursor.row == top => self.leave_rows(top..bottom + 1, search),
                    _ => {}
                }
            }
        }
        self.modes.note(&function);
        self.terminal.execute(function);
    }

    fn print(&mut self, character: char, search: &mut Search<'_>) {
        let cursor = self.terminal.cursor();
        let (columns, rows) = self.terminal.size();
        let width = if character > '\u{7e}' && character.width() == Some(2) { 2 } else { 1 };
        let (mut row, mut column) = (cursor.row, cursor.col);
        // The row that stands there now scrolls away first.
        let mut fresh = false;
        if column + width > columns {
            if self.modes.wrap() {
                column = 0;
                if row == self.modes.margins().1 {
                    self.scroll(true, search);
                    fresh = true;
                } else if row + 1 < rows {
                    row += 1;
                    // What stands there becomes part of another line.
                    self.search_line(row, Change::Grown, search);
                }
            } else {
                column = columns.saturating_sub(width);
            }
        }
        let touched = if self.modes.insert() { column..columns } else { column..column + width };
        let replaced = |cell: &Cell| cell.char() != ' ' && cell.char() != character;
        let writes_over = self.cells_of(row).take(touched.end).skip(touched.start).any(replaced);
        let changes = match fresh {
            true => character != ' ',
            false => self.cells_of(row).nth(column).is_none_or(|cell| cell.char() != character),
        };
        // Whatever does not stand at the line's end makes it look different.
        let inserts = || {
            let blank = |line: &Line| !line.is_wrapped() && is_blank(line, touched.end..line.len());
            changes && !self.line(row).is_none_or(blank)
        };
        if self.has_grown_before(row) && (writes_over || inserts()) {
            self.search_line(row, Change::Grown, search);
        }
        self.terminal.execute(Function::Print(character));
        if let Some(row) = self.rows.get_mut(row).filter(|_| changes) {
            match character {
                ' ' => row.shrink(self.time),
                _ => row.grow(self.run, self.time),
            }
        }
    }

    /// As [`print`](Self::print) for each of these characters, for which [`fits`](Self::fits) is true. What has to be searched can
    /// change only once in a run: afterwards the row has not grown before it.
    fn print_run(&mut self, run: &[u8], search: &mut Search<'_>) {
        let cursor = self.terminal.cursor();
        let safe = if self.has_grown_before(cursor.row) { self.leaves_row_alone(run) } else { run.len() };
        let (first, second) = run.split_at(safe);
        self.put(first);
        if !second.is_empty() {
            self.search_line(cursor.row, Change::Grown, search);
            self.put(second);
        }
    }

    /// How many of these characters, printed at the cursor, neither write over one nor come to stand before one.
    fn leaves_row_alone(&self, run: &[u8]) -> usize {
        let cursor = self.terminal.cursor();
        let Some(line) = self.line(cursor.row) else { return run.len() };
        let cells = line.cells();
        let stands_alone = if line.is_wrapped() {
            usize::MAX
        } else {
            cells.iter().rposition(|cell| cell.char() != ' ').unwrap_or(0)
        };
        let mut columns = (cursor.col..).zip(cells.iter().skip(cursor.col)).zip(run);
        let harms = |((column, cell), new): ((usize, &Cell), &u8)| {
            cell.char() != char::from(*new) && (cell.char() != ' ' || column < stands_alone)
        };
        columns.position(harms).unwrap_or(run.len())
    }

    fn put(&mut self, run: &[u8]) {
        let cursor = self.terminal.cursor();
        let (mut grows, mut shrinks) = (false, false);
        // Programs paint much that stands there already: before the first change and behind the last it is enough to move on.
        let (mut first, mut last) = (run.len(), 0);
        for ((at, new), cell) in run.iter().enumerate().zip(self.cells_of(cursor.row).skip(cursor.col)) {
            if cell.char() != char::from(*new) || cell.width() != 1 {
                grows |= *new != b' ';
                shrinks |= *new == b' ';
                first = first.min(at);
                last = at + 1;
            }
        }
        if cursor.col + run.len() >= self.terminal.size().0 {
            // Only a character that is printed leaves the cursor behind the last column.
            first = first.min(run.len().saturating_sub(1));
            last = run.len();
        }
        let painted = run.get(first..last).unwrap_or_default();
        let print = painted.iter().map(|byte| Function::Print(char::from(*byte)));
        self.terminal.execute(right(first).chain(print).chain(right(run.len() - last.max(first))));
        let (run, time) = (self.run, self.time);
        if let Some(row) = self.rows.get_mut(cursor.row) {
            if shrinks {
                row.shrink(time);
            }
            if grows {
                row.grow(run, time);
            }
        }
    }

    /// REP: the character before the cursor again. As often as the screen has cells looks the same as any larger number, which would only take its
    /// time.
    fn repeat(&mut self, count: u16, search: &mut Search<'_>) {
        self.leave_rows(0..self.rows.len(), search);
        let count = usize::from(count).min(self.cells());
        self.terminal.execute(Function::Rep(u16::try_from(count).unwrap_or(u16::MAX)));
        let (run, time) = (self.run, self.time);
        self.rows.range_mut(0..usize::MAX).for_each(|row| row.grow(run, time));
        self.forget_prefix();
    }

    /// These columns of a row are about to be erased.
    fn erase(&mut self, row: usize, columns: Range<usize>, search: &mut Search<'_>) {
        if self.line(row).is_none_or(|line| is_blank(line, columns.clone())) {
            return;
        }
        let cursor = self.terminal.cursor();
        // What stands right of the cursor is older than what was printed before it.
        let erases_run = columns.start < cursor.col;
        if erases_run || self.has_grown_before(row) {
            self.search_line(row, Change::Grown, search);
        }
        if let Some(row) = self.rows.get_mut(row) {
            row.shrink(self.time);
        }
    }

    /// The rows within the margins are about to move up by one.
    fn scroll(&mut self, wraps: bool, search: &mut Search<'_>) {
        let (top, bottom) = self.modes.margins();
        if !self.modes.scroll_whole_screen() {
            self.leave_rows(top..bottom + 1, search);
            return;
        }
        // A line that is still growing is searched when it has ended, unless that takes too long.
        let grows = wraps && self.logical_line(0).contains(&bottom);
        let gone = self.text(0..1, true);
        if !grows || self.prefix.len() + gone.len() > MAX_PREFIX {
            self.search_line(0, Change::Shrunk, search);
        }
        if self.line(0).is_some_and(Line::is_wrapped) || (grows && bottom == 0) {
            let unchanged = self.rows.get(0).is_none_or(|row| row.change() == Change::None);
            if unchanged && self.prefix_known == self.prefix.len() {
                self.prefix_known += gone.len();
            }
            self.prefix.push_str(&gone);
            self.trim_prefix();
        } else {
            self.forget_prefix();
        }
        self.rows.scroll(search.sink);
    }

    // Searching.

    /// These rows are about to go or to move.
    fn leave_rows(&mut self, rows: Range<usize>, search: &mut Search<'_>) {
        self.search_rows(rows.clone(), search);
        self.rows.range_mut(rows).for_each(|row| row.leave(search.sink));
    }

    /// These rows are about to be erased; what was on them may be painted again.
    fn search_rows(&mut self, rows: Range<usize>, search: &mut Search<'_>) {
        for row in rows {
            if row == 0 || self.rows.get(row).is_some_and(|row| row.change() != Change::None) {
                self.search_line(row, Change::Shrunk, search);
            }
        }
    }

    /// Searches the line that the row is part of, if it has changed at least so much.
    fn search_line(&mut self, row: usize, at_least: Change, search: &mut Search<'_>) {
        let line = self.logical_line(row);
        let unknown_prefix = line.start == 0 && self.prefix_known < self.prefix.len();
        let changes = match self.rows.changes(line.clone()) {
            Some(changes) if changes.change >= at_least || unknown_prefix => changes,
            None if unknown_prefix => Changes::at(self.time),
            _ => return,
        };
        let text = self.text(line.clone(), false);
        // Nearly all of it are blanks, which are quicker taken off as bytes.
        let blanks = text.bytes().rev().take_while(|byte| *byte == b' ').count();
        let text = text.get(..text.len() - blanks).unwrap_or_default().trim_end();
        // Whether there is a match right before what changed may depend on it, all the more if the line has become shorter.
        let known = match self.known(&line) {
            known if known < text.len() => known.saturating_sub(1),
            _ => 0,
        };
        let matched = search.pattern.find(text.as_bytes(), known);
        if let Some(matched) = matched
            && let Some(row) = self.rows.get_mut(line.start)
        {
            row.hold(text, matched, changes, self.time, search.sink);
        }
        if line.start == 0 {
            self.prefix_known = self.prefix.len();
        }
        self.rows.range_mut(line).for_each(Row::settle);
    }

    /// Whether the row has grown by more than this run printed.
    fn has_grown_before(&self, row: usize) -> bool {
        self.rows.get(row).is_some_and(|row| row.grown_before(self.run))
    }

    /// The rows of the line that a row is part of.
    fn logical_line(&self, row: usize) -> Range<usize> {
        let wraps = |row: usize| self.line(row).is_some_and(Line::is_wrapped);
        let mut start = row;
        while start > 0 && wraps(start - 1) {
            start -= 1;
        }
        let mut end = row + 1;
        while end < self.rows.len() && wraps(end - 1) {
            end += 1;
        }
        start..end
    }

    /// The text of these rows, and what of it scrolled away.
    fn text(&self, rows: Range<usize>, only_shown: bool) -> String {
        let mut text = Vec::with_capacity(self.terminal.size().0 * rows.len());
        if rows.start == 0 && !only_shown {
            text.extend_from_slice(self.prefix.as_bytes());
        }
        for line in rows.filter_map(|row| self.line(row)) {
            for cell in line.cells().iter().filter(|cell| cell.width() > 0) {
                match u8::try_from(cell.char()) {
                    Ok(byte) if byte.is_ascii() => text.push(byte),
                    _ => text.extend_from_slice(cell.char().encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// How many bytes at the start of a line have been searched and are as they were.
    fn known(&self, line: &Range<usize>) -> usize {
        if line.start == 0 && self.prefix_known < self.prefix.len() {
            return self.prefix_known;
        }
        let unchanged = line
            .clone()
            .take_while(|row| self.rows.get(*row).is_some_and(|row| row.change() == Change::None));
        self.text(line.start..line.start + unchanged.count(), false).len()
    }

    fn trim_prefix(&mut self) {
        if self.prefix.len() > MAX_PREFIX {
            let cut = self.prefix.ceil_char_boundary(self.prefix.len() - MAX_PREFIX);
            self.prefix.drain(..cut);
            self.prefix_known = self.prefix_known.saturating_sub(cut);
        }
    }

    fn forget_prefix(&mut self) {
        self.prefix.clear();
        self.prefix_known = 0;
    }

    fn line(&self, row: usize) -> Option<&Line> {
        self.terminal.screen().line(row)
    }

    fn cells_of(&self, row: usize) -> impl Iterator<Item = &Cell> {
        self.line(row).map(Line::cells).unwrap_or_default().iter()
    }
}

/// Keeps the start of a line that scrolls away while its end stays.
struct Gone<'p> {
    prefix: &'p mut String,
}

impl Observer for Gone<'_> {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        if line.is_wrapped() {
            self.prefix.extend(line.chars());
        } else {
            self.prefix.clear();
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// Whether a function may move the cursor to another row.
fn leaves_row(function: &Function) -> bool {
    use Function::{Cnl, Cpl, Cud, Cup, Cuu, Decrc, Decstbm, Lf, Nel, Ri, Scorc, Vpa, Vpr};
    matches!(
        function,
        Cnl(_)
            | Cpl(_)
            | Cud(_)
            | Cup(..)
            | Cuu(_)
            | Decrc
            | Decstbm(..)
            | Lf
            | Nel
            | Ri
            | Scorc
            | Vpa(_)
            | Vpr(_)
    )
}

/// Moves the cursor to the right, within the row.
fn right(columns: usize) -> impl Iterator<Item = Function> {
    // A screen has no more columns than fit.
    let columns = u16::try_from(columns).ok().filter(|columns| *columns > 0);
    columns.into_iter().map(Function::Cuf)
}

fn is_blank(line: &Line, columns: Range<usize>) -> bool {
    line.cells().iter().take(columns.end).skip(columns.start).all(|cell| cell.char() == ' ')
}
