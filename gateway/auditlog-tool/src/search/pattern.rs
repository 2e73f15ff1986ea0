//! What is searched for.
//!
//! A pattern is looked for in one line at a time. Looking at each line by itself is slow where most do not match, so
//! [`Pattern::lines`] first looks at many at once, with the same expression in multi-line mode, and at single lines only where
//! that found something. This must find nothing less: where an expression can tell the two apart, lines are looked at one
//! by one from the start.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Look;

/// What cannot be searched for.
#[derive(Debug, thiserror::Error)]
#[error("the pattern cannot be understood: {0}")]
pub(crate) struct PatternError(regex::Error);

/// A regular expression, compiled.
#[derive(Debug)]
pub(crate) struct Pattern {
    line: Regex,
    /// The same for many lines at once; `None` if it could miss some.
    lines: Option<Regex>,
}

impl Pattern {
    /// Compiles a regular expression, or text to be taken literally.
    ///
    /// # Errors
    /// If it is no regular expression of the regex crate's syntax, or too large.
    pub(crate) fn new(pattern: &str, literal: bool, ignore_case: bool) -> Result<Self, PatternError> {
        let pattern = if literal { regex::escape(pattern) } else { pattern.to_owned() };
        let build = |multi_line| {
            RegexBuilder::new(&pattern).case_insensitive(ignore_case).multi_line(multi_line).build()
        };
        let line = build(false).map_err(PatternError)?;
        let lines = if spans_lines_safely(&pattern) { build(true).ok() } else { None };
        Ok(Self { line, lines })
    }

    /// Where the line has a match that ends after the byte `known`.
    pub(crate) fn find(&self, line: &[u8], known: usize) -> Option<Range<usize>> {
        let new = |found: &regex::bytes::Match<'_>| known == 0 || found.end() > known;
        self.line.find_iter(line).find(new).map(|found| found.range())
    }

    /// Calls `matching` with each line that may match, without its end. Every line of `text` ends with a line feed.
    pub(crate) fn lines(&self, text: &[u8], mut matching: impl FnMut(Range<usize>)) {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let start = match &self.lines {
                None => at,
                Some(lines) => match lines.find(rest) {
                    None => return,
                    // Nothing between matches, or the match would have begun there.
                    Some(found) => at + line_start(rest, found.start()),
                },
            };
            let Some(line) = text.get(start..).filter(|line| !line.is_empty()) else { return };
            let length = memchr::memchr(b'\n', line).unwrap_or(line.len());
            matching(start..start + length);
            at = start + length + 1;
        }
    }
}

fn line_start(text: &[u8], at: usize) -> usize {
    text.get(..at).and_then(|before| memchr::memrchr(b'\n', before)).map_or(0, |before| before + 1)
}

/// Whether looking at many lines at once finds all that single lines have. Not so with `\A` and `\z`, which then stand for the ends of all
/// lines together; nor with `$`, because blanks at a line's end do not count as part of it.
fn spans_lines_safely(pattern: &str) -> bool {
    let Ok(parsed) = ParserBuilder::new().multi_line(true).utf8(false).build().parse(pattern) else {
        return false;
    };
    let looks = parsed.properties().look_set();
    ![Look::Start, Look::End, Look::EndLF, Look::EndCRLF, Look::StartCRLF]
        .into_iter()
        .any(|look| looks.contains(look))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, text: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern, false, false).unwrap();
        let mut found = Vec::new();
        pattern.lines(text.as_bytes(), |line| {
            if pattern.find(&text.as_bytes()[line.clone()], 0).is_some() {
                found.push(text[line].to_owned());
            }
        });
        found
    }

    /// What `lines` is for, without its shortcut.
    fn one_by_one(pattern: &str, text: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern, false, false).unwrap();
        text.lines()
            .filter(|line| pattern.find(line.as_bytes(), 0).is_some())
            .map(ToOwned::to_owned)
            .collect()
    }

    #[test]
    fn many_lines_at_once_find_what_single_lines_have() {
        let text = "rm -rf /\nfoo bar\n\nbar\nfoo\nharm\na\nb\nrm\n";
        for pattern in [
            "rm",
            "^rm",
            r"\brm\b",
            "foo$",
            r"\Afoo",
            r"bar\z",
            "^$",
            "",
            "o.b",
            r"a\sb",
            "[^x]+",
            "(?-m)^b",
            "(?i)FOO",
            "nothing",
            r"foo\s+bar",
            "b|zzz",
            r"r\s*$",
        ] {
            assert_eq!(found(pattern, text), one_by_one(pattern, text), "{pattern:?}");
        }
    }

    #[test]
    fn a_known_beginning_is_not_found_again() {
        let pattern = Pattern::new("ab", false, false).unwrap();
        assert_eq!(pattern.find(b"abxab", 0), Some(0..2));
        assert_eq!(pattern.find(b"abxab", 2), Some(3..5));
        assert_eq!(pattern.find(b"xab", 2), Some(1..3));
        assert_eq!(pattern.find(b"ab", 2), None);
    }

    #[test]
    fn literal_text_is_no_expression_and_case_can_be_ignored() {
        let pattern = Pattern::new("A.*(", true, true).unwrap();
        assert_eq!(pattern.find(b"xa.*(", 0), Some(1..5));
        assert_eq!(pattern.find(b"axx(", 0), None);
        assert!(Pattern::new("(", false, false).is_err());
    }
}
