//! Texts that clients send, as parts of keys and as values of metadata.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The longest encoded name, in bytes: an S3 key has 1,024 in all, and the rest belongs to the prefix.
pub const MAX_NAME: usize = 255;

/// A name as one segment of a key: safe characters as they are, all else percent-encoded, `.` and `..` too.
#[must_use]
pub fn key_segment(name: &str) -> String {
    let dots = name.bytes().all(|byte| byte == b'.');
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_@+".contains(&byte) || (byte == b'.' && !dots);
    shorten(encode(name, safe), name, MAX_NAME)
}

/// A text as the value of an HTTP header, which metadata of S3 objects is: printable ASCII, all else percent-encoded.
#[must_use]
pub fn header_value(text: &str, max: usize) -> String {
    shorten(encode(text, |byte| (0x21..0x7f).contains(&byte) && byte != b'%'), text, max)
}

/// The text that such a value or segment stands for. What is not encoded is left as it is.
#[must_use]
pub fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes every byte that is not safe (RFC 3986 section 2.1).
fn encode(text: &str, safe: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if safe(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Cuts an encoded text that is too long and ends it with a digest of the original, so that two long names that start
/// alike stay apart.
fn shorten(encoded: String, original: &str, max: usize) -> String {
    if encoded.len() <= max {
        return encoded;
    }
    let digest: String = Sha256::digest(original).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let tail = format!("~{digest}");
    let head: String = encoded.chars().take(max.saturating_sub(tail.len())).collect();
    head + &tail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_encoded_is_left_as_it_is() {
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%C3%B6%"), "%zzö%");
    }

    proptest! {
        #[test]
        fn any_text_makes_a_legal_header_value(text in any::<String>()) {
            let value = header_value(&text, 256);
            prop_assert!(value.len() <= 256);
            prop_assert!(value.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        }

        #[test]
        fn short_texts_are_read_back(text in "\\PC{0,20}") {
            prop_assert_eq!(decoded(&header_value(&text, 1000)), text.clone());
            prop_assert_eq!(decoded(&key_segment(&text)), text);
        }
    }
}
