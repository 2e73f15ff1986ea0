//! Any bytes from an agent: frames, however they are cut, or an error; never more than the limit. And as the agent's first line and
//! its key. The first two bytes say how long a frame may be.

use std::sync::OnceLock;

use containerssh_link::frame::{FrameReader, FrameWriter};
use containerssh_link::{Greeting, Hello, PublicKey};
use tokio::io::AsyncReadExt as _;

fn runtime() -> &'static tokio::runtime::Runtime {
    static MADE: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    MADE.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"))
}

/// The frames, as they would be written; and whether the stream ended between two.
async fn frames(stream: impl tokio::io::AsyncRead + Unpin, limit: usize) -> (Vec<u8>, bool) {
    let mut reader = FrameReader::new(stream, limit);
    let mut written = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some((kind, content))) => {
                assert!(content.len() <= limit, "{} bytes", content.len());
                FrameWriter::new(&mut written).send(kind, content).await.expect("into memory");
            }
            Ok(None) => return (written, true),
            Err(_) => return (written, false),
        }
    }
}

pub fn run(data: &[u8]) {
    let [low, high, bytes @ ..] = data else { return };
    let limit = usize::from(u16::from_le_bytes([*low, *high]));
    let (whole, ended) = runtime().block_on(frames(bytes, limit));
    assert!(bytes.starts_with(&whole), "it is not what was sent");
    assert_eq!(ended, whole.len() == bytes.len(), "bytes are left over, or a frame is missing");
    // In two pieces it is the same.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(runtime().block_on(frames(first.chain(second), limit)), (whole, ended));

    if let Ok(hello) = serde_json::from_slice::<Hello>(bytes) {
        let again = serde_json::to_vec(&hello).expect("it has only text keys");
        assert_eq!(serde_json::from_slice::<Hello>(&again).ok(), Some(hello));
    }
    if let Ok(greeting) = serde_json::from_slice::<Greeting>(bytes) {
        let again = serde_json::to_vec(&greeting).expect("it has only text keys");
        assert_eq!(serde_json::from_slice::<Greeting>(&again).ok(), Some(greeting));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::from_text(text)
    {
        assert_eq!(PublicKey::from_text(&key.to_text()).ok(), Some(key));
    }
}
