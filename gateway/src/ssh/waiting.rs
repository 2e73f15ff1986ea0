//! The line that a user with a terminal sees while the guest starts.
//!
//! It appears only after a moment, is rewritten in place when the state changes, and is gone when the program starts: a
//! quick start shows nothing, and nothing is left behind for a screen reader or a script to trip over.

use super::messages::one_line;

/// Back to the line's begin, erase to its end (ECMA-48 EL).
const ERASE: &str = "\r\x1b[K";

/// What is on the terminal.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    columns: usize,
    /// A terminal without cursor movement gets lines below one another.
    plain: bool,
    shown: Option<String>,
}

impl WaitingLine {
    /// For a terminal of this type and width in characters; 0 if unknown.
    pub(crate) fn new(term: &str, columns: u32) -> Self {
        let columns = if columns == 0 { 80 } else { usize::try_from(columns).unwrap_or(80) };
        Self { columns, plain: term.is_empty() || term == "dumb", shown: None }
    }

    /// What to write so that `state` is shown; nothing if it is already.
    pub(crate) fn show(&mut self, state: &str) -> Option<String> {
        // One column stays free: writing into the last one wraps on many terminals, and then cannot be erased.
        let room = self.columns.saturating_sub(1);
        let text: String = format!("containerssh: {}...", one_line(state)).chars().take(room).collect();
        if self.shown.as_ref() == Some(&text) {
            return None;
        }
        let output = if self.plain { format!("{text}\r\n") } else { format!("{ERASE}{text}") };
        self.shown = Some(text);
        Some(output)
    }

    /// What to write so that nothing is shown any more.
    pub(crate) fn clear(&mut self) -> Option<String> {
        self.shown.take().filter(|_| !self.plain).map(|_| ERASE.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_once_and_erased_at_the_end() {
        let mut line = WaitingLine::new("xterm", 31);
        assert_eq!(line.show("pulling image").as_deref(), Some("\r\x1b[Kcontainerssh: pulling image..."));
        assert_eq!(line.show("pulling image"), None);
        assert_eq!(
            line.show("starting\x1b[2J\nx").as_deref(),
            Some("\r\x1b[Kcontainerssh: starting [2J x..")
        );
        assert_eq!(line.clear().as_deref(), Some("\r\x1b[K"));
        assert_eq!(line.clear(), None);
    }

    #[test]
    fn a_terminal_without_a_cursor_gets_plain_lines() {
        let mut line = WaitingLine::new("dumb", 0);
        assert_eq!(line.show("a").as_deref(), Some("containerssh: a...\r\n"));
        assert_eq!(line.clear(), None);
    }
}
