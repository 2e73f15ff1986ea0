//! Full examples of the custom resources with edits, as a newer release, a broken client or an edited etcd may leave them. An edit is
//! a place, two bytes, and what stands there then.

use serde_json::{Map, Value, json};

/// Edits of one object: more make nothing that fewer do not.
const MAX_EDITS: u8 = 8;
/// Deepest value of an edit.
const MAX_DEPTH: u8 = 3;

/// Words that mean something somewhere.
const WORDS: [&str; 32] = [
    "None",
    "Binary",
    "Asciinema",
    "Allow",
    "Deny",
    "Block",
    "Drop",
    "Require",
    "Forbid",
    "Persistent",
    "EmptyDir",
    "Strict",
    "Compliance",
    "Governance",
    "Delete",
    "Direct",
    "Agent",
    "Session",
    "Secret",
    "0s",
    "1ms",
    "99999h",
    "1Gi",
    "0",
    "",
    "a",
    "{year}/",
    "/x",
    "2030-01-01T00:00:00Z",
    "https://[::1",
    "-----BEGIN CERTIFICATE-----",
    "publicKey",
];

/// The input, byte by byte; zeros after its end.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn index(&mut self, below: usize) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % below
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.byte() % 16).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn value(&mut self, depth: u8) -> Value {
        match self.byte() % if depth == 0 { 6 } else { 8 } {
            0 => Value::Null,
            1 => Value::Bool(self.byte() & 1 == 1),
            2 => json!(i64::from(self.byte()) - 128),
            3 => json!(f64::from(self.byte()) * 1e17),
            4 => json!(WORDS[self.index(WORDS.len())]),
            5 => json!(self.text()),
            6 => (0..self.byte() % 4).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let mut map = Map::new();
                for _ in 0..self.byte() % 4 {
                    let key = self.text();
                    map.insert(key, self.value(depth - 1));
                }
                Value::Object(map)
            }
        }
    }

    /// The object with edits below its `spec`.
    pub fn edited(&mut self, original: &Value) -> Value {
        let mut object = original.clone();
        for _ in 0..self.byte() % (MAX_EDITS + 1) {
            let mut places = Vec::new();
            list(&object["spec"], "/spec", &mut places);
            if places.is_empty() {
                break;
            }
            let place = &places[self.index(places.len())];
            let value = self.value(MAX_DEPTH);
            if let Some(old) = object.pointer_mut(place) {
                *old = value;
            }
        }
        object
    }
}

/// Every place below a value, as JSON pointers.
fn list(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut step = |name: &str, value: &Value| {
        let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(place.clone());
        list(value, &place, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| step(name, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| step(&i.to_string(), value)),
        _ => {}
    }
}

/// An example, read once.
pub fn example(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the examples are YAML")
}
