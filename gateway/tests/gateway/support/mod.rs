//! What the tests stand on.

mod auth;
mod backend;
mod client;
mod dex;
mod hooks;
pub(crate) mod raw;
mod server;

pub(crate) use auth::TestAuth;
pub(crate) use backend::{LocalBackend, Start, reaches};
pub(crate) use client::{Client, collect, finish, granted, read_until};
pub(crate) use dex::Dex;
pub(crate) use hooks::Hooks;
pub(crate) use server::{Gateway, Record, config, kinds, recorded};

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// Longer than anything takes on the slowest machine; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails a test that would hang.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for: {what}"),
    }
}

/// Waits until a process that was just started takes connections.
pub(crate) async fn listens(what: &str, address: SocketAddr) {
    within(what, async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Bytes without a pattern, the same ones each time (xorshift).
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
