//! Any bytes as what a log's gzip holds: the first byte chooses the version, and with it whether they stand in an array.

use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Decoder, Message, Version, header};

fn file(version: Version, content: &[u8]) -> Vec<u8> {
    let mut file = header(version).to_vec();
    member::compress(content, &mut file, &mut Scratch::new());
    file
}

pub fn run(data: &[u8]) {
    let Some((version, content)) = data.split_first() else { return };
    let version = if version % 2 == 0 { Version::V1 } else { Version::V2 };
    let file_read = file(version, content);
    let decoder = Decoder::new(&file_read[..]).expect("its header is sound");
    let read: Vec<Message> = decoder.filter_map(Result::ok).collect();
    // What was understood is written in a way that is understood likewise.
    let mut again = Vec::new();
    for message in &read {
        serde_json::to_string(message).expect("a record has only text keys");
        message.encode(&mut again);
    }
    let file_again = file(Version::V2, &again);
    let decoder = Decoder::new(&file_again[..]).expect("its header is sound");
    let read_again: Result<Vec<Message>, _> = decoder.collect();
    let read_again = read_again.unwrap_or_else(|error| panic!("{error}"));
    // By what is shown: a float may be NaN, and text is mended when it is written.
    let shown = |messages: &[Message]| serde_json::to_string(messages).expect("as before");
    assert_eq!(shown(&read_again), shown(&read));
}
