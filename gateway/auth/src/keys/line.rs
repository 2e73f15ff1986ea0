//! One line of an `authorized_keys` file.

use russh::keys::PublicKey;

use super::conditions::{Conditions, LineOption};

/// A key and what its options ask for.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: PublicKey,
    pub(super) conditions: Conditions,
}

impl Line {
    /// Reads a line; `None` for a blank one or a comment. The error says why it is not a key.
    pub(super) fn parse(raw: &str) -> Result<Option<Line>, String> {
        let text = raw.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        // Like sshd: a line that begins with a key has no options.
        if let Some(key) = key(text) {
            return Ok(Some(Line { key: certificate_free(key)?, conditions: Conditions::default() }));
        }
        let (options, rest) = split_options(text)?;
        let key = key(rest.trim_start()).ok_or("it holds no key of the form \"type base64\"")?;
        Ok(Some(Line { key: certificate_free(key)?, conditions: Conditions::parse(&options) }))
    }
}

fn certificate_free(key: PublicKey) -> Result<PublicKey, String> {
    if key.key_data().is_certificate() {
        return Err("it holds a certificate, which is not a key".to_owned());
    }
    Ok(key)
}

/// A key at the beginning of a text; what follows is a comment, which may be anything.
fn key(text: &str) -> Option<PublicKey> {
    let mut words = text.split_ascii_whitespace();
    let (name, blob) = (words.next()?, words.next()?);
    PublicKey::from_openssh(&format!("{name} {blob}")).ok()
}

/// The options before the first blank outside quotes, as (name, value), and the rest of the line.
fn split_options(text: &str) -> Result<(Vec<LineOption>, &str), String> {
    let mut options = Vec::new();
    let mut option = String::new();
    let mut value: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.char_indices().peekable();
    loop {
        let next = characters.next();
        match next {
            Some((_, '"')) => {
                quoted = !quoted;
                value.get_or_insert_default();
            }
            Some((_, '\\')) if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.get_or_insert_default().push('"');
            }
            Some((_, character)) if quoted => value.get_or_insert_default().push(character),
            None if quoted => return Err("an option's quote is not closed".to_owned()),
            None | Some((_, ',' | ' ' | '\t')) => {
                options.push((option.trim_end_matches('=').to_ascii_lowercase(), value.take()));
                option.clear();
                if let Some((at, ' ' | '\t')) = next {
                    return Ok((options, text.get(at..).unwrap_or_default()));
                }
                if next.is_none() {
                    return Ok((options, ""));
                }
            }
            Some((_, character)) => option.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn options(text: &str) -> Vec<LineOption> {
        split_options(text).unwrap().0
    }

    #[test]
    fn blank_lines_and_comments_are_no_keys() {
        for text in ["", "  ", "# ssh-ed25519 AAAA", "\t#"] {
            assert!(Line::parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_read_with_and_without_comment_and_options() {
        for text in [
            KEY.to_owned(),
            format!("  {KEY} alice@example.net with spaces # and more\r"),
            format!("restrict,pty {KEY}"),
            format!("from=\"10.0.0.0/8, 192.0.2.1\",no-pty \t {KEY} c"),
            format!("command=\"echo \\\"a b\\\" , c\" {KEY}"),
        ] {
            let line = Line::parse(&text).unwrap().unwrap();
            assert_eq!(line.key.key_data(), PublicKey::from_openssh(KEY).unwrap().key_data(), "{text}");
        }
    }

    #[test]
    fn options_are_split_outside_quotes() {
        assert_eq!(
            options("a,B=\"x,\\\"y\\\" z\",c=\"\" rest"),
            [("a".into(), None), ("b".into(), Some("x,\"y\" z".into())), ("c".into(), Some(String::new()))]
        );
    }

    #[test]
    fn lines_without_a_key_say_why() {
        for (text, reason) in [
            ("nonsense", "it holds no key"),
            ("ssh-ed25519", "it holds no key"),
            ("ssh-ed25519 AAAA", "it holds no key"),
            ("ssh-ed25519 !!!!", "it holds no key"),
            // The type in front and the type within differ.
            (&KEY.replace("ssh-ed25519 ", "ssh-rsa "), "it holds no key"),
            ("command=\"never closed ssh-ed25519 AAAA", "quote is not closed"),
            ("ssh-ed25519\u{fffd} AAAA", "it holds no key"),
        ] {
            let error = Line::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in ".*") {
            let _ = Line::parse(&text);
        }

        #[test]
        fn no_options_panic(text in "[a-z\\\\\",= ]*") {
            let _ = Line::parse(&format!("{text} {KEY}"));
        }
    }
}
