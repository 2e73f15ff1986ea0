//! Any content comes back from the member that it was compressed into. The first two bytes say how often it is repeated and how
//! much of it is between two repetitions, so that matches of all lengths and distances are near.

use std::io::Read;

use containerssh_auditlog::member::{self, Scratch};
use flate2::read::GzDecoder;

pub fn run(data: &[u8]) {
    let [times, skip, content @ ..] = data else { return };
    let skip = usize::from(*skip).min(content.len());
    let times = usize::from(*times).min((256 << 10) / content.len().max(1));
    let mut whole = content.to_vec();
    for n in 0..times {
        // Each time another byte differs.
        whole.extend_from_slice(&content[skip * n % (content.len() + 1)..]);
        whole.push(n as u8);
    }
    let mut member = Vec::new();
    member::compress(&whole, &mut member, &mut Scratch::new());
    let mut back = Vec::with_capacity(whole.len());
    GzDecoder::new(&member[..]).read_to_end(&mut back).expect("it is well-formed");
    assert!(back == whole, "{} bytes came back as {}", whole.len(), back.len());
}
