//! JSON lines as ContainerSSH's decoder prints them, byte for byte.

use std::io;

use containerssh_auditlog::{DecodeError, Message};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

use super::View;

/// Prints each record, and each damaged place as `{"error":"…"}`.
#[derive(Debug)]
pub(super) struct Lines;

impl View for Lines {
    fn message(&mut self, message: &Message, out: &mut Vec<u8>) {
        line(message, out);
    }

    fn damage(&mut self, error: &DecodeError, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Damage {
            error: String,
        }
        line(&Damage { error: error.to_string() }, out);
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}
}

pub(super) fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    // Into a Vec, from types with text keys only: nothing here can fail.
    if value.serialize(&mut Serializer::with_formatter(&mut *out, AsGo(CompactFormatter))).is_ok() {
        out.push(b'\n');
    }
}

/// Go's `encoding/json` escapes what could end a script in HTML or JavaScript, in addition to what JSON needs.
struct AsGo(CompactFormatter);

impl Formatter for AsGo {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((plain, escaped, after)) = split_at_escape(rest) {
            self.0.write_string_fragment(writer, plain)?;
            write!(writer, "\\u{:04x}", escaped as u32)?;
            rest = after;
        }
        self.0.write_string_fragment(writer, rest)
    }
}

fn split_at_escape(text: &str) -> Option<(&str, char, &str)> {
    let escaped = |character| matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    let (at, matched) = text.match_indices(escaped).next()?;
    let (plain, rest) = text.split_at_checked(at)?;
    Some((plain, matched.chars().next()?, rest.get(matched.len()..)?))
}
