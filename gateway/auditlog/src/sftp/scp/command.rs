//! The command that a client starts on the other side: `scp -t target` to upload, `scp -f source…` to download.

/// Names of a command that are kept; a client asks for one, or for as many as its user typed.
const MAX_PATHS: usize = 256;

/// A recognised scp command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScpCommand {
    /// The client sends (`-t`); otherwise it receives (`-f`).
    pub upload: bool,
    /// The target is known to be a directory (`-d`).
    pub into_directory: bool,
    /// What was named.
    pub paths: Vec<String>,
}

impl ScpCommand {
    /// Reads a command line; `None` if it is not scp serving a client.
    #[must_use]
    pub fn parse(command: &str) -> Option<Self> {
        let mut words = Words(command.chars());
        let program = words.next()?;
        if program.rsplit('/').next() != Some("scp") {
            return None;
        }
        let (mut upload, mut into_directory, mut paths) = (None, false, Vec::new());
        let mut options = true;
        for word in words {
            match word.strip_prefix('-') {
                Some("-") if options => options = false,
                Some(letters) if options && !letters.is_empty() => {
                    for letter in letters.chars() {
                        match letter {
                            't' => upload = Some(true),
                            'f' => upload = Some(false),
                            'd' => into_directory = true,
                            _ => {}
                        }
                    }
                }
                _ => {
                    options = false;
                    if paths.len() < MAX_PATHS {
                        paths.push(word);
                    }
                }
            }
        }
        Some(Self { upload: upload?, into_directory, paths })
    }
}

/// Words as a shell takes a line apart, as far as quotes and backslashes go. What a shell would replace (variables,
/// patterns) stays as it was written.
struct Words<'a>(std::str::Chars<'a>);

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut word: Option<String> = None;
        let mut quote = None;
        while let Some(character) = self.0.next() {
            match (quote, character) {
                (None, ' ' | '\t' | '\n') => {
                    if word.is_some() {
                        return word;
                    }
                }
                (None, '\'' | '"') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (Some(open), close) if open == close => quote = None,
                (None | Some('"'), '\\') => word.get_or_insert_default().extend(self.0.next()),
                (_, plain) => word.get_or_insert_default().push(plain),
            }
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_a_shell_reads_it() {
        let command = ScpCommand::parse(r#"/usr/bin/scp -pr -d -t -- "a \"b" c\ d 'e\f' -x"#).unwrap();
        assert_eq!(command.paths, ["a \"b", "c d", "e\\f", "-x"]);
        assert!(command.upload && command.into_directory);
        let command = ScpCommand::parse("scp -v -f /etc/passwd").unwrap();
        assert_eq!((command.upload, command.paths), (false, vec!["/etc/passwd".to_owned()]));
        assert_eq!(ScpCommand::parse("scp file host:"), None);
        assert_eq!(ScpCommand::parse("rsync -t"), None);
    }
}
