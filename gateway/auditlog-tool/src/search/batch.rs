//! Lines that are collected to be searched together, with the times at which they were written.

use std::ops::Range;

use super::Search;

/// Takes what was found: when the line was written, the line, and where in it the match is.
pub(super) trait Sink {
    fn found(&mut self, time: u64, line: &[u8], matched: Range<usize>);
}

impl<F: FnMut(u64, &[u8], Range<usize>)> Sink for F {
    fn found(&mut self, time: u64, line: &[u8], matched: Range<usize>) {
        self(time, line, matched);
    }
}

/// Text that grows at its end, in lines that end with a line feed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    /// Where the first line that has not been searched begins.
    from: usize,
    /// So many bytes of that line have been searched before, as part of a shorter one.
    known: usize,
    /// The text up to here was written at this time; ascending.
    times: Vec<(usize, u64)>,
}

impl Batch {
    /// Begins with part of a line, of which a part is known.
    pub(super) fn starting_with(line: &str, known: usize) -> Self {
        Self { text: line.as_bytes().to_vec(), known, ..Self::default() }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// Puts another byte in the place of the last, which is a character.
    pub(super) fn replace_last(&mut self, byte: u8) {
        let Some(last) = self.text.last_mut() else { return };
        *last = byte;
        // Whether there is a match right before it may depend on it; with a blank the line is shorter altogether.
        let unchanged = self.text.len().saturating_sub(self.from + 2);
        self.known = if byte == b' ' { 0 } else { self.known.min(unchanged) };
    }

    /// What was pushed since the last stamp was written at this time.
    pub(super) fn stamp(&mut self, time: u64) {
        match self.times.last_mut() {
            Some((end, last)) if *last == time => *end = self.text.len(),
            _ => self.times.push((self.text.len(), time)),
        }
    }

    /// The line at the end that has not ended yet.
    pub(super) fn unfinished(&self) -> &[u8] {
        let start = memchr::memrchr(b'\n', &self.text).map_or(0, |before| before + 1);
        self.text.get(start..).unwrap_or_default()
    }

    /// How much of [`unfinished`](Self::unfinished) has been searched.
    pub(super) fn known(&self) -> usize {
        if self.from + self.unfinished().len() == self.text.len() { self.known } else { 0 }
    }

    /// Searches the lines that have ended.
    pub(super) fn search(&mut self, search: &mut Search<'_>) {
        let end = self.text.len() - self.unfinished().len();
        let Some(lines) = self.text.get(self.from..end).filter(|lines| !lines.is_empty()) else { return };
        let from = self.from;
        search.pattern.lines(lines, |line| {
            let known = if line.start == 0 { self.known } else { 0 };
            let time = self.time(from + line.end);
            let line = lines.get(line).unwrap_or_default().trim_ascii_end();
            if let Some(matched) = search.pattern.find(line, known) {
                search.sink.found(time, line, matched);
            }
        });
        (self.from, self.known) = (end, 0);
    }

    /// Searches the line that has not ended, as far as it goes. What comes later is its continuation.
    pub(super) fn search_unfinished(&mut self, search: &mut Search<'_>) {
        self.search(search);
        let (known, time) = (self.known, self.time(self.text.len()));
        let line = self.unfinished();
        self.known = line.len();
        let line = self.unfinished();
        if let Some(matched) = search.pattern.find(line, known) {
            search.sink.found(time, line, matched);
        }
    }

    /// Forgets the text before this place. What has not been searched is lost.
    pub(super) fn forget(&mut self, before: usize) {
        let before = before.min(self.text.len());
        self.text.drain(..before);
        if self.from < before {
            // The part of the line that goes was searched first, or nothing of it.
            self.known = self.known.saturating_sub(before - self.from);
        }
        self.from = self.from.saturating_sub(before);
        let gone = self.times.partition_point(|(end, _)| *end <= before);
        self.times.drain(..gone.min(self.times.len().saturating_sub(1)));
        for (end, _) in &mut self.times {
            *end = end.saturating_sub(before);
        }
    }

    fn time(&self, end: usize) -> u64 {
        let at = self.times.partition_point(|(stamped, _)| *stamped < end);
        self.times.get(at).or(self.times.last()).map_or(0, |(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::pattern::Pattern;

    fn collect(found: &mut Vec<(u64, String)>) -> impl Sink + use<'_> {
        |time: u64, line: &[u8], _: Range<usize>| {
            found.push((time, String::from_utf8_lossy(line).into_owned()));
        }
    }

    #[test]
    fn a_line_has_the_time_at_which_it_ended() {
        let (mut batch, mut found) = (Batch::default(), Vec::new());
        let pattern = Pattern::new("a", false, false).unwrap();
        for (text, time) in [("a1\nxa", 1), ("2\n", 2), ("a3", 3)] {
            batch.push(text.as_bytes());
            batch.stamp(time);
            batch.search(&mut Search { pattern: &pattern, sink: &mut collect(&mut found) });
            batch.forget(batch.text().len() - batch.unfinished().len());
        }
        batch.search_unfinished(&mut Search { pattern: &pattern, sink: &mut collect(&mut found) });
        assert_eq!(found, [(1, "a1".into()), (2, "xa2".into()), (3, "a3".into())]);
    }

    #[test]
    fn a_line_searched_in_pieces_gives_each_match_once() {
        let (mut batch, mut found) = (Batch::default(), Vec::new());
        let pattern = Pattern::new("needle", false, false).unwrap();
        for (text, time) in [("x needle nee", 1), ("dle ", 2), ("end\n", 3)] {
            batch.push(text.as_bytes());
            batch.stamp(time);
            batch.search_unfinished(&mut Search { pattern: &pattern, sink: &mut collect(&mut found) });
        }
        assert_eq!(found, [(1, "x needle nee".into()), (2, "x needle needle ".into())]);
    }
}
