//! Draws the model's screen on the viewer's terminal.
//!
//! What reaches the terminal is an allow-list by construction: printable characters of cells, and the few sequences that are
//! written here (cursor position, erase, colours, cursor on and off). Nothing of the recorded stream is passed on, so a
//! session cannot set the viewer's title or clipboard, ask the terminal questions, or leave it in a strange mode.

use std::fmt::Write as _;

use avt::{Color, Pen};
use unicode_width::UnicodeWidthChar;

use crate::screen::{Run, Screen, runs};

/// What stands on the terminal, so that only what changed is drawn.
#[derive(Debug, Default)]
pub(crate) struct Painter {
    size: (usize, usize),
    rows: Vec<Vec<Run>>,
    /// The first row of the session's screen that is visible.
    top: usize,
    status: String,
}

impl Painter {
    /// Everything is drawn again next time.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What to write so that a terminal of `size` columns and rows shows this screen, and the status in its last row.
    pub(crate) fn paint(&mut self, screen: &Screen, status: &str, size: (usize, usize)) -> String {
        let mut out = String::new();
        if self.size != size {
            *self = Self { size, ..Self::default() };
            out.push_str("\x1b[0m\x1b[2J");
        }
        let (width, height) = size;
        let body = height.saturating_sub(1);
        self.scroll(screen, body);
        let mut rows: Vec<Vec<Run>> =
            screen.lines().skip(self.top).take(body).map(|line| clipped(runs(line), width)).collect();
        frame(&mut rows, screen.size(), size);
        self.rows.resize(rows.len().max(self.rows.len()), Vec::new());
        rows.resize(self.rows.len(), Vec::new());
        out.push_str("\x1b[?25l");
        for (number, (row, shown)) in rows.iter().zip(&self.rows).enumerate() {
            if row != shown {
                draw(number, row, &mut out);
            }
        }
        self.rows = rows;
        if self.status != status {
            self.status = status.to_owned();
            let text = fitted(status, width);
            let _ = write!(out, "\x1b[{height};1H\x1b[0;7m{text}\x1b[0m");
        }
        if let Some((column, row)) = screen.cursor()
            && let Some(row) = row.checked_sub(self.top).filter(|row| *row < body)
            && column < width
        {
            let _ = write!(out, "\x1b[{};{}H\x1b[?25h", row + 1, column + 1);
        }
        out
    }

    /// Keeps the cursor in sight where the session's screen is higher than the terminal.
    fn scroll(&mut self, screen: &Screen, body: usize) {
        let (_, rows) = screen.size();
        if let Some((_, cursor)) = screen.cursor() {
            self.top = self.top.min(cursor).max((cursor + 1).saturating_sub(body));
        }
        self.top = self.top.min(rows.saturating_sub(body));
    }
}

/// Shows where the session's screen ends, if there is room beside or below it.
fn frame(rows: &mut Vec<Vec<Run>>, session: (usize, usize), size: (usize, usize)) {
    let line = |text: String| Run { columns: text.chars().count(), text, pen: Pen::default() };
    if session.0 < size.0 {
        for row in rows.iter_mut() {
            let used: usize = row.iter().map(|run| run.columns).sum();
            row.push(line(" ".repeat(session.0.saturating_sub(used))));
            row.push(line("\u{2502}".to_owned()));
        }
    }
    if rows.len() < size.1.saturating_sub(1) {
        rows.push(vec![line("\u{2500}".repeat(session.0.min(size.0)))]);
    }
}

/// The runs as far as they fit.
fn clipped(runs: Vec<Run>, width: usize) -> Vec<Run> {
    let mut left = width;
    let mut fitting = Vec::with_capacity(runs.len());
    for mut run in runs {
        if run.columns > left {
            // A run of more than one character has one column for each; a wide one fits or not.
            run.text = run.text.chars().take(if run.is_wide() { 0 } else { left }).collect();
            run.columns = left;
            fitting.push(run);
            break;
        }
        left -= run.columns;
        fitting.push(run);
    }
    fitting
}

fn draw(number: usize, row: &[Run], out: &mut String) {
    let mut column = 1;
    let _ = write!(out, "\x1b[{};1H\x1b[0m\x1b[K", number + 1);
    for run in row {
        let _ = write!(out, "\x1b[{}m{}", colours(&run.pen), run.text);
        column += run.columns;
        // Terminals disagree about the width of such characters.
        if !run.is_plain() {
            let _ = write!(out, "\x1b[{column}G");
        }
    }
    out.push_str("\x1b[0m");
}

/// The parameters of SGR (ECMA-48 section 8.3.117) for a pen.
fn colours(pen: &Pen) -> String {
    let mut parameters = "0".to_owned();
    let attributes = [
        (pen.is_bold(), 1),
        (pen.is_faint(), 2),
        (pen.is_italic(), 3),
        (pen.is_underline(), 4),
        (pen.is_blink(), 5),
        (pen.is_inverse(), 7),
        (pen.is_strikethrough(), 9),
    ];
    for (_, code) in attributes.iter().filter(|(set, _)| *set) {
        let _ = write!(parameters, ";{code}");
    }
    for (colour, base) in [(pen.foreground(), 30), (pen.background(), 40)] {
        let _ = match colour {
            None => Ok(()),
            Some(Color::Indexed(index @ 0..8)) => write!(parameters, ";{}", base + u32::from(index)),
            Some(Color::Indexed(index @ 8..16)) => write!(parameters, ";{}", base + 52 + u32::from(index)),
            Some(Color::Indexed(index)) => write!(parameters, ";{};5;{index}", base + 8),
            Some(Color::RGB(rgb)) => write!(parameters, ";{};2;{};{};{}", base + 8, rgb.r, rgb.g, rgb.b),
        };
    }
    parameters
}

/// Cut or filled up to a number of columns.
fn fitted(text: &str, width: usize) -> String {
    let mut left = width;
    let mut fitting: String = text
        .chars()
        .take_while(|character| {
            let columns = character.width().unwrap_or(0);
            let fits = columns <= left;
            left -= if fits { columns } else { 0 };
            fits
        })
        .collect();
    fitting.extend(std::iter::repeat_n(' ', left));
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of this size shows after it was written to.
    fn shown(output: &[String], size: (usize, usize)) -> Vec<String> {
        let mut terminal = Screen::new(size.0 as u32, size.1 as u32);
        terminal.feed("\x1b[?7l");
        output.iter().for_each(|output| terminal.feed(output));
        terminal.lines().map(|line| line.text().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_screen_is_drawn_with_its_frame_and_the_status_below() {
        let mut screen = Screen::new(6, 2);
        screen.feed("ab \u{6f22}\r\n\x1b[31mred");
        let output = Painter::default().paint(&screen, "status", (12, 5));
        assert_eq!(
            shown(&[output], (12, 5)),
            ["ab \u{6f22} \u{2502}", "red   \u{2502}", "\u{2500}".repeat(6).as_str(), "", "status"]
        );
    }

    #[test]
    fn only_what_changed_is_drawn_again() {
        let mut screen = Screen::new(20, 3);
        let mut painter = Painter::default();
        screen.feed("one\r\ntwo");
        let first = painter.paint(&screen, "s", (20, 4));
        screen.feed("2");
        let second = painter.paint(&screen, "s", (20, 4));
        assert!(
            !second.contains("one") && second.contains("two2") && !second.contains("\x1b[4;1H"),
            "{second:?}"
        );
        assert_eq!(shown(&[first, second], (20, 4)), ["one", "two2", "", "s"]);
        painter.forget();
        assert!(painter.paint(&screen, "s", (20, 4)).contains("one"));
    }

    #[test]
    fn a_screen_too_large_is_cut_and_follows_the_cursor() {
        let mut screen = Screen::new(30, 10);
        for number in 0..10 {
            screen.feed(&format!("\x1b[{};1Hline {number} {}", number + 1, "x".repeat(20)));
        }
        let mut painter = Painter::default();
        let bottom = painter.paint(&screen, "", (12, 4));
        assert_eq!(
            shown(std::slice::from_ref(&bottom), (12, 4))[..3],
            ["line 7 xxxxx", "line 8 xxxxx", "line 9 xxxxx"]
        );
        screen.feed("\x1b[H");
        let top = painter.paint(&screen, "", (12, 4));
        assert_eq!(shown(&[bottom, top], (12, 4))[..3], ["line 0 xxxxx", "line 1 xxxxx", "line 2 xxxxx"]);
    }

    #[test]
    fn a_smaller_window_leaves_nothing_of_the_larger_one() {
        let mut screen = Screen::new(10, 4);
        let mut painter = Painter::default();
        screen.feed("1\r\n2\r\n3\r\n4");
        let large = painter.paint(&screen, "", (12, 6));
        screen.resize(5, 1);
        let small = painter.paint(&screen, "", (12, 6));
        assert_eq!(
            shown(&[large, small], (12, 6)),
            ["4    \u{2502}", "\u{2500}".repeat(5).as_str(), "", "", "", ""]
        );
    }

    #[test]
    fn wide_characters_are_never_drawn_in_half() {
        let mut screen = Screen::new(10, 1);
        screen.feed("ab\u{6f22}c");
        assert_eq!(shown(&[Painter::default().paint(&screen, "", (3, 2))], (3, 2))[0], "ab");
    }

    /// Every byte that is written is either printable or part of a sequence of the list.
    #[test]
    fn nothing_but_the_allowed_sequences_reaches_the_terminal() {
        let mut screen = Screen::new(40, 3);
        screen.feed("\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x1bP$qm\x1b\\\x1b[6n\x1b[c\x1b[?1000h\x05\x07\u{202e}evil");
        screen.feed("\x1b[1;2;3;4;5;7;9;38;2;1;2;3;48;5;200mstyled\x1b[0m \x1b[93;44mbright");
        let output = Painter::default().paint(&screen, "s", (50, 5));
        let mut rest = output.as_str();
        while let Some(at) = rest.find('\x1b') {
            let (text, sequence) = rest.split_at(at);
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let sequence = sequence.strip_prefix("\x1b[").unwrap();
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let (parameters, after) = sequence.split_at(end);
            let allowed = match &after[..1] {
                "H" | "K" | "J" | "G" | "m" => parameters.chars().all(|c| c.is_ascii_digit() || c == ';'),
                "h" | "l" => parameters == "?25",
                _ => false,
            };
            assert!(allowed, "{sequence:?}");
            rest = &after[1..];
        }
        assert!(output.contains("\x1b[0;2;3;4;5;7;9;38;2;1;2;3;48;5;200mstyled"), "{output:?}");
        assert!(output.contains("\x1b[0;93;44mbright"), "{output:?}");
        assert!(output.contains("\u{fffd}evil"), "{output:?}");
    }
}
