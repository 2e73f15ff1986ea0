//! What the page is made from: one JSON array per line.
//!
//! ```text
//! ["s", number, foreground, background, flags]                          a style; colours are numbers, "#rrggbb" or null
//! ["f", tab, time, cursor, changed, gone?, size?]                       a frame, see [`Frame`]; tabs count from 0
//! ["e", channel id | null, time, kind, text]                            something that happened
//! ```
//! Times are milliseconds since the log's start. A row is an array of runs: a text, or `[text, style]`, or
//! `[text, style, columns]` where fonts may disagree about the width. `changed` is `[number, row, …]`, `gone` has 0 for a row as
//! it stood. Flags are a bit each, from 1: bold, faint, italic, underline, blink, inverse, struck.

use std::collections::HashMap;

use avt::{Color, Pen};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::screen::Run;

use super::film::{Frame, Gone, Row};

/// Styles that are told apart. A picture in true colours has more than any page needs: what comes later loses its colours.
const MAX_STYLES: usize = 16_384;
/// The longest text of one event, in characters: a command line of many screens. The log has the rest.
const MAX_TEXT: usize = 4_096;

/// Writes lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    styles: HashMap<Style, usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Style {
    foreground: Colour,
    background: Colour,
    flags: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Colour {
    #[default]
    Usual,
    Index(u8),
    Rgb(u8, u8, u8),
}

impl Lines {
    /// A frame of the channel with this tab, and before it the styles that are new in it.
    pub(crate) fn frame(&mut self, tab: usize, time: u64, frame: &Frame, out: &mut Vec<u8>) {
        let rows = frame.changed.iter().map(|(_, row)| row);
        let gone = frame.gone.iter().filter_map(|gone| match gone {
            Gone::Same => None,
            Gone::Row(row) => Some(row),
        });
        for run in rows.chain(gone).flatten() {
            self.style(&run.pen, out);
        }
        line(&FrameLine { styles: &self.styles, tab, time, frame }, out);
    }

    /// Something that happened.
    pub(crate) fn event(
        &mut self,
        channel: Option<u64>,
        time: u64,
        kind: &str,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        let short: String = text.chars().take(MAX_TEXT).collect();
        line(&("e", channel, time, kind, short), out);
    }

    fn style(&mut self, pen: &Pen, out: &mut Vec<u8>) {
        let style = Style::from(pen);
        if style == Style::default() || self.styles.contains_key(&style) {
            return;
        }
        // Number 0 is the usual one.
        let number = self.styles.len() + 1;
        if number >= MAX_STYLES {
            return;
        }
        self.styles.insert(style, number);
        line(&("s", number, style.foreground, style.background, style.flags), out);
    }
}

impl From<&Pen> for Style {
    fn from(pen: &Pen) -> Self {
        let colour = |colour| match colour {
            None => Colour::Usual,
            Some(Color::Indexed(index)) => Colour::Index(index),
            Some(Color::RGB(rgb)) => Colour::Rgb(rgb.r, rgb.g, rgb.b),
        };
        let flags = [
            pen.is_bold(),
            pen.is_faint(),
            pen.is_italic(),
            pen.is_underline(),
            pen.is_blink(),
            pen.is_inverse(),
            pen.is_strikethrough(),
        ];
        let flags = flags.iter().rev().fold(0, |flags, set| flags << 1 | u8::from(*set));
        Self { foreground: colour(pen.foreground()), background: colour(pen.background()), flags }
    }
}

impl Serialize for Colour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Usual => serializer.serialize_none(),
            Self::Index(index) => serializer.serialize_u8(*index),
            Self::Rgb(r, g, b) => serializer.collect_str(&format_args!("#{r:02x}{g:02x}{b:02x}")),
        }
    }
}

struct FrameLine<'a> {
    styles: &'a HashMap<Style, usize>,
    tab: usize,
    time: u64,
    frame: &'a Frame,
}

impl Serialize for FrameLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame = self.frame;
        let mut line = serializer.serialize_seq(None)?;
        line.serialize_element("f")?;
        line.serialize_element(&self.tab)?;
        line.serialize_element(&self.time)?;
        line.serialize_element(&frame.cursor)?;
        line.serialize_element(&Changed { styles: self.styles, rows: &frame.changed })?;
        if !frame.gone.is_empty() || frame.size.is_some() {
            line.serialize_element(&History { styles: self.styles, rows: &frame.gone })?;
        }
        if let Some(size) = frame.size {
            line.serialize_element(&size)?;
        }
        line.end()
    }
}

struct Changed<'a> {
    styles: &'a HashMap<Style, usize>,
    rows: &'a [(usize, Row)],
}

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len() * 2))?;
        for (number, row) in self.rows {
            rows.serialize_element(number)?;
            rows.serialize_element(&RowLine { styles: self.styles, row })?;
        }
        rows.end()
    }
}

struct History<'a> {
    styles: &'a HashMap<Style, usize>,
    rows: &'a [Gone],
}

impl Serialize for History<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for gone in self.rows {
            match gone {
                Gone::Same => rows.serialize_element(&0)?,
                Gone::Row(row) => rows.serialize_element(&RowLine { styles: self.styles, row })?,
            }
        }
        rows.end()
    }
}

struct RowLine<'a> {
    styles: &'a HashMap<Style, usize>,
    row: &'a [Run],
}

impl Serialize for RowLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(self.row.len()))?;
        for run in self.row {
            let style = self.styles.get(&Style::from(&run.pen)).copied().unwrap_or(0);
            match (run.is_plain(), style) {
                (true, 0) => row.serialize_element(&run.text)?,
                (true, _) => row.serialize_element(&(&run.text, style))?,
                (false, _) => row.serialize_element(&(&run.text, style, run.columns))?,
            }
        }
        row.end()
    }
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    // Numbers, strings and arrays, into a Vec: nothing here can fail.
    if value.serialize(&mut serde_json::Serializer::new(&mut *out)).is_ok() {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::film::Film;
    use super::*;
    use containerssh_auditlog::asciicast::Change;

    fn written(output: &str) -> String {
        let (mut film, mut lines, mut out) = (Film::new(), Lines::default(), Vec::new());
        film.push(0, &Change::Size(20, 3), |_| {});
        film.push(0, &Change::Output(output.to_owned()), |_| {});
        lines.frame(7, 1_500, &film.finish().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_are_written_with_their_styles() {
        let expected = concat!(
            "[\"s\",1,1,null,1]\n",
            "[\"s\",2,null,\"#0102ff\",32]\n",
            "[\"f\",7,1500,[3,1],[0,[\"a \",[\"red\",1],\" b\"],1,[[\"\u{6f22}\",0,2],[\"x\",2]]],[],[20,3]]\n"
        );
        assert_eq!(written("a \x1b[1;31mred\x1b[0m b\r\n\u{6f22}\x1b[7;48;2;1;2;255mx"), expected);
    }

    #[test]
    fn more_styles_than_are_told_apart_cost_no_memory() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for number in 0..MAX_STYLES as u32 * 2 {
            let [_, r, g, b] = number.to_be_bytes();
            let mut film = Film::new();
            film.push(0, &Change::Size(1, 1), |_| {});
            film.push(0, &Change::Output(format!("\x1b[38;2;{r};{g};{b}mx")), |_| {});
            lines.frame(0, 0, &film.finish().unwrap(), &mut out);
            out.clear();
        }
        assert_eq!(lines.styles.len(), MAX_STYLES - 1);
    }
}
