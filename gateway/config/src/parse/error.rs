//! What is wrong with a configuration.

use std::fmt;

use super::node::Node;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the source, from 1, where known.
    pub line: Option<u64>,
    /// Full path of the key, such as `kubernetes.pod.spec.containers[0].image`; empty for the whole.
    pub path: String,
    /// What is wrong, with the path in it.
    pub message: String,
}

/// Something that is understood and should be written otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// A stable code.
    pub code: &'static str,
    /// Line in the source, from 1.
    pub line: u64,
    /// What is written, and what to write instead.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Problem {
    pub(crate) fn at_line(line: Option<u64>, message: String) -> Self {
        Self { line, path: String::new(), message }
    }

    pub(crate) fn invalid(line: Option<u64>, path: String, message: &str) -> Self {
        let text = if path.is_empty() {
            format!("invalid configuration ({message})")
        } else {
            format!("invalid configuration option: {path} ({message})")
        };
        Self { line, path, message: text }
    }
}

/// All that is wrong with one configuration. Displays as one line per problem: `FILE:LINE: what`. Holds no secrets:
/// values appear in it only where a rule quotes a word, number or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    source_name: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn single(source_name: &str, problem: Problem) -> Self {
        Self { source_name: source_name.to_owned(), problems: vec![problem] }
    }

    /// The same for a text that nobody has seen: its lines mean nothing.
    pub(crate) fn without_lines(mut self) -> Self {
        for problem in &mut self.problems {
            problem.line = None;
        }
        self
    }

    /// The file, or whatever the configuration came from.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Each problem, in order of lines.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                Some(line) => write!(f, "{}:{line}: {}", self.source_name, problem.message)?,
                None => write!(f, "{}: {}", self.source_name, problem.message)?,
            }
        }
        Ok(())
    }
}

/// Collects problems.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a broken rule, in ContainerSSH's words: `invalid configuration option: a.b.c (message)`.
    pub(crate) fn invalid(&mut self, path: impl Into<String>, message: impl AsRef<str>) {
        self.0.push(Problem::invalid(None, path.into(), message.as_ref()));
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds broken rules with their lines. A rule about something that is noted already, or whose cause may lie there,
    /// is left out: it would send the reader to the wrong place.
    pub(crate) fn add_rules(&mut self, rules: Problems, tree: &Node) {
        for mut rule in rules.0 {
            let noted = self.0.iter().any(|problem| related(&problem.path, &rule.path));
            if !noted {
                rule.line = tree.line_of(&rule.path);
                self.0.push(rule);
            }
        }
    }

    pub(crate) fn into_result(self, source_name: &str) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(self.into_error(source_name)) }
    }

    pub(crate) fn into_error(mut self, source_name: &str) -> ConfigError {
        self.0.sort_by_key(|problem| problem.line.unwrap_or(u64::MAX));
        ConfigError { source_name: source_name.to_owned(), problems: self.0 }
    }
}

/// Whether one path lies within the other.
fn related(a: &str, b: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    !a.is_empty() && !b.is_empty() && (within(a, b) || within(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_related_by_whole_keys() {
        assert!(related("auth", "auth.password"));
        assert!(related("a.b[0].c", "a.b"));
        assert!(related("a", "a"));
        assert!(!related("auth", "authx"));
        assert!(!related("a.b", "a.c"));
        assert!(!related("", "a"));
    }
}
