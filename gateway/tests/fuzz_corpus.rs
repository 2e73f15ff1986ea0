//! What fuzzing found worth keeping (gateway/fuzz), run again.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a target says by a panic what is wrong"
)]

#[path = "../fuzz/replay.rs"]
mod replay;

#[path = "../fuzz/targets/proxy.rs"]
mod proxy;

use replay::replay;

#[test]
fn the_corpus_of_proxy_headers_holds() {
    replay("proxy", proxy::run);
}
