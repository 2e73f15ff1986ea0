//! A record with edits, or any bytes at all: what was changed is never called whole. The first byte chooses; an edit is three bytes,
//! two for its place and one for what stands there then, and may cut the record off there.

use std::sync::OnceLock;

use containerssh_auditlog::chain::{Chain, End, Kind};
use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::verify::{self, Verdict};
use containerssh_auditlog::{Encoder, IoStream, Payload, Version, encode, header};

/// Three segments, one of them of random bytes, and the seal.
fn record() -> &'static [u8] {
    static RECORD: OnceLock<Vec<u8>> = OnceLock::new();
    RECORD.get_or_init(|| {
        let header = header(Version::V1);
        let mut bytes = header.to_vec();
        let mut chain = Chain::start(&header);
        let encoder = Encoder::new("0123456789abcdef0123456789abcdef");
        let noise: Vec<u8> = (0..300_u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        let text = b"-rw-r--r-- 1 root root 1234 Jan  1 file\r\n".repeat(9);
        for (number, data) in [&text[..], &noise, b"$ exit\r\n"].into_iter().enumerate() {
            let mut content = Vec::new();
            if number == 0 {
                encode::open(&mut content);
            }
            encoder.io(&mut content, number as u64 + 1, Some(0), IoStream::Stdout, data);
            if number == 2 {
                encoder.record(&mut content, 9, None, &Payload::Disconnect);
                encode::close(&mut content);
            }
            let start = bytes.len();
            let link = chain.next_link(Kind::Segment);
            member::compress_with_extra(&content, &link, &mut bytes, &mut Scratch::new());
            chain.push(&bytes[start..], bytes.len() as u64);
        }
        let length = bytes.len() as u64;
        bytes.extend_from_slice(&chain.seal(Kind::Seal, End { length, session: length, dropped: 0 }));
        bytes
    })
}

fn verdict(bytes: &[u8]) -> Verdict {
    verify::plain(bytes, None).expect("it is in memory").verdict
}

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let whole = record();
    if kind % 2 == 0 {
        verdict(rest);
        verdict(&[&header(Version::V1)[..], rest].concat());
        return;
    }
    assert_eq!(verdict(whole), Verdict::Intact);
    let mut edited = whole.to_vec();
    for edit in rest.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        match edited.get_mut(place & 0x7fff) {
            Some(byte) if place < 0x8000 => *byte = edit[2],
            Some(_) => edited.truncate(place & 0x7fff),
            None => {}
        }
    }
    let found = verdict(&edited);
    assert!(edited == whole || !matches!(found, Verdict::Intact | Verdict::Recovered), "{found:?}");
}
