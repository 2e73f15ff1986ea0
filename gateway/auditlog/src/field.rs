//! How one field of a payload is written, read, shown as JSON and shown in `Debug`.
//!
//! The table in [`crate::payload`] names each field's type once; everything that happens to it follows from this trait.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::cbor::value::Value;
use crate::cbor::{self, FALSE, NULL, TRUE, major};
use crate::message::{Answer, IoStream, Question};

/// A field holds a value that its type cannot take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) expected: &'static str,
}

const fn expected<T>(expected: &'static str) -> Result<T, Mismatch> {
    Err(Mismatch { expected })
}

pub(crate) trait Field: Sized {
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads the field; `Value::Null` stands for a field that is missing too and gives the type's empty value, as in
    /// the reference decoder.
    fn decode(value: &Value) -> Result<Self, Mismatch>;
    fn json(&self) -> impl Serialize;
    /// What `Debug` may say: never the content of byte strings, which hold passwords and what users type.
    fn shown(&self) -> impl fmt::Debug;
}

impl Field for String {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::text(out, self);
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(Self::new()),
            other => other.as_text().map_or(expected("text"), |text| Ok(text.into_owned())),
        }
    }
    fn json(&self) -> impl Serialize {
        self
    }
    fn shown(&self) -> impl fmt::Debug {
        self
    }
}

impl Field for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::bytes(out, self);
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        Option::<Self>::decode(value).map(Option::unwrap_or_default)
    }
    fn json(&self) -> impl Serialize {
        STANDARD.encode(self)
    }
    fn shown(&self) -> impl fmt::Debug {
        format_args!("<{} bytes>", self.len()).to_string()
    }
}

impl Field for Option<Bytes> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => cbor::bytes(out, value),
            None => out.push(NULL),
        }
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(None),
            Value::Bytes(value) | Value::Text(value) => Ok(Some(value.clone())),
            _ => expected("a byte string"),
        }
    }
    fn json(&self) -> impl Serialize {
        self.as_ref().map(|value| STANDARD.encode(value))
    }
    fn shown(&self) -> impl fmt::Debug {
        // Not even the length: this is where passwords are.
        self.as_ref().map(|_| "<bytes>")
    }
}

impl Field for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::UNSIGNED, *self);
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(0),
            Value::Unsigned(value) => Ok(*value),
            _ => expected("a number from 0"),
        }
    }
    fn json(&self) -> impl Serialize {
        *self
    }
    fn shown(&self) -> impl fmt::Debug {
        *self
    }
}

impl Field for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::UNSIGNED, u64::from(*self));
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        u64::decode(value)?.try_into().or(expected("a number from 0 to 4294967295"))
    }
    fn json(&self) -> impl Serialize {
        *self
    }
    fn shown(&self) -> impl fmt::Debug {
        *self
    }
}

impl Field for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(if *self { TRUE } else { FALSE });
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(false),
            Value::Bool(value) => Ok(*value),
            _ => expected("true or false"),
        }
    }
    fn json(&self) -> impl Serialize {
        *self
    }
    fn shown(&self) -> impl fmt::Debug {
        *self
    }
}

impl Field for IoStream {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::UNSIGNED, u64::from(self.code()));
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        u32::decode(value).ok().and_then(Self::from_code).map_or(expected("0, 1 or 2"), Ok)
    }
    fn json(&self) -> impl Serialize {
        self.code()
    }
    fn shown(&self) -> impl fmt::Debug {
        *self
    }
}

/// Entries of a list: maps of named fields, like payloads.
pub(crate) trait Entry: Sized {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(value: &Value) -> Result<Self, Mismatch>;
}

impl<T: Entry + Serialize + fmt::Debug> Field for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::ARRAY, self.len() as u64);
        self.iter().for_each(|entry| entry.encode(out));
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(Self::new()),
            Value::Array(items) => items.iter().map(T::decode).collect(),
            _ => expected("a list"),
        }
    }
    fn json(&self) -> impl Serialize {
        self
    }
    fn shown(&self) -> impl fmt::Debug {
        self
    }
}

fn entry_field<T: Field>(entry: &Value, key: &str) -> Result<T, Mismatch> {
    if !matches!(entry, Value::Map(_)) {
        return expected("a list of maps");
    }
    T::decode(entry.get(key).unwrap_or(&Value::Null))
}

impl Entry for Question {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::MAP, 2);
        cbor::text(out, "question");
        self.question.encode(out);
        cbor::text(out, "echo");
        self.echo.encode(out);
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self { question: entry_field(value, "question")?, echo: entry_field(value, "echo")? })
    }
}

impl Entry for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        cbor::head(out, major::MAP, 2);
        cbor::text(out, "question");
        self.question.encode(out);
        cbor::text(out, "answer");
        self.answer.encode(out);
    }
    fn decode(value: &Value) -> Result<Self, Mismatch> {
        Ok(Self { question: entry_field(value, "question")?, answer: entry_field(value, "answer")? })
    }
}
