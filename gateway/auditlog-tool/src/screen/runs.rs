//! Cells of a line, joined to what can be drawn at once, and safe to draw.

use avt::{Line, Pen};
use containerssh_auditlog::text::is_invisible;
use unicode_width::UnicodeWidthChar;

/// Neighbouring cells that look the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Printable characters only: no control characters, none that changes the direction of others or hides.
    pub(crate) text: String,
    /// How wide it is, in columns of the screen.
    pub(crate) columns: usize,
    /// Colours and weight.
    pub(crate) pen: Pen,
}

/// The runs of a line, without the blank end. A character of two columns is a run of its own: fonts disagree about such
/// widths, so that who draws has to place what follows.
pub(crate) fn runs(line: &Line) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cell in line.cells().iter().filter(|cell| cell.width() > 0) {
        let columns = usize::from(cell.width());
        match runs.last_mut() {
            Some(run) if run.pen == *cell.pen() && columns == 1 && !run.is_wide() => {
                draw(cell.char(), &mut run.text);
                run.columns += 1;
            }
            _ => {
                let mut text = String::new();
                draw(cell.char(), &mut text);
                runs.push(Run { text, columns, pen: *cell.pen() });
            }
        }
    }
    while let Some(last) = runs.last_mut().filter(|last| !draws_blanks(&last.pen)) {
        last.text.truncate(last.text.trim_end_matches(' ').len());
        if !last.text.is_empty() {
            last.columns = last.text.chars().map(|character| character.width().unwrap_or(0)).sum();
            break;
        }
        runs.pop();
    }
    runs
}

impl Run {
    /// One character of two columns.
    pub(crate) fn is_wide(&self) -> bool {
        self.columns == 2 && self.text.chars().count() == 1
    }

    /// Only characters that every font and terminal draws in one column each.
    pub(crate) fn is_plain(&self) -> bool {
        self.text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    }
}

/// A blank in this pen looks different from none.
fn draws_blanks(pen: &Pen) -> bool {
    pen.background().is_some() || pen.is_inverse() || pen.is_underline() || pen.is_strikethrough()
}

fn draw(character: char, text: &mut String) {
    match character {
        _ if character.is_control() || is_invisible(character) => text.push(char::REPLACEMENT_CHARACTER),
        // The model gives a combining mark a cell of its own, drawn it joins the one before: the blank keeps what follows in place.
        _ if character.width() == Some(0) => text.extend([character, ' ']),
        _ => text.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Screen;
    use super::*;

    fn first_line(output: &str) -> Vec<Run> {
        let mut screen = Screen::new(20, 1);
        screen.feed(output);
        screen.lines().map(runs).next().unwrap()
    }

    fn shown(output: &str) -> Vec<(String, usize)> {
        first_line(output).into_iter().map(|run| (run.text, run.columns)).collect()
    }

    #[test]
    fn cells_of_one_pen_are_joined_and_the_blank_end_is_left_out() {
        let runs = first_line("ab \x1b[1;31mcd\x1b[0m  ");
        assert_eq!(
            runs.iter().map(|run| (&*run.text, run.pen.is_bold())).collect::<Vec<_>>(),
            [("ab ", false), ("cd", true)]
        );
        assert!(first_line("   ").is_empty());
        assert_eq!(shown("a\x1b[41m  "), [("a".into(), 1), ("  ".into(), 2)]);
    }

    #[test]
    fn wide_characters_stand_alone() {
        assert_eq!(
            shown("a\u{6f22}\u{5b57}b"),
            [("a".into(), 1), ("\u{6f22}".into(), 2), ("\u{5b57}".into(), 2), ("b".into(), 1)]
        );
    }

    #[test]
    fn what_hides_or_reorders_is_replaced_and_marks_keep_their_columns() {
        assert_eq!(shown("a\u{202e}b\u{200b}"), [("a\u{fffd}b\u{fffd}".into(), 4)]);
        assert_eq!(shown("e\u{301}x"), [("e\u{301} x".into(), 3)]);
    }
}
