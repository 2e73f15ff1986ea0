//! One decoded CBOR item as a tree that shares the memory of the bytes it came from.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::split::{Head, MAX_DEPTH, Token};
use super::{BREAK, FALSE, FLOAT64, NULL, TRUE, head, major};

/// A CBOR item (RFC 8949), as far as a reader needs it that does not know its meaning.
///
/// Strings are slices of the record they were read from, so a value costs no copy, and keeps that record alive.
/// `Serialize` shows it as JSON: byte strings in base64, ill-formed text with U+FFFD, tags as their content.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `undefined` and simple values without a meaning.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer from 0 to 2^64-1.
    Unsigned(u64),
    /// The integer -1 - n.
    Negative(u64),
    /// A floating-point number of any width.
    Float(f64),
    /// A byte string.
    Bytes(Bytes),
    /// A text string as it was written, which need not be well-formed UTF-8; see [`Value::as_text`].
    Text(Bytes),
    /// A list.
    Array(Vec<Value>),
    /// Pairs in the order they were written; keys may repeat.
    Map(Vec<(Value, Value)>),
    /// A tagged item.
    Tag(u64, Box<Value>),
}

impl Value {
    /// A string's content as valid text, ill-formed parts replaced by U+FFFD. Byte strings count: a writer may use
    /// them for text that it knows to be no UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(raw) | Self::Bytes(raw) => Some(String::from_utf8_lossy(raw)),
            _ => None,
        }
    }

    /// The value under a key of a map: an exact match, else the first that differs only in the case of its letters.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let Self::Map(pairs) = self else { return None };
        let named = |same: fn(&[u8], &[u8]) -> bool| {
            pairs.iter().find_map(|(name, value)| match name {
                Self::Text(name) if same(name, key.as_bytes()) => Some(value),
                _ => None,
            })
        };
        named(|a, b| a == b).or_else(|| named(<[u8]>::eq_ignore_ascii_case))
    }

    /// Reads one whole item. `None` if `item` is not exactly one well-formed item, which [`super::split`] excludes.
    pub(crate) fn parse(item: &Bytes) -> Option<Self> {
        let mut reader = Reader { item, at: 0 };
        let value = reader.value(0)?;
        (reader.at == item.len()).then_some(value)
    }

    /// Appends the item with definite lengths and shortest heads.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(NULL),
            Self::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
            Self::Unsigned(value) => head(out, major::UNSIGNED, *value),
            Self::Negative(value) => head(out, major::NEGATIVE, *value),
            Self::Float(value) => {
                out.push(FLOAT64);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Bytes(value) => super::bytes(out, value),
            // What was ill-formed becomes visible and well-formed: a reader must not stop here.
            Self::Text(value) => super::text(out, &String::from_utf8_lossy(value)),
            Self::Array(items) => {
                head(out, major::ARRAY, items.len() as u64);
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(pairs) => {
                head(out, major::MAP, pairs.len() as u64);
                for (key, value) in pairs {
                    key.encode(out);
                    value.encode(out);
                }
            }
            Self::Tag(tag, value) => {
                head(out, major::TAG, *tag);
                value.encode(out);
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Negative(value) => serializer.serialize_i128(-1 - i128::from(*value)),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
            Self::Text(value) => serializer.serialize_str(&String::from_utf8_lossy(value)),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    // JSON has text keys only; a key of another kind is shown as the JSON text it would be.
                    match key.as_text() {
                        Some(key) => map.serialize_entry(&key, value)?,
                        None => {
                            let key = serde_json::to_string(key).map_err(serde::ser::Error::custom)?;
                            map.serialize_entry(&key, value)?;
                        }
                    }
                }
                map.end()
            }
            Self::Tag(_, value) => value.serialize(serializer),
        }
    }
}

struct Reader<'a> {
    item: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn token(&mut self) -> Option<Token> {
        let mut head = Head::default();
        loop {
            let byte = *self.item.get(self.at)?;
            self.at += 1;
            if let Some(token) = head.feed(byte) {
                return token.ok();
            }
        }
    }

    fn at_break(&mut self) -> bool {
        let found = self.item.get(self.at) == Some(&BREAK);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let token = self.token()?;
        let Token { major, argument, .. } = token;
        Some(match major {
            major::UNSIGNED => Value::Unsigned(argument?),
            major::NEGATIVE => Value::Negative(argument?),
            major::BYTES => Value::Bytes(self.string(argument)?),
            major::TEXT => Value::Text(self.string(argument)?),
            major::ARRAY => {
                // Grows item by item: the claimed count is only ever compared with.
                let mut items = Vec::new();
                while self.has_more(argument, items.len()) {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            major::MAP => {
                let mut pairs = Vec::new();
                while self.has_more(argument, pairs.len()) {
                    pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
                }
                Value::Map(pairs)
            }
            major::TAG => Value::Tag(argument?, Box::new(self.value(depth + 1)?)),
            _ => simple(token)?,
        })
    }

    fn has_more(&mut self, count: Option<u64>, have: usize) -> bool {
        match count {
            Some(count) => (have as u64) < count,
            None => !self.at_break(),
        }
    }

    fn string(&mut self, length: Option<u64>) -> Option<Bytes> {
        if let Some(length) = length {
            let end = self.at.checked_add(usize::try_from(length).ok()?)?;
            if end > self.item.len() {
                return None;
            }
            let part = self.item.slice(self.at..end);
            self.at = end;
            return Some(part);
        }
        let mut joined = Vec::new();
        while !self.at_break() {
            let length = self.token()?.argument?;
            joined.extend_from_slice(&self.string(Some(length))?);
        }
        Some(joined.into())
    }
}

fn simple(token: Token) -> Option<Value> {
    let bits = token.argument?;
    Some(match token.info {
        25 => Value::Float(half(bits as u16)),
        26 => Value::Float(f64::from(f32::from_bits(bits as u32))),
        27 => Value::Float(f64::from_bits(bits)),
        20 => Value::Bool(false),
        21 => Value::Bool(true),
        _ => Value::Null,
    })
}

/// A half-precision float, RFC 8949 appendix D.
fn half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}
