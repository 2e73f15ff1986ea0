//! The modes of a terminal that change the meaning of plain text. The emulator does not tell them.

use avt::Charset;
use avt::parser::{AnsiMode, DecMode, Function};

/// Modes as far as they matter here.
#[derive(Debug)]
pub(super) struct Modes {
    rows: usize,
    alternate: bool,
    insert: bool,
    new_line: bool,
    cursor: CursorModes,
    /// Of each screen.
    saved: [CursorModes; 2],
    /// Line drawing instead of ASCII, in each of the two sets.
    drawing: [bool; 2],
    second_set: bool,
    tabs: bool,
    /// First and last row that scroll.
    margins: (usize, usize),
}

/// What is saved and restored with the cursor.
#[derive(Clone, Copy, Debug, Default)]
struct CursorModes {
    origin: bool,
    no_wrap: bool,
}

impl Modes {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            rows,
            alternate: false,
            insert: false,
            new_line: false,
            cursor: CursorModes::default(),
            saved: Default::default(),
            drawing: Default::default(),
            second_set: false,
            tabs: false,
            margins: (0, rows.saturating_sub(1)),
        }
    }

    /// All is as it is at first: text stands where it is printed.
    pub(super) fn are_plain(&self) -> bool {
        let [first_drawing, _] = self.drawing;
        let odd = [
            self.alternate,
            self.insert,
            self.new_line,
            self.cursor.origin,
            self.cursor.no_wrap,
            first_drawing,
            self.second_set,
            self.tabs,
            !self.scroll_whole_screen(),
        ];
        odd == [false; 9]
    }

    /// A printable ASCII character is put where the cursor is, nothing else happens, and to choose ASCII changes nothing.
    pub(super) fn prints_as_it_is(&self) -> bool {
        !self.insert && self.drawing == [false; 2]
    }

    pub(super) fn insert(&self) -> bool {
        self.insert
    }

    pub(super) fn wrap(&self) -> bool {
        !self.cursor.no_wrap
    }

    /// First and last row that scroll.
    pub(super) fn margins(&self) -> (usize, usize) {
        self.margins
    }

    pub(super) fn scroll_whole_screen(&self) -> bool {
        self.margins == (0, self.rows.saturating_sub(1))
    }

    /// The terminal has so many rows now.
    pub(super) fn resize(&mut self, rows: usize) {
        if rows != self.rows {
            self.rows = rows;
            self.margins = (0, rows.saturating_sub(1));
        }
    }

    /// Takes note of what a function does.
    pub(super) fn note(&mut self, function: &Function) {
        let [first, second] = &mut self.drawing;
        match function {
            Function::Sm(modes) => self.ansi(modes.as_slice(), true),
            Function::Rm(modes) => self.ansi(modes.as_slice(), false),
            Function::Decset(modes) => modes.as_slice().iter().for_each(|mode| self.set(*mode)),
            Function::Decrst(modes) => modes.as_slice().iter().for_each(|mode| self.reset(*mode)),
            Function::Decsc | Function::Scosc => *self.saved() = self.cursor,
            Function::Decrc | Function::Scorc => self.cursor = *self.saved(),
            Function::Gzd4(charset) => *first = *charset != Charset::Ascii,
            Function::G1d4(charset) => *second = *charset != Charset::Ascii,
            Function::So => self.second_set = true,
            Function::Si => self.second_set = false,
            Function::Hts | Function::Ctc(_) | Function::Tbc(_) => self.tabs = true,
            Function::Decstbm(top, bottom) => self.set_margins(*top, *bottom),
            Function::Decstr => {
                self.insert = false;
                self.cursor.origin = false;
                self.drawing = Default::default();
                self.second_set = false;
                self.margins = (0, self.rows.saturating_sub(1));
                *self.saved() = CursorModes::default();
            }
            Function::Ris => *self = Self::new(self.rows),
            _ => {}
        }
    }

    fn ansi(&mut self, modes: &[AnsiMode], on: bool) {
        for mode in modes {
            match mode {
                AnsiMode::Insert => self.insert = on,
                AnsiMode::NewLine => self.new_line = on,
            }
        }
    }

    fn set(&mut self, mode: DecMode) {
        match mode {
            DecMode::Origin => self.cursor.origin = true,
            DecMode::AutoWrap => self.cursor.no_wrap = false,
            DecMode::SaveCursor => *self.saved() = self.cursor,
            DecMode::AltScreenBuffer => self.alternate = true,
            DecMode::SaveCursorAltScreenBuffer => {
                *self.saved() = self.cursor;
                self.alternate = true;
            }
            DecMode::CursorKeys | DecMode::TextCursorEnable => {}
        }
    }

    fn reset(&mut self, mode: DecMode) {
        match mode {
            DecMode::Origin => self.cursor.origin = false,
            DecMode::AutoWrap => self.cursor.no_wrap = true,
            DecMode::SaveCursor => self.cursor = *self.saved(),
            DecMode::AltScreenBuffer => self.alternate = false,
            DecMode::SaveCursorAltScreenBuffer => {
                self.alternate = false;
                self.cursor = *self.saved();
            }
            DecMode::CursorKeys | DecMode::TextCursorEnable => {}
        }
    }

    fn saved(&mut self) -> &mut CursorModes {
        let [primary, alternate] = &mut self.saved;
        if self.alternate { alternate } else { primary }
    }

    /// DECSTBM: rows from 1, zeros for the usual; ignored where they make no sense.
    fn set_margins(&mut self, top: u16, bottom: u16) {
        let or = |value: u16, usual| if value == 0 { usual } else { usize::from(value) };
        let (top, bottom) = (or(top, 1) - 1, or(bottom, self.rows).saturating_sub(1));
        if top < bottom && bottom < self.rows {
            self.margins = (top, bottom);
        }
    }
}
