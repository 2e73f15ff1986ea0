//! Any bytes at the start of a connection from a trusted balancer: read whole or in small pieces they are the same header, and none
//! behind it is taken.

use std::sync::OnceLock;

#[path = "../../src/serve/proxy/header.rs"]
mod header;

fn runtime() -> &'static tokio::runtime::Runtime {
    static MADE: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    MADE.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    })
}

/// What is read, and how many bytes are left.
fn read(mut bytes: &[u8]) -> (Option<Option<header::Proxied>>, usize) {
    let result = runtime().block_on(header::read(&mut bytes));
    if let Err(error) = &result {
        assert!(!error.to_string().contains('\n'), "{error:?}");
    }
    (result.ok(), bytes.len())
}

pub fn run(data: &[u8]) {
    let (found, left) = read(data);
    if found.is_none() {
        return;
    }
    // What follows is the client's: it changes nothing and stays.
    let header = &data[..data.len() - left];
    assert_eq!(read(header), (found, 0));
    assert_eq!(read(&[header, &b"SSH-2.0-x\r\n"[..]].concat()), (found, 11));
    for length in 0..header.len() {
        assert!(read(&header[..length]).0.is_none(), "{length} bytes of it are a header too");
    }
}
