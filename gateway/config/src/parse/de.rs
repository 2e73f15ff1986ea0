//! A serde deserializer over [`Node`] that places errors and collects unknown keys.
//!
//! `serde` hands the names of a struct's fields to `deserialize_struct`. So one place compares every mapping of the file
//! with what is known there, Kubernetes' types included, without any of them taking part.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::error::Problem;
use super::node::{Key, Node, Step, Value, show};
use super::reference;

/// A type error, placed as soon as it passes the node it is about.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    place: Option<(Vec<Step>, u64)>,
}

impl Error {
    pub(crate) fn into_problem(self) -> (Problem, Vec<Step>) {
        let (path, line) = self.place.map_or((Vec::new(), None), |(path, line)| (path, Some(line)));
        (Problem::invalid(line, show(&path), &self.message), path)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: None }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("must be {}, but is {}", in_words(&expected.to_string()), Found(found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// serde names Rust's types, which whoever writes a configuration need not know.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        other => other,
    }
}

/// What was found, without the text of strings: it may be a secret.
struct Found<'a>(de::Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            de::Unexpected::Str(_) | de::Unexpected::Bytes(_) => f.write_str("a string"),
            de::Unexpected::Unit | de::Unexpected::Option => f.write_str("nothing"),
            de::Unexpected::Seq => f.write_str("a list"),
            de::Unexpected::Map => f.write_str("a mapping"),
            de::Unexpected::Bool(value) => write!(f, "the boolean {value}"),
            de::Unexpected::Signed(value) => write!(f, "the number {value}"),
            de::Unexpected::Unsigned(value) => write!(f, "the number {value}"),
            de::Unexpected::Float(value) => write!(f, "the number {value}"),
            ref other => write!(f, "{other}"),
        }
    }
}

/// The way from the root to a node, as a list on the stack.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: PathStep<'a>,
}

#[derive(Clone, Copy)]
enum PathStep<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl Path<'_> {
    fn steps(&self) -> Vec<Step> {
        let mut steps = self.parent.map(Path::steps).unwrap_or_default();
        match self.step {
            PathStep::Root => {}
            PathStep::Key(key) => steps.push(Step::Key(key.to_owned())),
            PathStep::Index(index) => steps.push(Step::Index(index)),
        }
        steps
    }
}

/// Deserialises one node.
#[derive(Clone, Copy)]
pub(crate) struct Deserializer<'a> {
    node: &'a Node,
    path: Path<'a>,
    unknown: &'a RefCell<Vec<Problem>>,
    /// Kubernetes' quantities are texts that everybody writes as numbers (`cpu: 1`).
    numbers_as_text: bool,
}

impl<'a> Deserializer<'a> {
    /// For a whole file. Unknown keys are added to `unknown`.
    pub(crate) fn root(node: &'a Node, unknown: &'a RefCell<Vec<Problem>>) -> Self {
        Self { node, path: Path { parent: None, step: PathStep::Root }, unknown, numbers_as_text: false }
    }

    fn place<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            if error.place.is_none() {
                error.place = Some((self.path.steps(), self.node.line));
            }
            error
        })
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, Error> {
        self.place(Err(de::Error::custom(format!("must be {expected}, but is {}", self.node.kind()))))
    }

    fn visit_any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(nodes) => visitor.visit_seq(ListAccess { of: *self, nodes, index: 0 }),
            Value::Map(entries) => visitor.visit_map(EntryAccess::new(self, entries, None)),
        }
    }

    fn visit_text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let text = match &self.node.value {
            Value::Text(text) => return visitor.visit_str(text),
            Value::Unsigned(value) if self.numbers_as_text => value.to_string(),
            Value::Signed(value) if self.numbers_as_text => value.to_string(),
            Value::Float(value) if self.numbers_as_text => value.to_string(),
            Value::Bool(_) | Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) => {
                return self.wrong("a string (put it in quotes)");
            }
            Value::Null | Value::List(_) | Value::Map(_) => return self.wrong("a string"),
        };
        visitor.visit_string(text)
    }
}

/// Methods that differ only in the words for what is expected.
macro_rules! scalar {
    ($($method:ident: $pattern:pat => $expected:literal),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.node.value {
                $pattern => self.place(self.visit_any(visitor)),
                _ => self.wrong($expected),
            }
        })+
    };
}

impl<'de> de::Deserializer<'de> for Deserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.place(self.visit_any(visitor))
    }

    scalar! {
        deserialize_bool: Value::Bool(_) => "true or false",
        deserialize_i8: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_i16: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_i32: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_i64: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_u8: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_u16: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_u32: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_u64: Value::Signed(_) | Value::Unsigned(_) => "a whole number",
        deserialize_f32: Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) => "a number",
        deserialize_f64: Value::Signed(_) | Value::Unsigned(_) | Value::Float(_) => "a number",
        deserialize_seq: Value::List(_) => "a list",
        deserialize_map: Value::Map(_) => "a mapping",
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.place(self.visit_text(visitor))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.place(self.visit_text(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => self.place(visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Map(entries) => {
                self.place(visitor.visit_map(EntryAccess::new(&self, entries, Some(fields))))
            }
            // `ssh:` with nothing after it.
            Value::Null => self.place(visitor.visit_map(EntryAccess::new(&self, &[], Some(fields)))),
            _ => self.wrong("a mapping"),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.numbers_as_text = name == "Quantity";
        self.place(visitor.visit_newtype_struct(self))
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any i128 u128
    }
}

struct ListAccess<'a> {
    of: Deserializer<'a>,
    nodes: &'a [Node],
    index: usize,
}

impl<'de> SeqAccess<'de> for ListAccess<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.nodes.get(self.index) else { return Ok(None) };
        let path = Path { parent: Some(&self.of.path), step: PathStep::Index(self.index) };
        self.index += 1;
        let element = Deserializer { node, path, ..self.of };
        // Again here: a type that reads text and then finds it wrong says so after its deserializer is gone.
        element.place(seed.deserialize(element)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len().saturating_sub(self.index))
    }
}

/// The entries of a mapping. For a struct (`fields` given), unknown keys are noted and left out, and so are keys
/// without a value: `null` means that the default holds.
struct EntryAccess<'a> {
    of: Deserializer<'a>,
    entries: std::slice::Iter<'a, (Key, Node)>,
    fields: Option<&'static [&'static str]>,
    next: Option<&'a (Key, Node)>,
}

impl<'a> EntryAccess<'a> {
    fn new(
        of: &Deserializer<'a>,
        entries: &'a [(Key, Node)],
        fields: Option<&'static [&'static str]>,
    ) -> Self {
        Self { of: *of, entries: entries.iter(), fields, next: None }
    }

    fn note_unknown(&self, key: &Key, fields: &[&str]) {
        let mut path = self.of.path.steps();
        path.push(Step::Key(containerssh_log::clean::text(&key.name, 100)));
        let path = show(&path);
        let message = reference::explain(&path, &key.name, fields);
        self.of.unknown.borrow_mut().push(Problem { line: Some(key.line), path, message });
    }
}

impl<'de> MapAccess<'de> for EntryAccess<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while let Some(entry) = self.entries.next() {
            let (key, node) = entry;
            if let Some(fields) = self.fields {
                if !fields.contains(&key.name.as_str()) {
                    self.note_unknown(key, fields);
                    continue;
                }
                if matches!(node.value, Value::Null) {
                    continue;
                }
            }
            self.next = Some(entry);
            let name: StrDeserializer<'_, Error> = key.name.as_str().into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = Path { parent: Some(&self.of.path), step: PathStep::Key(&key.name) };
        let value = Deserializer { node, path, numbers_as_text: false, ..self.of };
        // As for elements of lists.
        value.place(seed.deserialize(value))
    }
}
