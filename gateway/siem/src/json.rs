//! Flat JSON objects, written straight into a buffer: events are many, and a tree of values per event would cost more
//! than the event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::event::start;

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// Most bytes of contents or of a text that may be long.
    limit: usize,
    /// The longest of what was cut.
    cut: Option<u64>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        out.push(b'{');
        Self { out, limit, cut: None, empty: true }
    }

    /// Any field.
    pub(crate) fn field(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        self.key(key);
        // Neither a buffer in memory nor the types written here can fail.
        let _infallible = serde_json::to_writer(&mut *self.out, value);
    }

    /// A field that is left out if there is nothing to say.
    pub(crate) fn optional(&mut self, key: &str, value: Option<&(impl Serialize + ?Sized)>) {
        if let Some(value) = value {
            self.field(key, value);
        }
    }

    /// A text that may be long.
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        let kept = start(text, self.limit);
        if kept.len() < text.len() {
            self.cut(text.len() as u64);
        }
        self.field(key, kept);
    }

    /// Bytes, as base64. `length` is how many they were before anybody cut them.
    pub(crate) fn bytes(&mut self, key: &str, bytes: &[u8], length: u64) {
        let kept = bytes.get(..self.limit).unwrap_or(bytes);
        if (kept.len() as u64) < length {
            self.cut(length);
        }
        self.key(key);
        self.out.push(b'"');
        let begin = self.out.len();
        // Four for three, begun ones included.
        self.out.resize(begin + kept.len().div_ceil(3) * 4, 0);
        if let Some(room) = self.out.get_mut(begin..) {
            let _fits = STANDARD.encode_slice(kept, room);
        }
        self.out.push(b'"');
    }

    /// Ends the object, with the mark that something was cut.
    pub(crate) fn end(mut self) {
        if let Some(length) = self.cut {
            self.field("truncated", &true);
            self.field("originalLength", &length);
        }
        self.out.push(b'}');
    }

    fn cut(&mut self, length: u64) {
        self.cut = Some(self.cut.unwrap_or(0).max(length));
    }

    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        let _infallible = serde_json::to_writer(&mut *self.out, key);
        self.out.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Object<'_>), limit: usize) -> String {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out, limit);
        write(&mut object);
        object.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_stand_in_the_order_they_are_written_in() {
        let text = written(
            |object| {
                object.field("b", &1);
                object.optional("c", None::<&str>);
                object.text("a", "\"\u{1b}\n");
                object.bytes("d", b"\x00\xff", 2);
            },
            100,
        );
        assert_eq!(text, r#"{"b":1,"a":"\"\u001b\n","d":"AP8="}"#);
        assert_eq!(written(|_| {}, 1), "{}");
    }

    #[test]
    fn what_is_cut_is_marked_with_its_length() {
        let text = written(|object| object.text("a", "äö"), 3);
        assert_eq!(text, r#"{"a":"ä","truncated":true,"originalLength":4}"#);
        let text = written(|object| object.bytes("a", b"abcd", 4), 3);
        assert_eq!(text, r#"{"a":"YWJj","truncated":true,"originalLength":4}"#);
        // Cut before.
        let text = written(|object| object.bytes("a", b"abc", 9), 3);
        assert_eq!(text, r#"{"a":"YWJj","truncated":true,"originalLength":9}"#);
    }

    proptest::proptest! {
        #[test]
        fn bytes_are_base64_as_everybody_reads_it(data: Vec<u8>) {
            let text = written(|object| object.bytes("a", &data, data.len() as u64), 1000);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(STANDARD.decode(value["a"].as_str().unwrap()).unwrap(), data);
        }
    }
}
