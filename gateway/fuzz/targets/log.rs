//! Any bytes after a log's header: the first byte chooses its version.

use std::io::BufReader;

use containerssh_auditlog::{Decoder, Version, header};

/// What one reading of a file says, in words.
fn read(file: &[u8], capacity: usize) -> Vec<String> {
    let Ok(decoder) = Decoder::new(BufReader::with_capacity(capacity, file)) else { return Vec::new() };
    decoder
        .map(|item| match item {
            Ok(message) => serde_json::to_string(&message).expect("a record has only text keys"),
            Err(error) => error.to_string(),
        })
        .collect()
}

pub fn run(data: &[u8]) {
    let Some((version, rest)) = data.split_first() else { return };
    let version = if version % 2 == 0 { Version::V1 } else { Version::V2 };
    let file = [&header(version)[..], rest].concat();
    let whole = read(&file, file.len());
    // Every item but the last word about the end stands for at least one byte of content.
    assert!(whole.len() <= 1100 * file.len(), "{} items", whole.len());
    assert_eq!(read(&file, 7), whole, "it depends on how the file is read");
}
