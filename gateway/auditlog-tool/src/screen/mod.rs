//! What the user had on the screen: a terminal that renders and does nothing else.
//!
//! `play`, `html` and `search` all look at a session through this one model, so that they agree on what was shown. It is also
//! what keeps a hostile session away from whoever looks at it: escape sequences end here. Those that set a title, write a
//! clipboard or make a terminal answer have no effect, and what leaves the model is cells: a character, its width, its
//! colours ([`runs`]).
//!
//! The emulation is [`avt`], the one of asciinema's players.

mod runs;

use avt::{Line, Observation, Observer, Terminal};
use containerssh_auditlog::asciicast::window_size;

pub(crate) use runs::{Run, runs};

/// A rendered terminal without scrollback.
pub(crate) struct Screen {
    terminal: Terminal,
}

impl Screen {
    /// An empty screen of this size, in characters; see [`window_size`] for what is made of absurd ones.
    pub(crate) fn new(columns: u32, rows: u32) -> Self {
        let (columns, rows) = size(columns, rows);
        Self { terminal: terminal(columns, rows) }
    }

    /// Shows output of a program. Sequences may be cut anywhere between two calls.
    pub(crate) fn feed(&mut self, text: &str) {
        self.terminal.feed(text);
    }

    /// As [`feed`](Self::feed); hands over the lines that leave the primary screen at the top, in order.
    pub(crate) fn feed_with(&mut self, text: &str, gone: impl FnMut(&Line)) {
        self.terminal.feed_with(text, Gone(gone));
    }

    /// Changes the size, in characters. Lines may leave at the top.
    pub(crate) fn resize_with(&mut self, columns: u32, rows: u32, gone: impl FnMut(&Line)) {
        let (columns, rows) = size(columns, rows);
        self.terminal.resize_with(columns, rows, Gone(gone));
    }

    /// As [`resize_with`](Self::resize_with), for who does not care for lines that leave.
    pub(crate) fn resize(&mut self, columns: u32, rows: u32) {
        self.resize_with(columns, rows, |_| {});
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.terminal.size()
    }

    /// What is on the screen, from the top.
    pub(crate) fn lines(&self) -> impl ExactSizeIterator<Item = &Line> {
        self.terminal.screen().visible_lines()
    }

    /// Column and row of the cursor, from 0, if it is shown. The column may be one past the last: the next character wraps.
    pub(crate) fn cursor(&self) -> Option<(usize, usize)> {
        self.terminal.cursor().position()
    }

    /// The state, to go back to it later.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { size: self.terminal.size(), sequences: self.terminal.dump() }
    }
}

impl From<&Snapshot> for Screen {
    fn from(snapshot: &Snapshot) -> Self {
        let (columns, rows) = snapshot.size;
        let mut terminal = terminal(columns, rows);
        terminal.feed(&*snapshot.sequences);
        Self { terminal }
    }
}

/// The state of a [`Screen`], as small as what is on it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    size: (usize, usize),
    sequences: String,
}

impl Snapshot {
    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.sequences.len()
    }
}

/// A window is as large as a client claims; the model's memory must not be.
pub(crate) fn size(columns: u32, rows: u32) -> (usize, usize) {
    let (columns, rows) = window_size(columns, rows);
    (columns as usize, rows as usize)
}

#[expect(clippy::expect_used, reason = "the size comes from `window_size`, which gives no zeros")]
pub(crate) fn terminal(columns: usize, rows: usize) -> Terminal {
    Terminal::new(columns, rows).expect("no zeros")
}

/// Passes on lines that leave.
struct Gone<F>(F);

impl<F: FnMut(&Line)> Observer for Gone<F> {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        (self.0)(line);
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(screen: &Screen) -> Vec<String> {
        screen.lines().map(|line| line.text().trim_end().to_owned()).collect()
    }

    #[test]
    fn what_scrolls_away_is_handed_over_once_and_in_order() {
        let mut screen = Screen::new(10, 2);
        let mut gone = Vec::new();
        screen.feed_with("a\r\nb\r\nc\r\nd", |line| gone.push(line.text().trim_end().to_owned()));
        screen.resize_with(10, 1, |line| gone.push(line.text().trim_end().to_owned()));
        assert_eq!(gone, ["a", "b", "c"]);
        assert_eq!(text(&screen), ["d"]);
    }

    #[test]
    fn a_full_screen_program_leaves_the_shells_screen_as_it_was() {
        let mut screen = Screen::new(20, 3);
        screen.feed("$ vim\r\n\x1b[?1049h\x1b[2J\x1b[Hediting");
        assert_eq!(text(&screen), ["editing", "", ""]);
        screen.feed("\x1b[?1049l$ ");
        assert_eq!(text(&screen), ["$ vim", "$", ""]);
    }

    #[test]
    fn a_snapshot_gives_the_same_screen_again_even_inside_a_sequence() {
        let mut screen = Screen::new(20, 3);
        screen.feed("\x1b[31mred \u{6f22}\x1b[2;5");
        let mut again = Screen::from(&screen.snapshot());
        for each in [&mut screen, &mut again] {
            each.feed("Hthere\x1b[?25l");
        }
        assert!(screen.lines().eq(again.lines()));
        assert_eq!(text(&again), ["red \u{6f22}", "    there", ""]);
        assert_eq!(again.cursor(), None);
    }

    #[test]
    fn absurd_sizes_cost_no_memory() {
        assert_eq!(Screen::new(u32::MAX, u32::MAX).size(), (1_000, 500));
        let mut screen = Screen::new(0, 0);
        assert_eq!(screen.size(), (80, 24));
        screen.resize(u32::MAX, 0);
        assert_eq!(screen.size(), (1_000, 24));
    }

    /// Titles, clipboards, device control strings and questions to the terminal: nothing of them is shown.
    #[test]
    fn sequences_that_write_or_ask_leave_no_trace() {
        let mut screen = Screen::new(40, 1);
        screen.feed("a\x1b]0;title\x07b\x1b]52;c;ZXZpbA==\x1b\\c\x1bP$q\"p\x1b\\d\x1b[6n\x1b[c\x1b_x\x1b\\e\u{9d}0;t\u{9c}f");
        assert_eq!(text(&screen), ["abcdef"]);
    }
}
