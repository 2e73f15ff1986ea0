//! Any bytes as a file that a crash left: the first byte chooses the version of a header before them, or that there is none.

use std::io::Cursor;

use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::recover::scan;
use containerssh_auditlog::{DecodeError, Decoder, Version, header};

pub fn run(data: &[u8]) {
    let Some((start, rest)) = data.split_first() else { return };
    let start = match start % 3 {
        0 => header(Version::V1).to_vec(),
        1 => header(Version::V2).to_vec(),
        _ => Vec::new(),
    };
    let file = [start, rest.to_vec()].concat();
    let Ok(found) = scan(Cursor::new(&file)) else { return };
    assert_eq!(found.total_len, file.len() as u64);
    assert!(found.complete_len <= found.total_len);
    if found.version.is_none() {
        return;
    }
    // Cut and closed, it is a whole log that says the same.
    let sound = usize::try_from(found.complete_len).expect("it is in memory");
    let mut mended = file[..sound].to_vec();
    let closing = found.closing_content(7);
    if !closing.is_empty() {
        member::compress(&closing, &mut mended, &mut Scratch::new());
    }
    let again = scan(Cursor::new(&mended)).expect("its header is sound");
    assert_eq!(again.complete_len, again.total_len);
    assert!(!again.sound_after_damage);
    let added = u64::from(found.connection_id.is_some() && !found.disconnected && !found.closed);
    assert_eq!(again.messages, found.messages + added);
    assert!(again.closed || found.version == Some(Version::V2));
    for item in Decoder::new(&mended[..]).expect("its header is sound") {
        let is_fine = matches!(item, Ok(_) | Err(DecodeError::Record { .. }));
        assert!(is_fine, "{item:?}");
    }
}
