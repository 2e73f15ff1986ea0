//! Any bytes as the two streams of a file transfer. The first byte chooses the protocol; each piece is a byte that says which stream,
//! one that says how long, and so many bytes. What comes of it does not depend on where the pieces are cut.

use containerssh_auditlog::IoStream;
use containerssh_auditlog::sftp::{FileDecoder, FileEvent, Observer, Options};

#[derive(Default)]
struct Seen(Vec<String>);

impl Observer for Seen {
    fn event(&mut self, event: FileEvent) {
        let mut event = serde_json::to_value(&event).expect("an event has only text keys");
        blank(&mut event);
        self.0.push(event.to_string());
    }
}

/// Takes out why there is no digest: of several reasons, which one is met first may depend on where a packet that never ended was cut.
fn blank(event: &mut serde_json::Value) {
    if let Some(fields) = event.as_object_mut() {
        if let Some(reason) = fields.get_mut("noDigest") {
            *reason = true.into();
        }
        fields.values_mut().for_each(blank);
    }
}

fn decoder(kind: u8) -> FileDecoder {
    let options = Options { replies_recorded: kind & 4 == 0, lookups: kind & 8 == 0 };
    let command = match kind & 3 {
        0 | 1 => return FileDecoder::for_subsystem("sftp", options).expect("it is a subsystem for files"),
        2 => "scp -r -p -t /tmp",
        _ => "scp -r -p -f /tmp",
    };
    FileDecoder::for_command(command, options).expect("it is a command for files")
}

/// The pieces, each as whole or byte by byte.
fn seen(kind: u8, mut data: &[u8], whole: bool) -> Vec<String> {
    let mut decoder = decoder(kind);
    let mut seen = Seen::default();
    while let [stream, length, rest @ ..] = data {
        let stream = match stream % 5 {
            0 | 1 => IoStream::Stdin,
            2 | 3 => IoStream::Stdout,
            _ => IoStream::Stderr,
        };
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        for part in piece.chunks(if whole { piece.len().max(1) } else { 1 }) {
            decoder.push(stream, part, 1, &mut seen);
        }
    }
    decoder.finish(2, &mut seen);
    seen.0
}

pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let whole = seen(*kind, data, true);
    assert_eq!(seen(*kind, data, false), whole, "it depends on how the stream is cut");
}
